//! CREATE_CHILD_SA for CHILD SAs: what both sides of a new one and of a rekey
//! have in common, and the new one (RFC 7296 sections 1.3.1 and 2.9).

use std::time::Duration;

use vgw_crypto::{EspSuite, Group, KeyPair, Secret};

use super::child::{ChildPhase, NewChild};
use super::tasks::{Active, Task};
use super::{Established, MAX_CHILDREN, Phase, Reply};
use crate::config::PeerConfig;
use crate::env::Env;
use crate::event::DownReason;
use crate::keys::{ChildKeys, Nonces};
use crate::messages::{ChildOffer, CreateChildRequest, CreateChildResponse, Notifies};
use crate::proposal;
use crate::selector::{self, TrafficSelector};
use crate::wire::{KeyExchange, Notify, NotifyType, Payload, Proposal};

/// A CHILD SA that was refused is asked for again after this long, by the
/// initiator of the IKE SA.
const CREATE_AGAIN: Duration = Duration::from_secs(15);
/// TEMPORARY_FAILURE: ask again after one to two of these (RFC 7296 section 2.25).
pub(super) const BUSY: Duration = Duration::from_secs(1);
/// INVALID_KE_PAYLOAD may send us from group to group this often.
pub(super) const MAX_GROUP_CHANGES: u8 = 3;

/// A CHILD SA that we asked for.
pub(crate) struct PendingChild {
    /// Our inbound SPI of it.
    pub spi_in: u32,
    nonce: Vec<u8>,
    key_pair: Option<KeyPair>,
    offered: Vec<Proposal>,
    local_selectors: Vec<TrafficSelector>,
    remote_selectors: Vec<TrafficSelector>,
    group_changes: u8,
}

/// Why a CHILD SA does not come to be: the notification, and the reason in words.
pub(crate) struct RefusedChild {
    pub notify: Notify,
    pub why: String,
}

impl RefusedChild {
    pub(super) fn new(kind: NotifyType, why: impl ToString) -> Self {
        Self {
            notify: Notify::new(kind, Vec::new()),
            why: why.to_string(),
        }
    }
}

/// What a responder agrees to, before keys.
pub(crate) struct Terms {
    pub suite: EspSuite,
    pub group: Option<Group>,
    pub spi_out: u32,
    pub answer: Proposal,
    pub local_selectors: Vec<TrafficSelector>,
    pub remote_selectors: Vec<TrafficSelector>,
}

/// Selects, as responder, by our configuration from what the peer offers.
pub(crate) fn agree_terms(
    config: &PeerConfig,
    sa: &[Proposal],
    (ts_i, ts_r): (&[TrafficSelector], &[TrafficSelector]),
    with_groups: bool,
) -> Result<Terms, RefusedChild> {
    let choice = proposal::select_esp(&config.esp, sa, with_groups)
        .map_err(|e| RefusedChild::new(NotifyType::NO_PROPOSAL_CHOSEN, e))?;
    let unacceptable = |side: &str, e: selector::Unacceptable| {
        RefusedChild::new(NotifyType::TS_UNACCEPTABLE, format!("{side}: {e}"))
    };
    let remote_selectors = selector::narrow(ts_i, &config.remote_selectors)
        .map_err(|e| unacceptable("traffic selectors of the peer's side", e))?;
    let local_selectors = selector::narrow(ts_r, &config.local_selectors)
        .map_err(|e| unacceptable("traffic selectors of our side", e))?;
    Ok(Terms {
        suite: choice.suite,
        group: choice.group,
        spi_out: choice.spi,
        answer: choice.answer,
        local_selectors,
        remote_selectors,
    })
}

impl Terms {
    /// The proposal to answer with, with our SPI in it.
    pub(crate) fn answer_with(&self, spi_in: u32) -> Vec<Proposal> {
        vec![Proposal {
            spi: spi_in.to_be_bytes().to_vec(),
            ..self.answer.clone()
        }]
    }

    /// The CHILD SA, seen from the responder of its exchange.
    pub(crate) fn into_child(
        self,
        spi_in: u32,
        keys: ChildKeys,
        replaces: Option<u32>,
    ) -> NewChild {
        NewChild {
            spi_in,
            spi_out: self.spi_out,
            suite: self.suite,
            keys_in: keys.from_initiator,
            keys_out: keys.from_responder,
            local_selectors: self.local_selectors,
            remote_selectors: self.remote_selectors,
            replaces,
        }
    }
}

/// What a response says of a CHILD SA that we asked for.
pub(crate) struct Answer<'a> {
    pub sa: &'a [Proposal],
    pub ts_i: &'a [TrafficSelector],
    pub ts_r: &'a [TrafficSelector],
}

impl PendingChild {
    /// What to ask for. None when no SPI is left.
    pub(crate) fn new(
        env: &mut Env<'_>,
        config: &PeerConfig,
        selectors: Option<(Vec<TrafficSelector>, Vec<TrafficSelector>)>,
        with_groups: bool,
    ) -> Option<Self> {
        let group = config.esp.groups.first().filter(|_| with_groups);
        let key_pair = match group {
            Some(&group) => Some(generate(env, group)?),
            None => None,
        };
        let (local_selectors, remote_selectors) = selectors.unwrap_or_else(|| {
            let all = |nets: &[ipnet::IpNet]| nets.iter().copied().map(Into::into).collect();
            (all(&config.local_selectors), all(&config.remote_selectors))
        });
        let spi_in = env.allocate_spi()?;
        Some(Self {
            spi_in,
            nonce: env.nonce(),
            key_pair,
            offered: proposal::offer_esp(&config.esp, spi_in, with_groups),
            local_selectors,
            remote_selectors,
            group_changes: 0,
        })
    }

    /// SAi2, TSi and TSr.
    pub(crate) fn terms(&self) -> (Vec<Proposal>, Vec<TrafficSelector>, Vec<TrafficSelector>) {
        (
            self.offered.clone(),
            self.local_selectors.clone(),
            self.remote_selectors.clone(),
        )
    }

    pub(super) fn offer(&self) -> ChildOffer {
        let (sa, ts_i, ts_r) = self.terms();
        ChildOffer {
            sa,
            nonce: self.nonce.clone(),
            ke: self.key_pair.as_ref().map(public),
            ts_i,
            ts_r,
            notifies: Notifies::default(),
        }
    }

    /// Checks, as initiator, that the answer is one of what we offered.
    pub(crate) fn accept(&self, answer: &Answer<'_>) -> Result<proposal::EspChoice, String> {
        let choice = proposal::accept_esp(&self.offered, answer.sa).map_err(|e| e.to_string())?;
        selector::check_narrowed(&self.local_selectors, answer.ts_i)
            .map_err(|e| format!("traffic selectors of our side: {e}"))?;
        selector::check_narrowed(&self.remote_selectors, answer.ts_r)
            .map_err(|e| format!("traffic selectors of the peer's side: {e}"))?;
        Ok(choice)
    }

    /// The CHILD SA, seen from the initiator of its exchange.
    pub(crate) fn into_child(
        self,
        choice: &proposal::EspChoice,
        answer: &Answer<'_>,
        keys: ChildKeys,
        replaces: Option<u32>,
    ) -> NewChild {
        NewChild {
            spi_in: self.spi_in,
            spi_out: choice.spi,
            suite: choice.suite,
            keys_in: keys.from_responder,
            keys_out: keys.from_initiator,
            local_selectors: answer.ts_i.to_vec(),
            remote_selectors: answer.ts_r.to_vec(),
            replaces,
        }
    }

    /// Takes another group, as the peer demands by INVALID_KE_PAYLOAD
    /// (RFC 7296 section 1.3).
    ///
    /// # Errors
    /// The pending CHILD SA, when the demand is not one of our groups.
    pub(super) fn with_group(
        mut self,
        env: &mut Env<'_>,
        config: &PeerConfig,
        demanded: Option<Group>,
    ) -> Result<Self, Self> {
        let allowed = demanded.filter(|group| {
            self.group_changes < MAX_GROUP_CHANGES && config.esp.groups.contains(group)
        });
        let Some(key_pair) = allowed.and_then(|group| generate(env, group)) else {
            return Err(self);
        };
        self.key_pair = Some(key_pair);
        self.group_changes += 1;
        Ok(self)
    }
}

/// A key pair; None if the group's computation fails, which no input can bring about.
pub(crate) fn generate(env: &mut Env<'_>, group: Group) -> Option<KeyPair> {
    KeyPair::generate(group, env.random())
        .inspect_err(|error| tracing::error!(%group, %error, "no key pair"))
        .ok()
}

/// The KE payload of a key pair.
pub(crate) fn public(pair: &KeyPair) -> KeyExchange {
    KeyExchange {
        group: pair.group().iana(),
        data: pair.public().to_vec(),
    }
}

/// The group that an INVALID_KE_PAYLOAD demands (RFC 7296 section 1.2).
pub(crate) fn demanded_group(notify: &Notify) -> Option<Group> {
    let octets: [u8; 2] = notify.data.as_slice().try_into().ok()?;
    Group::from_iana(u16::from_be_bytes(octets))
}

/// INVALID_KE_PAYLOAD that demands a group.
pub(crate) fn demand_group(group: Group) -> Notify {
    Notify::new(
        NotifyType::INVALID_KE_PAYLOAD,
        group.iana().to_be_bytes().to_vec(),
    )
}

impl Established {
    pub(super) fn answer_create_child(
        &mut self,
        env: &mut Env<'_>,
        request: CreateChildRequest,
    ) -> Reply {
        match request {
            CreateChildRequest::New(offer) => self.answer_new_child(env, offer),
            CreateChildRequest::RekeyChild { spi, offer } => {
                self.answer_rekey_child(env, spi, offer)
            }
            CreateChildRequest::RekeyIke(offer) => self.answer_rekey_ike(env, offer),
        }
    }

    /// RFC 7296 section 2.25.2: no CHILD SA is made or rekeyed in an IKE SA
    /// that is being rekeyed or closed.
    pub(super) fn is_busy(&self) -> bool {
        self.phase != Phase::Up || matches!(self.active, Some(Active::RekeyIke { .. }))
    }

    fn answer_new_child(&mut self, env: &mut Env<'_>, offer: ChildOffer) -> Reply {
        if self.is_busy() {
            return Reply::error(NotifyType::TEMPORARY_FAILURE);
        }
        let live = self
            .children
            .values()
            .filter(|child| child.phase == ChildPhase::Live)
            .count();
        if live >= MAX_CHILDREN {
            let why = format!("one more CHILD SA, expected at most {MAX_CHILDREN}");
            env.refuse(Some(self.peer), &self.config.name, self.path.remote, why);
            return Reply::error(NotifyType::NO_ADDITIONAL_SAS);
        }
        match self.agree(env, offer, None) {
            Ok(agreed) => {
                let spi_in = agreed.child.spi_in;
                self.install(env, agreed.child);
                self.use_outbound(env, spi_in);
                agreed.reply
            }
            Err(reply) => reply,
        }
    }

    /// Agrees, as responder, on a CHILD SA; it is not installed yet.
    pub(super) fn agree(
        &mut self,
        env: &mut Env<'_>,
        offer: ChildOffer,
        replaces: Option<u32>,
    ) -> Result<Agreed, Reply> {
        let refused = |env: &mut Env<'_>, refused: RefusedChild| {
            let why = format!("CHILD SA: {}", refused.why);
            env.refuse(Some(self.peer), &self.config.name, self.path.remote, why);
            Reply::notify(refused.notify)
        };
        let terms = agree_terms(&self.config, &offer.sa, (&offer.ts_i, &offer.ts_r), true)
            .map_err(|e| refused(env, e))?;
        let (ke, shared) = match terms.group {
            None => (None, None),
            Some(group) => {
                let theirs = offer.ke.filter(|ke| ke.group == group.iana());
                let Some(theirs) = theirs else {
                    tracing::info!(peer = %self.config.name, %group, "asking for another key exchange group");
                    return Err(Reply::notify(demand_group(group)));
                };
                let (ke, shared) = respond_key_exchange(env, group, &theirs)?;
                (Some(ke), Some(shared))
            }
        };
        let Some(spi_in) = env.allocate_spi() else {
            return Err(Reply::error(NotifyType::NO_ADDITIONAL_SAS));
        };
        let nonces = Nonces {
            initiator: offer.nonce,
            responder: env.nonce(),
        };
        let keys = self
            .keys
            .source
            .child_keys(terms.suite, &nonces, shared.as_ref());
        let response = ChildOffer {
            sa: terms.answer_with(spi_in),
            nonce: nonces.responder.clone(),
            ke,
            ts_i: terms.remote_selectors.clone(),
            ts_r: terms.local_selectors.clone(),
            notifies: Notifies::default(),
        };
        Ok(Agreed {
            child: terms.into_child(spi_in, keys, replaces),
            nonces,
            reply: Reply::new(CreateChildResponse::Child(response).into_payloads()),
        })
    }

    pub(super) fn start_create_child(
        &mut self,
        env: &mut Env<'_>,
    ) -> Option<(Active, Vec<Payload>)> {
        let with_groups = !self.config.esp.groups.is_empty();
        let pending = PendingChild::new(env, &self.config, None, with_groups)?;
        let payloads = CreateChildRequest::New(pending.offer()).into_payloads();
        Some((Active::CreateChild(pending), payloads))
    }

    pub(super) fn finish_create_child(
        &mut self,
        env: &mut Env<'_>,
        active: Active,
        response: CreateChildResponse,
    ) {
        if let CreateChildResponse::Refused(notify) = &response
            && notify.kind == NotifyType::INVALID_SYNTAX
        {
            self.active = Some(active);
            self.abandon_unborn(env);
            let reason = DownReason::Refused("the peer answered INVALID_SYNTAX".to_owned());
            return self.close(env, reason, false);
        }
        match active {
            Active::CreateChild(pending) => self.finish_new_child(env, pending, response),
            Active::RekeyChild {
                old,
                pending,
                collision,
            } => self.finish_rekey_child(env, old, pending, collision, response),
            Active::RekeyIke { pending, collision } => {
                self.finish_rekey_ike(env, pending, collision, response);
            }
            Active::AbandonedCreate => {}
            // Asked in another exchange; the caller compares it.
            Active::DeleteIke | Active::DeleteChild(_) | Active::Liveness | Active::Abandoned => {}
        }
    }

    fn finish_new_child(
        &mut self,
        env: &mut Env<'_>,
        pending: PendingChild,
        response: CreateChildResponse,
    ) {
        match response {
            CreateChildResponse::Child(offer) => {
                if let Ok(agreed) = self.conclude(env, pending, offer, None) {
                    let spi_in = agreed.spi_in;
                    self.install(env, agreed);
                    self.use_outbound(env, spi_in);
                }
            }
            CreateChildResponse::Refused(notify) => {
                let Some((pending, notify)) = self.try_demanded_group(env, pending, notify) else {
                    return;
                };
                env.release_spi(pending.spi_in);
                if notify.kind == NotifyType::TEMPORARY_FAILURE {
                    return self.plan_again(env, Task::CreateChild, BUSY);
                }
                self.refused_by_peer(env, "a CHILD SA", &notify);
                self.plan_again(env, Task::CreateChild, CREATE_AGAIN);
            }
            CreateChildResponse::Ike(_) => {
                env.release_spi(pending.spi_in);
                self.end_malformed(env, &"an IKE SA where a CHILD SA was asked for");
            }
        }
    }

    /// Takes, as initiator, what the peer agreed to. When it is not what we
    /// offered, the peer is told to delete it.
    pub(super) fn conclude(
        &mut self,
        env: &mut Env<'_>,
        mut pending: PendingChild,
        offer: ChildOffer,
        replaces: Option<u32>,
    ) -> Result<NewChild, ()> {
        let answer = Answer {
            sa: &offer.sa,
            ts_i: &offer.ts_i,
            ts_r: &offer.ts_r,
        };
        let key_pair = pending.key_pair.take();
        let concluded = pending.accept(&answer).and_then(|choice| {
            let shared = agree_on(key_pair, choice.group, offer.ke.as_ref())?;
            Ok((choice, shared))
        });
        match concluded {
            Ok((choice, shared)) => {
                let nonces = Nonces {
                    initiator: pending.nonce.clone(),
                    responder: offer.nonce.clone(),
                };
                let keys = self
                    .keys
                    .source
                    .child_keys(choice.suite, &nonces, shared.as_ref());
                Ok(pending.into_child(&choice, &answer, keys, replaces))
            }
            Err(why) => {
                let why = format!("CHILD SA: {why}");
                env.refuse(Some(self.peer), &self.config.name, self.path.remote, why);
                env.release_spi(pending.spi_in);
                self.tasks.plan(Task::DeleteChild(pending.spi_in), env.now);
                Err(())
            }
        }
    }

    /// Asks again with the group that the peer demands. Gives the request back
    /// when that is not what it answered, or cannot be done.
    fn try_demanded_group(
        &mut self,
        env: &mut Env<'_>,
        pending: PendingChild,
        notify: Notify,
    ) -> Option<(PendingChild, Notify)> {
        match self.regroup(env, pending, &notify) {
            Ok(pending) => {
                let payloads = CreateChildRequest::New(pending.offer()).into_payloads();
                self.request(env, Active::CreateChild(pending), &payloads);
                None
            }
            Err(pending) => Some((pending, notify)),
        }
    }

    /// The pending CHILD SA with the group that INVALID_KE_PAYLOAD demands.
    pub(super) fn regroup(
        &self,
        env: &mut Env<'_>,
        pending: PendingChild,
        notify: &Notify,
    ) -> Result<PendingChild, PendingChild> {
        if notify.kind != NotifyType::INVALID_KE_PAYLOAD || self.phase != Phase::Up {
            return Err(pending);
        }
        pending.with_group(env, &self.config, demanded_group(notify))
    }

    /// Says what the peer refused, with what we had offered.
    pub(super) fn refused_by_peer(&self, env: &mut Env<'_>, what: &str, notify: &Notify) {
        let hint = match notify.kind {
            NotifyType::NO_PROPOSAL_CHOSEN | NotifyType::INVALID_KE_PAYLOAD => format!(
                "we offered {}; if the tunnel came up without it, compare the groups for PFS",
                describe_algorithms(&self.config)
            ),
            NotifyType::TS_UNACCEPTABLE => format!(
                "we offered {} to {}",
                list(&self.config.local_selectors),
                list(&self.config.remote_selectors)
            ),
            _ => "see the peer's log".to_owned(),
        };
        let why = format!("the peer refused {what} by {}: {hint}", notify.kind);
        env.refuse(Some(self.peer), &self.config.name, self.path.remote, why);
    }

    /// The initiator of an IKE SA asks for a CHILD SA again when there is none left.
    pub(super) fn restore_child(&mut self, env: &mut Env<'_>) {
        let any = self
            .children
            .values()
            .any(|child| child.phase == ChildPhase::Live);
        if !any && self.role == crate::event::Role::Initiator {
            self.tasks.plan(Task::CreateChild, env.now);
        }
    }

    /// The first CHILD SA was refused in IKE_AUTH: the initiator asks again later.
    pub(crate) fn create_child_later(&mut self, env: &mut Env<'_>) {
        self.plan_again(env, Task::CreateChild, CREATE_AGAIN);
    }

    /// Gives back what a request that will not be answered holds.
    fn abandon_unborn(&mut self, env: &mut Env<'_>) {
        if let Some(spi_in) = self.active.take().as_ref().and_then(Active::unborn) {
            env.release_spi(spi_in);
        }
    }
}

/// A CHILD SA that we agreed to as responder.
pub(super) struct Agreed {
    pub child: NewChild,
    pub nonces: Nonces,
    pub reply: Reply,
}

/// Our public value, and the secret shared with who sent `theirs`.
pub(super) fn respond_key_exchange(
    env: &mut Env<'_>,
    group: Group,
    theirs: &KeyExchange,
) -> Result<(KeyExchange, Secret), Reply> {
    let Some(pair) = generate(env, group) else {
        return Err(Reply::error(NotifyType::TEMPORARY_FAILURE));
    };
    let ke = public(&pair);
    match pair.agree(&theirs.data) {
        Ok(shared) => Ok((ke, shared)),
        Err(error) => Err(Reply::syntax(&error)),
    }
}

/// The secret shared with the responder that selected `group`.
fn agree_on(
    ours: Option<KeyPair>,
    group: Option<Group>,
    theirs: Option<&KeyExchange>,
) -> Result<Option<Secret>, String> {
    match (group, ours, theirs) {
        (None, _, _) => Ok(None),
        (Some(group), Some(pair), Some(theirs))
            if pair.group() == group && theirs.group == group.iana() =>
        {
            pair.agree(&theirs.data)
                .map(Some)
                .map_err(|e| e.to_string())
        }
        (Some(group), pair, theirs) => Err(format!(
            "the peer selected group {group} and sent a public value of {}, expected that of group {}",
            theirs.map_or("none".to_owned(), |ke| format!("group {}", ke.group)),
            pair.map_or("none".to_owned(), |pair| pair.group().to_string()),
        )),
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let names: Vec<_> = items.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn describe_algorithms(config: &PeerConfig) -> String {
    let groups = match config.esp.groups.as_slice() {
        [] => "no PFS".to_owned(),
        groups => format!("PFS with group {}", list(groups)),
    };
    format!(
        "{} with {}, {groups}",
        list(&config.esp.encryption),
        list(&config.esp.integrity)
    )
}
