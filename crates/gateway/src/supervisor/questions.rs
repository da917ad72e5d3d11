//! The questions of all tunnels, and how many may be asked: a line that fails takes hundreds of
//! tunnels with it, and each question is a message to seal and an answer to open.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use vgw_sa::TunnelId;

/// A thousand questions a second.
const COST: Duration = Duration::from_millis(1);

/// Two thousand at once.
const AHEAD: Duration = Duration::from_secs(2);

/// What a question is for. Of those that wait, the first kind is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// Whether traffic can move to this tunnel from one that is in doubt.
    Move,
    /// Whether a tunnel that has fallen silent is alive.
    Doubt,
    /// The same, for one that did not answer before, or because of a hint alone.
    Again,
}

/// A question that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) purpose: Purpose,
    pub(super) since: Instant,
    pub(super) of: TunnelId,
}

/// The questions that wait, and what is left of what may be asked.
#[derive(Debug, Default)]
pub(super) struct Questions {
    waiting: BTreeSet<Place>,
    spent_until: Option<Instant>,
}

impl Questions {
    /// Has a question wait. One that has become needless may stay: it takes nothing.
    pub(super) fn line_up(&mut self, place: Place) {
        self.waiting.insert(place);
    }

    /// Takes the question whose turn it is, if any may be asked now. If it still is to be asked,
    /// [`Self::spend`] follows.
    pub(super) fn next(&mut self, now: Instant) -> Option<Place> {
        let allowed = self.spent_until(now) + COST <= now + AHEAD;
        allowed.then(|| self.waiting.pop_first())?
    }

    /// When one may be asked, if any waits that [`Self::next`] did not give.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.waiting.first()?;
        (self.spent_until? + COST).checked_sub(AHEAD)
    }

    pub(super) fn spend(&mut self, now: Instant) {
        self.spent_until = Some(self.spent_until(now) + COST);
    }

    /// Takes one out of what may be asked, for what can wait, if half of what may be asked at once
    /// is left.
    pub(super) fn take_spare(&mut self, now: Instant) -> bool {
        let spare = self.spent_until(now) < now + AHEAD / 2;
        if spare {
            self.spend(now);
        }
        spare
    }

    fn spent_until(&self, now: Instant) -> Instant {
        self.spent_until.map_or(now, |until| until.max(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use vgw_sa::{GatewayId, TunnelId};

    use super::{Place, Purpose, Questions};
    use crate::test_time::epoch;

    const SECOND: Duration = Duration::from_secs(1);

    const fn tunnel(number: u32) -> TunnelId {
        GatewayId(0).tunnel(number)
    }

    fn line_up(questions: &mut Questions, purpose: Purpose, numbers: std::ops::Range<u32>) {
        for number in numbers {
            questions.line_up(Place {
                purpose,
                since: epoch(),
                of: tunnel(number),
            });
        }
    }

    fn ask_all(questions: &mut Questions, now: Instant) -> usize {
        let asked = std::iter::from_fn(|| {
            let place = questions.next(now)?;
            questions.spend(now);
            Some(place)
        });
        asked.count()
    }

    #[test]
    fn two_thousand_questions_may_be_asked_at_once_and_a_thousand_a_second() {
        let (mut questions, start) = (Questions::default(), epoch());
        line_up(&mut questions, Purpose::Doubt, 0..5000);
        assert_eq!(ask_all(&mut questions, start), 2000);
        assert_eq!(questions.next_at(), Some(start + Duration::from_millis(1)));
        assert_eq!(ask_all(&mut questions, start + SECOND), 1000);
        assert_eq!(ask_all(&mut questions, start + 3 * SECOND), 2000);
        assert_eq!(questions.next_at(), None);
    }

    #[test]
    fn a_question_that_became_needless_takes_nothing() {
        let (mut questions, start) = (Questions::default(), epoch());
        line_up(&mut questions, Purpose::Doubt, 0..5000);
        assert_eq!(std::iter::from_fn(|| questions.next(start)).count(), 5000);
        line_up(&mut questions, Purpose::Doubt, 0..5000);
        assert_eq!(ask_all(&mut questions, start), 2000);
    }

    #[test]
    fn what_traffic_waits_for_is_asked_first_and_what_failed_before_last() {
        let (mut questions, now) = (Questions::default(), epoch());
        line_up(&mut questions, Purpose::Again, 0..2);
        line_up(&mut questions, Purpose::Doubt, 2..4);
        line_up(&mut questions, Purpose::Move, 4..6);
        let order = std::iter::from_fn(|| questions.next(now)).map(|place| place.of);
        let expected = [4, 5, 2, 3, 0, 1].map(tunnel);
        assert_eq!(order.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_can_wait_leaves_half_of_it_to_what_cannot() {
        let (mut questions, now) = (Questions::default(), epoch());
        assert_eq!(
            (0..5000).filter(|_| questions.take_spare(now)).count(),
            1000
        );
        line_up(&mut questions, Purpose::Doubt, 0..5000);
        assert_eq!(ask_all(&mut questions, now), 1000);
    }
}
