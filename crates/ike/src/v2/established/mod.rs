//! An IKE SA whose peer is authenticated (RFC 7296 section 1.3 on): our requests wait as tasks for
//! the message window, the peer's requests are answered at once or when their key exchange is
//! computed.

mod address_change;
mod child;
mod close;
mod collision;
mod computing;
mod create_child;
mod effect;
mod exchange;
mod first_child;
mod informational;
mod inheritance;
mod key_exchange;
mod pending_child;
mod pending_ike;
mod probe;
mod rekey_child;
mod rekey_ike;
mod reply;
mod state;
mod state_loss;
mod tasks;
mod timers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vgw_crypto::IkeSuite;
use vgw_sa::{Path, TunnelId};

use self::address_change::AddressChange;
use self::child::Child;
use self::computing::{Answering, Concluding};
pub(crate) use self::create_child::{AskedFor, refusal_of_child};
pub(crate) use self::effect::Effect;
use self::inheritance::Inheritance;
pub(crate) use self::key_exchange::{demand_group, demanded, demanded_group};
pub(crate) use self::pending_child::PendingChild;
use self::reply::Reply;
pub use self::state::{BadState, IkeSaState};
use self::state_loss::StateLoss;
use self::tasks::{RequestInFlight, Task, Tasks};

use crate::core::drop_reason::DropReason;
use crate::core::env::{Env, Schedule};
use crate::core::event::{Diagnostic, Event, IkeDetails, Nat, Role, SaId};
use crate::peer::config::PeerConfig;
use crate::peer::identity::Identity;
use crate::v2::channel::keys::{IkeKeys, Nonces, SpiPair};
use crate::v2::channel::round_trip::RoundTrip;
use crate::v2::channel::window::{Answered, Window};
use crate::v2::handshake::auth::AuthProof;
use crate::v2::handshake::nat::{AddressPair, OwnNat};
use crate::v2::refusal::RefusalReason;

/// A peer may have this many CHILD SAs in one IKE SA, not counting those about to end.
const MAX_CHILDREN: usize = 16;
/// The limit that counts those too: a peer cannot rekey forever without deleting.
const MAX_CHILDREN_WITH_OLD: usize = 64;

/// An IKE SA after authentication. `K` is the form of its keys.
pub(crate) struct Established<K = IkeKeys> {
    id: SaId,
    peer: TunnelId,
    config: Arc<PeerConfig>,
    role: Role,
    spis: SpiPair,
    suite: IkeSuite,
    keys: K,
    nonces: Nonces,
    remote_id: Identity,
    // The identity that the peer's IDr asked for; logged if the peer does not accept ours.
    peers_id_r: Option<String>,
    path: Path,
    address_change: AddressChange,
    state_loss: StateLoss,
    nat: Nat,
    // Unlike `nat.local`, this does not include a NAT that we only pretend.
    own_nat: OwnNat,
    window: Window,
    phase: Phase,
    in_flight: Option<RequestInFlight>,
    answering: Option<Box<Answering>>,
    concluding: Option<Box<Concluding>>,
    tasks: Tasks,
    children: BTreeMap<u32, Child>,
    established_at: Instant,
    // None once the rekey is planned as a task or another SA replaced this one.
    rekey_at: Option<Instant>,
    expire_at: Instant,
    last_heard: Instant,
    next_keepalive: Option<Instant>,
    round_trip: Option<RoundTrip>,
    last_answer: Instant,
    // The next request is to be a probe.
    probe_wanted: bool,
    effects: Vec<Effect>,
}

/// The phase of an IKE SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In use.
    Up,
    /// The peer made it to rekey `old` while our own rekey is under way. Whether it survives is not
    /// decided (RFC 7296 section 2.8.2), and it has no CHILD SAs.
    Undecided {
        /// The SA that both sides rekey.
        old: SaId,
        /// When we give it up.
        until: Instant,
    },
    /// Rekeyed: its CHILD SAs belong to another IKE SA. The end that made the surviving SA deletes
    /// it; if that does not happen, we do.
    Replaced {
        /// When we delete it ourselves.
        until: Instant,
    },
    /// Its end was reported; we are telling the peer.
    Closing,
    /// The SA can be forgotten.
    Closed,
}

/// The fields of a new SA, without its first CHILD SA.
pub(crate) struct NewIkeSa {
    pub id: SaId,
    pub peer: TunnelId,
    pub config: Arc<PeerConfig>,
    pub role: Role,
    pub spis: SpiPair,
    pub suite: IkeSuite,
    pub keys: IkeKeys,
    /// The nonces of the exchange that made it.
    pub nonces: Nonces,
    pub remote_id: Identity,
    pub path: Path,
    pub nat: Nat,
    pub own_nat: OwnNat,
    pub window: Window,
}

impl Established {
    /// An SA whose peer has just authenticated.
    pub(crate) fn new(env: &mut Env<'_>, new_sa: NewIkeSa, _proof: &AuthProof) -> Self {
        Self::build(env, new_sa, Phase::Up)
    }

    fn build(env: &mut Env<'_>, mut from: NewIkeSa, phase: Phase) -> Self {
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
            peers_id_r: None,
            path: from.path,
            address_change: AddressChange::default(),
            state_loss: StateLoss::default(),
            nat: from.nat,
            own_nat: from.own_nat,
            window: from.window,
            phase,
            in_flight: None,
            answering: None,
            concluding: None,
            tasks: Tasks::default(),
            children: BTreeMap::new(),
            established_at: env.now,
            rekey_at: Some(rekey_at),
            expire_at,
            last_heard: env.now,
            next_keepalive,
            round_trip: None,
            last_answer: env.now,
            probe_wanted: false,
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

    /// Whether new keys can still be derived from this SA's keys.
    #[cfg(test)]
    pub(crate) fn has_source(&self) -> bool {
        self.keys.source.is_some()
    }

    /// The SPI by which the peer's messages name us.
    pub(crate) fn our_spi(&self) -> u64 {
        match self.role {
            Role::Initiator => self.spis.initiator,
            Role::Responder => self.spis.responder,
        }
    }

    /// Takes the effects that this SA asks of the endpoint, in order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Notes that the peer has just authenticated, in a handshake that began at `began`. `contact`
    /// is whether the peer says that it has no other IKE SA.
    pub(crate) fn came_up(&mut self, contact: bool, began: Instant) {
        self.effects.push(Effect::CameUp {
            sa: self.id,
            contact,
            began,
        });
    }

    /// The last answer, which is still repeated for a while after the SA's end.
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

    fn discard(&mut self, env: &mut Env<'_>, at: AddressPair, reason: DropReason) {
        env.drop_message_of(self.peer, at.remote, reason);
    }

    fn diagnose(&self, env: &mut Env<'_>, diagnostic: Diagnostic) {
        env.emit(Event::Diagnostic {
            peer: self.peer,
            sa: self.id,
            diagnostic,
        });
    }

    /// Reports that we or the peer refused something, and why.
    fn refuse(&self, env: &mut Env<'_>, why: impl Into<RefusalReason>) {
        env.refuse(Some(self.peer), &self.config.name, self.path.remote, why);
    }

    /// Reports and counts that we or the peer refused a rekey, and why.
    fn refuse_rekey(&self, env: &mut Env<'_>, why: impl Into<RefusalReason>) {
        let (peer, remote, why) = (self.peer, self.path.remote, why.into());
        let name = &self.config.name;
        tracing::debug!(peer = %name, %remote, "{name}: rekey with {remote} refused: {why}");
        env.count(peer, |c| c.rekeys_refused += 1);
        env.emit(Event::RekeyRefused { peer, remote, why });
    }

    fn way(&self) -> AddressPair {
        AddressPair {
            local: self.path.local,
            remote: self.path.remote,
        }
    }

    /// Plans a check of the peer's liveness for now.
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

    /// Changes the lifetimes and dead peer detection. A rekey that is under way goes on.
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

    fn plan_again(&mut self, env: &mut Env<'_>, task: Task, after: Duration) {
        let pause = env.jitter(after);
        self.tasks.plan(task, env.now + pause);
    }
}
