//! What the kernel has for a gateway, one thing at a time.

use std::fmt;
use std::net::IpAddr;

use super::ip_rules::Rule;
use super::route_table::PrefixInTable;
use super::routes::TunRoute;

/// One thing that the kernel has for a gateway, in the order in which they are added: nothing
/// leads to the TUN device before its guard is there, and no rule before what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    /// The guard route of a prefix.
    Guard(PrefixInTable),
    /// An address of the TUN device, with its prefix length.
    Address(IpAddr, u8),
    /// A route to the TUN device.
    Route(TunRoute),
    /// A rule.
    Rule(Rule),
}

/// What only one entry can have at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Of a route: prefix, table and priority.
    Route(PrefixInTable, u32),
    /// Of an address: IPv6 has it once, whatever its prefix length.
    Address(IpAddr),
}

impl Entry {
    /// Its place, if another entry than itself can be there.
    pub(super) const fn place(&self) -> Option<Place> {
        match self {
            Self::Route(route) => Some(Place::Route(route.prefix, route.priority)),
            Self::Address(address, _) => Some(Place::Address(*address)),
            Self::Guard(_) | Self::Rule(_) => None,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guard(prefix) => write!(f, "the guard of {prefix}"),
            Self::Address(address, length) => write!(f, "the address {address}/{length}"),
            Self::Route(route) => write!(f, "the route to {}", route.prefix),
            Self::Rule(rule) => write!(f, "the rule {rule:?}"),
        }
    }
}
