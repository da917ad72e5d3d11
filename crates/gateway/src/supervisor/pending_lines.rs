//! What is to be written about a tunnel once it is clear what follows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vgw_ike::event::DownReason;
use vgw_ike::refusal::RefusalReason;

use super::lifecycle::{Event, State};

/// What is to be written about a tunnel.
#[derive(Debug)]
pub(super) struct Untold {
    /// The state that was told last.
    pub(super) told: Standing,
    /// Since when it carries, of which its end will tell.
    pub(super) up_since: Option<Instant>,
    /// How long it took from our initiating until it was up.
    pub(super) took: Option<Duration>,
    /// Why it went down, if it is not told yet: the reason of its state may be a newer one
    /// by then, as where we initiate at once.
    pub(super) fell: Option<Fall>,
    /// It did not come up.
    pub(super) failure: Option<Failure>,
    /// Datagrams of the peer that were refused: from where, and why.
    pub(super) refused: Vec<(SocketAddr, RefusalReason)>,
}

/// It went down.
#[derive(Debug)]
pub(super) struct Fall {
    pub(super) why: String,
    /// Whether somebody wanted it to.
    pub(super) wanted: bool,
}

/// An attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    pub(super) advice: &'static str,
    /// Whether we were only trying whether the peer is there.
    pub(super) trial: bool,
}

/// As much of a state as is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Down,
    Up,
    AdminDown,
}

impl From<State> for Standing {
    fn from(state: State) -> Self {
        match state {
            State::Down | State::Connecting => Self::Down,
            State::Up | State::Draining => Self::Up,
            State::AdminDown => Self::AdminDown,
        }
    }
}

impl Default for Untold {
    fn default() -> Self {
        Self {
            told: Standing::Down,
            up_since: None,
            took: None,
            fell: None,
            failure: None,
            refused: Vec::new(),
        }
    }
}

impl Untold {
    /// The tunnel's state changes by an event, for this reason, from one that it had since then.
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
        if Standing::from(before) != Standing::from(after) {
            let wanted = match event {
                Event::TakeDown | Event::Drained | Event::Restarted | Event::BringUp => true,
                Event::Initiate
                | Event::IkeUp
                | Event::ChildUp
                | Event::LastChildDown
                | Event::LastIkeDown => false,
            };
            let why = why.to_owned();
            self.fell = (!after.carries()).then_some(Fall { why, wanted });
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
        self.failure = Some(Failure {
            why: reason.to_string(),
            advice,
            trial: false,
        });
    }

    /// We initiated once, to see whether the peer is there.
    pub(super) fn asked_in_vain(&mut self, reason: &DownReason) {
        self.failure = Some(Failure {
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
