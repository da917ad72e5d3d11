//! Probes: whether the peer answers is found out within a fraction of a second, by whatever request
//! is under way, or a liveness check. Nothing follows from a probe that fails but an event. Dead
//! peer detection goes on: a liveness check without an answer ends the SA once nothing authentic
//! has come from the peer for as long as that is configured to wait.

use std::time::Duration;

use super::tasks::RequestInFlight;
use super::{Established, Phase};
use crate::core::env::Env;
use crate::core::event::Event;
use crate::v2::wire::ExchangeType;

/// A peer that repeats a request within this time is in doubt about us. It is less than the first
/// pause of ordinary retransmission, and more than a probe's on any but a long path.
const SOON: Duration = Duration::from_millis(400);

/// How long a peer may take for the answer to CREATE_CHILD_SA, at least.
const COMPUTING: Duration = Duration::from_secs(1);

impl Established {
    /// Begins a probe, unless one is under way. It says whether the peer answers on the path, so a
    /// request that has gone to a new address alone goes there as well.
    pub(crate) fn probe(&mut self, env: &mut Env<'_>) {
        if self.phase != Phase::Up {
            return;
        }
        self.probe_wanted = true;
        self.address_change.give_up_probe();
        if self.window.is_idle() {
            self.check_liveness(env);
        } else {
            self.begin_probe(env);
        }
    }

    /// Makes the request under way a probe, if one is wanted.
    pub(super) fn begin_probe(&mut self, env: &mut Env<'_>) {
        if !std::mem::take(&mut self.probe_wanted) {
            return;
        }
        // The peer may have a key exchange to compute.
        let computes = self.in_flight.as_ref().map(RequestInFlight::exchange)
            == Some(ExchangeType::CREATE_CHILD_SA);
        let longest = self.round_trip.map(|round_trip| round_trip.longest());
        let longest = longest.max(computes.then_some(COMPUTING));
        if let Some(message) = self.window.probe(env.now, longest) {
            self.repeat(env, message);
            env.count(self.peer, |c| c.retransmissions += 1);
        }
    }

    /// Reports a probe that has just failed.
    pub(super) fn report_failed_probe(&mut self, env: &mut Env<'_>) {
        if self.window.take_probe_failure() && self.phase == Phase::Up {
            env.emit(Event::Unanswered {
                peer: self.peer,
                sa: self.id,
            });
        }
    }

    /// The peer repeats a request that we have answered. Reported is only what it repeats so
    /// soon as one that is itself in doubt: any message may be lost now and then.
    pub(super) fn report_repetition(&mut self, env: &mut Env<'_>) {
        let times = self.window.note_repetition();
        let before = std::mem::replace(&mut self.last_answer, env.now);
        // The peer waits two round trips as well, or somewhat more.
        let longest = self.round_trip.map(|round_trip| round_trip.longest());
        let soon = SOON.max(longest.unwrap_or_default() * 3 / 2);
        if self.phase == Phase::Up && env.now <= before + soon {
            env.emit(Event::Repeated {
                peer: self.peer,
                sa: self.id,
                times,
            });
        }
    }

    /// Reports that the peer answered, and how long it takes if that was `measured`.
    pub(super) fn report_alive(&mut self, env: &mut Env<'_>, measured: bool) {
        if self.phase == Phase::Up {
            env.emit(Event::Alive {
                peer: self.peer,
                sa: self.id,
                round_trip: self.round_trip.filter(|_| measured).map(|one| one.mean()),
            });
        }
    }
}
