//! An IKE SA whose peer is authenticated (RFC 7296 section 1.3 on): requests
//! go out as tasks behind the message window, the peer's are answered at once.

mod address_change;
mod child;
mod close;
mod collision;
mod create_child;
mod effect;
mod first_child;
mod informational;
mod liveness;
mod pending;
mod pending_ike;
mod rekey_child;
mod rekey_ike;
mod state_loss;
mod tasks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vgw_crypto::IkeSuite;
use vgw_sa::{Path, TunnelId};

use self::address_change::AddressChange;
use self::child::Child;
pub(crate) use self::create_child::{AskedFor, refusal_of_child};
pub(crate) use self::effect::Effect;
pub(crate) use self::pending::{PendingChild, demand_group, demanded, demanded_group, public};
use self::state_loss::StateLoss;
use self::tasks::{Active, Task, Tasks};

use crate::core::denial::Denial;
use crate::core::env::{Env, Schedule};
use crate::core::event::{Diagnostic, DownReason, Event, IkeDetails, Nat, Role, SaId};
use crate::peer::config::PeerConfig;
use crate::peer::identity::Identity;
use crate::v2::channel::keys::{IkeKeys, Nonces, SpiPair};
use crate::v2::channel::window::{Answered, Incoming, Window};
use crate::v2::handshake::auth::Authenticated;
use crate::v2::handshake::nat::{AddressPair, OwnNat};
use crate::v2::messages::grammar::GrammarError;
use crate::v2::messages::{CreateChildRequest, CreateChildResponse, Informational};
use crate::v2::why::Why;
use crate::v2::wire::{
    ClearMessage, DecodeError, ExchangeType, Header, Notify, NotifyType, Payload, decode_payloads,
};

/// A peer may have this many CHILD SAs in one IKE SA, those about to end not counted.
const MAX_CHILDREN: usize = 16;
/// And this many with those: rekeying without deleting must come to an end.
const MAX_CHILDREN_WITH_OLD: usize = 64;

/// An IKE SA after authentication.
pub(crate) struct Established {
    id: SaId,
    peer: TunnelId,
    config: Arc<PeerConfig>,
    role: Role,
    spis: SpiPair,
    suite: IkeSuite,
    keys: IkeKeys,
    nonces: Nonces,
    remote_id: Identity,
    // Whom the peer's IDr asked for, in case it does not accept who we are.
    asked_for: Option<String>,
    path: Path,
    address_change: AddressChange,
    state_loss: StateLoss,
    nat: Nat,
    // Unlike `nat.local`, without what we only pretend.
    own_nat: OwnNat,
    window: Window,
    phase: Phase,
    active: Option<Active>,
    tasks: Tasks,
    children: BTreeMap<u32, Child>,
    established_at: Instant,
    // None once the rekey is planned as a task or another SA took over.
    rekey_at: Option<Instant>,
    expire_at: Instant,
    last_heard: Instant,
    next_keepalive: Option<Instant>,
    effects: Vec<Effect>,
}

/// Where an IKE SA stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In use.
    Up,
    /// Made by the peer's rekey of `old` while ours is under way: whether it
    /// survives is not decided (RFC 7296 section 2.8.2). It has no CHILD SAs.
    Candidate {
        /// The SA that both sides rekey.
        old: SaId,
        /// When it is given up.
        until: Instant,
    },
    /// Rekeyed: its CHILD SAs belong to another. Whoever made the surviving SA
    /// deletes it; we do at the latest then.
    Replaced {
        /// When we delete it ourselves.
        until: Instant,
    },
    /// Its end was reported; the peer is being told.
    Closing,
    /// To be forgotten.
    Closed,
}

/// What an SA is made of, apart from its first CHILD SA.
pub(crate) struct Foundation {
    pub id: SaId,
    pub peer: TunnelId,
    pub config: Arc<PeerConfig>,
    pub role: Role,
    pub spis: SpiPair,
    pub suite: IkeSuite,
    pub keys: IkeKeys,
    /// Of the exchange that made it.
    pub nonces: Nonces,
    pub remote_id: Identity,
    pub path: Path,
    pub nat: Nat,
    pub own_nat: OwnNat,
    pub window: Window,
}

/// What answers a request, and what follows.
struct Reply {
    payloads: Vec<Payload>,
    then: AfterReply,
}

/// What follows an answer.
enum AfterReply {
    Continue,
    /// The SA ends without a word more.
    End(DownReason),
}

impl Reply {
    fn new(payloads: Vec<Payload>) -> Self {
        Self {
            payloads,
            then: AfterReply::Continue,
        }
    }

    fn notify(notify: Notify) -> Self {
        Self::new(vec![Payload::Notify(notify)])
    }

    fn error(kind: NotifyType) -> Self {
        Self::notify(Notify::new(kind, Vec::new()))
    }

    /// RFC 7296 section 2.21.3: INVALID_SYNTAX ends the SA on both sides.
    fn syntax(why: &dyn std::fmt::Display) -> Self {
        Self {
            then: AfterReply::End(DownReason::Refused(format!("malformed message: {why}"))),
            ..Self::error(NotifyType::INVALID_SYNTAX)
        }
    }
}

impl From<&GrammarError> for Reply {
    fn from(error: &GrammarError) -> Self {
        let notify = error.notify();
        if notify.kind == NotifyType::INVALID_SYNTAX {
            return Self::syntax(error);
        }
        Self::notify(notify)
    }
}

enum OpenError {
    Forged,
    Malformed(DecodeError),
}

impl Established {
    /// An SA whose peer has just shown who it is.
    pub(crate) fn new(env: &mut Env<'_>, foundation: Foundation, _proof: &Authenticated) -> Self {
        Self::build(env, foundation, Phase::Up)
    }

    fn build(env: &mut Env<'_>, mut from: Foundation, phase: Phase) -> Self {
        if phase == Phase::Closing {
            from.keys.forget_source();
        }
        let Schedule {
            rekey_at,
            expire_at,
        } = env.schedule(from.config.ike_lifetime);
        let behind_nat = from.own_nat != OwnNat::Absent;
        let next_keepalive = behind_nat.then(|| env.now + env.limits().nat_keepalive);
        Self {
            id: from.id,
            peer: from.peer,
            config: from.config,
            role: from.role,
            spis: from.spis,
            suite: from.suite,
            keys: from.keys,
            nonces: from.nonces,
            remote_id: from.remote_id,
            asked_for: None,
            path: from.path,
            address_change: AddressChange::default(),
            state_loss: StateLoss::default(),
            nat: from.nat,
            own_nat: from.own_nat,
            window: from.window,
            phase,
            active: None,
            tasks: Tasks::default(),
            children: BTreeMap::new(),
            established_at: env.now,
            rekey_at: Some(rekey_at),
            expire_at,
            last_heard: env.now,
            next_keepalive,
            effects: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> SaId {
        self.id
    }

    pub(crate) fn peer(&self) -> TunnelId {
        self.peer
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.path.remote
    }

    pub(crate) fn nonces(&self) -> &Nonces {
        &self.nonces
    }

    pub(crate) fn established_at(&self) -> Instant {
        self.established_at
    }

    pub(crate) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether keys can still be made of this SA's.
    #[cfg(test)]
    pub(crate) fn has_source(&self) -> bool {
        self.keys.source.is_some()
    }

    /// The SPI that the peer's messages name us by.
    pub(crate) fn our_spi(&self) -> u64 {
        match self.role {
            Role::Initiator => self.spis.initiator,
            Role::Responder => self.spis.responder,
        }
    }

    /// Takes what others have to do, in order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// It has just authenticated its peer, in a handshake that began then. `contact` is
    /// whether the peer says it has no other IKE SA.
    pub(crate) fn came_up(&mut self, contact: bool, began: Instant) {
        self.effects.push(Effect::CameUp {
            sa: self.id,
            contact,
            began,
        });
    }

    /// Its last answer, to be repeated for a while after its end.
    pub(crate) fn into_answered(self) -> Option<Answered> {
        self.window.into_answered()
    }

    /// Reports the SA as up.
    pub(crate) fn announce(&mut self, env: &mut Env<'_>, replaces: Option<SaId>) {
        if let Some(keys) = self.keys.log.take() {
            env.emit(Event::IkeKeys {
                peer: self.peer,
                sa: self.id,
                spi_i: self.spis.initiator,
                spi_r: self.spis.responder,
                suite: self.suite,
                keys,
            });
        }
        env.emit(Event::IkeUp {
            peer: self.peer,
            sa: self.id,
            details: IkeDetails {
                role: self.role,
                spi_i: self.spis.initiator,
                spi_r: self.spis.responder,
                suite: self.suite,
                nat: self.nat,
                path: self.path,
                remote_id: self.remote_id.clone(),
            },
            replaces,
        });
        if replaces.is_none()
            && self.own_nat == OwnNat::Unknown
            && let Some(public) = self.config.public
        {
            self.diagnose(env, Diagnostic::OtherNat(public));
        }
    }

    /// A message for this SA.
    pub(crate) fn handle_message(
        &mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        message: &ClearMessage,
        datagram: &[u8],
    ) {
        let header = &message.header;
        let spis = SpiPair {
            initiator: header.spi_i,
            responder: header.spi_r,
        };
        let from_initiator = self.role == Role::Responder;
        if spis != self.spis || header.initiator != from_initiator {
            return self.discard(env, at, Denial::WrongSpis);
        }
        if message.sealed.is_none() {
            self.handle_unprotected(env, at, message);
        } else if header.response {
            self.handle_response(env, at, message, datagram);
        } else {
            self.handle_request(env, at, message, datagram);
        }
        self.advance(env);
    }

    fn handle_request(
        &mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        message: &ClearMessage,
        datagram: &[u8],
    ) {
        match self.window.classify(message.header.message_id, datagram) {
            Incoming::Fresh => {}
            Incoming::Again(response) => {
                env.send(at, response.clone());
                env.count(self.peer, |c| c.duplicates += 1);
                return;
            }
            Incoming::OutOfWindow => return self.discard(env, at, Denial::WrongId),
        }
        let payloads = match self.open(message, datagram) {
            Ok(payloads) => payloads,
            Err(OpenError::Forged) => return self.discard(env, at, Denial::NotAuthentic),
            Err(OpenError::Malformed(error)) => {
                return self.answer(env, at, message, datagram, Reply::syntax(&error));
            }
        };
        let reply = match message.header.exchange {
            ExchangeType::CREATE_CHILD_SA => {
                match CreateChildRequest::parse(&message.payloads, payloads) {
                    Ok(_) if self.is_undecided() => return self.postpone(env, at),
                    Ok(request) => self.answer_create_child(env, request),
                    Err(error) => Reply::from(&error),
                }
            }
            ExchangeType::INFORMATIONAL => {
                match Informational::parse(&message.payloads, payloads) {
                    Ok(request) if self.is_undecided() && request.names_children() => {
                        return self.postpone(env, at);
                    }
                    Ok(request) => self.answer_informational(env, request),
                    Err(error) => Reply::from(&error),
                }
            }
            _ => return self.discard(env, at, Denial::OutOfPlace),
        };
        self.note_authentic(env, at);
        self.answer(env, at, message, datagram, reply);
    }

    fn handle_response(
        &mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        message: &ClearMessage,
        datagram: &[u8],
    ) {
        let header = &message.header;
        let asked = self.active.as_ref().map(Active::exchange);
        if !self.window.awaits(header.message_id) || asked != Some(header.exchange) {
            return self.discard(env, at, Denial::NotAwaited);
        }
        let payloads = match self.open(message, datagram) {
            Ok(payloads) => payloads,
            Err(OpenError::Forged) => return self.discard(env, at, Denial::NotAuthentic),
            Err(OpenError::Malformed(error)) => return self.end_malformed(env, &error),
        };
        self.window.acknowledge();
        self.note_response(env, at);
        let Some(active) = self.active.take() else {
            return;
        };
        match header.exchange {
            ExchangeType::CREATE_CHILD_SA => {
                match CreateChildResponse::parse(&message.payloads, payloads) {
                    Ok(response) => self.finish_create_child(env, active, response),
                    Err(error) => {
                        self.active = Some(active);
                        self.end_malformed(env, &error);
                    }
                }
            }
            _ => match Informational::parse(&message.payloads, payloads) {
                Ok(response) => self.finish_informational(env, active, &response),
                Err(error) => self.end_malformed(env, &error),
            },
        }
    }

    /// RFC 7296 section 2.21.4 allows no answer to a response; the SA is deleted.
    fn end_malformed(&mut self, env: &mut Env<'_>, error: &dyn std::fmt::Display) {
        self.window.acknowledge();
        let reason = DownReason::Refused(format!("malformed response: {error}"));
        self.close(env, reason, true);
    }

    /// Whether it may turn out that this SA was never used.
    fn is_undecided(&self) -> bool {
        matches!(self.phase, Phase::Candidate { .. })
    }

    /// Leaves a request unanswered that can be judged only once the collision
    /// is decided; the peer asks again.
    fn postpone(&mut self, env: &mut Env<'_>, at: AddressPair) {
        self.discard(env, at, Denial::Undecided);
    }

    fn discard(&mut self, env: &mut Env<'_>, at: AddressPair, denial: Denial) {
        env.deny_peer(self.peer, at.remote, denial);
    }

    fn diagnose(&self, env: &mut Env<'_>, diagnostic: Diagnostic) {
        env.emit(Event::Diagnostic {
            peer: self.peer,
            sa: self.id,
            diagnostic,
        });
    }

    /// Says that something was refused, by us or by the peer, and why.
    fn refuse(&self, env: &mut Env<'_>, why: impl Into<Why>) {
        env.refuse(Some(self.peer), &self.config.name, self.path.remote, why);
    }

    /// Says and counts that a rekey was refused, by us or by the peer, and why.
    fn refuse_rekey(&self, env: &mut Env<'_>, why: impl Into<Why>) {
        let (peer, remote, why) = (self.peer, self.path.remote, why.into());
        let name = &self.config.name;
        tracing::debug!(peer = %name, %remote, "{name}: rekey with {remote} refused: {why}");
        env.count(peer, |c| c.rekeys_refused += 1);
        env.emit(Event::RekeyRefused { peer, remote, why });
    }

    fn open(&self, message: &ClearMessage, datagram: &[u8]) -> Result<Vec<Payload>, OpenError> {
        let sealed = message.sealed.as_ref().ok_or(OpenError::Forged)?;
        let plaintext = self
            .keys
            .open
            .open(datagram, sealed)
            .map_err(|_| OpenError::Forged)?;
        decode_payloads(sealed.first, &plaintext).map_err(OpenError::Malformed)
    }

    fn answer(
        &mut self,
        env: &mut Env<'_>,
        at: AddressPair,
        request: &ClearMessage,
        datagram: &[u8],
        reply: Reply,
    ) {
        let header = self.header(request.header.exchange, request.header.message_id, true);
        let response = self.keys.seal.seal(&header, &reply.payloads);
        env.send(at, response.clone());
        self.window.answered(datagram, response);
        if let AfterReply::End(reason) = reply.then {
            self.close(env, reason, false);
        }
    }

    fn header(&self, exchange: ExchangeType, message_id: u32, response: bool) -> Header {
        Header {
            spi_i: self.spis.initiator,
            spi_r: self.spis.responder,
            exchange,
            initiator: self.role == Role::Initiator,
            response,
            message_id,
        }
    }

    fn way(&self) -> AddressPair {
        AddressPair {
            local: self.path.local,
            remote: self.path.remote,
        }
    }

    /// Starts the next task, if the window allows one.
    pub(crate) fn advance(&mut self, env: &mut Env<'_>) {
        while self.window.is_idle() && self.active.is_none() && !self.is_closed() {
            if self.probe_new_address(env) {
                return;
            }
            let Some(task) = self.tasks.take_due(env.now) else {
                return;
            };
            let Some((active, payloads)) = self.start(env, task) else {
                continue;
            };
            self.request(env, active, &payloads);
        }
    }

    fn request(&mut self, env: &mut Env<'_>, active: Active, payloads: &[Payload]) {
        self.request_by(env, self.way(), active, payloads);
    }

    fn request_by(
        &mut self,
        env: &mut Env<'_>,
        way: AddressPair,
        active: Active,
        payloads: &[Payload],
    ) {
        let header = self.header(active.exchange(), self.window.next_request(), false);
        let message = self.keys.seal.seal(&header, payloads);
        env.send(way, message.clone());
        let limits = env.limits();
        self.window.sent(env.now, &limits, message);
        self.active = Some(active);
    }

    fn start(&mut self, env: &mut Env<'_>, task: Task) -> Option<(Active, Vec<Payload>)> {
        match task {
            Task::DeleteUnauthenticated => Some(informational::unauthenticated()),
            Task::DeleteIke => Some(informational::delete_ike()),
            Task::DeleteChild(spi_in) => Some(informational::delete_child(spi_in)),
            Task::CreateChild => self.start_create_child(env),
            Task::RekeyChild(spi_in) => self.start_rekey_child(env, spi_in),
            Task::RekeyIke => self.start_rekey_ike(env),
            Task::GiveToken => self.start_give_token(env),
            Task::InvalidSpi(spi) => Some(state_loss::invalid_spi(spi)),
            Task::Liveness => Some(informational::liveness()),
        }
    }

    /// Asks for a sign of life.
    pub(crate) fn check_liveness(&mut self, env: &mut Env<'_>) {
        if self.phase == Phase::Up {
            self.tasks.plan(Task::Liveness, env.now);
            self.advance(env);
        }
    }

    /// Plans the rekey of the IKE SA for now.
    pub(crate) fn rekey_ike(&mut self, env: &mut Env<'_>) {
        if self.phase == Phase::Up {
            self.rekey_at = None;
            self.tasks.plan(Task::RekeyIke, env.now);
            self.advance(env);
        }
    }

    /// Plans the rekey of a CHILD SA for now.
    pub(crate) fn rekey_child(&mut self, env: &mut Env<'_>, spi_in: u32) {
        if let Some(child) = self.children.get_mut(&spi_in) {
            child.rekey_at = None;
            self.tasks.plan(Task::RekeyChild(spi_in), env.now);
            self.advance(env);
        }
    }

    /// Goes on with other lifetimes and another dead peer detection. What is being
    /// rekeyed already goes on being so.
    pub(crate) fn retime(&mut self, env: &mut Env<'_>, config: &Arc<PeerConfig>) {
        let before = std::mem::replace(&mut self.config, Arc::clone(config));
        if before.ike_lifetime != config.ike_lifetime {
            let Schedule {
                rekey_at,
                expire_at,
            } = env.reschedule(self.established_at, config.ike_lifetime);
            self.rekey_at = self.rekey_at.and(Some(rekey_at));
            self.expire_at = expire_at;
        }
        if before.child_lifetime == config.child_lifetime {
            return;
        }
        for child in self.children.values_mut() {
            let Schedule {
                rekey_at,
                expire_at,
            } = env.reschedule(child.installed_at, config.child_lifetime);
            child.rekey_at = child.rekey_at.and(Some(rekey_at));
            child.expire_at = expire_at;
        }
    }

    /// What an SA that replaces this one takes over.
    pub(crate) fn hand_over(&mut self) -> Inheritance {
        Inheritance {
            children: std::mem::take(&mut self.children),
            tasks: self.tasks.take_child_tasks(),
            path: self.path,
            next_keepalive: self.next_keepalive,
        }
    }

    /// Becomes the SA in use instead of `old`.
    pub(crate) fn take_over(&mut self, env: &mut Env<'_>, old: SaId, from: Inheritance) {
        self.phase = Phase::Up;
        self.path = from.path;
        self.next_keepalive = from.next_keepalive;
        for &spi_in in from.children.keys() {
            env.core.owner.insert(spi_in, self.id);
        }
        self.children.extend(from.children);
        for (task, at) in from.tasks {
            self.tasks.plan(task, at);
        }
        env.count(self.peer, |c| c.ike_rekeys += 1);
        self.announce(env, Some(old));
        self.give_token_later(env);
        self.advance(env);
    }

    /// The peer closed its SA of a collision: ours will survive.
    pub(crate) fn candidate_gone(&mut self, gone: SaId) {
        if let Some(Active::RekeyIke { collision, .. }) = &mut self.active
            && collision.as_ref().is_some_and(|c| c.candidate == gone)
        {
            *collision = None;
        }
    }

    fn plan_again(&mut self, env: &mut Env<'_>, task: Task, after: Duration) {
        let pause = env.jitter(after);
        self.tasks.plan(task, env.now + pause);
    }
}

/// What passes from a rekeyed IKE SA to its successor.
pub(crate) struct Inheritance {
    children: BTreeMap<u32, Child>,
    tasks: Vec<(Task, Instant)>,
    path: Path,
    next_keepalive: Option<Instant>,
}
