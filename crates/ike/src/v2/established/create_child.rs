//! CREATE_CHILD_SA for CHILD SAs (RFC 7296 section 1.3.1): an additional CHILD SA, and what it has
//! in common with a rekey.

use std::time::Duration;

use super::child::{ChildPhase, NewChild};
use super::key_exchange::{
    NotAgreed, PreparedKey, Shared, agree_on, demand_group, demanded, respond_key_exchange,
};
use super::pending_child::{Answer, PendingChild, RefusedChild, agree_terms};
use super::tasks::{RequestInFlight, Task};
use super::{Established, MAX_CHILDREN, MAX_CHILDREN_WITH_OLD, Phase, Reply};
use crate::core::bounded_text::few;
use crate::core::env::Env;
use crate::core::event::{Diagnostic, DownReason, Role};
use crate::core::job::Response;
use crate::peer::config::PeerConfig;
use crate::v2::channel::keys::Nonces;
use crate::v2::messages::{ChildOffer, CreateChildRequest, CreateChildResponse, Notifies};
use crate::v2::proposal::{brief_esp, group_name};
use crate::v2::refusal::RefusalReason;
use crate::v2::wire::{Notify, NotifyType, Payload};

/// The pause before we ask again for a CHILD SA that the peer refused.
const CREATE_AGAIN: Duration = Duration::from_secs(15);
/// If no CHILD SA is left and the initiator of the IKE SA asks for none, the responder asks after
/// this long to twice as long.
const RESPONDER_RESTORES: Duration = Duration::from_secs(3);
/// If the peer deletes the last CHILD SA, the initiator of the IKE SA asks for another after this
/// long to twice as long: the peer may be about to delete the IKE SA or to ask itself.
pub(super) const AFTER_DELETE: Duration = Duration::from_secs(1);
/// After TEMPORARY_FAILURE we ask again after this long to twice as long (RFC 7296 section 2.25).
pub(super) const BUSY: Duration = Duration::from_secs(1);

impl Established {
    /// Whether the IKE SA is being rekeyed or closed. Then no CHILD SA is made or rekeyed in it (RFC
    /// 7296 section 2.25.2).
    pub(super) fn is_busy(&self) -> bool {
        self.phase != Phase::Up || matches!(self.in_flight, Some(RequestInFlight::RekeyIke { .. }))
    }

    pub(super) fn answer_new_child(
        &mut self,
        env: &mut Env<'_>,
        offer: &ChildOffer,
        computed: Option<Response>,
    ) -> Result<Reply, NotAgreed> {
        // If both ends ask at once, the CHILD SA that the IKE SA's initiator asked for is made.
        let crosses_ours = self.role == Role::Initiator
            && matches!(self.in_flight, Some(RequestInFlight::CreateChild(_)));
        if self.is_busy() || crosses_ours {
            return Ok(Reply::error(NotifyType::TEMPORARY_FAILURE));
        }
        let live = self
            .children
            .values()
            .filter(|child| child.phase == ChildPhase::Live)
            .count();
        if live >= MAX_CHILDREN {
            let why = format!("one more CHILD SA, expected at most {MAX_CHILDREN}");
            self.refuse(env, why);
            return Ok(Reply::error(NotifyType::NO_ADDITIONAL_SAS));
        }
        let agreed = self.agree(env, offer, None, computed)?;
        let spi_in = agreed.child.spi_in;
        self.install(env, agreed.child);
        self.use_outbound(env, spi_in);
        Ok(agreed.reply)
    }

    /// As responder, agrees on a CHILD SA. It is not installed yet.
    pub(super) fn agree(
        &mut self,
        env: &mut Env<'_>,
        offer: &ChildOffer,
        replaces: Option<u32>,
        computed: Option<Response>,
    ) -> Result<AgreedChild, NotAgreed> {
        if self.children.len() >= MAX_CHILDREN_WITH_OLD {
            let why = format!(
                "one more CHILD SA, expected the peer to delete some of the \
                 {MAX_CHILDREN_WITH_OLD} that it has, replaced ones included"
            );
            self.refuse(env, why);
            return Err(Reply::error(NotifyType::TEMPORARY_FAILURE).into());
        }
        let refused = |env: &mut Env<'_>, refused: RefusedChild| {
            self.refuse_child(env, replaces, &refused.why);
            Reply::notify(refused.notify)
        };
        let terms = agree_terms(&self.config, &offer.sa, (&offer.ts_i, &offer.ts_r), true)
            .map_err(|e| refused(env, e))?;
        let (ke, shared) = match terms.group {
            None => (None, None),
            Some(group) => {
                let theirs = offer.ke.as_ref().filter(|ke| ke.group == group.iana());
                let Some(theirs) = theirs else {
                    self.diagnose(env, Diagnostic::GroupDemanded(group));
                    return Err(Reply::notify(demand_group(group)).into());
                };
                let (ke, shared) = respond_key_exchange(env, group, theirs, computed)?;
                (Some(ke), Some(shared))
            }
        };
        let Some(responder) = env.nonce() else {
            return Err(Reply::error(NotifyType::TEMPORARY_FAILURE).into());
        };
        let Some(spi_in) = env.allocate_spi() else {
            return Err(Reply::error(NotifyType::NO_ADDITIONAL_SAS).into());
        };
        let nonces = Nonces {
            initiator: offer.nonce.clone(),
            responder,
        };
        let keys = self.keys.child_keys(terms.suite, &nonces, shared.as_ref());
        let Some(keys) = keys else {
            env.release_spi(spi_in);
            return Err(Reply::error(NotifyType::TEMPORARY_FAILURE).into());
        };
        let response = ChildOffer {
            sa: terms.answer_with(spi_in),
            nonce: nonces.responder.clone(),
            ke,
            ts_i: terms.remote_selectors.clone(),
            ts_r: terms.local_selectors.clone(),
            notifies: Notifies::default(),
        };
        Ok(AgreedChild {
            child: terms.into_child(spi_in, keys, replaces),
            nonces,
            reply: Reply::new(CreateChildResponse::Child(response).into_payloads()),
        })
    }

    pub(super) fn start_create_child(
        &mut self,
        env: &mut Env<'_>,
        key: Option<PreparedKey>,
    ) -> Option<(RequestInFlight, Vec<Payload>)> {
        if self.has_live_child() {
            return None;
        }
        let Some(pending) = PendingChild::new(env, &self.config, None, key) else {
            self.create_child_later(env);
            return None;
        };
        let payloads = CreateChildRequest::New(pending.offer()).into_payloads();
        Some((RequestInFlight::CreateChild(pending), payloads))
    }

    /// Acts on the response to a request.
    pub(super) fn finish_create_child(
        &mut self,
        env: &mut Env<'_>,
        in_flight: RequestInFlight,
        response: CreateChildResponse,
        shared: Option<Shared>,
    ) {
        if let CreateChildResponse::Refused(notify) = &response
            && notify.kind == NotifyType::INVALID_SYNTAX
        {
            self.in_flight = Some(in_flight);
            self.release_unreported_spi(env);
            let reason = DownReason::Refused("the peer answered INVALID_SYNTAX".to_owned());
            return self.close(env, reason, false);
        }
        match in_flight {
            RequestInFlight::CreateChild(pending) => {
                self.finish_new_child(env, pending, response, shared);
            }
            RequestInFlight::RekeyChild {
                old,
                pending,
                collision,
            } => self.finish_rekey_child(env, old, pending, collision, response, shared),
            RequestInFlight::RekeyIke { pending, collision } => {
                self.finish_rekey_ike(env, pending, collision, response, shared);
            }
            RequestInFlight::AbandonedCreate => {}
            // Asked in another exchange; the caller compares it.
            RequestInFlight::DeleteIke
            | RequestInFlight::DeleteChild(_)
            | RequestInFlight::Liveness
            | RequestInFlight::Abandoned => {}
        }
    }

    fn finish_new_child(
        &mut self,
        env: &mut Env<'_>,
        pending: PendingChild,
        response: CreateChildResponse,
        shared: Option<Shared>,
    ) {
        match response {
            CreateChildResponse::Child(offer) => {
                let Ok(agreed) = self.conclude(env, pending, offer, None, shared) else {
                    return self.create_child_later(env);
                };
                let spi_in = agreed.spi_in;
                self.install(env, agreed);
                self.use_outbound(env, spi_in);
            }
            CreateChildResponse::Refused(notify) => {
                env.release_spi(pending.spi_in);
                if self.change_group(env, Task::CreateChild, pending.key.as_ref(), &notify) {
                    return;
                }
                if notify.kind == NotifyType::TEMPORARY_FAILURE {
                    return self.plan_again(env, Task::CreateChild, BUSY);
                }
                let why = self.refusal_by_peer(AskedFor::Another, &notify);
                self.refuse(env, RefusalReason::ByPeer(why.clone()));
                // Asking again would change nothing. A new IKE SA comes with a CHILD SA made without
                // a key exchange of its own, so the ends cannot disagree about groups.
                if !self.has_live_child() {
                    self.close(env, DownReason::Refused(why), true);
                }
            }
            CreateChildResponse::Ike(_) => {
                env.release_spi(pending.spi_in);
                self.end_malformed(env, &"an IKE SA where a CHILD SA was asked for");
            }
        }
    }

    /// As initiator, takes the CHILD SA that the peer agreed to. If it is not what we offered, the
    /// peer is told to delete it.
    pub(super) fn conclude(
        &mut self,
        env: &mut Env<'_>,
        pending: PendingChild,
        offer: ChildOffer,
        replaces: Option<u32>,
        shared: Option<Shared>,
    ) -> Result<NewChild, ()> {
        let answer = Answer {
            sa: &offer.sa,
            ts_i: &offer.ts_i,
            ts_r: &offer.ts_r,
        };
        let ours = pending.key.as_ref().map(PreparedKey::group);
        let concluded = pending.accept(&answer).and_then(|choice| {
            let shared = match choice.group {
                None => None,
                Some(group) => Some(agree_on(ours, group, offer.ke.as_ref(), shared)?),
            };
            let nonces = Nonces {
                initiator: pending.nonce.clone(),
                responder: offer.nonce.clone(),
            };
            let keys = self
                .keys
                .child_keys(choice.suite, &nonces, shared.as_ref())
                .ok_or("the IKE SA is being closed")?;
            Ok((choice, keys))
        });
        match concluded {
            Ok((choice, keys)) => Ok(pending.into_child(&choice, &answer, keys, replaces)),
            Err(why) => {
                self.refuse_child(env, replaces, &why);
                env.release_spi(pending.spi_in);
                self.tasks.plan(Task::DeleteChild(pending.spi_in), env.now);
                Err(())
            }
        }
    }

    /// If INVALID_KE_PAYLOAD demands another of our groups, asks again with that one.
    pub(super) fn change_group(
        &mut self,
        env: &mut Env<'_>,
        task: Task,
        key: Option<&PreparedKey>,
        refusal: &Notify,
    ) -> bool {
        let groups = match task {
            Task::RekeyIke => &self.config.ike.groups,
            _ => &self.config.esp.groups,
        };
        let other = key
            .filter(|_| self.phase == Phase::Up)
            .and_then(|key| Some((key.other_group(refusal, groups)?, key.group_changes + 1)));
        let Some((group, group_changes)) = other else {
            return false;
        };
        self.prepare(env, task, group, group_changes);
        true
    }

    /// Reports why we refuse a CHILD SA or the rekey of one.
    fn refuse_child(&self, env: &mut Env<'_>, replaces: Option<u32>, why: &str) {
        match replaces {
            Some(_) => self.refuse_rekey(env, format!("rekey of a CHILD SA: {why}")),
            None => self.refuse(env, format!("CHILD SA (phase 2): {why}")),
        }
    }

    /// Says what the peer refused and what we had offered.
    pub(super) fn refusal_by_peer(&self, what: AskedFor, notify: &Notify) -> String {
        refusal_of_child(&self.config, what, notify)
    }

    pub(super) fn has_live_child(&self) -> bool {
        let mut children = self.children.values();
        children.any(|child| child.phase == ChildPhase::Live)
    }

    /// Asks for a CHILD SA if none is left; either end may (RFC 7296 section 1.3.1). The initiator of
    /// the IKE SA asks first, after `pause`.
    pub(super) fn restore_child(&mut self, env: &mut Env<'_>, pause: Duration) {
        if self.phase != Phase::Up || self.has_live_child() {
            return;
        }
        let pause = match self.role {
            Role::Initiator => pause,
            Role::Responder => RESPONDER_RESTORES,
        };
        self.plan_again(env, Task::CreateChild, pause);
    }

    /// Asks again later for a CHILD SA that an answer did not make.
    pub(crate) fn create_child_later(&mut self, env: &mut Env<'_>) {
        self.plan_again(env, Task::CreateChild, CREATE_AGAIN);
    }

    /// Releases the inbound SPI of a request that no answer will complete.
    fn release_unreported_spi(&mut self, env: &mut Env<'_>) {
        if let Some(spi_in) = self
            .in_flight
            .take()
            .as_ref()
            .and_then(RequestInFlight::unreported_spi)
        {
            env.release_spi(spi_in);
        }
    }
}

/// A CHILD SA that we agreed to as responder.
pub(super) struct AgreedChild {
    pub child: NewChild,
    pub nonces: Nonces,
    pub reply: Reply,
}

/// What we asked a peer for in an exchange about a CHILD SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskedFor {
    /// IKE_AUTH: the authentication of the IKE SA, with its first CHILD SA.
    WithAuth,
    /// The first CHILD SA; the IKE SA is up.
    First,
    /// Another CHILD SA.
    Another,
    /// A CHILD SA in place of another.
    Rekey,
}

impl AskedFor {
    const fn name(self) -> &'static str {
        match self {
            Self::WithAuth => "IKE_AUTH",
            Self::First => "the CHILD SA",
            Self::Another => "a CHILD SA",
            Self::Rekey => "the rekey of a CHILD SA",
        }
    }

    /// Whether it was asked for in IKE_AUTH, where there is no key exchange for PFS.
    const fn comes_with_ike(self) -> bool {
        matches!(self, Self::WithAuth | Self::First)
    }
}

/// Says what the peer refused in an exchange about a CHILD SA, and what we had offered.
pub(crate) fn refusal_of_child(config: &PeerConfig, what: AskedFor, notify: &Notify) -> String {
    let kind = notify.kind;
    let hint = match kind {
        NotifyType::NO_PROPOSAL_CHOSEN | NotifyType::INVALID_KE_PAYLOAD => {
            let question = match (what.comes_with_ike(), demanded(notify)) {
                (true, _) => "is its phase 2 as ours? could its kernel take the SA?".to_owned(),
                (false, Some(group)) => format!("it wants PFS by group {}", group_name(group)),
                (false, None) => {
                    "is its phase 2 as ours, and its group for PFS, which only rekeys use?"
                        .to_owned()
                }
            };
            let offered = brief_esp(&config.esp, !what.comes_with_ike());
            format!(" ({question}): we offered {offered}")
        }
        NotifyType::TS_UNACCEPTABLE => format!(
            ": we offered {} to {}; {}; if it has them, its log says what it lacks",
            list(&config.local_selectors),
            list(&config.remote_selectors),
            config.network_advice
        ),
        _ => ": see the peer's log".to_owned(),
    };
    format!("the peer refused {} by {kind}{hint}", what.name())
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    few(items, items.len(), ", ", T::to_string)
}
