//! The initiator's check of what a responder selected.

use super::{EspChoice, IkeChoice, Mismatch, NONE, Selected, esp_spi, ike_spi, names};
use crate::v2::wire::{Proposal, Transform, TransformType};

/// As initiator, checks that a response selects exactly one of the proposals from
/// [`super::offer_ike`] (RFC 7296 section 2.7).
///
/// # Errors
/// If it does not.
pub fn accept_ike(offered: &[Proposal], answer: &[Proposal]) -> Result<IkeChoice, Mismatch> {
    let (selected, answer) = selected(offered, answer)?;
    let spi = ike_spi(&answer).map_err(|why| Mismatch::Unusable { why })?;
    match selected.ike_suite() {
        Some(suite) => Ok(IkeChoice {
            suite,
            spi,
            answer: Proposal {
                spi: Vec::new(),
                ..answer
            },
        }),
        None => Err(not_offered(offered, &[answer])),
    }
}

/// As initiator, checks that a response selects exactly one of the proposals from
/// [`super::offer_esp`] (RFC 7296 section 2.7).
///
/// # Errors
/// If it does not.
pub fn accept_esp(offered: &[Proposal], answer: &[Proposal]) -> Result<EspChoice, Mismatch> {
    let (selected, answer) = selected(offered, answer)?;
    let spi = esp_spi(&answer).map_err(|why| Mismatch::Unusable { why })?;
    match selected.esp_suite() {
        Some(suite) => {
            let answer = Proposal {
                spi: Vec::new(),
                ..answer
            };
            Ok(EspChoice {
                suite,
                group: selected.group,
                spi,
                answer,
            })
        }
        None => Err(not_offered(offered, &[answer])),
    }
}

fn not_offered(offered: &[Proposal], answer: &[Proposal]) -> Mismatch {
    let numbered = answer.first().map(|answer| answer.number);
    let origin = offered.iter().find(|ours| Some(ours.number) == numbered);
    let closest = origin.or(offered.first()).map(std::slice::from_ref);
    Mismatch::NotOffered {
        selected: names::proposals(answer),
        offered: names::proposals(closest.unwrap_or_default()),
    }
}

fn selected(offered: &[Proposal], answer: &[Proposal]) -> Result<(Selected, Proposal), Mismatch> {
    let [only] = answer else {
        return Err(not_offered(offered, answer));
    };
    let origin = offered
        .iter()
        .find(|o| o.number == only.number && o.protocol == only.protocol);
    if !origin.is_some_and(|origin| selects_from(origin, only)) {
        return Err(not_offered(offered, answer));
    }
    Ok((Selected::of(&only.transforms), only.clone()))
}

/// Whether the answer holds one transform of each offered type, and otherwise only NONE.
fn selects_from(origin: &Proposal, answer: &Proposal) -> bool {
    let count = |p: &Proposal, kind| p.transforms.iter().filter(|t| t.kind == kind).count();
    let offered = |t: &Transform| match count(origin, t.kind) {
        0 => is_none(t),
        _ => origin.transforms.contains(t),
    };
    answer
        .transforms
        .iter()
        .all(|t| offered(t) && count(answer, t.kind) == 1)
        && origin.transforms.iter().all(|t| count(answer, t.kind) == 1)
}

fn is_none(transform: &Transform) -> bool {
    let optional = [TransformType::INTEGRITY, TransformType::KEY_EXCHANGE];
    transform.id == NONE && optional.contains(&transform.kind)
}
