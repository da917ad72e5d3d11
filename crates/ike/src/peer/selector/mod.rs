//! The traffic that a CHILD SA may carry: selectors and their narrowing (RFC 7296 section 2.9).

use ipnet::IpNet;
use std::fmt;

use vgw_sa::TrafficSelector;

use crate::core::bounded_text::few;

/// The most traffic selectors that a TS payload can hold (RFC 7296 section 3.13).
const MAX_SELECTORS: usize = 255;

/// No traffic is acceptable to both sides: the reason of TS_UNACCEPTABLE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// The peer's offer and our configuration have nothing in common.
    #[error("no common traffic: peer offers {offered}; we accept {accepted}")]
    Disjoint {
        /// The peer's list.
        offered: String,
        /// Ours.
        accepted: String,
    },
    /// A response holds traffic that we did not offer, or no traffic at all.
    #[error("peer answers with traffic {answered}; we offered {offered}")]
    Widened {
        /// Our list.
        offered: String,
        /// The peer's.
        answered: String,
    },
}

/// As responder, narrows the peer's offer for one side to what is configured for that side (RFC
/// 7296 section 2.9). Keeps the order of the configuration, and leaves out selectors that another
/// selector of the result covers.
///
/// # Errors
/// If the two have nothing in common; the error names both lists.
pub fn narrow(
    offered: &[TrafficSelector],
    configured: &[IpNet],
) -> Result<Vec<TrafficSelector>, Unacceptable> {
    let mut narrowed: Vec<TrafficSelector> = Vec::new();
    let accepted = configured.iter().copied().map(TrafficSelector::from);
    for common in accepted.flat_map(|own| offered.iter().filter_map(move |o| own.intersection(o))) {
        if narrowed.len() == MAX_SELECTORS {
            break;
        }
        if narrowed.iter().any(|n| n.covers(&common)) {
            continue;
        }
        narrowed.retain(|n| !common.covers(n));
        narrowed.push(common);
    }
    if narrowed.is_empty() {
        return Err(Unacceptable::Disjoint {
            offered: list(offered),
            accepted: list(configured),
        });
    }
    Ok(narrowed)
}

/// As initiator, checks that a response only narrowed what we offered (RFC 7296 section 2.9).
///
/// # Errors
/// If it holds traffic that we did not offer, or none; the error names both lists.
pub fn check_narrowed(
    offered: &[TrafficSelector],
    answer: &[TrafficSelector],
) -> Result<(), Unacceptable> {
    let within = |a: &TrafficSelector| offered.iter().any(|o| o.covers(a));
    if !answer.is_empty() && answer.iter().all(within) {
        return Ok(());
    }
    Err(Unacceptable::Widened {
        offered: list(offered),
        answered: list(answer),
    })
}

/// A list for an operator: `10.0.0.0/8, 192.168.0.0/16`.
fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    few(items, items.len(), ", ", T::to_string)
}

#[cfg(test)]
mod tests;
