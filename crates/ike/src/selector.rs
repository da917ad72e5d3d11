//! What may travel: traffic selectors and their narrowing (RFC 7296 section 2.9).

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

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
#[error("{0}")]
pub struct Unacceptable(String);

/// Narrows, as responder, what the peer offers for one side to what is
/// configured (RFC 7296 section 2.9).
///
/// # Errors
/// When nothing is common; names both lists.
pub fn narrow(
    _offered: &[TrafficSelector],
    _configured: &[IpNet],
) -> Result<Vec<TrafficSelector>, Unacceptable> {
    unimplemented!()
}

/// Checks, as initiator, that a response only narrowed what we offered.
///
/// # Errors
/// When it holds traffic that we did not offer, or none; names both lists.
pub fn check_narrowed(
    _offered: &[TrafficSelector],
    _answer: &[TrafficSelector],
) -> Result<(), Unacceptable> {
    unimplemented!()
}
