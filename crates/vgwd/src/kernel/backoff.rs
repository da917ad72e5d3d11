//! How soon we restore what another program changed: at once, and ever later against one that
//! does so again and again.

use std::time::{Duration, Instant};

/// Changes that come so close together are taken as one.
const BATCH: Duration = Duration::from_millis(2);
/// Restorations that are made at once, before we take it for a fight with another program.
const AT_ONCE: u32 = 8;
/// No restoration waits longer.
const LONGEST: Duration = Duration::from_secs(10);
/// After so long without a restoration, a fight is over.
const OVER: Duration = Duration::from_secs(30);

/// Counts what we had to restore.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    restored: u32,
    last: Option<Instant>,
}

impl Backoff {
    /// How long to wait after a change by somebody else before it is looked at.
    pub(super) fn delay(&self) -> Duration {
        let doublings = self.restored.saturating_sub(AT_ONCE).min(31);
        BATCH.saturating_mul(1 << doublings).min(LONGEST)
    }

    /// Something had to be restored.
    pub(super) fn note_restored(&mut self, now: Instant) {
        self.restored = self.restored.saturating_add(1);
        self.last = Some(now);
    }

    /// When [`Self::rest`] is due.
    pub(super) fn over_at(&self) -> Option<Instant> {
        Some(self.last? + OVER)
    }

    /// Forgets a fight that is over.
    pub(super) fn rest(&mut self, now: Instant) {
        if self.over_at().is_some_and(|over| over <= now) {
            *self = Self::default();
        }
    }

    /// What to say of it, if it is one.
    pub(super) fn complaint(&self) -> Option<String> {
        let delay = self.delay();
        (delay > BATCH).then(|| {
            format!(
                "another program keeps changing the VPC's link, addresses or routes: restored {} \
                 times, now {delay:?} after each change",
                self.restored
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{BATCH, Backoff, LONGEST, OVER};

    #[test]
    fn a_few_restorations_are_made_at_once_and_a_fight_is_slowed_down_and_told() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..8 {
            backoff.note_restored(now);
            assert_eq!(backoff.delay(), BATCH);
            assert_eq!(backoff.complaint(), None);
        }
        backoff.note_restored(now);
        assert_eq!(backoff.delay(), BATCH * 2);
        let complaint = backoff.complaint().unwrap();
        assert!(complaint.contains("restored 9 times"), "{complaint}");
        for _ in 0..1000 {
            backoff.note_restored(now);
        }
        assert_eq!(backoff.delay(), LONGEST);
    }

    #[test]
    fn a_fight_is_over_only_when_it_has_been_quiet_for_a_while() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert_eq!(backoff.over_at(), None);
        for _ in 0..20 {
            backoff.note_restored(now);
        }
        let over = backoff.over_at().unwrap();
        assert_eq!(over, now + OVER);
        backoff.rest(over - Duration::from_millis(1));
        assert!(backoff.complaint().is_some());
        backoff.rest(over);
        assert_eq!(backoff.complaint(), None);
        assert_eq!(backoff.delay(), BATCH);
        assert_eq!(backoff.over_at(), None);
    }
}
