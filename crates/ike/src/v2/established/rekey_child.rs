//! Rekey of a CHILD SA (RFC 7296 sections 1.3.3, 2.8 and 2.8.1).
//!
//! No packet is lost. The responder of the exchange receives with the new SA before it sends the
//! answer. It sends with the new SA once it knows that the answer arrived: by the DELETE of the old
//! SA, or by traffic on the new one. The initiator receives and sends with the new SA as soon as the
//! answer comes, and then deletes the old SA. Both ends receive with the old SA for a while longer.

use super::child::ChildPhase;
use super::collision::{ChildCollision, ours_survives};
use super::create_child::{AskedFor, BUSY};
use super::key_exchange::{NotAgreed, PreparedKey, Shared};
use super::pending_child::PendingChild;
use super::tasks::{RequestInFlight, Task};
use super::{Established, Reply};
use crate::core::env::Env;
use crate::core::event::{Diagnostic, DownReason};
use crate::core::job::Response;
use crate::v2::channel::keys::Nonces;
use crate::v2::messages::{ChildOffer, CreateChildRequest, CreateChildResponse};
use crate::v2::wire::{Notify, NotifyType, Payload};

impl Established {
    /// The peer rekeys the CHILD SA that it receives with `spi_out`.
    pub(super) fn answer_rekey_child(
        &mut self,
        env: &mut Env<'_>,
        spi_out: u32,
        offer: &ChildOffer,
        computed: Option<Response>,
    ) -> Result<Reply, NotAgreed> {
        let busy = || Ok(Reply::error(NotifyType::TEMPORARY_FAILURE));
        let not_found = Notify::child(NotifyType::CHILD_SA_NOT_FOUND, spi_out);
        if self.is_busy() {
            return busy();
        }
        // RFC 7296 section 2.25.1 for this and what follows.
        let Some(child) = self.child_by_peer_spi(spi_out) else {
            return Ok(Reply::notify(not_found));
        };
        let old = child.spi_in;
        match child.phase {
            ChildPhase::Live => {}
            ChildPhase::Replaced { .. } | ChildPhase::Redundant { .. } | ChildPhase::Deleting => {
                return busy();
            }
            ChildPhase::Lingering { .. } => return Ok(Reply::notify(not_found)),
        }
        let agreed = self.agree(env, offer, Some(old), computed)?;
        let new = agreed.child.spi_in;
        self.install(env, agreed.child);
        if let Some(child) = self.children.get_mut(&old) {
            child.phase = ChildPhase::Replaced { by: new };
        }
        if let Some(RequestInFlight::RekeyChild {
            old: ours,
            collision,
            ..
        }) = &mut self.in_flight
            && *ours == old
        {
            *collision = Some(ChildCollision {
                spi_in: new,
                nonces: agreed.nonces,
            });
            self.diagnose(env, Diagnostic::ChildRekeyCollision(old));
        }
        Ok(agreed.reply)
    }

    /// Whether a rekey of this CHILD SA can be asked for now.
    pub(super) fn may_rekey_child(&self, old: u32) -> bool {
        let child = self.children.get(&old);
        child.is_some_and(|child| child.phase == ChildPhase::Live && child.outbound)
    }

    pub(super) fn start_rekey_child(
        &mut self,
        env: &mut Env<'_>,
        old: u32,
        key: Option<PreparedKey>,
    ) -> Option<(RequestInFlight, Vec<Payload>)> {
        let child = self
            .children
            .get(&old)
            .filter(|child| child.phase == ChildPhase::Live)?;
        if !child.outbound {
            // The peer made it and may not have our answer yet.
            self.plan_again(env, Task::RekeyChild(old), BUSY);
            return None;
        }
        // RFC 7296 section 2.9.2: a rekey proposes the selectors in use.
        let selectors = (
            child.local_selectors.clone(),
            child.remote_selectors.clone(),
        );
        let Some(pending) = PendingChild::new(env, &self.config, Some(selectors), key) else {
            self.plan_again(env, Task::RekeyChild(old), BUSY);
            return None;
        };
        let request = CreateChildRequest::RekeyChild {
            spi: old,
            offer: pending.offer(),
        };
        let in_flight = RequestInFlight::RekeyChild {
            old,
            pending,
            collision: None,
        };
        Some((in_flight, request.into_payloads()))
    }

    pub(super) fn finish_rekey_child(
        &mut self,
        env: &mut Env<'_>,
        old: u32,
        pending: PendingChild,
        collision: Option<ChildCollision>,
        response: CreateChildResponse,
        shared: Option<Shared>,
    ) {
        match response {
            CreateChildResponse::Child(offer) => {
                self.rekeyed_child(env, old, pending, collision, offer, shared);
            }
            CreateChildResponse::Refused(notify) => {
                env.release_spi(pending.spi_in);
                let task = Task::RekeyChild(old);
                if !self.change_group(env, task, pending.key.as_ref(), &notify) {
                    self.rekey_child_refused(env, old, &notify);
                }
            }
            CreateChildResponse::Ike(_) => {
                env.release_spi(pending.spi_in);
                self.end_malformed(env, &"an IKE SA where a CHILD SA was asked for");
            }
        }
    }

    fn rekeyed_child(
        &mut self,
        env: &mut Env<'_>,
        old: u32,
        pending: PendingChild,
        collision: Option<ChildCollision>,
        offer: ChildOffer,
        shared: Option<Shared>,
    ) {
        let nonces = Nonces {
            initiator: pending.nonce.clone(),
            responder: offer.nonce.clone(),
        };
        let Ok(child) = self.conclude(env, pending, offer, Some(old), shared) else {
            return self.rekey_child_later(env, old);
        };
        let new = child.spi_in;
        self.install(env, child);
        let Some(collision) = collision else {
            return self.replace_child(env, old, new);
        };
        if ours_survives(&nonces, &collision.nonces) {
            let until = env.now + env.limits().handshake_timeout;
            if let Some(theirs) = self.children.get_mut(&collision.spi_in) {
                theirs.phase = ChildPhase::Redundant { until };
            }
            return self.replace_child(env, old, new);
        }
        // We never send with ours. The peer sends and receives with its own, and deletes the old SA.
        self.delete_child(env, new);
    }

    /// Sends with `new` and deletes `old`.
    fn replace_child(&mut self, env: &mut Env<'_>, old: u32, new: u32) {
        self.use_outbound(env, new);
        let Some(child) = self.children.get(&old) else {
            return;
        };
        match child.phase {
            ChildPhase::Live | ChildPhase::Replaced { .. } | ChildPhase::Redundant { .. } => {
                self.delete_child(env, old);
            }
            ChildPhase::Deleting | ChildPhase::Lingering { .. } => {}
        }
    }

    fn delete_child(&mut self, env: &mut Env<'_>, spi_in: u32) {
        if let Some(child) = self.children.get_mut(&spi_in) {
            child.phase = ChildPhase::Deleting;
            self.tasks.plan(Task::DeleteChild(spi_in), env.now);
        }
    }

    fn rekey_child_refused(&mut self, env: &mut Env<'_>, old: u32, notify: &Notify) {
        // If it is not, the peer's own rekey or DELETE came first.
        let still_live = self
            .children
            .get(&old)
            .is_some_and(|child| child.phase == ChildPhase::Live);
        if !still_live {
            return;
        }
        match notify.kind {
            NotifyType::TEMPORARY_FAILURE => self.plan_again(env, Task::RekeyChild(old), BUSY),
            // RFC 7296 section 2.25: the peer no longer has it, so we ask for a new CHILD SA.
            NotifyType::CHILD_SA_NOT_FOUND => {
                self.remove_child(env, old, DownReason::PeerDeleted);
                self.tasks.plan(Task::CreateChild, env.now);
            }
            _ => {
                let why = self.refusal_by_peer(AskedFor::Rekey, notify);
                self.refuse_rekey(env, why);
                self.rekey_child_later(env, old);
            }
        }
    }

    fn rekey_child_later(&mut self, env: &mut Env<'_>, old: u32) {
        if let Some(child) = self.children.get(&old) {
            let pause = Self::retry_after(env, child.expire_at);
            self.tasks.plan(Task::RekeyChild(old), env.now + pause);
        }
    }

    /// Whether the peer's rekey made this CHILD SA while ours is under way, so that the collision
    /// decides which survives.
    pub(super) fn is_colliding(&self, spi_in: u32) -> bool {
        match &self.in_flight {
            Some(RequestInFlight::RekeyChild {
                collision: Some(collision),
                ..
            }) => collision.spi_in == spi_in,
            _ => false,
        }
    }

    /// The peer deletes the CHILD SA that its rekey made, because it lost the collision.
    pub(super) fn colliding_child_gone(&mut self, env: &mut Env<'_>, spi_in: u32) {
        if let Some(RequestInFlight::RekeyChild { old, collision, .. }) = &mut self.in_flight {
            *collision = None;
            if let Some(child) = self.children.get_mut(old) {
                child.phase = match child.phase {
                    ChildPhase::Replaced { .. } => ChildPhase::Live,
                    phase @ (ChildPhase::Live
                    | ChildPhase::Redundant { .. }
                    | ChildPhase::Deleting
                    | ChildPhase::Lingering { .. }) => phase,
                };
            }
        }
        self.linger(env, spi_in);
    }
}
