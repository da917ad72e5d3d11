//! The responder's selection, by our order of preference.
//!
//! A peer's offer is first reduced to one bit for each transform that we implement. Comparing the
//! bits with one of our lists then takes the same short time for any message.

use vgw_crypto::{Encryption, Group, Integrity, Prf};

use super::{
    EspChoice, IkeChoice, Mismatch, NONE, Selected, brief_esp, brief_ike, encryption, esn, esp_spi,
    group, ike_spi, integrity, names, prf,
};
use crate::core::bounded_text::few;
use crate::peer::config::{EspAlgorithms, IkeAlgorithms};
use crate::v2::wire::{Proposal, ProtocolId, Transform, TransformType};

/// Transform types 1 to 5 (RFC 7296 section 3.3.2).
const KINDS: usize = 5;
/// How many types of transform a proposal must hold.
const NEEDS: usize = 4;

/// What a proposal must hold of one type of transform.
enum Need {
    /// One of these, most wanted first; each with its bit.
    OneOf(Vec<(u32, Transform)>),
    /// No transform of the type, or NONE.
    Absent,
    /// Anything: the type is ignored.
    Ignored,
}

/// The needs that belong to one of our ciphers, in the order in which they are checked.
type Demand = [(TransformType, Need); NEEDS];

/// As responder, selects from the peer's proposals by our preference: cipher first, then integrity,
/// PRF and group.
///
/// # Errors
/// If nothing is common.
pub fn select_ike(ours: &IkeAlgorithms, offered: &[Proposal]) -> Result<IkeChoice, Mismatch> {
    let demands: Vec<Demand> = ours
        .encryption
        .iter()
        .map(|&cipher| {
            [
                (
                    TransformType::ENCRYPTION,
                    Need::one_of(&[cipher], encryption),
                ),
                (
                    TransformType::INTEGRITY,
                    integrity_need(cipher, &ours.integrity),
                ),
                (TransformType::PRF, Need::one_of(&ours.prf, prf)),
                (
                    TransformType::KEY_EXCHANGE,
                    Need::one_of(&ours.groups, group),
                ),
            ]
        })
        .collect();
    let offers = usable(ProtocolId::IKE, offered, ike_spi);
    let chosen = choose(&demands, &offers).and_then(|(spi, answer)| {
        let suite = Selected::of(&answer.transforms).ike_suite()?;
        Some(IkeChoice { suite, spi, answer })
    });
    chosen.ok_or_else(|| {
        let accepted = || brief_ike(ours);
        explain(
            &demands,
            &offers,
            (ProtocolId::IKE, offered),
            accepted,
            |proposal| ike_spi(proposal).err(),
        )
    })
}

/// As responder, selects from the peer's proposals by our preference: cipher first, then integrity,
/// group and sequence numbers. `with_groups` is false in IKE_AUTH, where key exchange transforms
/// mean nothing (RFC 7296 section 1.2).
///
/// # Errors
/// If nothing is common.
pub fn select_esp(
    ours: &EspAlgorithms,
    offered: &[Proposal],
    with_groups: bool,
) -> Result<EspChoice, Mismatch> {
    let group_need = || match (with_groups, ours.groups.as_slice()) {
        (false, _) => Need::Ignored,
        (true, []) => Need::Absent,
        (true, groups) => Need::one_of(groups, group),
    };
    let demands: Vec<Demand> = ours
        .encryption
        .iter()
        .map(|&cipher| {
            [
                (
                    TransformType::ENCRYPTION,
                    Need::one_of(&[cipher], encryption),
                ),
                (
                    TransformType::INTEGRITY,
                    integrity_need(cipher, &ours.integrity),
                ),
                (TransformType::KEY_EXCHANGE, group_need()),
                (TransformType::ESN, Need::one_of(&ours.esn, esn)),
            ]
        })
        .collect();
    let offers = usable(ProtocolId::ESP, offered, esp_spi);
    let chosen = choose(&demands, &offers).and_then(|(spi, answer)| {
        let selected = Selected::of(&answer.transforms);
        Some(EspChoice {
            suite: selected.esp_suite()?,
            group: selected.group,
            spi,
            answer,
        })
    });
    chosen.ok_or_else(|| {
        let accepted = || brief_esp(ours, with_groups);
        explain(
            &demands,
            &offers,
            (ProtocolId::ESP, offered),
            accepted,
            |proposal| esp_spi(proposal).err(),
        )
    })
}

/// RFC 5282 section 8: with an AEAD cipher, integrity is NONE or absent.
fn integrity_need(cipher: Encryption, macs: &[Integrity]) -> Need {
    if cipher.is_aead() {
        Need::Absent
    } else {
        Need::one_of(macs, integrity)
    }
}

/// What one proposal offers.
pub(super) struct Offer<'a, S> {
    pub(super) spi: S,
    pub(super) proposal: &'a Proposal,
    kinds: [Kind; KINDS],
}

/// What a proposal offers of one type of transform.
#[derive(Clone, Copy, Default)]
pub(super) struct Kind {
    /// The bits of the transforms that we implement.
    pub(super) known: u32,
    /// Whether the proposal holds any transform of the type.
    any: bool,
    /// The explicit NONE, if there is one.
    pub(super) none: Option<Transform>,
}

impl Kind {
    /// Whether the proposal allows an SA without the type.
    pub(super) const fn may_be_absent(self) -> bool {
        !self.any || self.none.is_some()
    }
}

impl<'a, S> Offer<'a, S> {
    fn new(spi: S, proposal: &'a Proposal) -> Self {
        let mut kinds = [Kind::default(); KINDS];
        for transform in &proposal.transforms {
            let index = usize::from(transform.kind.0).wrapping_sub(1);
            let Some(kind) = kinds.get_mut(index) else {
                continue;
            };
            kind.known |= bit(transform);
            kind.any = true;
            if transform.id == NONE && kind.none.is_none() {
                kind.none = Some(*transform);
            }
        }
        Self {
            spi,
            proposal,
            kinds,
        }
    }

    pub(super) fn kind(&self, kind: TransformType) -> Kind {
        let index = usize::from(kind.0).wrapping_sub(1);
        self.kinds.get(index).copied().unwrap_or_default()
    }
}

/// The bit of a transform within its type; 0 for a transform that we do not implement.
fn bit(transform: &Transform) -> u32 {
    match transform.kind {
        TransformType::ENCRYPTION => place(Encryption::ALL, encryption, transform),
        TransformType::INTEGRITY => place(Integrity::ALL, integrity, transform),
        TransformType::PRF => place(Prf::ALL, prf, transform),
        TransformType::KEY_EXCHANGE => place(Group::ALL, group, transform),
        TransformType::ESN => place(&[false, true], esn, transform),
        _ => 0,
    }
}

fn place<T: Copy>(all: &[T], transform: impl Fn(T) -> Transform, wanted: &Transform) -> u32 {
    let at = all.iter().position(|&one| transform(one) == *wanted);
    at.and_then(|at| u32::try_from(at).ok())
        .and_then(|at| 1_u32.checked_shl(at))
        .unwrap_or_default()
}

/// The proposals that can be considered, each with its SPI.
pub(super) fn usable<S>(
    protocol: ProtocolId,
    offered: &[Proposal],
    spi: impl Fn(&Proposal) -> Result<S, String>,
) -> Vec<Offer<'_, S>> {
    let sound = offered
        .iter()
        .filter(|proposal| proposal.protocol == protocol && strange(protocol, proposal).is_none());
    sound
        .filter_map(|proposal| Some(Offer::new(spi(proposal).ok()?, proposal)))
        .collect()
}

/// RFC 7296 section 3.3.6: a proposal with a transform type that we do not understand is
/// unacceptable as a whole.
fn strange(protocol: ProtocolId, proposal: &Proposal) -> Option<&Transform> {
    let meaningful = |kind| match kind {
        TransformType::ENCRYPTION | TransformType::INTEGRITY | TransformType::KEY_EXCHANGE => true,
        TransformType::PRF => protocol == ProtocolId::IKE,
        TransformType::ESN => protocol == ProtocolId::ESP,
        _ => false,
    };
    proposal.transforms.iter().find(|t| !meaningful(t.kind))
}

fn defect(protocol: ProtocolId, proposal: &Proposal) -> Option<String> {
    if proposal.protocol != protocol {
        return Some(format!(
            "it is for {}, expected {protocol}",
            proposal.protocol
        ));
    }
    let strange = strange(protocol, proposal)?;
    if strange.kind.is_additional_key_exchange() {
        let further = names::further_exchanges(proposal);
        return Some(format!(
            "it demands {further}; this gateway makes one key exchange alone (no RFC 9370)"
        ));
    }
    Some(match strange.kind.name() {
        Some(name) => format!("it has {name} transforms, which {protocol} has not"),
        None => format!("it has transforms of unknown type {}", strange.kind),
    })
}

/// The combination that we want most, and the proposal to answer with.
fn choose<S: Copy>(demands: &[Demand], offers: &[Offer<'_, S>]) -> Option<(S, Proposal)> {
    demands.iter().find_map(|demand| {
        let fitting = offers
            .iter()
            .filter_map(|offer| Some((fit(demand, offer).ok()?, offer)));
        // Of equal proposals, the peer's first: min_by keeps the first.
        let (_, offer) = fitting.min_by(|a, b| a.0.cmp(&b.0))?;
        let answer = Proposal {
            number: offer.proposal.number,
            protocol: offer.proposal.protocol,
            spi: Vec::new(),
            transforms: demand
                .iter()
                .filter_map(|(kind, need)| need.answer(offer.kind(*kind)))
                .collect(),
        };
        Some((offer.spi, answer))
    })
}

/// The rank of a proposal for each need, or the index of the first need that it does not meet.
fn fit<S>(demand: &Demand, offer: &Offer<'_, S>) -> Result<[usize; NEEDS], usize> {
    let mut ranks = [0; NEEDS];
    for (i, ((kind, need), rank)) in demand.iter().zip(&mut ranks).enumerate() {
        *rank = need.rank(offer.kind(*kind)).ok_or(i)?;
    }
    Ok(ranks)
}

impl Need {
    fn one_of<T: Copy>(values: &[T], transform: impl Fn(T) -> Transform) -> Self {
        let with_bit = |transform: Transform| (bit(&transform), transform);
        Self::OneOf(values.iter().map(|&v| with_bit(transform(v))).collect())
    }

    /// The rank of the most wanted transform that is offered.
    fn rank(&self, kind: Kind) -> Option<usize> {
        match self {
            Self::OneOf(wanted) => wanted.iter().position(|(bit, _)| kind.known & bit != 0),
            Self::Absent => kind.may_be_absent().then_some(0),
            Self::Ignored => Some(0),
        }
    }

    /// The transform to answer with. An explicit NONE is answered with NONE.
    fn answer(&self, kind: Kind) -> Option<Transform> {
        match self {
            Self::OneOf(wanted) => {
                let best = wanted.iter().find(|(bit, _)| kind.known & bit != 0);
                best.map(|(_, transform)| *transform)
            }
            Self::Absent | Self::Ignored => kind.none,
        }
    }
}

/// Explains a mismatch with the proposals and ciphers that matched best.
fn explain<S>(
    demands: &[Demand],
    offers: &[Offer<'_, S>],
    (protocol, offered): (ProtocolId, &[Proposal]),
    accepted: impl Fn() -> String,
    spi: impl Fn(&Proposal) -> Option<String>,
) -> Mismatch {
    if offers.is_empty() {
        let why = |proposal: &Proposal| {
            let why = defect(protocol, proposal).or_else(|| spi(proposal));
            format!("proposal {}: {}", proposal.number, why.unwrap_or_default())
        };
        let defects = few(offered, offered.len(), "; ", why);
        return Mismatch::Unusable {
            why: format!("{defects}; we accept {}", accepted()),
        };
    }
    let reached = |demand, offer| fit(demand, offer).err().unwrap_or(NEEDS);
    let all = || {
        let with = |demand| offers.iter().map(move |offer| (demand, offer));
        demands.iter().flat_map(with)
    };
    let furthest = all().map(|(demand, offer)| reached(demand, offer)).max();
    let furthest = furthest.unwrap_or_default();
    let failed = |demand, offer| reached(demand, offer) == furthest;
    // What else has to change after that: none of those proposals meets it.
    let misses = |at: usize| {
        let mut failing = all().filter(|(demand, offer)| failed(demand, offer));
        failing.all(|(demand, offer)| {
            let need = demand.get(at);
            need.is_some_and(|(kind, need)| need.rank(offer.kind(*kind)).is_none())
        })
    };
    let further = (furthest + 1..NEEDS).filter(|at| misses(*at));
    let further = further.filter_map(|at| Some(demands.first()?.get(at)?.0));
    let needs = demands
        .iter()
        .filter(|demand| offers.iter().any(|offer| failed(demand, offer)))
        .filter_map(|demand| demand.get(furthest));
    let kind = needs
        .clone()
        .next()
        .map_or(TransformType::ENCRYPTION, |(kind, _)| *kind);
    let failing = offers
        .iter()
        .filter(|offer| demands.iter().any(|demand| failed(demand, offer)));
    let theirs = failing.flat_map(|offer| &offer.proposal.transforms);
    let theirs = theirs.filter(|t| t.kind == kind).copied();
    let ours = needs.flat_map(|(kind, need)| need.wanted(*kind));
    Mismatch::NoCommon {
        kind,
        offered: names::list(theirs),
        accepted: names::list(ours),
        further: further.collect(),
    }
}

impl Need {
    /// The transforms that would meet the need.
    fn wanted(&self, kind: TransformType) -> Vec<Transform> {
        match self {
            Self::OneOf(wanted) => wanted.iter().map(|(_, transform)| *transform).collect(),
            Self::Absent | Self::Ignored => vec![Transform {
                kind,
                id: NONE,
                key_bits: None,
                unknown_attribute: false,
            }],
        }
    }
}
