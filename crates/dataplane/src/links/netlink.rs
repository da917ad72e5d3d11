//! Asking the kernel by netlink, one thing at a time.

use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes of the longest answer; one about a link, with all that the kernel
/// tells of it, has some thousand.
const ANSWER: usize = 32 << 10;

/// A socket whose answers are about the network namespace of the thread that
/// opened it, whichever thread asks.
#[derive(Debug)]
pub struct Netlink {
    /// Locked so that each gets the answer to its own request.
    exchange: Mutex<Exchange>,
}

/// A socket and the buffer for the answer to the one request that is under way.
#[derive(Debug)]
struct Exchange {
    socket: Socket,
    answer: Box<[u8]>,
}

impl Netlink {
    /// Opens it in the network namespace of the calling thread. It needs no privilege.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW.cloexec(),
            Some(Protocol::from(libc::NETLINK_ROUTE)),
        )?;
        // The kernel has answered when sending returns.
        socket.set_nonblocking(true)?;
        Ok(Self {
            exchange: Mutex::new(Exchange {
                socket,
                answer: vec![0; ANSWER].into_boxed_slice(),
            }),
        })
    }

    /// Sends a request that is answered by one message, and calls `read` with that.
    pub(crate) fn ask<T>(
        &self,
        request: &[u8],
        read: impl FnOnce(&[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let Exchange { socket, answer } = &mut *exchange;
        socket.send(request)?;
        let len = (&*socket).read(answer)?;
        read(answer.get(..len).unwrap_or_default())
    }

    /// Sends a request for everything of a kind, and calls `read` with each
    /// datagram of the answer until it says that it had the last.
    pub(crate) fn ask_for_all(
        &self,
        request: &[u8],
        mut read: impl FnMut(&[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        let mut exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let Exchange { socket, answer } = &mut *exchange;
        socket.send(request)?;
        let outcome = loop {
            // The kernel sends the rest as we read.
            let len = (&*socket).read(answer)?;
            match read(answer.get(..len).unwrap_or_default()) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => break Err(error),
            }
        };
        // Drain the rest, so that it is not taken for the answer to the next request.
        while (&*socket).read(answer).is_ok() {}
        outcome
    }
}

/// The address of ours that a message is about, and the length of its network's prefix.
#[must_use]
pub fn address_of(message: &AddressMessage) -> Option<(IpAddr, u8)> {
    // Of a point-to-point link, Local is ours and Address the peer's.
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let plain = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    Some((local.or(plain)?, message.header.prefix_len))
}
