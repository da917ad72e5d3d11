//! Which of a connection's two tunnels carries the outbound traffic.
//!
//! The choice is sticky: the carrier stays until it can carry no more, or
//! until it is being drained and the other one is up. Where failback is
//! configured, the first tunnel also takes over again, once it has been up for
//! [`FAILBACK_HOLD`] without a break. Of two tunnels that are up, one whose peer does not
//! answer ([`super::failure_detection`]) gives way to one whose peer does, and one whose
//! traffic goes one way ([`super::one_way`]) is chosen last. A rekey, which keeps a
//! tunnel up, never moves traffic. Inbound traffic is accepted on both tunnels
//! always.

use std::time::{Duration, Instant};

use super::failure_detection::Standing;
use super::tunnel_state::State;

/// How long the first tunnel must have been up before traffic returns to it:
/// long enough that a flapping path does not drag the traffic to and fro.
pub const FAILBACK_HOLD: Duration = Duration::from_secs(10);

/// How long a tunnel must have been without an answer before traffic leaves it for one that was
/// so itself a while ago: where both paths lose packets, nothing is won by going to and fro.
const SECOND_THOUGHT: Duration = Duration::from_secs(1);

/// One of a connection's two tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TunnelIndex {
    /// Tunnel 1.
    First,
    /// Tunnel 2.
    Second,
}

impl TunnelIndex {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::First, Self::Second];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// 1 or 2.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Second => 2,
        }
    }

    /// The tunnel of that number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::First),
            2 => Some(Self::Second),
            _ => None,
        }
    }

    /// This one of a pair.
    pub const fn of<T>(self, pair: &[T; 2]) -> &T {
        let [first, second] = pair;
        match self {
            Self::First => first,
            Self::Second => second,
        }
    }
}

/// What the choice needs to know of a tunnel.
#[derive(Debug, Clone, Copy)]
pub(super) struct TunnelHealth {
    /// Its state.
    pub(super) state: State,
    /// Since when.
    pub(super) since: Instant,
    /// What is known of its peer.
    pub(super) standing: Standing,
    /// Packets are sent into it and none comes back.
    pub(super) one_way: bool,
    /// Until when it is not tried again, after it was found to go one way or its peer not to
    /// answer.
    pub(super) backs_off_until: Option<Instant>,
}

impl TunnelHealth {
    /// When it may be tried, at the earliest.
    fn tried_from(&self, at: Instant) -> Instant {
        self.backs_off_until.map_or(at, |until| until.max(at))
    }
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    /// The tunnel that carries; with none up, the last one that did, so that
    /// its prefixes keep leading to a tunnel and packets are dropped there,
    /// counted, instead of leaving elsewhere.
    pub(super) carrier: TunnelIndex,
    /// When to choose again though nothing happens.
    pub(super) again_at: Option<Instant>,
}

/// Chooses between two tunnels, given the one that carries now.
pub(super) fn choose(
    now: Instant,
    carrier: TunnelIndex,
    candidates: &[TunnelHealth; 2],
    failback: bool,
) -> Choice {
    let incumbent = carrier.of(candidates);
    let challenger = carrier.other().of(candidates);
    let stay = Choice {
        carrier,
        again_at: None,
    };
    let change = Choice {
        carrier: carrier.other(),
        again_at: None,
    };
    let change_at = |due| {
        if now >= due {
            change
        } else {
            Choice {
                carrier,
                again_at: Some(due),
            }
        }
    };
    let returns = failback && carrier == TunnelIndex::Second;
    if let (State::Up, State::Up, Some(since)) = (
        incumbent.state,
        challenger.state,
        incumbent.standing.drives_out(),
    ) && challenger.standing.admits()
    {
        let doubtful = challenger.tried_from(now) > now;
        return change_at(if doubtful {
            since + SECOND_THOUGHT
        } else {
            now
        });
    }
    match (incumbent.state, challenger.state) {
        (State::Up, State::Up) if !challenger.standing.admits() => stay,
        (State::Up, State::Up) => match (incumbent.one_way, challenger.one_way) {
            (true, false) => change,
            (true, true) => change_at(challenger.tried_from(now)),
            (false, false) if returns && challenger.standing == Standing::Well => {
                change_at(challenger.tried_from(challenger.since + FAILBACK_HOLD))
            }
            (false, _) => stay,
        },
        (State::Up, _) => stay,
        (State::Draining, State::Up) if !challenger.standing.admits() => stay,
        (_, State::Up) => change,
        (State::Draining, _) => stay,
        (_, State::Draining) => change,
        (
            State::Down | State::Connecting | State::AdminDown,
            State::Down | State::Connecting | State::AdminDown,
        ) => stay,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Choice, FAILBACK_HOLD, SECOND_THOUGHT, TunnelHealth, TunnelIndex, choose};
    use crate::supervisor::failure_detection::Standing;
    use crate::supervisor::tunnel_state::State;
    use crate::test_time::epoch;

    const SECOND: Duration = Duration::from_secs(1);

    fn pair(first: State, second: State, since: Instant) -> [TunnelHealth; 2] {
        [first, second].map(|state| TunnelHealth {
            state,
            since,
            standing: Standing::Well,
            one_way: false,
            backs_off_until: None,
        })
    }

    /// Both up; each that is named was found to go one way, and rests as long.
    fn one_way(now: Instant, which: &[(TunnelIndex, Duration)]) -> [TunnelHealth; 2] {
        let mut both = pair(State::Up, State::Up, now);
        for (which, rest) in which {
            let one = match which {
                TunnelIndex::First => &mut both[0],
                TunnelIndex::Second => &mut both[1],
            };
            one.one_way = true;
            one.backs_off_until = Some(now + *rest);
        }
        both
    }

    fn carrier(
        now: Instant,
        carrier: TunnelIndex,
        states: [State; 2],
        failback: bool,
    ) -> TunnelIndex {
        let [first, second] = states;
        choose(now, carrier, &pair(first, second, now), failback).carrier
    }

    #[test]
    fn traffic_stays_on_a_tunnel_that_is_up_whatever_the_other_does() {
        let now = epoch();
        for other in State::ALL {
            let on_first = carrier(now, TunnelIndex::First, [State::Up, other], true);
            assert_eq!(on_first, TunnelIndex::First);
            let on_second = carrier(now, TunnelIndex::Second, [other, State::Up], false);
            assert_eq!(on_second, TunnelIndex::Second);
        }
    }

    #[test]
    fn traffic_leaves_a_tunnel_that_is_not_up_for_one_that_is() {
        let now = epoch();
        for lost in State::ALL.into_iter().filter(|s| *s != State::Up) {
            let moved = carrier(now, TunnelIndex::First, [lost, State::Up], false);
            assert_eq!(moved, TunnelIndex::Second);
        }
    }

    #[test]
    fn a_draining_tunnel_carries_on_while_the_other_is_not_up() {
        let now = epoch();
        let stays = carrier(
            now,
            TunnelIndex::First,
            [State::Draining, State::Down],
            false,
        );
        assert_eq!(stays, TunnelIndex::First);
        let moved = carrier(
            now,
            TunnelIndex::First,
            [State::Down, State::Draining],
            false,
        );
        assert_eq!(moved, TunnelIndex::Second);
    }

    #[test]
    fn with_no_tunnel_up_the_last_carrier_keeps_the_prefixes() {
        let now = epoch();
        let dark = [State::Down, State::Connecting, State::AdminDown];
        for first in dark {
            for second in dark {
                for which in TunnelIndex::BOTH {
                    assert_eq!(carrier(now, which, [first, second], true), which);
                }
            }
        }
    }

    #[test]
    fn failback_waits_until_the_first_tunnel_has_been_up_for_a_while() {
        let back = epoch();
        let both = pair(State::Up, State::Up, back);
        let early = choose(
            back + FAILBACK_HOLD - SECOND,
            TunnelIndex::Second,
            &both,
            true,
        );
        let wait = Choice {
            carrier: TunnelIndex::Second,
            again_at: Some(back + FAILBACK_HOLD),
        };
        assert_eq!(early, wait);
        let due = choose(back + FAILBACK_HOLD, TunnelIndex::Second, &both, true);
        assert_eq!(due.carrier, TunnelIndex::First);
    }

    #[test]
    fn traffic_leaves_a_tunnel_that_goes_one_way_for_one_that_may_not_and_stays_there() {
        let now = epoch();
        for failback in [false, true] {
            let first = one_way(now, &[(TunnelIndex::First, 120 * SECOND)]);
            let moved = choose(now, TunnelIndex::First, &first, failback);
            assert_eq!(moved.carrier, TunnelIndex::Second);
            let later = choose(now + 1000 * SECOND, TunnelIndex::Second, &first, failback);
            assert_eq!((later.carrier, later.again_at), (TunnelIndex::Second, None));
        }
    }

    #[test]
    fn with_both_one_way_the_other_is_tried_again_once_it_has_rested() {
        let now = epoch();
        let rests = [
            (TunnelIndex::First, 120 * SECOND),
            (TunnelIndex::Second, 127 * SECOND),
        ];
        let both = one_way(now, &rests);
        let wait = choose(now, TunnelIndex::Second, &both, false);
        let again = Some(now + 120 * SECOND);
        assert_eq!((wait.carrier, wait.again_at), (TunnelIndex::Second, again));
        let tried = choose(now + 120 * SECOND, TunnelIndex::Second, &both, false);
        assert_eq!(tried.carrier, TunnelIndex::First);
    }

    #[test]
    fn a_tunnel_that_goes_one_way_is_used_when_the_other_is_not_up() {
        let now = epoch();
        let mut both = one_way(now, &[(TunnelIndex::First, 120 * SECOND)]);
        both[1].state = State::Down;
        for carrier in TunnelIndex::BOTH {
            assert_eq!(
                choose(now, carrier, &both, false).carrier,
                TunnelIndex::First
            );
        }
    }

    #[test]
    fn traffic_leaves_a_tunnel_whose_peer_does_not_answer_or_has_moved_once_the_other_answers() {
        let now = epoch();
        let standings = [
            Standing::Well,
            Standing::Suspect(now),
            Standing::Unanswering(now),
            Standing::Moved(now),
        ];
        for carried_by in standings {
            for other in standings {
                for one_way in [false, true] {
                    let mut both = pair(State::Up, State::Up, now);
                    both[0].standing = carried_by;
                    both[1].standing = other;
                    both[1].one_way = one_way;
                    let leaves = [Standing::Unanswering(now), Standing::Moved(now)];
                    let goes = [Standing::Well, Standing::Moved(now)];
                    let moves = leaves.contains(&carried_by) && goes.contains(&other);
                    let carrier = choose(now, TunnelIndex::First, &both, false).carrier;
                    assert_eq!(carrier == TunnelIndex::Second, moves, "{both:?}");
                }
            }
        }
    }

    #[test]
    fn traffic_thinks_twice_before_it_goes_where_it_just_came_from() {
        let now = epoch();
        let mut both = pair(State::Up, State::Up, now);
        both[0].standing = Standing::Unanswering(now);
        both[1].backs_off_until = Some(now + 60 * SECOND);
        let wait = choose(now, TunnelIndex::First, &both, false);
        let again = Some(now + SECOND_THOUGHT);
        assert_eq!((wait.carrier, wait.again_at), (TunnelIndex::First, again));
        let moved = choose(now + SECOND_THOUGHT, TunnelIndex::First, &both, false);
        assert_eq!(moved.carrier, TunnelIndex::Second);
    }

    #[test]
    fn failback_waits_for_an_answer_of_the_first_tunnels_peer() {
        let now = epoch();
        let mut both = pair(State::Up, State::Up, now);
        both[0].standing = Standing::Suspect(now);
        let later = now + FAILBACK_HOLD;
        let asked = choose(later, TunnelIndex::Second, &both, true);
        assert_eq!(asked.carrier, TunnelIndex::Second);
        both[0].standing = Standing::Well;
        let answered = choose(later, TunnelIndex::Second, &both, true);
        assert_eq!(answered.carrier, TunnelIndex::First);
    }

    #[test]
    fn failback_waits_until_a_tunnel_that_went_one_way_has_rested() {
        let now = epoch();
        let mut both = one_way(now, &[(TunnelIndex::First, 120 * SECOND)]);
        both[0].one_way = false;
        let later = now + FAILBACK_HOLD;
        let wait = choose(later, TunnelIndex::Second, &both, true);
        let again = Some(now + 120 * SECOND);
        assert_eq!((wait.carrier, wait.again_at), (TunnelIndex::Second, again));
        let due = choose(now + 120 * SECOND, TunnelIndex::Second, &both, true);
        assert_eq!(due.carrier, TunnelIndex::First);
    }

    #[test]
    fn without_failback_traffic_stays_on_the_second_tunnel_for_good() {
        let back = epoch();
        let both = pair(State::Up, State::Up, back);
        let later = choose(
            back + 1000 * FAILBACK_HOLD,
            TunnelIndex::Second,
            &both,
            false,
        );
        let stay = Choice {
            carrier: TunnelIndex::Second,
            again_at: None,
        };
        assert_eq!(later, stay);
    }
}
