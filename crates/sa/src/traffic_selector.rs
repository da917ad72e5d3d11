//! What may travel (RFC 7296 section 3.13.1).

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

    /// Whether it covers every port.
    #[must_use]
    pub const fn any_port(&self) -> bool {
        self.first_port == 0 && self.last_port == u16::MAX
    }

    /// Whether this address is in its range, whatever the protocol and port.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        // IpAddr orders every IPv4 address below every IPv6 one, so a range of
        // one family holds no address of the other.
        self.first <= address && address <= self.last
    }

    /// The traffic that both select.
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
            let admits = |s: &Self| s.is_opaque() || s.any_port();
            return (admits(self) && admits(other)).then_some((u16::MAX, 0));
        }
        let first = self.first_port.max(other.first_port);
        let last = self.last_port.min(other.last_port);
        (first <= last).then_some((first, last))
    }

    /// Whether this selects all traffic that `other` selects.
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
        if !self.any_port() {
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
