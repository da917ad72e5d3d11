//! A rekey of an IKE SA that the peer has not answered yet.

use super::key_exchange::PreparedKey;
use crate::core::env::Env;
use crate::peer::config::IkeAlgorithms;
use crate::v2::messages::{CreateChildRequest, IkeOffer, Notifies};
use crate::v2::proposal;
use crate::v2::wire::{Payload, Proposal};

/// An IKE SA that we asked for.
pub(crate) struct PendingIke {
    pub(super) spi: u64,
    pub(super) nonce: Vec<u8>,
    pub(super) key: PreparedKey,
    pub(super) offered: Vec<Proposal>,
}

impl PendingIke {
    /// An IKE SA to ask for. None if there are no random numbers.
    pub(super) fn new(env: &mut Env<'_>, config: &IkeAlgorithms, key: PreparedKey) -> Option<Self> {
        let spi = env.ike_spi()?;
        Some(Self {
            spi,
            nonce: env.nonce()?,
            key,
            offered: proposal::offer_ike(config, Some(spi)),
        })
    }

    pub(super) fn payloads(&self) -> Vec<Payload> {
        CreateChildRequest::RekeyIke(IkeOffer {
            sa: self.offered.clone(),
            ke: self.key.payload(),
            nonce: self.nonce.clone(),
            notifies: Notifies::default(),
        })
        .into_payloads()
    }
}
