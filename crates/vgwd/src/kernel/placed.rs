//! Which table the routes of a prefix are in.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// The table of routes that our own packets to the peers must not take. It has the
/// number of [`super::ROUTE_PROTOCOL`].
pub(super) const APART: u32 = 203;
/// Everybody's table (RT_TABLE_MAIN).
pub(super) const MAIN: u32 = 254;

/// A prefix, and the table that its routes are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placed {
    pub(super) prefix: IpNet,
    pub(super) table: u32,
}

impl Placed {
    /// Whether our own packets to the peers pass it by.
    pub(super) const fn is_apart(self) -> bool {
        self.table == APART
    }

    /// A prefix in each of the tables.
    pub(super) fn everywhere(prefix: IpNet) -> impl Iterator<Item = Self> {
        [MAIN, APART]
            .into_iter()
            .map(move |table| Self { prefix, table })
    }

    /// The prefix.
    #[must_use]
    pub const fn prefix(self) -> IpNet {
        self.prefix
    }
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix.fmt(f)
    }
}

/// The ends of our own packets outside, where those are routed by the same tables as
/// the VPC's: in one network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnTraffic {
    /// Outside addresses.
    pub from: BTreeSet<IpAddr>,
    /// The peers' addresses that are known.
    pub to: BTreeSet<IpAddr>,
}

impl OwnTraffic {
    /// Whether a route to this prefix would lead our own packets into the tunnel. A
    /// default route does wherever a peer is, also one whose address is not known.
    pub(super) fn would_take(&self, prefix: IpNet) -> bool {
        let mut within = self.to.range(prefix.network()..=prefix.broadcast());
        prefix.prefix_len() == 0 || within.next().is_some()
    }
}
