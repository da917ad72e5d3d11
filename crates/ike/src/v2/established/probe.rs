//! Probes: whether the peer answers is found out within a fraction of a second, by whatever request
//! is under way, or a liveness check. Nothing follows from a probe that fails but an event. Dead
//! peer detection goes on, and a request that is never answered ends the SA as any other does.

use std::time::Duration;

use super::tasks::RequestInFlight;
use super::{Established, Phase};
use crate::core::env::Env;
use crate::core::event::Event;
use crate::v2::wire::ExchangeType;

/// A peer that repeats a request within this time is in doubt about us. It is less than the first
/// pause of ordinary retransmission, and more than a probe's on any but the longest paths.
const SOON: Duration = Duration::from_millis(400);

/// How long a peer may take for the answer to CREATE_CHILD_SA.
const COMPUTING: Duration = Duration::from_millis(500);

impl Established {
    /// Begins a probe, unless one is under way.
    pub(crate) fn probe(&mut self, env: &mut Env<'_>) {
        if self.phase != Phase::Up {
            return;
        }
        self.probe_wanted = true;
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
        let usual = self.round_trip.max(computes.then_some(COMPUTING));
        if let Some(message) = self.window.probe(env.now, usual) {
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
        if self.phase == Phase::Up && env.now <= before + SOON {
            env.emit(Event::Repeated {
                peer: self.peer,
                sa: self.id,
                times,
            });
        }
    }

    /// The peer answered a request for which it had nothing to compute within this time.
    pub(super) fn note_round_trip(&mut self, sample: Duration) {
        // RFC 6298 section 2, with its alpha of 1/8.
        let smoothed = |mean| (7 * mean + sample) / 8;
        self.round_trip = Some(self.round_trip.map_or(sample, smoothed));
    }

    /// Reports that the peer answered.
    pub(super) fn report_alive(&mut self, env: &mut Env<'_>) {
        if self.phase == Phase::Up {
            env.emit(Event::Alive {
                peer: self.peer,
                sa: self.id,
                round_trip: self.round_trip,
            });
        }
    }
}
