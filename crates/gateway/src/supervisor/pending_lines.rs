//! Log lines about a tunnel that wait until it is clear what follows from an event.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vgw_ike::event::DownReason;
use vgw_ike::refusal::RefusalReason;

use super::tunnel_state::{Event, State};

/// What [`super::tunnel_log`] is to write about a tunnel.
#[derive(Debug)]
pub(super) struct PendingLines {
    /// The state that was logged last.
    pub(super) logged_state: LoggedState,
    /// Since when it carries; the line about its end says for how long.
    pub(super) up_since: Option<Instant>,
    /// How long it took from our initiating until it was up.
    pub(super) took: Option<Duration>,
    /// Why it went down, if that is not logged yet. By then the reason of its state may be
    /// another one, as when we initiate at once.
    pub(super) went_down: Option<WentDown>,
    /// Why it did not come up.
    pub(super) failure: Option<FailedAttempt>,
    /// Datagrams of the peer that were refused: from where, and why.
    pub(super) refused: Vec<(SocketAddr, RefusalReason)>,
}

/// That a tunnel went down.
#[derive(Debug)]
pub(super) struct WentDown {
    pub(super) why: String,
    /// Whether somebody wanted it to.
    pub(super) wanted: bool,
}

/// That an attempt to initiate failed.
#[derive(Debug)]
pub(super) struct FailedAttempt {
    pub(super) why: String,
    pub(super) advice: &'static str,
    /// Whether it was the single attempt of a tunnel that waits for its peer.
    pub(super) trial: bool,
}

/// As much of a state as is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoggedState {
    Down,
    Up,
    AdminDown,
}

impl From<State> for LoggedState {
    fn from(state: State) -> Self {
        match state {
            State::Down | State::Connecting => Self::Down,
            State::Up | State::Draining => Self::Up,
            State::AdminDown => Self::AdminDown,
        }
    }
}

impl Default for PendingLines {
    fn default() -> Self {
        Self {
            logged_state: LoggedState::Down,
            up_since: None,
            took: None,
            went_down: None,
            failure: None,
            refused: Vec::new(),
        }
    }
}

impl PendingLines {
    /// Notes a change of state: from which one, since when it had that, and why.
    pub(super) fn note(
        &mut self,
        now: Instant,
        (before, since): (State, Instant),
        (event, why): (Event, &str),
        after: State,
    ) {
        if after == State::Up && !before.carries() {
            let asked = before == State::Connecting;
            self.took = asked.then(|| now.saturating_duration_since(since));
            self.up_since = Some(now);
        }
        if LoggedState::from(before) != LoggedState::from(after) {
            let wanted = match event {
                Event::TakeDown | Event::Drained | Event::Restarted | Event::BringUp => true,
                Event::Initiate
                | Event::IkeUp
                | Event::ChildUp
                | Event::LastChildDown
                | Event::LastIkeDown => false,
            };
            let why = why.to_owned();
            self.went_down = (!after.carries()).then_some(WentDown { why, wanted });
        }
    }

    /// The tunnel did not come up.
    pub(super) fn failed(&mut self, reason: &DownReason) {
        let advice = match reason {
            DownReason::PeerDead => {
                " (is it there, at this address, and UDP 500 and 4500 open at both ends?)"
            }
            _ => "",
        };
        self.failure = Some(FailedAttempt {
            why: reason.to_string(),
            advice,
            trial: false,
        });
    }

    /// We initiated once, to see whether the peer is there.
    pub(super) fn initiated_in_vain(&mut self, reason: &DownReason) {
        self.failure = Some(FailedAttempt {
            why: reason.to_string(),
            advice: "",
            trial: true,
        });
    }

    /// A datagram of the peer was refused. If our attempt fails by it, that is one line.
    pub(super) fn refused(&mut self, remote: SocketAddr, why: RefusalReason) {
        self.refused.push((remote, why));
    }
}
