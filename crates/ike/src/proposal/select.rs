//! The responder's selection, by our order of preference.

use vgw_crypto::Encryption;

use super::{
    EspChoice, IkeChoice, Mismatch, NONE, Selected, encryption, esn, esp_spi, group, ike_spi,
    integrity, names, prf,
};
use crate::config::{EspAlgorithms, IkeAlgorithms};
use crate::wire::{Proposal, ProtocolId, Transform, TransformType};

/// What a proposal must hold of one kind of transform.
enum Need {
    /// One of these, the first being most wanted.
    OneOf(Vec<Transform>),
    /// No transform of the kind, or NONE.
    Absent,
    /// Whatever is there does not count.
    Ignored,
}

/// The needs that go with one of our ciphers, in the order in which they are checked.
type Demand = Vec<(TransformType, Need)>;

/// Selects, as responder, from the peer's proposals by our preference: cipher
/// first, then integrity, PRF and group.
///
/// # Errors
/// When nothing is common.
pub fn select_ike(ours: &IkeAlgorithms, offered: &[Proposal]) -> Result<IkeChoice, Mismatch> {
    let demands: Vec<Demand> = ours
        .encryption
        .iter()
        .map(|&cipher| {
            vec![
                (
                    TransformType::ENCRYPTION,
                    Need::OneOf(vec![encryption(cipher)]),
                ),
                (
                    TransformType::INTEGRITY,
                    integrity_need(cipher, &ours.integrity),
                ),
                (TransformType::PRF, one_of(&ours.prf, prf)),
                (TransformType::KEY_EXCHANGE, one_of(&ours.groups, group)),
            ]
        })
        .collect();
    let usable = usable(ProtocolId::IKE, offered, ike_spi)?;
    let (spi, answer) = select(&demands, &usable)?;
    match Selected::of(&answer.transforms).ike_suite() {
        Some(suite) => Ok(IkeChoice { suite, spi, answer }),
        None => Err(Mismatch::Unusable {
            why: names::proposals(offered),
        }),
    }
}

/// Selects, as responder, from the peer's proposals by our preference: cipher
/// first, then integrity, group and sequence numbers. `with_groups` is false in
/// IKE_AUTH, where key exchange transforms mean nothing (RFC 7296 section 1.2).
///
/// # Errors
/// When nothing is common.
pub fn select_esp(
    ours: &EspAlgorithms,
    offered: &[Proposal],
    with_groups: bool,
) -> Result<EspChoice, Mismatch> {
    let group_need = || match (with_groups, ours.groups.as_slice()) {
        (false, _) => Need::Ignored,
        (true, []) => Need::Absent,
        (true, groups) => one_of(groups, group),
    };
    let demands: Vec<Demand> = ours
        .encryption
        .iter()
        .map(|&cipher| {
            vec![
                (
                    TransformType::ENCRYPTION,
                    Need::OneOf(vec![encryption(cipher)]),
                ),
                (
                    TransformType::INTEGRITY,
                    integrity_need(cipher, &ours.integrity),
                ),
                (TransformType::KEY_EXCHANGE, group_need()),
                (TransformType::ESN, one_of(&ours.esn, esn)),
            ]
        })
        .collect();
    let usable = usable(ProtocolId::ESP, offered, esp_spi)?;
    let (spi, answer) = select(&demands, &usable)?;
    let selected = Selected::of(&answer.transforms);
    match selected.esp_suite() {
        Some(suite) => Ok(EspChoice {
            suite,
            group: selected.group,
            spi,
            answer,
        }),
        None => Err(Mismatch::Unusable {
            why: names::proposals(offered),
        }),
    }
}

fn one_of<T: Copy>(values: &[T], transform: impl Fn(T) -> Transform) -> Need {
    Need::OneOf(values.iter().map(|&v| transform(v)).collect())
}

/// RFC 5282 section 8: with an AEAD cipher integrity is NONE or not there.
fn integrity_need(cipher: Encryption, macs: &[vgw_crypto::Integrity]) -> Need {
    if cipher.is_aead() {
        Need::Absent
    } else {
        one_of(macs, integrity)
    }
}

/// The proposals that can be considered at all, each with its SPI.
fn usable<S>(
    protocol: ProtocolId,
    offered: &[Proposal],
    spi: impl Fn(&Proposal) -> Result<S, String>,
) -> Result<Vec<(S, &Proposal)>, Mismatch> {
    let mut usable = Vec::new();
    let mut defects = Vec::new();
    for proposal in offered {
        let checked = defect(protocol, proposal).map_or_else(|| spi(proposal), Err);
        match checked {
            Ok(spi) => usable.push((spi, proposal)),
            Err(why) => defects.push(format!("proposal {}: {why}", proposal.number)),
        }
    }
    if usable.is_empty() {
        return Err(Mismatch::Unusable {
            why: defects.join("; "),
        });
    }
    Ok(usable)
}

fn defect(protocol: ProtocolId, proposal: &Proposal) -> Option<String> {
    if proposal.protocol != protocol {
        return Some(format!(
            "it is for {}, expected {protocol}",
            proposal.protocol
        ));
    }
    let meaningful = |kind| match kind {
        TransformType::ENCRYPTION | TransformType::INTEGRITY | TransformType::KEY_EXCHANGE => true,
        TransformType::PRF => protocol == ProtocolId::IKE,
        TransformType::ESN => protocol == ProtocolId::ESP,
        _ => false,
    };
    // RFC 7296 section 3.3.6: a proposal with a transform type that we do not
    // understand is unacceptable as a whole.
    let strange = proposal.transforms.iter().find(|t| !meaningful(t.kind))?;
    Some(match strange.kind.name() {
        Some(name) => format!("it has {name} transforms, which {protocol} has not"),
        None => format!("it has transforms of unknown type {}", strange.kind),
    })
}

/// The most wanted combination, and the proposal to answer with.
fn select<S: Copy>(
    demands: &[Demand],
    usable: &[(S, &Proposal)],
) -> Result<(S, Proposal), Mismatch> {
    for demand in demands {
        let fitting = usable.iter().filter_map(|(spi, proposal)| {
            let (ranks, transforms) = fit(demand, proposal).ok()?;
            Some((ranks, spi, proposal, transforms))
        });
        // Of equals, the one that the peer wants more: min_by keeps the first.
        if let Some((_, spi, proposal, transforms)) = fitting.min_by(|a, b| a.0.cmp(&b.0)) {
            let answer = Proposal {
                number: proposal.number,
                protocol: proposal.protocol,
                spi: Vec::new(),
                transforms,
            };
            return Ok((*spi, answer));
        }
    }
    Err(mismatch(demands, usable))
}

/// How good a proposal is for each need, and what to answer; or the index of
/// the first need that it does not meet.
fn fit(demand: &Demand, proposal: &Proposal) -> Result<(Vec<usize>, Vec<Transform>), usize> {
    let mut ranks = Vec::new();
    let mut transforms = Vec::new();
    for (i, (kind, need)) in demand.iter().enumerate() {
        let (rank, transform) = need.pick(proposal, *kind).ok_or(i)?;
        ranks.push(rank);
        transforms.extend(transform);
    }
    Ok((ranks, transforms))
}

fn of_kind(proposal: &Proposal, kind: TransformType) -> impl Iterator<Item = &Transform> {
    proposal.transforms.iter().filter(move |t| t.kind == kind)
}

impl Need {
    /// The most wanted transform and its rank. An explicit NONE is answered in kind.
    fn pick(&self, proposal: &Proposal, kind: TransformType) -> Option<(usize, Option<Transform>)> {
        let none = of_kind(proposal, kind).find(|t| t.id == NONE).copied();
        match self {
            Self::OneOf(wanted) => {
                let offered = |w: &&Transform| of_kind(proposal, kind).any(|t| t == *w);
                let (rank, best) = wanted.iter().enumerate().find(|(_, w)| offered(w))?;
                Some((rank, Some(*best)))
            }
            Self::Absent if none.is_none() && of_kind(proposal, kind).next().is_some() => None,
            Self::Absent | Self::Ignored => Some((0, none)),
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::OneOf(wanted) => wanted.iter().map(names::transform).collect(),
            Self::Absent | Self::Ignored => vec!["none".to_owned()],
        }
    }
}

/// Explains with the proposals and ciphers that came furthest.
fn mismatch<S>(demands: &[Demand], usable: &[(S, &Proposal)]) -> Mismatch {
    let mut furthest = 0;
    let mut failed: Vec<(&Demand, &Proposal)> = Vec::new();
    for demand in demands {
        for (_, proposal) in usable {
            let reached = fit(demand, proposal).err().unwrap_or(demand.len());
            if reached > furthest {
                furthest = reached;
                failed.clear();
            }
            if reached == furthest {
                failed.push((demand, proposal));
            }
        }
    }
    let kind = failed
        .first()
        .and_then(|(demand, _)| demand.get(furthest))
        .map_or(TransformType::ENCRYPTION, |(kind, _)| *kind);
    let offered = failed
        .iter()
        .flat_map(|(_, p)| of_kind(p, kind).map(names::transform));
    let accepted = failed
        .iter()
        .filter_map(|(d, _)| d.get(furthest))
        .flat_map(|(_, n)| n.names());
    Mismatch::NoCommon {
        kind,
        offered: names::list(offered),
        accepted: names::list(accepted),
    }
}
