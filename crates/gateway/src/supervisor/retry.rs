//! When to initiate again after a failure.

use std::time::{Duration, Instant};

/// The longest time from the beginning of one attempt to that of the next. While an
/// attempt waits for an answer, the negotiator repeats its request more often.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The least time from the end of an attempt to the next.
const REST: Duration = Duration::from_secs(1);

/// An attempt that is brought forward begins at least this long after the last one.
const LEAST_DISTANCE: Duration = Duration::from_secs(5);

/// A tunnel that was up for this long begins with short pauses again.
pub(super) const PROVEN: Duration = Duration::from_secs(30);

/// Pauses of 1, 2, 4, … seconds up to [`LONGEST_PAUSE`], each shortened by up
/// to a half at random, so that peers that failed together do not return together.
/// They run from the beginning of an attempt, because one that gets no answer takes
/// long itself: a peer that is there again is asked soon.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    began: Option<Instant>,
    at: Option<Instant>,
}

impl Retry {
    /// When the next attempt is due, if one is.
    pub(super) const fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Attempts that failed in a row.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure; the next pause is longer.
    pub(super) const fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Makes an attempt due after the pause that the failures so far ask for.
    pub(super) fn schedule(&mut self, now: Instant, jitter: &mut Jitter) {
        let doublings = self.failures.saturating_sub(1).min(5);
        let pause = Duration::from_secs(1 << doublings).min(LONGEST_PAUSE);
        let due = self.began.unwrap_or(now) + pause - jitter.below(pause / 2);
        self.at = Some(due.max(now + REST - jitter.below(REST / 2)));
    }

    /// Makes an attempt due then.
    pub(super) const fn due_at(&mut self, at: Instant) {
        self.at = Some(at);
    }

    /// Brings the next attempt forward to now, but [`LEAST_DISTANCE`] after the last began.
    pub(super) fn bring_forward(&mut self, now: Instant) {
        let soonest = self
            .began
            .map_or(now, |began| now.max(began + LEAST_DISTANCE));
        self.at = self.at.map(|at| at.min(soonest));
    }

    /// Whether the last attempt is long enough ago for one that was not scheduled.
    pub(super) fn may_initiate_unplanned(&self, now: Instant) -> bool {
        self.began.is_none_or(|began| began + LONGEST_PAUSE <= now)
    }

    /// Notes that an attempt begins.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.at = None;
        self.began = Some(now);
    }

    /// No attempt is due any more: the tunnel is up, or one is under way, or
    /// nobody wants it.
    pub(super) const fn cancel(&mut self) {
        self.at = None;
    }

    /// Tells how long the tunnel was up; a flapping one keeps its long pauses.
    pub(super) fn was_up_for(&mut self, time: Duration) {
        if time >= PROVEN {
            self.failures = 0;
        } else {
            self.failed();
        }
    }
}

/// Random durations that need not be secret: SplitMix64, seeded once.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A duration from nothing up to `limit`.
    pub(super) fn below(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let thousandths = u32::try_from((z >> 33) % 1001).unwrap_or(0);
        limit * thousandths / 1000
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Jitter, LEAST_DISTANCE, LONGEST_PAUSE, Retry};
    use crate::test_time::epoch;

    #[test]
    fn pauses_grow_to_thirty_seconds_and_never_beyond() {
        let now = epoch();
        let mut jitter = Jitter::new(1);
        let mut retry = Retry::default();
        let mut longest = Vec::new();
        for _ in 0..100 {
            retry.failed();
            retry.schedule(now, &mut jitter);
            longest.push(retry.at().unwrap() - now);
        }
        assert!(longest[0] <= Duration::from_secs(1));
        assert!(longest[4] >= Duration::from_secs(8));
        assert!(longest.iter().all(|pause| *pause <= LONGEST_PAUSE));
        let late = &longest[10..];
        assert!(late.iter().all(|pause| *pause >= LONGEST_PAUSE / 2));
        assert!(late.iter().any(|pause| pause != &late[0]));
    }

    #[test]
    fn attempts_that_wait_long_for_an_answer_begin_no_further_apart() {
        let (begun, attempt) = (epoch(), Duration::from_secs(20));
        let mut jitter = Jitter::new(1);
        let mut retry = Retry::default();
        for failures in 1..100 {
            retry.begin(begun);
            retry.failed();
            retry.schedule(begun + attempt, &mut jitter);
            let apart = retry.at().unwrap() - begun;
            assert!(apart <= LONGEST_PAUSE, "{apart:?} after {failures}");
            assert!(apart > attempt, "without a rest after {failures}");
        }
    }

    #[test]
    fn a_tunnel_that_was_up_for_long_is_tried_again_soon() {
        let now = epoch();
        let mut retry = Retry::default();
        (0..10).for_each(|_| retry.failed());
        retry.was_up_for(Duration::from_secs(3600));
        retry.schedule(now, &mut Jitter::new(1));
        assert!(retry.at().unwrap() - now <= Duration::from_secs(1));
    }

    #[test]
    fn a_tunnel_that_flaps_keeps_its_long_pauses() {
        let now = epoch();
        let mut retry = Retry::default();
        (0..10).for_each(|_| retry.was_up_for(Duration::from_secs(1)));
        retry.schedule(now, &mut Jitter::new(1));
        assert!(retry.at().unwrap() - now >= LONGEST_PAUSE / 2);
    }

    #[test]
    fn an_attempt_is_brought_forward_to_now_but_not_too_near_the_last() {
        let begun = epoch();
        let second = Duration::from_secs(1);
        for (asked, due) in [
            (second, LEAST_DISTANCE),
            (LEAST_DISTANCE, LEAST_DISTANCE),
            (4 * second, LEAST_DISTANCE),
        ] {
            let mut retry = Retry::default();
            (0..10).for_each(|_| retry.failed());
            retry.begin(begun);
            retry.schedule(begun + second, &mut Jitter::new(1));
            retry.bring_forward(begun + asked);
            assert_eq!(retry.at(), Some(begun + due));
            // A second call does not put it off.
            retry.bring_forward(begun + 2 * LEAST_DISTANCE);
            assert_eq!(retry.at(), Some(begun + due));
        }
        let mut retry = Retry::default();
        retry.begin(begun);
        retry.due_at(begun + LONGEST_PAUSE);
        retry.bring_forward(begun + 2 * LEAST_DISTANCE);
        assert_eq!(retry.at(), Some(begun + 2 * LEAST_DISTANCE));
        retry.cancel();
        retry.bring_forward(begun + 3 * LEAST_DISTANCE);
        assert_eq!(retry.at(), None, "none is wanted");
    }

    #[test]
    fn attempts_that_nobody_planned_begin_half_a_minute_apart() {
        let begun = epoch();
        let mut retry = Retry::default();
        assert!(retry.may_initiate_unplanned(begun));
        retry.begin(begun);
        assert!(!retry.may_initiate_unplanned(begun + LONGEST_PAUSE / 2));
        assert!(retry.may_initiate_unplanned(begun + LONGEST_PAUSE));
    }
}
