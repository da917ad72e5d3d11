//! Proposals: what to offer, what to select, and whether a selection is ours.

use vgw_crypto::{EspSuite, Group, IkeSuite};

use crate::config::{EspAlgorithms, IkeAlgorithms};
use crate::wire::Proposal;

/// No proposal is acceptable to both sides; says the first kind of transform
/// without a common value, what the peer offers and what we accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mismatch(String);

/// A proposal selected for an IKE SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeChoice {
    /// The algorithms.
    pub suite: IkeSuite,
    /// The peer's SPI, when it is a rekey.
    pub spi: Option<u64>,
    /// The proposal to answer with, as the peer numbered it; its SPI is empty.
    pub answer: Proposal,
}

/// A proposal selected for a CHILD SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspChoice {
    /// The algorithms.
    pub suite: EspSuite,
    /// The group of PFS; None: no key exchange.
    pub group: Option<Group>,
    /// The peer's inbound SPI.
    pub spi: u32,
    /// The proposal to answer with, as the peer numbered it; its SPI is empty.
    pub answer: Proposal,
}

/// The proposals of an IKE SA, in our order of preference. `spi`: our SPI of
/// the new SA in a rekey, None in IKE_SA_INIT.

#[must_use]
pub fn offer_ike(_ours: &IkeAlgorithms, _spi: Option<u64>) -> Vec<Proposal> {
    unimplemented!()
}

/// The proposals of a CHILD SA, in our order of preference, with our inbound
/// SPI. `with_groups` is false in IKE_AUTH, where there is no key exchange
/// (RFC 7296 section 1.2).
#[must_use]
pub fn offer_esp(_ours: &EspAlgorithms, _spi: u32, _with_groups: bool) -> Vec<Proposal> {
    unimplemented!()
}

/// Selects, as responder, from the peer's proposals by our preference.
///
/// # Errors
/// When nothing is common.
pub fn select_ike(_ours: &IkeAlgorithms, _offered: &[Proposal]) -> Result<IkeChoice, Mismatch> {
    unimplemented!()
}

/// Selects, as responder, from the peer's proposals by our preference.
/// `with_groups` is false in IKE_AUTH: D-H transforms are then ignored.
///
/// # Errors
/// When nothing is common.
pub fn select_esp(
    _ours: &EspAlgorithms,
    _offered: &[Proposal],
    _with_groups: bool,
) -> Result<EspChoice, Mismatch> {
    unimplemented!()
}

/// Checks, as initiator, that a response selects exactly one of what
/// [`offer_ike`] offered.
///
/// # Errors
/// When it does not.
pub fn accept_ike(_offered: &[Proposal], _answer: &[Proposal]) -> Result<IkeChoice, Mismatch> {
    unimplemented!()
}

/// Checks, as initiator, that a response selects exactly one of what
/// [`offer_esp`] offered.
///
/// # Errors
/// When it does not.
pub fn accept_esp(_offered: &[Proposal], _answer: &[Proposal]) -> Result<EspChoice, Mismatch> {
    unimplemented!()
}
