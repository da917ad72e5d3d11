//! An established IKE SA as plain data, and building one from plain data.
//!
//! The state is complete: keys, message windows, deadlines, tasks, CHILD SAs. It holds the bytes of
//! a request under way, because a message ID must never stand for two different requests (RFC 7296
//! section 2.2), and the private value that the request's answer needs. It holds the last answer
//! for a peer that repeats its request (section 2.1), and the inputs of the jobs that the SA waits
//! for ([`super::computing`]).
//!
//! A state is moved, never copied: two SAs built from one state would use an IV twice (RFC 5282
//! section 3.1). Its times are of this process's clock.

use std::convert::Infallible;

use super::Established;
use crate::v2::channel::keys::{IkeKeys, IkeKeysState};

/// An established IKE SA as plain data.
pub struct IkeSaState(Established<IkeKeysState>);

/// No IKE SA can be built from the state, because a key does not fit its algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key of the IKE SA does not fit its algorithm")]
pub struct BadState;

impl Established {
    /// The SA as plain data. Its effects were taken before.
    pub(crate) fn into_state(self) -> IkeSaState {
        let Ok(state) = self.map_keys(|keys| Ok::<_, Infallible>(keys.into_state()));
        IkeSaState(state)
    }

    /// Builds an SA from plain data.
    pub(crate) fn from_state(IkeSaState(state): IkeSaState) -> Result<Self, BadState> {
        let suite = state.suite;
        state.map_keys(|keys| IkeKeys::from_state(suite, keys).map_err(|_| BadState))
    }

    /// The inbound SPIs of its CHILD SAs.
    pub(crate) fn inbound_spis(&self) -> impl Iterator<Item = u32> {
        self.children.keys().copied()
    }
}

impl<K> Established<K> {
    /// The same with another form of its keys.
    fn map_keys<L, E>(self, map: impl FnOnce(K) -> Result<L, E>) -> Result<Established<L>, E> {
        Ok(Established {
            id: self.id,
            peer: self.peer,
            config: self.config,
            role: self.role,
            spis: self.spis,
            suite: self.suite,
            keys: map(self.keys)?,
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
            in_flight: self.in_flight,
            answering: self.answering,
            concluding: self.concluding,
            tasks: self.tasks,
            children: self.children,
            established_at: self.established_at,
            rekey_at: self.rekey_at,
            expire_at: self.expire_at,
            last_heard: self.last_heard,
            next_keepalive: self.next_keepalive,
            round_trip: self.round_trip,
            last_answer: self.last_answer,
            probe_wanted: self.probe_wanted,
            effects: Vec::new(),
        })
    }
}
