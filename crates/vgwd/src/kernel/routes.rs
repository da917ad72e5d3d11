//! Our routes in the kernel's tables, and what they say.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::StreamExt;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::RouteMessageBuilder;

use super::difference::Difference;
use super::netlink::failed;
use super::route_table::{MAIN_TABLE, PrefixInTable, TUNNEL_TABLE};
use super::{KernelError, Netlink};

/// The number that marks our routes in the kernel's table (`ip route` shows
/// `proto 203`); no routing daemon in Debian's `rt_protos` has it.
pub const ROUTE_PROTOCOL: u8 = 203;

impl Netlink {
    /// Every route with [`ROUTE_PROTOCOL`], of any gateway.
    pub(super) async fn our_routes(&self) -> Result<Vec<RouteMessage>, KernelError> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut ours = RouteMessage::default();
            ours.header.address_family = family;
            ours.header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
            let mut answers = std::pin::pin!(self.handle.route().get(ours).execute());
            while let Some(answer) = answers.next().await {
                let route = answer.map_err(failed("reading the routes"))?;
                // The kernel filters already, where it is new enough.
                if is_ours(&route) {
                    found.push(route);
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn add_route(&self, route: RouteMessage) -> Result<(), rtnetlink::Error> {
        self.count(self.handle.route().add(route).execute().await)
    }

    async fn replace_route(&self, route: RouteMessage) -> Result<(), rtnetlink::Error> {
        self.count(self.handle.route().add(route).replace().execute().await)
    }

    pub(super) async fn remove_route(&self, route: RouteMessage) -> Result<(), rtnetlink::Error> {
        self.count(self.handle.route().del(route).execute().await)
    }

    /// The prefixes of all our routes in the table that our own packets skip.
    pub(super) async fn tunnel_table_prefixes(&self) -> Result<BTreeSet<IpNet>, KernelError> {
        let found = self.our_routes().await?;
        let prefixes = found.iter().filter_map(prefix_of);
        Ok(prefixes
            .filter(|prefix| prefix.is_in_tunnel_table())
            .map(PrefixInTable::net)
            .collect())
    }

    /// Adds the routes to the device `index` that are missing of those wanted, or have
    /// another source than the first of `sources` of their family. Everything is tried,
    /// whatever fails before it.
    pub(super) async fn add_tun_routes(
        &self,
        index: u32,
        wanted: &BTreeSet<PrefixInTable>,
        sources: &BTreeSet<IpAddr>,
    ) -> Result<(), KernelError> {
        let wanted = wanted.iter().map(|prefix| TunRoute::to(*prefix, sources));
        let routes = self.tun_routes(index, &wanted.collect()).await?;
        let mut result = Ok(());
        for route in routes.missing {
            let is_there = routes
                .surplus
                .iter()
                .any(|other| other.takes_place_of(&route));
            let message = route.message(index)?;
            let outcome = if is_there {
                self.replace_route(message).await
            } else {
                self.add_route(message).await
            };
            let doing = format!("adding the route to {}", route.prefix);
            result = result.and(outcome.map_err(failed(doing)));
        }
        result
    }

    /// Removes those that are not wanted.
    pub(super) async fn remove_tun_routes(
        &self,
        index: u32,
        wanted: &BTreeSet<PrefixInTable>,
    ) -> Result<(), KernelError> {
        let mut result = Ok(());
        let found = self.tun_routes(index, &BTreeSet::new()).await?.surplus;
        let right = |route: &TunRoute| {
            wanted.contains(&route.prefix) && route.priority == tun_priority(route.prefix.net)
        };
        for route in found.iter().filter(|route| !right(route)) {
            let request = self.remove_route(route.message(index)?);
            let doing = format!("removing the route to {}", route.prefix);
            result = result.and(request.await.map_err(failed(doing)));
        }
        result
    }

    async fn tun_routes(
        &self,
        index: u32,
        wanted: &BTreeSet<TunRoute>,
    ) -> Result<Difference<TunRoute>, KernelError> {
        let found = self.our_routes().await?;
        let led = found.iter().filter_map(|route| TunRoute::of(route, index));
        Ok(Difference::between(&led.collect(), wanted))
    }
}

/// How preferred the route to the TUN device is: before every route of others to
/// the same prefix. Of IPv6 the kernel reads a zero as 1,024.
pub(super) const fn tun_priority(prefix: IpNet) -> u32 {
    match prefix {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1,
    }
}

/// A route of ours to the TUN device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TunRoute {
    prefix: PrefixInTable,
    priority: u32,
    /// What the machine itself sends from, where it has not chosen.
    source: Option<IpAddr>,
}

impl TunRoute {
    /// As it should be.
    fn to(prefix: PrefixInTable, sources: &BTreeSet<IpAddr>) -> Self {
        let ipv6 = prefix.net.addr().is_ipv6();
        Self {
            prefix,
            priority: tun_priority(prefix.net),
            source: sources.iter().copied().find(|a| a.is_ipv6() == ipv6),
        }
    }

    /// A route of ours, if it leads to this device. A guard route does not, although of
    /// IPv6 the kernel shows it on the loopback.
    fn of(route: &RouteMessage, index: u32) -> Option<Self> {
        let leads = route.header.kind == RouteType::Unicast
            && route.attributes.contains(&RouteAttribute::Oif(index));
        let prefix = prefix_of(route).filter(|_| leads)?;
        let source = route.attributes.iter().find_map(|a| match a {
            RouteAttribute::PrefSource(RouteAddress::Inet(a)) => Some(IpAddr::V4(*a)),
            RouteAttribute::PrefSource(RouteAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
            _ => None,
        });
        Some(Self {
            prefix,
            priority: priority_of(route),
            source,
        })
    }

    fn takes_place_of(&self, other: &Self) -> bool {
        (self.prefix, self.priority) == (other.prefix, other.priority)
    }

    fn message(&self, index: u32) -> Result<RouteMessage, KernelError> {
        let PrefixInTable { net, table } = self.prefix;
        // RFC 4291 knows no link scope for IPv6 routes; the kernel ignores it there.
        let scope = match net {
            IpNet::V4(_) => RouteScope::Link,
            IpNet::V6(_) => RouteScope::Universe,
        };
        let mut route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .map_err(failed(format!("the route to {net}")))?
            .table_id(table)
            .output_interface(index)
            .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
            .scope(scope)
            .priority(self.priority);
        if let Some(source) = self.source {
            let source = match source {
                IpAddr::V4(v4) => RouteAddress::Inet(v4),
                IpAddr::V6(v6) => RouteAddress::Inet6(v6),
            };
            let attributes = &mut route.get_mut().attributes;
            attributes.push(RouteAttribute::PrefSource(source));
        }
        Ok(route.build())
    }
}

fn is_ours(route: &RouteMessage) -> bool {
    let ours = route.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL);
    ours && prefix_of(route).is_some()
}

/// The prefix and table of a route in a table that we use.
pub(super) fn prefix_of(route: &RouteMessage) -> Option<PrefixInTable> {
    let table = u32::from(route.header.table);
    let net = destination_of(route)?;
    [MAIN_TABLE, TUNNEL_TABLE]
        .contains(&table)
        .then_some(PrefixInTable { net, table })
}

/// Its metric, as `ip route` says; the less, the more preferred.
pub(super) fn priority_of(route: &RouteMessage) -> u32 {
    let mut attributes = route.attributes.iter();
    let priority = attributes.find_map(|attribute| match attribute {
        RouteAttribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    priority.unwrap_or_default()
}

/// Where a route leads; a default route has no destination attribute.
pub(super) fn destination_of(route: &RouteMessage) -> Option<IpNet> {
    let named = route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(RouteAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        RouteAttribute::Destination(RouteAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    });
    let address = named.or(match route.header.address_family {
        AddressFamily::Inet => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    })?;
    IpNet::new(address, route.header.destination_prefix_length).ok()
}
