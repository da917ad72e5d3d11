//! What all tunnels together may ask: a line that fails takes hundreds of tunnels with it, and
//! each question is a message to seal and an answer to open.

use std::time::{Duration, Instant};

/// A thousand questions a second.
const COST: Duration = Duration::from_millis(1);

/// Two thousand at once.
const AHEAD: Duration = Duration::from_secs(2);

/// What is left of it.
#[derive(Debug, Default)]
pub(super) struct QuestionBudget {
    spent_until: Option<Instant>,
}

impl QuestionBudget {
    fn spent_until(&self, now: Instant) -> Instant {
        self.spent_until.map_or(now, |until| until.max(now))
    }

    /// Takes one question out of it. Returns when its turn is: now, or later.
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        let spent_until = self.spent_until(now) + COST;
        self.spent_until = Some(spent_until);
        spent_until
            .checked_sub(AHEAD)
            .map_or(now, |turn| turn.max(now))
    }

    /// Takes one for what can wait, if half of what may be asked at once is left.
    pub(super) fn take_spare(&mut self, now: Instant) -> bool {
        let spare = self.spent_until(now) < now + AHEAD / 2;
        spare && self.take(now) <= now
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::QuestionBudget;
    use crate::test_time::epoch;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn two_thousand_questions_may_be_asked_at_once_and_a_thousand_a_second() {
        let (mut budget, start) = (QuestionBudget::default(), epoch());
        let turns: Vec<Instant> = (0..5000).map(|_| budget.take(start)).collect();
        let asked_by = |at| turns.iter().filter(|turn| **turn <= at).count();
        assert_eq!(asked_by(start), 2000);
        assert_eq!(asked_by(start + SECOND), 3000);
        assert_eq!(asked_by(start + 3 * SECOND), 5000);
        let later = start + 10 * SECOND;
        assert_eq!(
            (0..5000).filter(|_| budget.take(later) <= later).count(),
            2000
        );
    }

    #[test]
    fn what_can_wait_leaves_half_of_it_to_what_cannot() {
        let (mut budget, now) = (QuestionBudget::default(), epoch());
        assert_eq!((0..5000).filter(|_| budget.take_spare(now)).count(), 1000);
        assert_eq!((0..5000).filter(|_| budget.take(now) <= now).count(), 1000);
    }
}
