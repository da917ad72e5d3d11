//! ESP packets with an SPI that no SA receives with, kept for the control side, which may
//! tell their sender: a peer may still have an SA that we lost.
//!
//! Anybody can send them, at any rate. So they are told apart by where they come from, in
//! as many places as there are here, and of each place one packet a second is kept; the
//! others cost a comparison.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

const PLACES: usize = 256;
/// Nanoseconds from one packet of a place to the next.
const PAUSE: u64 = 1_000_000_000;

/// An ESP packet with an SPI that no SA receives with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StraySpi {
    /// The outside address and port that it came to; the port is 0 for protocol 50.
    pub local: SocketAddr,
    /// Where it came from; the port is 0 for protocol 50.
    pub remote: SocketAddr,
    /// Its SPI.
    pub spi: u32,
}

/// Those that the control side has not taken yet.
#[derive(Debug)]
pub(crate) struct StraySpis {
    /// Until when nothing more is kept of each place.
    closed_until: [AtomicU64; PLACES],
    waiting: Mutex<Vec<StraySpi>>,
}

impl Default for StraySpis {
    fn default() -> Self {
        Self {
            closed_until: [const { AtomicU64::new(0) }; PLACES],
            waiting: Mutex::default(),
        }
    }
}

impl StraySpis {
    /// Keeps a packet, at a time in nanoseconds of any clock, unless one of its place was
    /// kept lately. Says whether nothing at all waited: then the control side has yet to
    /// be told.
    pub(crate) fn note(&self, now: u64, stray: StraySpi) -> bool {
        let Some(closed) = self.closed_until.get(place(stray.remote.ip())) else {
            return false;
        };
        let until = closed.load(Ordering::Relaxed);
        if now < until {
            return false;
        }
        let next = now.saturating_add(PAUSE);
        // If several workers see it at once, one of them keeps it.
        let (here, there) = (Ordering::Relaxed, Ordering::Relaxed);
        if closed.compare_exchange(until, next, here, there).is_err() {
            return false;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= PLACES {
            return false;
        }
        waiting.push(stray);
        waiting.len() == 1
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Vec<StraySpi> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting)
    }
}

/// By the octets that differ most.
fn place(remote: IpAddr) -> usize {
    let folded = match remote {
        IpAddr::V4(v4) => v4.octets().iter().fold(0, |sum: u8, octet| sum ^ octet),
        IpAddr::V6(v6) => v6.octets().iter().fold(0, |sum: u8, octet| sum ^ octet),
    };
    usize::from(folded)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{PAUSE, PLACES, StraySpi, StraySpis};

    fn stray(address: u32, spi: u32) -> StraySpi {
        StraySpi {
            local: ([192, 0, 2, 1], 4500).into(),
            remote: (Ipv4Addr::from(address), 4500).into(),
            spi,
        }
    }

    #[test]
    fn of_a_sender_one_packet_a_second_is_kept_and_told_of_once() {
        let strays = StraySpis::default();
        let told: Vec<_> = (0..1000).filter(|n| strays.note(5, stray(1, *n))).collect();
        assert_eq!(told, [0]);
        assert!(!strays.note(5, stray(2, 7)), "told already");
        assert_eq!(strays.take(), [stray(1, 0), stray(2, 7)]);
        assert!(!strays.note(5 + PAUSE - 1, stray(1, 8)));
        assert!(strays.note(5 + PAUSE, stray(1, 9)));
    }

    #[test]
    fn any_number_of_senders_takes_bounded_room_although_nobody_takes_it_away() {
        let strays = StraySpis::default();
        for second in 0..10 {
            for address in 0..10_000 {
                strays.note(second * PAUSE, stray(address, 1));
            }
        }
        assert_eq!(strays.take().len(), PLACES);
    }
}
