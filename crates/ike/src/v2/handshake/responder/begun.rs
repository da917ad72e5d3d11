//! What every state of a half-open IKE SA holds.

use std::time::Instant;

use vgw_crypto::IkeSuite;

use crate::core::event::SaId;
use crate::v2::channel::keys::{Nonces, SpiPair};
use crate::v2::channel::window::Window;
use crate::v2::handshake::nat::{AddressPair, NatDetection};

/// The fields that are known from the IKE_SA_INIT request on.
pub(crate) struct Begun {
    pub(super) id: SaId,
    pub(super) spis: SpiPair,
    pub(super) suite: IkeSuite,
    pub(super) nonces: Nonces,
    pub(super) nat_detection: NatDetection,
    /// Whether we pretended that there is a NAT before us.
    pub(super) pretend: bool,
    pub(super) at: AddressPair,
    pub(super) window: Window,
    /// Kept because AUTH covers it.
    pub(super) init_request: Vec<u8>,
    pub(super) began: Instant,
    pub(super) forget_at: Instant,
}
