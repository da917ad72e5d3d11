//! A sample of what workers have to tell the control side and anybody can cause, at any rate.
//!
//! News are sorted by an address into a fixed number of places, and of each place one a second is
//! kept; the others cost a comparison.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

const PLACES: usize = 256;
/// Nanoseconds from one of a place to the next.
const PAUSE: u64 = 1_000_000_000;

/// An ESP packet with an SPI that no SA receives with. Its sender may be told: a peer may still
/// have an SA that we lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownSpi {
    /// The outside address and port that it came to; the port is 0 for protocol 50.
    pub local: SocketAddr,
    /// Where it came from; the port is 0 for protocol 50.
    pub remote: SocketAddr,
    /// Its SPI.
    pub spi: u32,
}

/// The news that the control side has not taken yet.
#[derive(Debug)]
pub(crate) struct Sample<T> {
    /// Until when nothing more is kept of each place.
    closed_until: [AtomicU64; PLACES],
    waiting: Mutex<Vec<T>>,
}

impl<T> Default for Sample<T> {
    fn default() -> Self {
        Self {
            closed_until: [const { AtomicU64::new(0) }; PLACES],
            waiting: Mutex::default(),
        }
    }
}

impl<T> Sample<T> {
    /// Keeps news of an address, at a time in nanoseconds of any clock, unless some of its
    /// place were kept lately. True if nothing at all waited: then the control
    /// side has yet to be told.
    pub(crate) fn note(&self, now: u64, of: IpAddr, news: impl FnOnce() -> T) -> bool {
        let Some(closed) = self.closed_until.get(place(of)) else {
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
        waiting.push(news());
        waiting.len() == 1
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Vec<T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting)
    }
}

/// By the octets that differ most.
fn place(of: IpAddr) -> usize {
    let folded = match of {
        IpAddr::V4(v4) => v4.octets().iter().fold(0, |sum: u8, octet| sum ^ octet),
        IpAddr::V6(v6) => v6.octets().iter().fold(0, |sum: u8, octet| sum ^ octet),
    };
    usize::from(folded)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{PAUSE, PLACES, Sample};

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    #[test]
    fn of_an_address_one_is_kept_each_second_and_told_of_once() {
        let sample = Sample::default();
        let told: Vec<_> = (0..1000)
            .filter(|n| sample.note(5, address(1), || *n))
            .collect();
        assert_eq!(told, [0]);
        assert!(!sample.note(5, address(2), || 7), "told already");
        assert_eq!(sample.take(), [0, 7]);
        assert!(!sample.note(5 + PAUSE - 1, address(1), || 8));
        assert!(sample.note(5 + PAUSE, address(1), || 9));
    }

    #[test]
    fn any_number_of_addresses_takes_bounded_room_although_nobody_takes_it_away() {
        let sample = Sample::default();
        for second in 0..10 {
            for number in 0..10_000 {
                sample.note(second * PAUSE, address(number), || ());
            }
        }
        assert_eq!(sample.take().len(), PLACES);
    }
}
