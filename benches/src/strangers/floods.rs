//! Attacks that are made of IKE_SA_INITs, and of garbage.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use vgw_ike::messages::InitRequest;
use vgw_lab::Namespace;

use super::messages::{accepted, answer, invalid, message, refused, refused_shortly};
use super::outcome::Outcome;
use super::socket::{Pace, Socket, host};

/// Of each attack that must prove its addresses.
const HOSTS: u32 = 8;
/// Handshakes that are begun at once by those who want every place, and at which rate.
const PLACES: u32 = 1_200;
const FILLING: u32 = 400;
/// Octets of a message's headers: IPv4 and UDP.
const HEADERS: usize = 28;
/// Garbage has the length of a small message.
const GARBAGE: usize = 200;

/// Refused at length, from another network each, so many a second.
pub fn refuse(attackers: &Namespace, rate: u32, stop: &AtomicBool) -> Result<Outcome> {
    let mut socket = Socket::open(attackers)?;
    let request = refused();
    let mut pace = Pace::new(rate);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..pace.due() {
            number += 1;
            socket.send(host(number), &message(number.into(), &request))?;
        }
        Pace::rest();
    }
    Ok(socket.made())
}

/// Refused in short, from another network each, as many as the socket takes.
pub fn refuse_all(attackers: &Namespace, stop: &AtomicBool) -> Result<Outcome> {
    repeat(attackers, &mut message(1, &refused_shortly()), stop)
}

/// No message at all, as many as the socket takes.
pub fn garbage(attackers: &Namespace, stop: &AtomicBool) -> Result<Outcome> {
    repeat(attackers, &mut [0xa5; GARBAGE], stop)
}

/// Sends it from one host after the other, each time with another SPI.
fn repeat(attackers: &Namespace, datagram: &mut [u8], stop: &AtomicBool) -> Result<Outcome> {
    let mut socket = Socket::open(attackers)?;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        set_spi(datagram, number);
        socket.send(host(number), datagram)?;
    }
    Ok(socket.made())
}

/// One host repeats a message with a public value that is none. It returns the first
/// cookie for good, or each that it is asked for.
pub fn invalid_values(
    attackers: &Namespace,
    rate: u32,
    each_cookie: bool,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let mut socket = Socket::open(attackers)?;
    let mut request = invalid();
    let mut datagram = message(1, &request);
    let mut pace = Pace::new(rate);
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..pace.due() {
            socket.send(host(0), &datagram)?;
        }
        while let Some((_, len)) = socket.receive(&mut buffer)? {
            let cookie = buffer.get(..len).and_then(answer).and_then(|(_, c)| c);
            if cookie.is_some() && (each_cookie || request.cookie.is_none()) {
                request.cookie = cookie;
                datagram = message(1, &request);
            }
        }
        Pace::rest();
    }
    Ok(socket.made())
}

/// Hosts of eight networks begin handshakes, return their cookies, and leave it at that:
/// first as many as there are places, then as many as `bits` a second are.
pub fn hold_places(attackers: &Namespace, bits: u32, stop: &AtomicBool) -> Result<Outcome> {
    let mut socket = Socket::open(attackers)?;
    let mut holders = Holders::default();
    let mut pace = Pace::new(FILLING);
    while !stop.load(Ordering::Relaxed) && holders.begun < PLACES {
        holders.go_on(&mut socket, pace.due())?;
    }
    // Each handshake is a message without a cookie, and one with it.
    let both = 2 * (message(1, &holders.request).len() + HEADERS) * 8;
    let mut pace = Pace::new(bits / u32::try_from(both)?);
    while !stop.load(Ordering::Relaxed) {
        holders.go_on(&mut socket, pace.due())?;
    }
    Ok(socket.made())
}

struct Holders {
    request: InitRequest,
    begun: u32,
}

impl Default for Holders {
    fn default() -> Self {
        let request = accepted();
        Self { request, begun: 0 }
    }
}

impl Holders {
    /// Begins so many handshakes, and returns the cookies that came meanwhile.
    fn go_on(&mut self, socket: &mut Socket, more: u32) -> Result<()> {
        self.request.cookie = None;
        for _ in 0..more {
            self.begun += 1;
            let from = host(self.begun % HOSTS);
            socket.send(from, &message(self.begun.into(), &self.request))?;
        }
        let mut buffer = [0; 4096];
        while let Some((to, len)) = socket.receive(&mut buffer)? {
            if let Some((spi, Some(cookie))) = buffer.get(..len).and_then(answer) {
                self.request.cookie = Some(cookie);
                socket.send(to, &message(spi, &self.request))?;
            }
        }
        Pace::rest();
        Ok(())
    }
}

fn set_spi(datagram: &mut [u8], number: u32) {
    if let Some(spi) = datagram.first_chunk_mut::<8>() {
        *spi = u64::from(number).to_be_bytes();
    }
}
