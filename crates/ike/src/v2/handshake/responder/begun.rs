//! What every state of a half-open SA knows.

use std::time::Instant;

use vgw_crypto::IkeSuite;

use crate::core::event::SaId;
use crate::v2::channel::keys::{Nonces, SpiPair};
use crate::v2::channel::window::Window;
use crate::v2::handshake::nat::{AddressPair, NatDetection};

/// What is known from the IKE_SA_INIT request on.
pub(crate) struct Begun {
    pub(super) id: SaId,
    pub(super) spis: SpiPair,
    pub(super) suite: IkeSuite,
    pub(super) nonces: Nonces,
    pub(super) nat_detection: NatDetection,
    /// We said that there is a NAT before us.
    pub(super) pretend: bool,
    pub(super) at: AddressPair,
    pub(super) window: Window,
    /// AUTH covers it.
    pub(super) init_request: Vec<u8>,
    pub(super) began: Instant,
    pub(super) forget_at: Instant,
}
