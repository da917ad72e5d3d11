//! An established IKE SA as plain data, and building one from plain data.
//!
//! The state is complete: keys, message windows, deadlines, tasks, CHILD SAs. It holds the bytes of
//! a request under way, because a message ID must never stand for two different requests (RFC 7296
//! section 2.2), and the private value that the request's answer needs. It holds the last answer
//! for a peer that repeats its request (section 2.1).
//!
//! A state is moved, never copied: two SAs built from one state would use an IV twice (RFC 5282
//! section 3.1). Its times are of this process's clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use vgw_crypto::{Group, IkeSuite, KeyPair, Secret};
use vgw_sa::{Path, TunnelId};

use super::address_change::AddressChange;
use super::child::Child;
use super::state_loss::StateLoss;
use super::tasks::{RequestInFlight, Tasks};
use super::{Established, Phase};
use crate::core::event::{Nat, Role, SaId};
use crate::peer::config::PeerConfig;
use crate::peer::identity::Identity;
use crate::v2::channel::keys::{IkeKeys, IkeKeysState, Nonces, SpiPair};
use crate::v2::channel::window::Window;
use crate::v2::handshake::nat::OwnNat;

/// An established IKE SA as plain data.
pub struct IkeSaState {
    id: SaId,
    peer: TunnelId,
    config: Arc<PeerConfig>,
    role: Role,
    spis: SpiPair,
    suite: IkeSuite,
    keys: IkeKeysState,
    nonces: Nonces,
    remote_id: Identity,
    peers_id_r: Option<String>,
    path: Path,
    address_change: AddressChange,
    state_loss: StateLoss,
    nat: Nat,
    own_nat: OwnNat,
    window: Window,
    phase: Phase,
    in_flight: Option<RequestInFlight<PrivateValue>>,
    tasks: Tasks,
    children: BTreeMap<u32, Child>,
    established_at: Instant,
    rekey_at: Option<Instant>,
    expire_at: Instant,
    last_heard: Instant,
    next_keepalive: Option<Instant>,
}

/// The private value from which a key pair can be made again.
struct PrivateValue {
    group: Group,
    private: Secret,
}

/// No IKE SA can be built from the state, because a key does not fit its algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key of the IKE SA does not fit its algorithm")]
pub struct BadState;

impl Established {
    /// The SA as plain data. Its effects were taken before.
    pub(crate) fn into_state(self) -> IkeSaState {
        let plain = |pair: KeyPair| {
            Some(PrivateValue {
                group: pair.group(),
                private: pair.private(),
            })
        };
        IkeSaState {
            id: self.id,
            peer: self.peer,
            config: self.config,
            role: self.role,
            spis: self.spis,
            suite: self.suite,
            keys: self.keys.into_state(),
            nonces: self.nonces,
            remote_id: self.remote_id,
            peers_id_r: self.peers_id_r,
            path: self.path,
            address_change: self.address_change,
            state_loss: self.state_loss,
            nat: self.nat,
            own_nat: self.own_nat,
            window: self.window,
            phase: self.phase,
            in_flight: self.in_flight.and_then(|request| request.map_key(plain)),
            tasks: self.tasks,
            children: self.children,
            established_at: self.established_at,
            rekey_at: self.rekey_at,
            expire_at: self.expire_at,
            last_heard: self.last_heard,
            next_keepalive: self.next_keepalive,
        }
    }

    /// Builds an SA from plain data.
    pub(crate) fn from_state(state: IkeSaState) -> Result<Self, BadState> {
        let pair = |value: PrivateValue| KeyPair::restore(value.group, &value.private);
        let in_flight = match state.in_flight {
            Some(request) => Some(request.map_key(pair).ok_or(BadState)?),
            None => None,
        };
        Ok(Self {
            id: state.id,
            peer: state.peer,
            config: state.config,
            role: state.role,
            spis: state.spis,
            suite: state.suite,
            keys: IkeKeys::from_state(state.suite, state.keys).map_err(|_| BadState)?,
            nonces: state.nonces,
            remote_id: state.remote_id,
            peers_id_r: state.peers_id_r,
            path: state.path,
            address_change: state.address_change,
            state_loss: state.state_loss,
            nat: state.nat,
            own_nat: state.own_nat,
            window: state.window,
            phase: state.phase,
            in_flight,
            tasks: state.tasks,
            children: state.children,
            established_at: state.established_at,
            rekey_at: state.rekey_at,
            expire_at: state.expire_at,
            last_heard: state.last_heard,
            next_keepalive: state.next_keepalive,
            effects: Vec::new(),
        })
    }

    /// The inbound SPIs of its CHILD SAs.
    pub(crate) fn inbound_spis(&self) -> impl Iterator<Item = u32> {
        self.children.keys().copied()
    }
}
