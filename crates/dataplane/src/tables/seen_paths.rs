//! New addresses of peers, kept for the control side: one for each SA, so that
//! a peer whose address changes with every packet takes neither memory nor the
//! queue's room for IKE messages.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

/// An authenticated ESP packet, newer than any before on its SA, came from
/// another address or port than the SA's path says (RFC 7296 section 2.23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenPath {
    /// The SA's inbound SPI.
    pub spi_in: u32,
    /// Where the packet came from; the port is 0 for protocol 50.
    pub remote: SocketAddr,
}

/// The newest path of each SA that the control side has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct SeenPaths(Mutex<BTreeMap<u32, Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    sequence: u64,
    remote: SocketAddr,
}

impl SeenPaths {
    /// Notes where the packet with this sequence number came from, unless a
    /// newer one of the SA waits already. True if nothing at all waited: then
    /// the control side has yet to be told.
    pub(crate) fn note(&self, spi_in: u32, sequence: u64, remote: SocketAddr) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.is_empty();
        let seen = Seen { sequence, remote };
        let known = waiting.entry(spi_in).or_insert(seen);
        if known.sequence < sequence {
            *known = seen;
        }
        first
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Vec<SeenPath> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *waiting);
        let paths = taken.into_iter();
        paths
            .map(|(spi_in, Seen { remote, .. })| SeenPath { spi_in, remote })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{SeenPath, SeenPaths};

    fn port(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn of_each_sa_the_newest_packet_s_path_waits_and_is_told_once() {
        let paths = SeenPaths::default();
        assert!(paths.note(7, 10, port(1)));
        assert!(!paths.note(7, 12, port(3)));
        assert!(!paths.note(7, 11, port(2)));
        assert!(!paths.note(8, 1, port(9)));
        let path = |spi_in, at| SeenPath {
            spi_in,
            remote: port(at),
        };
        assert_eq!(paths.take(), [path(7, 3), path(8, 9)]);
        assert_eq!(paths.take(), []);
        assert!(paths.note(7, 13, port(4)), "told again once it was taken");
    }

    #[test]
    fn a_thousand_paths_of_one_sa_take_the_room_of_one() {
        let paths = SeenPaths::default();
        let told = (1..=1000).filter(|&n| paths.note(7, u64::from(n), port(n)));
        assert_eq!(told.count(), 1);
        assert_eq!(paths.take().len(), 1);
    }
}
