//! A rekey of an IKE SA that the peer has not answered yet.

use vgw_crypto::{Group, KeyPair};

use super::pending_child::public;
use crate::core::env::Env;
use crate::peer::config::IkeAlgorithms;
use crate::v2::messages::{CreateChildRequest, IkeOffer, Notifies};
use crate::v2::proposal;
use crate::v2::wire::{Payload, Proposal};

/// An IKE SA that we asked for. `K` is the key pair, or its private value as plain data.
pub(crate) struct PendingIke<K = KeyPair> {
    pub(super) spi: u64,
    pub(super) nonce: Vec<u8>,
    pub(super) key_pair: K,
    pub(super) offered: Vec<Proposal>,
    pub(super) group_changes: u8,
}

impl PendingIke {
    /// What to ask for. None when there are no random numbers.
    pub(super) fn new(env: &mut Env<'_>, config: &IkeAlgorithms, group: Group) -> Option<Self> {
        let key_pair = env.key_pair(group)?;
        let spi = env.ike_spi()?;
        Some(Self {
            spi,
            nonce: env.nonce()?,
            key_pair,
            offered: proposal::offer_ike(config, Some(spi)),
            group_changes: 0,
        })
    }

    pub(super) fn payloads(&self) -> Vec<Payload> {
        CreateChildRequest::RekeyIke(IkeOffer {
            sa: self.offered.clone(),
            ke: public(&self.key_pair),
            nonce: self.nonce.clone(),
            notifies: Notifies::default(),
        })
        .into_payloads()
    }
}

impl<K> PendingIke<K> {
    /// The same with another form of the key pair.
    pub(super) fn map_key<L>(self, map: impl FnOnce(K) -> Option<L>) -> Option<PendingIke<L>> {
        Some(PendingIke {
            spi: self.spi,
            nonce: self.nonce,
            key_pair: map(self.key_pair)?,
            offered: self.offered,
            group_changes: self.group_changes,
        })
    }
}
