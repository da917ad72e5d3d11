//! Proposals: making an offer, selecting from one, and checking a selection (RFC 7296 sections 2.7
//! and 3.3).

use vgw_crypto::{Encryption, EspSuite, Group, IkeSuite, Integrity, Prf};

use crate::peer::config::{EspAlgorithms, IkeAlgorithms};
use crate::v2::wire::{Proposal, ProtocolId, Transform, TransformType};

mod accept;
mod brief;
mod names;
mod select;
mod select_for_several;
#[cfg(test)]
mod tests;

pub use accept::{accept_esp, accept_ike};
pub(crate) use brief::{brief_esp, brief_ike, instead_of};
pub use select::{select_esp, select_ike};
pub(crate) use select_for_several::{permits, select_for_several};

/// The name of a key exchange method, for logs, by its number.
pub(crate) fn group_name(id: u16) -> String {
    names::key_exchange(id)
}

/// Transform ID 0 of the types integrity and key exchange: NONE.
const NONE: u16 = 0;

/// Why proposals and our configuration do not match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The first type of transform without a common value, in the proposals that matched best.
    #[error(
        "no common {kind}: peer offers {offered}; we accept {accepted}{}",
        nor(further)
    )]
    NoCommon {
        /// The type.
        kind: TransformType,
        /// The peer's values, by name.
        offered: String,
        /// Ours.
        accepted: String,
        /// The later types in which those proposals have nothing in common with ours either.
        further: Vec<TransformType>,
    },
    /// Not one of the proposals can be considered.
    #[error("no usable proposal: {why}")]
    Unusable {
        /// Each proposal's defect.
        why: String,
    },
    /// A response selects what we did not offer.
    #[error("peer selects {selected}; we offered {offered}")]
    NotOffered {
        /// The peer's selection.
        selected: String,
        /// The proposal of ours that comes closest.
        offered: String,
    },
}

impl Mismatch {
    /// Whether everything but the groups matches.
    pub(crate) fn is_about_groups(&self) -> bool {
        matches!(
            self,
            Self::NoCommon {
                kind: TransformType::KEY_EXCHANGE,
                further,
                ..
            } if further.is_empty()
        )
    }
}

fn nor(further: &[TransformType]) -> String {
    if further.is_empty() {
        return String::new();
    }
    let kinds: Vec<String> = further.iter().map(ToString::to_string).collect();
    format!("; nor a common {}", kinds.join(", "))
}

/// A proposal selected for an IKE SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeChoice {
    /// The algorithms.
    pub suite: IkeSuite,
    /// The peer's SPI of the new SA, if this is a rekey.
    pub spi: Option<u64>,
    /// The proposal to answer with, numbered as the peer numbered it. Its SPI is empty: in a rekey,
    /// put our SPI there.
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
    /// The proposal to answer with, numbered as the peer numbered it. Its SPI is empty: put our
    /// inbound SPI there.
    pub answer: Proposal,
}

/// The proposals of an IKE SA, in our order of preference. `spi` is our SPI of the new SA in a
/// rekey, None in IKE_SA_INIT.
#[must_use]
pub fn offer_ike(ours: &IkeAlgorithms, spi: Option<u64>) -> Vec<Proposal> {
    let spi = spi
        .map(|spi| spi.to_be_bytes().to_vec())
        .unwrap_or_default();
    let rest: Vec<Transform> = ours
        .prf
        .iter()
        .map(|&p| prf(p))
        .chain(ours.groups.iter().map(|&g| group(g)))
        .collect();
    offer(
        ProtocolId::IKE,
        &spi,
        &ours.encryption,
        &ours.integrity,
        &rest,
    )
}

/// The proposals of a CHILD SA, in our order of preference, with our inbound SPI. `with_groups` is
/// false in IKE_AUTH, which has no key exchange (RFC 7296 section 1.2).
#[must_use]
pub fn offer_esp(ours: &EspAlgorithms, spi: u32, with_groups: bool) -> Vec<Proposal> {
    let groups = if with_groups {
        ours.groups.as_slice()
    } else {
        &[]
    };
    let rest: Vec<Transform> = groups
        .iter()
        .map(|&g| group(g))
        .chain(ours.esn.iter().map(|&e| esn(e)))
        .collect();
    offer(
        ProtocolId::ESP,
        &spi.to_be_bytes(),
        &ours.encryption,
        &ours.integrity,
        &rest,
    )
}

/// RFC 7296 section 3.3: AEAD ciphers are in proposals of their own, without integrity transforms.
/// A new proposal begins wherever our list changes between AEAD and other ciphers, so that the
/// order of the list is kept.
fn offer(
    protocol: ProtocolId,
    spi: &[u8],
    ciphers: &[Encryption],
    macs: &[Integrity],
    rest: &[Transform],
) -> Vec<Proposal> {
    let runs = ciphers.chunk_by(|a, b| a.is_aead() == b.is_aead());
    let of_run = |(number, run): (u8, &[Encryption])| {
        let aead = run.iter().any(|e| e.is_aead());
        let macs = if aead { &[] } else { macs };
        let transforms = run
            .iter()
            .map(|&e| encryption(e))
            .chain(macs.iter().map(|&i| integrity(i)));
        Proposal {
            number,
            protocol,
            spi: spi.to_vec(),
            transforms: transforms.chain(rest.iter().copied()).collect(),
        }
    };
    (1..=u8::MAX).zip(runs).map(of_run).collect()
}

fn transform(kind: TransformType, id: u16, key_bits: Option<u16>) -> Transform {
    Transform {
        kind,
        id,
        key_bits,
        unknown_attribute: false,
    }
}

fn encryption(e: Encryption) -> Transform {
    transform(TransformType::ENCRYPTION, e.iana(), Some(e.key_bits()))
}

fn integrity(i: Integrity) -> Transform {
    transform(TransformType::INTEGRITY, i.iana(), None)
}

fn prf(p: Prf) -> Transform {
    transform(TransformType::PRF, p.iana(), None)
}

fn group(g: Group) -> Transform {
    transform(TransformType::KEY_EXCHANGE, g.iana(), None)
}

fn esn(extended: bool) -> Transform {
    transform(TransformType::ESN, u16::from(extended), None)
}

/// The algorithms of a selected proposal. A field is None if its transform is absent, NONE or not
/// implemented.
struct Selected {
    encryption: Option<Encryption>,
    integrity: Option<Integrity>,
    prf: Option<Prf>,
    group: Option<Group>,
    esn: Option<bool>,
}

impl Selected {
    fn of(transforms: &[Transform]) -> Self {
        let find = |kind| transforms.iter().find(|t| t.kind == kind);
        let id = |kind| find(kind).map(|t| t.id);
        Self {
            encryption: find(TransformType::ENCRYPTION)
                .and_then(|t| Encryption::from_iana(t.id, t.key_bits)),
            integrity: id(TransformType::INTEGRITY).and_then(Integrity::from_iana),
            prf: id(TransformType::PRF).and_then(Prf::from_iana),
            group: id(TransformType::KEY_EXCHANGE).and_then(Group::from_iana),
            esn: id(TransformType::ESN).map(|id| id == 1),
        }
    }

    fn ike_suite(&self) -> Option<IkeSuite> {
        Some(IkeSuite {
            encryption: self.encryption?,
            integrity: self.integrity,
            prf: self.prf?,
            group: self.group?,
        })
    }

    fn esp_suite(&self) -> Option<EspSuite> {
        Some(EspSuite {
            encryption: self.encryption?,
            integrity: self.integrity,
            esn: self.esn?,
        })
    }
}

/// The SPI of the rekeyed IKE SA; None if it is empty.
fn ike_spi(proposal: &Proposal) -> Result<Option<u64>, String> {
    if proposal.spi.is_empty() {
        return Ok(None);
    }
    match <[u8; 8]>::try_from(proposal.spi.as_slice()).map(u64::from_be_bytes) {
        Ok(0) => Err("its SPI is 0".to_owned()),
        Ok(spi) => Ok(Some(spi)),
        Err(_) => Err(format!(
            "its SPI has {} octets, expected 0 or 8",
            proposal.spi.len()
        )),
    }
}

fn esp_spi(proposal: &Proposal) -> Result<u32, String> {
    match <[u8; 4]>::try_from(proposal.spi.as_slice()).map(u32::from_be_bytes) {
        Ok(0) => Err("its SPI is 0".to_owned()),
        Ok(spi) => Ok(spi),
        Err(_) => Err(format!(
            "its SPI has {} octets, expected 4",
            proposal.spi.len()
        )),
    }
}
