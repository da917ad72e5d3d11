//! Rekey of an IKE SA (RFC 7296 sections 1.3.2, 2.8, 2.8.2 and 2.18).

use vgw_crypto::{IkeSuite, Secret};

use super::collision::{IkeCollision, ours_survives};
use super::create_child::BUSY;
use super::key_exchange::{
    NotAgreed, PreparedKey, Shared, agree_on, demand_group, respond_key_exchange,
};
use super::pending_ike::PendingIke;
use super::tasks::{RequestInFlight, Task};
use super::{Effect, Established, NewIkeSa, Phase, Reply};
use crate::core::env::Env;
use crate::core::event::{Diagnostic, Role, SaId};
use crate::core::job::Response;
use crate::v2::channel::keys::{Nonces, SkeySeed, SpiPair};
use crate::v2::channel::window::Window;
use crate::v2::messages::{CreateChildResponse, IkeOffer, Notifies};
use crate::v2::proposal::{self, brief_ike};
use crate::v2::wire::{Notify, NotifyType, Payload, Proposal};

/// What both ends agreed on for the new IKE SA.
struct AgreedIke {
    suite: IkeSuite,
    shared: Secret,
    nonces: Nonces,
    spis: SpiPair,
    role: Role,
    /// The notifications of the peer's message, which may include its token.
    notifies: Notifies,
}

impl Established {
    pub(super) fn answer_rekey_ike(
        &mut self,
        env: &mut Env<'_>,
        offer: &IkeOffer,
        computed: Option<Response>,
    ) -> Result<Reply, NotAgreed> {
        // RFC 7296 section 2.25.2.
        let busy = match &self.in_flight {
            Some(RequestInFlight::RekeyIke { collision, .. }) => collision.is_some(),
            Some(in_flight) => in_flight.is_about_a_child(),
            None => false,
        };
        if busy || self.phase != Phase::Up {
            return Ok(Reply::error(NotifyType::TEMPORARY_FAILURE));
        }
        let choice = match proposal::select_ike(&self.config.ike, &offer.sa) {
            Ok(choice) => choice,
            Err(mismatch) => {
                self.refuse_rekey(env, format!("rekey of the IKE SA: {mismatch}"));
                return Ok(Reply::error(NotifyType::NO_PROPOSAL_CHOSEN));
            }
        };
        let Some(initiator) = choice.spi.filter(|&spi| spi != 0) else {
            return Ok(Reply::syntax(&"rekey of the IKE SA without an SPI"));
        };
        let group = choice.suite.group;
        if offer.ke.group != group.iana() {
            return Ok(Reply::notify(demand_group(group)));
        }
        let (ke, shared) = respond_key_exchange(env, group, &offer.ke, computed)?;
        let (Some(responder), Some(nonce)) = (env.ike_spi(), env.nonce()) else {
            return Ok(Reply::error(NotifyType::TEMPORARY_FAILURE));
        };
        let nonces = Nonces {
            initiator: offer.nonce.clone(),
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
            notifies: offer.notifies.clone(),
        };
        let Some(new) = self.spawn(env, agreed, phase) else {
            return Ok(Reply::error(NotifyType::TEMPORARY_FAILURE));
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
        let payloads = CreateChildResponse::Ike(response).into_payloads();
        Ok(Reply::new(payloads))
    }

    pub(super) fn start_rekey_ike(
        &mut self,
        env: &mut Env<'_>,
        key: Option<PreparedKey>,
    ) -> Option<(RequestInFlight, Vec<Payload>)> {
        if self.phase != Phase::Up {
            return None;
        }
        let Some(pending) = PendingIke::new(env, &self.config.ike, key?) else {
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
        shared: Option<Shared>,
    ) {
        match response {
            CreateChildResponse::Ike(offer) => {
                self.rekeyed_ike(env, pending, collision, offer, shared);
            }
            CreateChildResponse::Refused(notify) => {
                self.rekey_ike_refused(env, &pending, collision, &notify);
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
        shared: Option<Shared>,
    ) {
        let agreed = match conclude(pending, offer, shared) {
            Ok(agreed) => agreed,
            Err(why) => {
                self.refuse_rekey(env, format!("rekey of the IKE SA: {why}"));
                // The peer made an SA that we cannot name in a DELETE, so both end with this one.
                return self.end_malformed(env, &"a selection that we did not offer");
            }
        };
        let nonces = agreed.nonces.clone();
        if self.phase != Phase::Up {
            // We were told to end meanwhile, so the new SA ends as well.
            let _ = self.spawn(env, agreed, Phase::Closing);
            self.keys.forget_source();
            return;
        }
        let lost = collision
            .as_ref()
            .filter(|collision| !ours_survives(&nonces, &collision.nonces))
            .map(|collision| collision.peers_sa);
        if let Some(new) = lost {
            // Ours lost: we delete the SA that we made, and the peer deletes the old one.
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

    /// Makes the new IKE SA and hands it to the endpoint. None if there are no keys for it.
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

    /// Hands the CHILD SAs and their tasks to `new`. This SA waits for its DELETE.
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
        pending: &PendingIke,
        collision: Option<IkeCollision>,
        notify: &Notify,
    ) {
        if self.phase != Phase::Up {
            return;
        }
        if let Some(collision) = collision {
            // The peer refused our rekey after its own had made an SA.
            return self.be_replaced(env, collision.peers_sa);
        }
        if self.change_group(env, Task::RekeyIke, Some(&pending.key), notify) {
            return;
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

/// As initiator, takes what the peer agreed to.
fn conclude(
    pending: PendingIke,
    offer: IkeOffer,
    shared: Option<Shared>,
) -> Result<AgreedIke, String> {
    let choice = proposal::accept_ike(&pending.offered, &offer.sa).map_err(|e| e.to_string())?;
    let responder = choice
        .spi
        .filter(|&spi| spi != 0)
        .ok_or("the peer's proposal has no SPI")?;
    let ours = Some(pending.key.group());
    let shared = agree_on(ours, choice.suite.group, Some(&offer.ke), shared)?;
    Ok(AgreedIke {
        suite: choice.suite,
        shared,
        nonces: Nonces {
            initiator: pending.nonce,
            responder: offer.nonce,
        },
        spis: SpiPair {
            initiator: pending.spi,
            responder,
        },
        role: Role::Initiator,
        notifies: offer.notifies,
    })
}
