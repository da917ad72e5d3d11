//! Pauses that grow while there is cause for them.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// A pause that is twice as long as the one before, or short again if that ended longer ago than
/// any pause lasts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backoff {
    length: Duration,
    until: Option<Instant>,
}

impl Backoff {
    /// Until when the last pause lasts.
    pub(super) const fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether no pause lasts.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// Begins a pause whose length is within these bounds.
    pub(super) fn begin(&mut self, now: Instant, bounds: &RangeInclusive<Duration>) {
        let again = self.until.is_some_and(|until| now < until + *bounds.end());
        self.length = if again {
            (*bounds.end()).min(2 * self.length)
        } else {
            *bounds.start()
        };
        self.until = Some(now + self.length);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;
    use crate::test_time::epoch;

    #[test]
    fn a_pause_is_short_again_after_a_long_time_without() {
        const SECOND: Duration = Duration::from_secs(1);
        let (mut backoff, mut now) = (Backoff::default(), epoch());
        let mut lengths = Vec::new();
        for pause in [0, 120, 240, 480, 960, 1800, 3600 + 1] {
            now += pause * SECOND;
            assert!(backoff.is_over(now));
            backoff.begin(now, &(120 * SECOND..=1800 * SECOND));
            lengths.push(backoff.length.as_secs());
        }
        assert_eq!(lengths, [120, 240, 480, 960, 1800, 1800, 120]);
    }
}
