//! A leaky bucket: the recent cost of a source in one value.

use std::time::{Duration, Instant};

/// The debt; one second of it leaks away per second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LeakyBucket {
    clear_at: Option<Instant>,
}

impl LeakyBucket {
    /// The present debt.
    pub(crate) fn owed(&self, now: Instant) -> Duration {
        self.clear_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// Adds to the debt.
    pub(crate) fn add(&mut self, now: Instant, debt: Duration) {
        let from = self.clear_at.map_or(now, |at| at.max(now));
        self.clear_at = Some(from + debt);
    }

    /// How many debts of this size the present one amounts to, rounded up.
    pub(crate) fn count(&self, now: Instant, debt: Duration) -> usize {
        let owed = self.owed(now).as_nanos();
        let count = owed.div_ceil(debt.as_nanos().max(1));
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::LeakyBucket;

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "an arbitrary start of virtual time"
    )]
    fn a_debt_is_counted_until_time_has_paid_it_off() {
        let start = Instant::now();
        let each = Duration::from_secs(6);
        let mut bucket = LeakyBucket::default();
        assert_eq!(bucket.count(start, each), 0);
        for _ in 0..10 {
            bucket.add(start, each);
        }
        assert_eq!(bucket.owed(start), 10 * each);
        assert_eq!(bucket.count(start, each), 10);
        assert_eq!(bucket.count(start + each, each), 9);
        assert_eq!(bucket.count(start + each / 2, each), 10, "begun");
        assert_eq!(bucket.count(start + 10 * each, each), 0);
        bucket.add(start + 20 * each, each);
        assert_eq!(
            bucket.owed(start + 20 * each),
            each,
            "idle time is no credit"
        );
    }
}
