//! How an IKE SA ends.

use super::tasks::{RequestInFlight, Task};
use super::{Effect, Established, Phase};
use crate::core::env::Env;
use crate::core::event::{DownReason, Event};

impl Established {
    /// Ends the SA and reports it. With `send_delete` a DELETE is sent to the peer once the window
    /// allows it; without, nothing is sent.
    pub(crate) fn close(&mut self, env: &mut Env<'_>, reason: DownReason, send_delete: bool) {
        match self.phase {
            Phase::Up => {
                self.report_down(env, reason);
                self.effects.push(Effect::WentDown { peer: self.peer });
            }
            Phase::Replaced { .. } => self.report_down(env, DownReason::Rekeyed),
            Phase::Undecided { old, .. } => {
                let undecided = self.id;
                self.effects.push(Effect::UndecidedGone { old, undecided });
            }
            Phase::Closing | Phase::Closed => {}
        }
        self.abandon_in_flight(env, send_delete);
        // If a rekey is under way, its answer still makes an SA, which must be closed as well. Only
        // then is SK_d still needed.
        if !matches!(self.in_flight, Some(RequestInFlight::RekeyIke { .. })) {
            self.keys.forget_source();
        }
        self.tasks.clear();
        if !send_delete || self.phase == Phase::Closed {
            self.phase = Phase::Closed;
            return;
        }
        self.phase = Phase::Closing;
        if !matches!(self.in_flight, Some(RequestInFlight::DeleteIke)) {
            self.tasks.plan(Task::DeleteIke, env.now);
        }
        self.advance(env);
    }

    fn report_down(&mut self, env: &mut Env<'_>, reason: DownReason) {
        // The CHILD SA's own lifetime has not ended: packets on the way are still accepted.
        let of_child = match &reason {
            DownReason::Expired => DownReason::IkeExpired,
            reason => reason.clone(),
        };
        // This includes replaced CHILD SAs, because the peer may have just sent with one.
        for spi_in in std::mem::take(&mut self.children).into_keys() {
            env.core.owner.remove(&spi_in);
            env.emit(Event::ChildDown {
                peer: self.peer,
                spi_in,
                reason: of_child.clone(),
            });
            env.release_spi(spi_in);
        }
        self.effects.push(Effect::Report(Box::new(Event::IkeDown {
            peer: self.peer,
            sa: self.id,
            reason,
        })));
    }

    /// Abandons the request under way, because its result no longer matters. The exception is an
    /// IKE SA that the answer may make: it must be closed as well.
    fn abandon_in_flight(&mut self, env: &mut Env<'_>, send_delete: bool) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        if let Some(spi_in) = in_flight.unreported_spi() {
            env.release_spi(spi_in);
        }
        let left = match in_flight {
            RequestInFlight::RekeyIke { pending, collision } => {
                if let Some(collision) = collision {
                    let undecided = collision.peers_sa;
                    self.effects.push(Effect::CloseUndecided {
                        undecided,
                        send_delete,
                    });
                }
                RequestInFlight::RekeyIke {
                    pending,
                    collision: None,
                }
            }
            RequestInFlight::DeleteIke => RequestInFlight::DeleteIke,
            RequestInFlight::CreateChild(_) | RequestInFlight::RekeyChild { .. } => {
                RequestInFlight::AbandonedCreate
            }
            RequestInFlight::AbandonedCreate => RequestInFlight::AbandonedCreate,
            RequestInFlight::DeleteChild(_)
            | RequestInFlight::Liveness
            | RequestInFlight::Abandoned => RequestInFlight::Abandoned,
        };
        // A response that has come is acted on only if it makes an IKE SA.
        let makes_ike_sa = matches!(left, RequestInFlight::RekeyIke { .. });
        self.concluding.take_if(|_| !makes_ike_sa);
        if !self.window.is_idle() || self.concluding.is_some() {
            self.in_flight = Some(left);
        }
    }
}
