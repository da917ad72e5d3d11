//! What the data plane notices of the tunnels' traffic, and what follows from it: questions to
//! peers in doubt ([`super::failure_detection`]), and that a peer is followed which moves.

use std::time::Instant;

use vgw_ike::event::SaId;
use vgw_sa::{Activity, TunnelId};

use super::Supervisor;
use super::failure_detection::Standing;
use super::questions::{Place, Purpose};
use super::tunnel::Tunnel;
use super::tunnel_state::State;
use crate::domain::FailureDetection;

impl Supervisor {
    /// Takes what is noticed of the tunnels' traffic. The data plane is to report a silence
    /// after [`super::SILENCE`].
    pub fn handle_activity(&mut self, now: Instant, reports: &[(TunnelId, Activity)]) {
        for &(id, activity) in reports {
            if activity == Activity::Heard {
                self.note_for_drain(now, id);
            }
            let tunnel = self.tunnels.get_mut(&id);
            let Some(tunnel) = tunnel.filter(|tunnel| tunnel.detects_failure_fast()) else {
                continue;
            };
            match activity {
                Activity::Silent(since) => {
                    tunnel.failure_detection.note_silence(now, since);
                    self.touched.insert(id);
                }
                Activity::Heard => {
                    if tunnel.failure_detection.note_heard(now) {
                        self.touched.insert(id);
                    }
                    if tunnel.failure_detection.has_just_begun(now) {
                        self.follow(now, id);
                    }
                    self.note_heard_by_other(now, id);
                }
            }
        }
        self.settle(now);
    }

    /// Packets came by this tunnel: what the other one sends may be answered by it.
    fn note_heard_by_other(&mut self, now: Instant, id: TunnelId) {
        let other = self.sibling(id).map(|other| other.id);
        if let Some(other) = other.and_then(|other| self.tunnels.get_mut(&other))
            && other.detects_failure_fast()
            && other.failure_detection.note_heard_by_other(now)
        {
            let other = other.id;
            self.touched.insert(other);
        }
    }

    /// The peer begins to send by this tunnel. If that is not the one that carries, and by that
    /// one nothing comes any more, the peer has moved, and our answers follow it: it may know of
    /// a dead path what we cannot, because we only answer, or be about to take the tunnel down.
    fn follow(&mut self, now: Instant, id: TunnelId) {
        let Some(name) = self.tunnels.get(&id).map(|tunnel| &tunnel.name) else {
            return;
        };
        let Some(pair) = self.connections.get(&name.connection) else {
            return;
        };
        let carrier = *pair.carrier.of(&pair.tunnels);
        let side = self.revision.own().side;
        if carrier != id
            && let Some(tunnel) = self.tunnels.get_mut(&carrier)
            && tunnel.detects_failure_fast()
            && tunnel.failure_detection.note_moved(now, side)
        {
            self.touched.insert(carrier);
        }
    }

    /// Asks the peer of a tunnel whose silence has lasted long enough whether it is there, by
    /// the connection's other tunnel as well, unless it has just come by that.
    pub(super) fn ask_in_doubt(&mut self, now: Instant, id: TunnelId) {
        let other = self.sibling(id).map(|other| other.id);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        if tunnel.failure_detection.take_question(now) && tunnel.detects_failure_fast() {
            let has_moved = matches!(tunnel.failure_detection.standing(), Standing::Moved(_));
            let hinted = tunnel.failure_detection.is_hinted();
            let again = hinted || tunnel.failure_detection.standing().drives_out().is_some();
            self.ask(
                now,
                id,
                if again {
                    Purpose::Again
                } else {
                    Purpose::Doubt
                },
            );
            // Where nothing is to move, the other one need not answer.
            let needless = has_moved || (hinted && !self.is_carrier(id));
            if let Some(other) = other.filter(|_| !needless) {
                self.ask_other(now, id, other);
            }
        }
        let tunnel = self.tunnels.get_mut(&id);
        if let Some(other) = other
            && tunnel.is_some_and(|tunnel| tunnel.failure_detection.take_other_question(now))
        {
            self.ask(now, other, Purpose::Move);
        }
    }

    /// Has the peer asked by the other tunnel soon.
    fn ask_other(&mut self, now: Instant, id: TunnelId, other: TunnelId) {
        let other = self.tunnels.get_mut(&other);
        let round_trip = other.and_then(|other| other.failure_detection.round_trip().usual());
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.failure_detection.ask_other(now, round_trip);
        }
    }

    /// Asks the peer of a tunnel, if it can be asked, when its turn comes among all tunnels.
    fn ask(&mut self, now: Instant, id: TunnelId, purpose: Purpose) {
        if let Some(tunnel) = self.tunnels.get_mut(&id)
            && tunnel.detects_failure_fast()
            && !tunnel.failure_detection.awaits_turn()
        {
            let place = Place {
                purpose,
                since: now,
                of: id,
            };
            tunnel.failure_detection.await_turn(place);
            self.questions.line_up(place);
            self.touched.insert(id);
        }
    }

    /// Asks the peer whose turn it is. Returns whether it was anyone's.
    pub(super) fn ask_next(&mut self, now: Instant) -> bool {
        let Some(place) = self.questions.next(now) else {
            return false;
        };
        if let Some(tunnel) = self.tunnels.get_mut(&place.of)
            && tunnel.detects_failure_fast()
            && let Some(sa) = tunnel.sas.keeper()
            && tunnel.failure_detection.take_turn(now, place)
        {
            self.questions.spend(now);
            self.endpoint.probe(now, sa);
            self.touched.insert(place.of);
        }
        true
    }

    /// Has the round trip to the peer of a tunnel measured, where no answer shows it.
    pub(super) fn measure_round_trip(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let asks = tunnel.detects_failure_fast();
        let round_trip = tunnel.failure_detection.round_trip();
        if !asks {
            round_trip.do_not_measure();
        } else if round_trip.take_measurement(now, &mut self.jitter)
            && let Some(sa) = tunnel.sas.keeper()
            && self.questions.take_spare(now)
        {
            self.endpoint.check_liveness(now, sa);
        }
    }

    /// The peer repeats a request, as one does that is not answered: what we send may be lost.
    /// It shows here alone where the peer's own traffic goes on arriving.
    pub(super) fn on_repeated(&mut self, now: Instant, id: TunnelId, sa: SaId, times: u32) {
        if let Some(tunnel) = self.touch(id)
            && tunnel.sas.keeper() == Some(sa)
            && tunnel.failure_detection.note_repetition(now, times)
        {
            self.on_unanswered(now, id, sa);
        }
    }

    /// The peer did not answer the question in time.
    pub(super) fn on_unanswered(&mut self, now: Instant, id: TunnelId, sa: SaId) {
        if let Some(tunnel) = self.touch(id)
            && tunnel.sas.keeper() == Some(sa)
            && tunnel.failure_detection.note_no_answer(now)
        {
            let tunnel = &tunnel.name;
            tracing::debug!(%tunnel, "{tunnel}: the peer does not answer");
        }
    }
}

impl Tunnel {
    /// Whether it is up and nothing speaks against its peer, so that traffic may come to it.
    pub(super) fn can_take_over(&self) -> bool {
        self.state == State::Up && self.failure_detection.standing().admits()
    }

    /// Whether its peer is asked when it falls silent. Not without dead peer detection, where a
    /// question without an answer would end the SA.
    pub(super) fn detects_failure_fast(&self) -> bool {
        self.options.failure_detection == FailureDetection::Fast
            && self.peer.liveness.is_some()
            && self.state == State::Up
    }
}
