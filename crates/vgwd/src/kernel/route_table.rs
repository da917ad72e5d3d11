//! Which routing table the routes to a prefix are in.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// The table of routes that our own packets to the peers must not take. Its number is that
/// of [`super::ROUTE_PROTOCOL`].
pub(super) const TUNNEL_TABLE: u32 = 203;
/// Everybody's table (RT_TABLE_MAIN).
pub(super) const MAIN_TABLE: u32 = 254;

/// A prefix, and the table that its routes are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrefixInTable {
    pub(super) net: IpNet,
    pub(super) table: u32,
}

impl PrefixInTable {
    /// Whether its table is the one that our own packets to the peers skip.
    pub(super) const fn is_in_tunnel_table(self) -> bool {
        self.table == TUNNEL_TABLE
    }

    /// A prefix in each of the two tables.
    pub(super) fn in_each_table(net: IpNet) -> impl Iterator<Item = Self> {
        [MAIN_TABLE, TUNNEL_TABLE]
            .into_iter()
            .map(move |table| Self { net, table })
    }

    /// The network of an inside address, which its own route leads to.
    pub(super) fn inside(address: IpAddr, length: u8) -> Option<Self> {
        let net = IpNet::new(address, length).ok()?;
        Some(Self::of_main(net.trunc()))
    }

    /// A prefix in everybody's table.
    pub(super) const fn of_main(net: IpNet) -> Self {
        let table = MAIN_TABLE;
        Self { net, table }
    }

    /// The prefix alone.
    #[must_use]
    pub const fn net(self) -> IpNet {
        self.net
    }
}

impl fmt::Display for PrefixInTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.net.fmt(f)
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
    pub(super) fn would_be_led_by(&self, prefix: IpNet) -> bool {
        let mut within = self.to.range(prefix.network()..=prefix.broadcast());
        prefix.prefix_len() == 0 || within.next().is_some()
    }
}
