//! Reads from the kernel the facts that [`forwarding`](super::forwarding) judges.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType,
};
use vgw_dataplane::Family;

use super::forwarding::{ForwardingFacts, LinkConf, has_neighbours, problems};
use super::prefixes::overlap;
use super::watch::{Change, state_of};
use super::{Desired, Netlink, TunLink};
use crate::config::settings::NetworkNamespace;

/// Whether a change may be one of those facts.
pub(super) fn concerns(change: &Change, wanted: &Desired) -> bool {
    match change {
        Change::Route { prefix, .. } => overlap(&wanted.cidrs, *prefix),
        Change::Rule => false,
        Change::NetConf
        | Change::Link { .. }
        | Change::LinkGone { .. }
        | Change::Address(_)
        | Change::AddressGone(_)
        | Change::Missed => true,
    }
}

/// The problems that there are now, each with what to type. What the kernel does not
/// tell is no problem.
pub(super) async fn problems_now(
    link: &TunLink,
    asked: &vgw_dataplane::Netlink,
    namespace: Option<&NetworkNamespace>,
) -> BTreeSet<String> {
    let enter = namespace.map_or_else(String::new, |namespace| {
        format!("nsenter --net={} ", namespace.path().display())
    });
    let (addresses, wanted) = (&link.addresses, &link.desired);
    let own: Vec<IpAddr> = addresses.iter().map(|a| a.net.addr()).collect();
    // A tunnel's inside address is this machine's, and no host has it.
    let inside = wanted.addresses.iter();
    let inside: BTreeSet<IpNet> = inside.map(|(address, _)| (*address).into()).collect();
    let mut told = BTreeSet::new();
    for family in [Family::V4, Family::V6] {
        let ipv6 = family == Family::V6;
        let of_family = |cidr: &&IpNet| cidr.addr().is_ipv6() == ipv6 && !inside.contains(cidr);
        let cidrs: BTreeSet<IpNet> = wanted.cidrs.iter().filter(of_family).copied().collect();
        let near = addresses.iter().filter(|address| {
            address.index != link.index() && has_neighbours(address.net, &cidrs, &own)
        });
        let mut indices: BTreeSet<u32> = near.map(|address| address.index).collect();
        for cidr in &cidrs {
            indices.extend(link.netlink.link_towards(*cidr).await);
        }
        indices.remove(&link.index());
        let mut to_hosts = Vec::new();
        for index in indices {
            if let (Some(found), Ok(conf)) = (
                link.netlink.link(index).await,
                asked.net_conf(family, Some(index)),
            ) && leads_to_others(&found)
            {
                let name = state_of(&found).name;
                to_hosts.push(LinkConf { name, conf });
            }
        }
        let tun = link.netlink.link(link.index()).await;
        let (Some(tun), Ok(conf), Ok(all)) = (
            tun,
            asked.net_conf(family, Some(link.index())),
            asked.net_conf(family, None),
        ) else {
            continue;
        };
        let name = state_of(&tun).name;
        told.extend(problems(&ForwardingFacts {
            ipv6,
            all,
            tun: LinkConf { name, conf },
            to_hosts,
            cidrs,
            any_source: wanted.any_source,
            enter: enter.clone(),
        }));
    }
    told
}

/// Whether other machines can be behind a link: not on a loopback, nor on a device that
/// only stands for addresses (dummy), which asks for nobody and has no other end.
fn leads_to_others(link: &LinkMessage) -> bool {
    let flags = link.header.flags;
    let alone = flags.contains(LinkFlags::Noarp) && !flags.contains(LinkFlags::Pointopoint);
    flags.contains(LinkFlags::Up) && !flags.contains(LinkFlags::Loopback) && !alone
}

impl Netlink {
    async fn link(&self, index: u32) -> Option<LinkMessage> {
        let links = self.handle.link().get().match_index(index).execute();
        std::pin::pin!(links).try_next().await.ok().flatten()
    }

    /// The link by which hosts of a prefix are reached by a route that somebody made for
    /// them: not by a default route.
    async fn link_towards(&self, prefix: IpNet) -> Option<u32> {
        let question = |host: IpAddr| {
            let mut route = RouteMessage::default();
            let (family, address) = match host {
                IpAddr::V4(v4) => (AddressFamily::Inet, RouteAddress::Inet(v4)),
                IpAddr::V6(v6) => (AddressFamily::Inet6, RouteAddress::Inet6(v6)),
            };
            route.header.address_family = family;
            route.header.destination_prefix_length = prefix.max_prefix_len();
            route.header.flags = RouteFlags::FibMatch;
            route.attributes.push(RouteAttribute::Destination(address));
            self.handle.route().get(route).execute()
        };
        // The first may be our own.
        for host in prefix.hosts().take(2) {
            let mut answers = std::pin::pin!(question(host));
            let Some(Ok(route)) = answers.next().await else {
                continue;
            };
            let made_for_it = route.header.kind == RouteType::Unicast
                && route.header.destination_prefix_length > 0;
            let link = route.attributes.iter().find_map(|a| match a {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            });
            if made_for_it && link.is_some() {
                return link;
            }
        }
        None
    }
}
