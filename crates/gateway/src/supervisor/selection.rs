//! Which of a connection's two tunnels carries the outbound traffic.
//!
//! The choice is sticky: the carrier stays until it can carry no more, or
//! until it is being drained and the other one is up. Where failback is
//! configured, the first tunnel also takes over again, once it has been up for
//! [`FAILBACK_HOLD`] without a break. Only the tunnels' states decide, so a
//! rekey, which keeps a tunnel up, never moves traffic. Inbound traffic is
//! accepted on both tunnels always.

use std::time::{Duration, Instant};

use super::lifecycle::State;

/// How long the first tunnel must have been up before traffic returns to it:
/// long enough that a flapping path does not drag the traffic to and fro.
pub const FAILBACK_HOLD: Duration = Duration::from_secs(10);

/// One of a connection's two tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// Tunnel 1.
    First,
    /// Tunnel 2.
    Second,
}

impl Which {
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
pub(super) struct Candidate {
    /// Its state.
    pub(super) state: State,
    /// Since when.
    pub(super) since: Instant,
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    /// The tunnel that carries; with none up, the last one that did, so that
    /// its prefixes keep leading to a tunnel and packets are dropped there,
    /// counted, instead of leaving elsewhere.
    pub(super) carrier: Which,
    /// When to choose again though nothing happens.
    pub(super) again: Option<Instant>,
}

/// Chooses between two tunnels, given the one that carries now.
pub(super) fn choose(
    now: Instant,
    carrier: Which,
    candidates: &[Candidate; 2],
    failback: bool,
) -> Choice {
    let incumbent = carrier.of(candidates);
    let challenger = carrier.other().of(candidates);
    let stay = Choice {
        carrier,
        again: None,
    };
    let change = Choice {
        carrier: carrier.other(),
        again: None,
    };
    match (incumbent.state, challenger.state) {
        (State::Up, State::Up) if failback && carrier == Which::Second => {
            let due = challenger.since + FAILBACK_HOLD;
            if now >= due {
                change
            } else {
                Choice {
                    carrier,
                    again: Some(due),
                }
            }
        }
        (State::Up, _) => stay,
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

    use super::{Candidate, Choice, FAILBACK_HOLD, Which, choose};
    use crate::supervisor::lifecycle::State;

    const SECOND: Duration = Duration::from_secs(1);

    #[allow(
        clippy::disallowed_methods,
        reason = "an epoch; its value decides nothing"
    )]
    fn epoch() -> Instant {
        Instant::now()
    }

    fn pair(first: State, second: State, since: Instant) -> [Candidate; 2] {
        [first, second].map(|state| Candidate { state, since })
    }

    fn carrier(now: Instant, carrier: Which, states: [State; 2], failback: bool) -> Which {
        let [first, second] = states;
        choose(now, carrier, &pair(first, second, now), failback).carrier
    }

    #[test]
    fn traffic_stays_on_a_tunnel_that_is_up_whatever_the_other_does() {
        let now = epoch();
        for other in State::ALL {
            let on_first = carrier(now, Which::First, [State::Up, other], true);
            assert_eq!(on_first, Which::First);
            let on_second = carrier(now, Which::Second, [other, State::Up], false);
            assert_eq!(on_second, Which::Second);
        }
    }

    #[test]
    fn traffic_leaves_a_tunnel_that_is_not_up_for_one_that_is() {
        let now = epoch();
        for lost in State::ALL.into_iter().filter(|s| *s != State::Up) {
            let moved = carrier(now, Which::First, [lost, State::Up], false);
            assert_eq!(moved, Which::Second);
        }
    }

    #[test]
    fn a_draining_tunnel_carries_on_while_the_other_is_not_up() {
        let now = epoch();
        let stays = carrier(now, Which::First, [State::Draining, State::Down], false);
        assert_eq!(stays, Which::First);
        let moved = carrier(now, Which::First, [State::Down, State::Draining], false);
        assert_eq!(moved, Which::Second);
    }

    #[test]
    fn with_no_tunnel_up_the_last_carrier_keeps_the_prefixes() {
        let now = epoch();
        let dark = [State::Down, State::Connecting, State::AdminDown];
        for first in dark {
            for second in dark {
                for which in Which::BOTH {
                    assert_eq!(carrier(now, which, [first, second], true), which);
                }
            }
        }
    }

    #[test]
    fn failback_waits_until_the_first_tunnel_has_been_up_for_a_while() {
        let back = epoch();
        let both = pair(State::Up, State::Up, back);
        let early = choose(back + FAILBACK_HOLD - SECOND, Which::Second, &both, true);
        let wait = Choice {
            carrier: Which::Second,
            again: Some(back + FAILBACK_HOLD),
        };
        assert_eq!(early, wait);
        let due = choose(back + FAILBACK_HOLD, Which::Second, &both, true);
        assert_eq!(due.carrier, Which::First);
    }

    #[test]
    fn without_failback_traffic_stays_on_the_second_tunnel_for_good() {
        let back = epoch();
        let both = pair(State::Up, State::Up, back);
        let later = choose(back + 1000 * FAILBACK_HOLD, Which::Second, &both, false);
        let stay = Choice {
            carrier: Which::Second,
            again: None,
        };
        assert_eq!(later, stay);
    }
}
