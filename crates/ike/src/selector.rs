//! What may travel: traffic selectors and their narrowing (RFC 7296 section 2.9).

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::words::few;

/// As many traffic selectors as a TS payload can count (RFC 7296 section 3.13).
const MAX_SELECTORS: usize = 255;

/// A range of addresses, ports and a protocol (RFC 7296 section 3.13.1).
/// `first` and `last` are of one family, `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrafficSelector {
    /// IP protocol; 0 is any.
    pub protocol: u8,
    /// Lowest port.
    pub first_port: u16,
    /// Highest port.
    pub last_port: u16,
    /// Lowest address.
    pub first: IpAddr,
    /// Highest address.
    pub last: IpAddr,
}

impl TrafficSelector {
    /// Whether the port is OPAQUE: not known, as in a fragment. Written as the
    /// ports 65535 to 0 (RFC 7296 section 3.13.1).
    #[must_use]
    pub const fn is_opaque(&self) -> bool {
        self.first_port == u16::MAX && self.last_port == 0
    }

    /// Whether packets with this address, of any protocol and port, may be of it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// The traffic that is of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if self.first.is_ipv4() != other.first.is_ipv4() {
            return None;
        }
        let protocol = match (self.protocol, other.protocol) {
            (mine, 0) => mine,
            (0, theirs) => theirs,
            (mine, theirs) if mine == theirs => mine,
            _ => return None,
        };
        let (first_port, last_port) = self.common_ports(other)?;
        let common = Self {
            protocol,
            first_port,
            last_port,
            first: self.first.max(other.first),
            last: self.last.min(other.last),
        };
        (common.first <= common.last).then_some(common)
    }

    /// OPAQUE is within any port, and within no narrower range (RFC 4301 section 4.4.1.1).
    fn common_ports(&self, other: &Self) -> Option<(u16, u16)> {
        if self.is_opaque() || other.is_opaque() {
            let admits = |s: &Self| s.is_opaque() || (s.first_port, s.last_port) == (0, u16::MAX);
            return (admits(self) && admits(other)).then_some((u16::MAX, 0));
        }
        let first = self.first_port.max(other.first_port);
        let last = self.last_port.min(other.last_port);
        (first <= last).then_some((first, last))
    }

    /// Whether all traffic of `other` is of this one too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.intersection(other) == Some(*other)
    }
}

impl From<IpNet> for TrafficSelector {
    fn from(net: IpNet) -> Self {
        Self {
            protocol: 0,
            first_port: 0,
            last_port: u16::MAX,
            first: net.network(),
            last: net.broadcast(),
        }
    }
}

impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match exact_prefix(self.first, self.last) {
            Some(net) => write!(f, "{net}")?,
            None => write!(f, "{}-{}", self.first, self.last)?,
        }
        if self.protocol != 0 {
            write!(f, " protocol {}", self.protocol)?;
        }
        if (self.first_port, self.last_port) != (0, u16::MAX) {
            write!(f, " port {}-{}", self.first_port, self.last_port)?;
        }
        Ok(())
    }
}

/// The prefix that a range is, if it is one.
fn exact_prefix(first: IpAddr, last: IpAddr) -> Option<IpNet> {
    let mut nets: ipnet::IpSubnets = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => ipnet::Ipv4Subnets::new(a, b, 0).into(),
        (IpAddr::V6(a), IpAddr::V6(b)) => ipnet::Ipv6Subnets::new(a, b, 0).into(),
        _ => return None,
    };
    let only = nets.next()?;
    nets.next().is_none().then_some(only)
}

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
    /// A response holds traffic that we did not offer, or none.
    #[error("peer answers with traffic {answered}; we offered {offered}")]
    Widened {
        /// Our list.
        offered: String,
        /// The peer's.
        answered: String,
    },
}

/// Narrows, as responder, what the peer offers for one side to what is
/// configured for it (RFC 7296 section 2.9). Keeps the order of the
/// configuration and leaves out what another selector of the result covers.
///
/// # Errors
/// When nothing is common; names both lists.
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

/// Checks, as initiator, that a response only narrowed what we offered
/// (RFC 7296 section 2.9).
///
/// # Errors
/// When it holds traffic that we did not offer, or none; names both lists.
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

/// A list for people: `10.0.0.0/8, 192.168.0.0/16`.
fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    few(items, items.len(), ", ", T::to_string)
}

#[cfg(test)]
mod tests;
