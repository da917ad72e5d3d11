//! Rekey of an IKE SA (RFC 7296 sections 1.3.2, 2.8, 2.8.2 and 2.18).

use vgw_crypto::{IkeSuite, Secret};

use super::collision::{IkeCollision, ours_survives};
use super::create_child::{BUSY, respond_key_exchange};
use super::pending_child::{MAX_GROUP_CHANGES, demand_group, demanded_group};
use super::pending_ike::PendingIke;
use super::tasks::{RequestInFlight, Task};
use super::{Effect, Established, NewIkeSa, Phase, Reply};
use crate::core::env::Env;
use crate::core::event::{Diagnostic, Role, SaId};
use crate::v2::channel::keys::{Nonces, SkeySeed, SpiPair};
use crate::v2::channel::window::Window;
use crate::v2::messages::{CreateChildResponse, IkeOffer, Notifies};
use crate::v2::proposal::{self, brief_ike};
use crate::v2::wire::{Notify, NotifyType, Payload, Proposal};

/// What a successor's keys are made of.
struct AgreedIke {
    suite: IkeSuite,
    shared: Secret,
    nonces: Nonces,
    spis: SpiPair,
    role: Role,
    /// Of the peer's message; its token may be among them.
    notifies: Notifies,
}

impl Established {
    pub(super) fn answer_rekey_ike(&mut self, env: &mut Env<'_>, offer: IkeOffer) -> Reply {
        // RFC 7296 section 2.25.2.
        let busy = match &self.in_flight {
            Some(RequestInFlight::RekeyIke { collision, .. }) => collision.is_some(),
            Some(in_flight) => in_flight.is_about_a_child(),
            None => false,
        };
        if busy || self.phase != Phase::Up {
            return Reply::error(NotifyType::TEMPORARY_FAILURE);
        }
        let choice = match proposal::select_ike(&self.config.ike, &offer.sa) {
            Ok(choice) => choice,
            Err(mismatch) => {
                self.refuse_rekey(env, format!("rekey of the IKE SA: {mismatch}"));
                return Reply::error(NotifyType::NO_PROPOSAL_CHOSEN);
            }
        };
        let Some(initiator) = choice.spi.filter(|&spi| spi != 0) else {
            return Reply::syntax(&"rekey of the IKE SA without an SPI");
        };
        let group = choice.suite.group;
        if offer.ke.group != group.iana() {
            return Reply::notify(demand_group(group));
        }
        let (ke, shared) = match respond_key_exchange(env, group, &offer.ke) {
            Ok(exchanged) => exchanged,
            Err(reply) => return reply,
        };
        let (Some(responder), Some(nonce)) = (env.ike_spi(), env.nonce()) else {
            return Reply::error(NotifyType::TEMPORARY_FAILURE);
        };
        let nonces = Nonces {
            initiator: offer.nonce,
            responder: nonce,
        };
        let until = env.now + env.limits().handshake_timeout;
        let phase = Phase::Undecided {
            old: self.id,
            until,
        };
        let spis = SpiPair {
            initiator,
            responder,
        };
        let agreed = AgreedIke {
            suite: choice.suite,
            shared,
            nonces: nonces.clone(),
            spis,
            role: Role::Responder,
            notifies: offer.notifies,
        };
        let Some(new) = self.spawn(env, agreed, phase) else {
            return Reply::error(NotifyType::TEMPORARY_FAILURE);
        };
        if let Some(RequestInFlight::RekeyIke { collision, .. }) = &mut self.in_flight {
            *collision = Some(IkeCollision {
                peers_sa: new,
                nonces: nonces.clone(),
            });
            self.diagnose(env, Diagnostic::IkeRekeyCollision);
        } else {
            self.be_replaced(env, new);
        }
        let answer = Proposal {
            spi: responder.to_be_bytes().to_vec(),
            ..choice.answer
        };
        // RFC 6290 section 4.3.
        let token = env.token(spis, Role::Responder, self.path.local.ip());
        let response = IkeOffer {
            sa: vec![answer],
            ke,
            nonce: nonces.responder,
            notifies: Notifies(token.into_iter().collect()),
        };
        Reply::new(CreateChildResponse::Ike(response).into_payloads())
    }

    pub(super) fn start_rekey_ike(
        &mut self,
        env: &mut Env<'_>,
    ) -> Option<(RequestInFlight, Vec<Payload>)> {
        if self.phase != Phase::Up {
            return None;
        }
        let groups = &self.config.ike.groups;
        // The group that the peer accepted before needs no second try.
        let group = groups
            .iter()
            .find(|&&group| group == self.suite.group)
            .or(groups.first())?;
        let Some(pending) = PendingIke::new(env, &self.config.ike, *group) else {
            self.plan_again(env, Task::RekeyIke, BUSY);
            return None;
        };
        let payloads = pending.payloads();
        let in_flight = RequestInFlight::RekeyIke {
            pending,
            collision: None,
        };
        Some((in_flight, payloads))
    }

    pub(super) fn finish_rekey_ike(
        &mut self,
        env: &mut Env<'_>,
        pending: PendingIke,
        collision: Option<IkeCollision>,
        response: CreateChildResponse,
    ) {
        match response {
            CreateChildResponse::Ike(offer) => self.rekeyed_ike(env, pending, collision, offer),
            CreateChildResponse::Refused(notify) => {
                self.rekey_ike_refused(env, pending, collision, &notify);
            }
            CreateChildResponse::Child(_) => {
                self.end_malformed(env, &"a CHILD SA where an IKE SA was asked for");
            }
        }
    }

    fn rekeyed_ike(
        &mut self,
        env: &mut Env<'_>,
        pending: PendingIke,
        collision: Option<IkeCollision>,
        offer: IkeOffer,
    ) {
        let agreed = match conclude(pending, &offer) {
            Ok(agreed) => agreed,
            Err(why) => {
                self.refuse_rekey(env, format!("rekey of the IKE SA: {why}"));
                // The peer made an SA that we cannot name; both end.
                return self.end_malformed(env, &"a selection that we did not offer");
            }
        };
        let nonces = agreed.nonces.clone();
        if self.phase != Phase::Up {
            // We were told to end meanwhile; what was just made ends as well.
            let _ = self.spawn(env, agreed, Phase::Closing);
            self.keys.forget_source();
            return;
        }
        let lost = collision
            .as_ref()
            .filter(|collision| !ours_survives(&nonces, &collision.nonces))
            .map(|collision| collision.peers_sa);
        if let Some(new) = lost {
            // The peer deletes the old SA; we delete the one that we made.
            let _ = self.spawn(env, agreed, Phase::Closing);
            return self.be_replaced(env, new);
        }
        let until = env.now + env.limits().handshake_timeout;
        let phase = Phase::Undecided {
            old: self.id,
            until,
        };
        if let Some(new) = self.spawn(env, agreed, phase) {
            self.be_replaced(env, new);
            self.tasks.plan(Task::DeleteIke, env.now);
        }
    }

    /// Makes the successor and hands it to the endpoint. None: there are no keys
    /// for it.
    fn spawn(&mut self, env: &mut Env<'_>, from: AgreedIke, phase: Phase) -> Option<SaId> {
        let iv_key = env.iv_key()?;
        let source = self.keys.source.as_ref()?;
        let (keys, _) = SkeySeed::rekeyed(source, &from.nonces, &from.shared)
            .expand(
                from.suite,
                &from.nonces,
                from.spis,
                from.role,
                &iv_key,
                env.key_log(),
            )
            .inspect_err(|error| {
                let peer = &self.config.name;
                tracing::debug!(%peer, %error, "{peer}: no keys for a rekeyed IKE SA: {error}");
            })
            .ok()?;
        let id = env.sa_id();
        let new_sa = NewIkeSa {
            id,
            peer: self.peer,
            config: self.config.clone(),
            role: from.role,
            spis: from.spis,
            suite: from.suite,
            keys,
            nonces: from.nonces,
            remote_id: self.remote_id.clone(),
            path: self.path,
            nat: self.nat,
            own_nat: self.own_nat,
            window: Window::default(),
        };
        let mut successor = Self::build(env, new_sa, phase).with_token_of(&from.notifies);
        if phase == Phase::Closing {
            successor.tasks.plan(Task::DeleteIke, env.now);
        }
        self.effects.push(Effect::Spawn(Box::new(successor)));
        Some(id)
    }

    /// Hands everything to `new`. This SA waits for its DELETE.
    pub(super) fn be_replaced(&mut self, env: &mut Env<'_>, new: SaId) {
        self.keys.forget_source();
        let inheritance = Box::new(self.hand_over());
        let until = env.now + env.limits().handshake_timeout;
        self.phase = Phase::Replaced { until };
        self.tasks.clear();
        self.effects.push(Effect::Adopt {
            old: self.id,
            new,
            inheritance,
        });
    }

    fn rekey_ike_refused(
        &mut self,
        env: &mut Env<'_>,
        mut pending: PendingIke,
        collision: Option<IkeCollision>,
        notify: &Notify,
    ) {
        if self.phase != Phase::Up {
            return;
        }
        if let Some(collision) = collision {
            // The peer made one SA and refused the other.
            return self.be_replaced(env, collision.peers_sa);
        }
        let demanded = demanded_group(notify).filter(|group| {
            notify.kind == NotifyType::INVALID_KE_PAYLOAD
                && pending.group_changes < MAX_GROUP_CHANGES
                && self.config.ike.groups.contains(group)
        });
        if let Some(key_pair) = demanded.and_then(|group| env.key_pair(group)) {
            pending.key_pair = key_pair;
            pending.group_changes += 1;
            let payloads = pending.payloads();
            let in_flight = RequestInFlight::RekeyIke {
                pending,
                collision: None,
            };
            return self.request(env, in_flight, &payloads);
        }
        if notify.kind == NotifyType::TEMPORARY_FAILURE {
            return self.plan_again(env, Task::RekeyIke, BUSY);
        }
        let why = format!(
            "the peer refused the rekey of the IKE SA by {}: we offered {}",
            notify.kind,
            brief_ike(&self.config.ike)
        );
        self.refuse_rekey(env, why);
        let pause = Self::retry_after(env, self.expire_at);
        self.tasks.plan(Task::RekeyIke, env.now + pause);
    }
}

/// Takes, as initiator, what the peer agreed to.
fn conclude(pending: PendingIke, offer: &IkeOffer) -> Result<AgreedIke, String> {
    let choice = proposal::accept_ike(&pending.offered, &offer.sa).map_err(|e| e.to_string())?;
    let responder = choice
        .spi
        .filter(|&spi| spi != 0)
        .ok_or("the peer's proposal has no SPI")?;
    let ours = pending.key_pair.group();
    if choice.suite.group != ours || offer.ke.group != ours.iana() {
        return Err(format!(
            "the peer selected group {} and sent a public value of group {}, expected group {ours}",
            choice.suite.group, offer.ke.group
        ));
    }
    let shared = pending
        .key_pair
        .agree(&offer.ke.data)
        .map_err(|e| e.to_string())?;
    Ok(AgreedIke {
        suite: choice.suite,
        shared,
        nonces: Nonces {
            initiator: pending.nonce,
            responder: offer.nonce.clone(),
        },
        spis: SpiPair {
            initiator: pending.spi,
            responder,
        },
        role: Role::Initiator,
        notifies: offer.notifies.clone(),
    })
}
