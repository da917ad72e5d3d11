//! ESP packets with an SPI that no SA receives with, kept for the control side, which may
//! tell their sender: a peer may still have an SA that we lost.
//!
//! Anybody can send them, at any rate. So their sources are sorted into a fixed
//! number of places, and of each place one packet a second is kept; the others
//! cost a comparison.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

const PLACES: usize = 256;
/// Nanoseconds from one packet of a place to the next.
const PAUSE: u64 = 1_000_000_000;

/// An ESP packet with an SPI that no SA receives with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownSpi {
    /// The outside address and port that it came to; the port is 0 for protocol 50.
    pub local: SocketAddr,
    /// Where it came from; the port is 0 for protocol 50.
    pub remote: SocketAddr,
    /// Its SPI.
    pub spi: u32,
}

/// The packets that the control side has not taken yet.
#[derive(Debug)]
pub(crate) struct UnknownSpis {
    /// Until when nothing more is kept of each place.
    closed_until: [AtomicU64; PLACES],
    waiting: Mutex<Vec<UnknownSpi>>,
}

impl Default for UnknownSpis {
    fn default() -> Self {
        Self {
            closed_until: [const { AtomicU64::new(0) }; PLACES],
            waiting: Mutex::default(),
        }
    }
}

impl UnknownSpis {
    /// Keeps a packet, at a time in nanoseconds of any clock, unless one of its
    /// place was kept lately. True if nothing at all waited: then the control
    /// side has yet to be told.
    pub(crate) fn note(&self, now: u64, unknown: UnknownSpi) -> bool {
        let Some(closed) = self.closed_until.get(place(unknown.remote.ip())) else {
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
        waiting.push(unknown);
        waiting.len() == 1
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Vec<UnknownSpi> {
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

    use super::{PAUSE, PLACES, UnknownSpi, UnknownSpis};

    fn unknown(address: u32, spi: u32) -> UnknownSpi {
        UnknownSpi {
            local: ([192, 0, 2, 1], 4500).into(),
            remote: (Ipv4Addr::from(address), 4500).into(),
            spi,
        }
    }

    #[test]
    fn of_a_sender_one_packet_a_second_is_kept_and_told_of_once() {
        let unknown_spis = UnknownSpis::default();
        let told: Vec<_> = (0..1000)
            .filter(|n| unknown_spis.note(5, unknown(1, *n)))
            .collect();
        assert_eq!(told, [0]);
        assert!(!unknown_spis.note(5, unknown(2, 7)), "told already");
        assert_eq!(unknown_spis.take(), [unknown(1, 0), unknown(2, 7)]);
        assert!(!unknown_spis.note(5 + PAUSE - 1, unknown(1, 8)));
        assert!(unknown_spis.note(5 + PAUSE, unknown(1, 9)));
    }

    #[test]
    fn any_number_of_senders_takes_bounded_room_although_nobody_takes_it_away() {
        let unknown_spis = UnknownSpis::default();
        for second in 0..10 {
            for address in 0..10_000 {
                unknown_spis.note(second * PAUSE, unknown(address, 1));
            }
        }
        assert_eq!(unknown_spis.take().len(), PLACES);
    }
}
