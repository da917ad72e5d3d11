//! How long a peer takes to answer, which decides how soon it may be doubted.
//!
//! The negotiator measures it by requests that it sends once. An end that answered the handshake
//! and hears packets all the time sends none, and none is sent once where the path has become
//! longer than a question waits. Then a liveness check is sent for it, which is not repeated so
//! soon.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::retry::Jitter;

/// From when the round trip is found to be unknown to the measurement, and to the next one.
const PAUSE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// Thousands of tunnels may come up at once: at random, a measurement is so much later.
const SPREAD: Duration = Duration::from_secs(2);

/// The round trip to one peer.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    usual: Option<Duration>,
    /// The last answer showed it.
    current: bool,
    needed: bool,
    measure_at: Option<Instant>,
    pause: Backoff,
}

impl RoundTrip {
    /// As it was last known.
    pub(super) const fn usual(&self) -> Option<Duration> {
        self.usual
    }

    /// When to call [`Self::take_measurement`].
    pub(super) const fn measure_at(&self) -> Option<Instant> {
        self.measure_at
    }

    /// The peer answered, and that showed the round trip or did not.
    pub(super) fn note_answer(&mut self, shown: Option<Duration>) {
        self.usual = shown.or(self.usual);
        self.current = shown.is_some();
    }

    /// Whether it is time to measure it. Plans the next time if it is not known by then.
    pub(super) fn take_measurement(&mut self, now: Instant, jitter: &mut Jitter) -> bool {
        if self.current {
            self.measure_at = None;
            return false;
        }
        let due = self.measure_at.is_some_and(|at| at <= now);
        if due || self.measure_at.is_none() {
            self.pause.begin(now, &PAUSE);
            let until = self.pause.until();
            self.measure_at = until.map(|until| until + jitter.below(SPREAD));
        }
        due
    }

    /// It is needed, as the peer is in doubt. If it was never known, it is measured now.
    pub(super) fn need(&mut self, now: Instant) {
        if self.usual.is_none() && !std::mem::replace(&mut self.needed, true) {
            self.measure_at = Some(now);
        }
    }

    /// The tunnel is not one whose peer is to be asked.
    pub(super) const fn do_not_measure(&mut self) {
        self.measure_at = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Jitter, RoundTrip};
    use crate::test_time::epoch;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_unknown_round_trip_is_measured_soon_but_not_by_all_at_once() {
        let (now, mut jitter) = (epoch(), Jitter::new(1));
        let planned = [(); 20].map(|()| {
            let mut round_trip = RoundTrip::default();
            assert!(!round_trip.take_measurement(now, &mut jitter));
            round_trip.measure_at().unwrap()
        });
        assert!(
            planned
                .iter()
                .all(|at| *at >= now + SECOND && *at <= now + 3 * SECOND)
        );
        assert!(planned.iter().max() > planned.iter().min().map(|at| *at + SECOND).as_ref());
    }

    #[test]
    fn it_is_measured_at_once_when_it_is_first_needed() {
        let (now, mut jitter) = (epoch(), Jitter::new(3));
        let mut round_trip = RoundTrip::default();
        round_trip.take_measurement(now, &mut jitter);
        round_trip.need(now);
        assert!(round_trip.take_measurement(now, &mut jitter));
        round_trip.need(now);
        assert!(!round_trip.take_measurement(now, &mut jitter));
        round_trip.note_answer(Some(SECOND));
        assert_eq!(round_trip.usual(), Some(SECOND));
    }

    #[test]
    fn it_is_measured_again_ever_more_seldom_until_an_answer_shows_it() {
        let (start, mut jitter) = (epoch(), Jitter::new(2));
        let mut round_trip = RoundTrip::default();
        let mut now = start;
        let mut measured = 0;
        round_trip.take_measurement(now, &mut jitter);
        while now < start + 600 * SECOND {
            now = round_trip.measure_at().unwrap();
            assert!(round_trip.take_measurement(now, &mut jitter));
            round_trip.note_answer(None);
            measured += 1;
        }
        assert!((12..=18).contains(&measured), "{measured} in ten minutes");
        round_trip.note_answer(Some(SECOND));
        assert!(!round_trip.take_measurement(now, &mut jitter));
        assert_eq!(round_trip.measure_at(), None);
    }
}
