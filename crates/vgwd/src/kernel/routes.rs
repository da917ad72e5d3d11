//! Our routes in the kernel's tables, and what they say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::StreamExt;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::RouteMessageBuilder;

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
pub(super) struct TunRoute {
    pub(super) prefix: PrefixInTable,
    pub(super) priority: u32,
    /// What the machine itself sends from, where it has not chosen.
    source: Option<IpAddr>,
}

/// The addresses that routes to the TUN device name as their source: this machine's in the
/// VPC. The peer knows them, where it would not know the TUN device's, from which the kernel
/// would send otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
}

impl TunRoute {
    /// As it should be.
    pub(super) fn to(prefix: PrefixInTable, sources: &Sources) -> Self {
        Self {
            prefix,
            priority: tun_priority(prefix.net),
            source: match prefix.net {
                IpNet::V4(_) => sources.v4.map(IpAddr::V4),
                IpNet::V6(_) => sources.v6.map(IpAddr::V6),
            },
        }
    }

    /// The least of all to this prefix.
    pub(super) const fn first_to(prefix: PrefixInTable) -> Self {
        Self {
            prefix,
            priority: 0,
            source: None,
        }
    }

    /// A route of ours, if it leads to this device. A guard route does not, although of
    /// IPv6 the kernel shows it on the loopback.
    pub(super) fn of(route: &RouteMessage, index: u32) -> Option<Self> {
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

    pub(super) fn message(&self, index: u32) -> Result<RouteMessage, KernelError> {
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
