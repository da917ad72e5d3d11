//! What the kernel sends to a peer unfragmented: the MTU of the outgoing link,
//! or of the route where that is less.
//!
//! Over IPv4 only the configured route is asked for. What ICMP has told of the
//! path since can be forged by anyone, and any program's socket may have taken
//! it in. Over IPv6 that is asked for too: there no router fragments, and
//! forged ICMP brings no MTU below 1,280.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use vgw_sa::NATT_PORT;

use crate::links::netlink::Netlink;

/// IP protocol number of UDP.
const UDP: u8 = 17;

/// The link by which a peer is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutsideLink {
    /// The link's name.
    pub name: Arc<str>,
    /// The largest outer packet that is not fragmented, octets.
    pub mtu: usize,
    /// The route sets this limit, and not the link.
    pub by_route: bool,
}

/// Whether the kernel takes this address for the machine's own, by the rule
/// that allows it as a source.
pub(crate) fn is_local(netlink: &Netlink, address: IpAddr) -> io::Result<bool> {
    match route_to(netlink, question(None, address)) {
        Ok(route) => Ok(route.header.kind == RouteType::Local),
        // No route leads to it at all.
        Err(error) if error.raw_os_error() == Some(libc::ENETUNREACH) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EHOSTUNREACH) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The link by which `remote` is reached from our address `local`.
pub(crate) fn link_to(netlink: &Netlink, local: IpAddr, remote: IpAddr) -> io::Result<OutsideLink> {
    let route = route_to(netlink, question(Some(local), remote))?;
    // Of several links each flow takes one, and we do not choose which.
    let links: io::Result<Vec<OutsideLink>> = links_of(&route)
        .into_iter()
        .map(|index| link(netlink, index, remote.is_ipv6()))
        .collect();
    let narrowest = links?.into_iter().min_by_key(|link| link.mtu);
    let link = narrowest.ok_or_else(|| io::Error::other("netlink: a route without a link"))?;
    Ok(match mtu_of(&route) {
        Some(mtu) if mtu < link.mtu => OutsideLink {
            mtu,
            by_route: true,
            ..link
        },
        _ => link,
    })
}

/// The MTU of the link `index`.
pub(crate) fn link_mtu(netlink: &Netlink, index: u32) -> io::Result<usize> {
    Ok(link(netlink, index, false)?.mtu)
}

/// The link `index`.
pub(crate) fn link_message(netlink: &Netlink, index: u32) -> io::Result<LinkMessage> {
    let mut request = LinkMessage::default();
    request.header.index = index;
    match ask(netlink, RouteNetlinkMessage::GetLink(request))? {
        RouteNetlinkMessage::NewLink(link) => Ok(link),
        other => Err(unexpected(&other)),
    }
}

/// A link's name.
pub(crate) fn name_of(link: &LinkMessage) -> Arc<str> {
    let mut attributes = link.attributes.iter();
    let name = attributes.find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    });
    name.unwrap_or_default().into()
}

fn link(netlink: &Netlink, index: u32, ipv6: bool) -> io::Result<OutsideLink> {
    let link = link_message(netlink, index)?;
    let mut mtu = usize::MAX;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Mtu(found) => mtu = mtu.min(octets(*found)),
            // A router may have advertised less than the link has.
            LinkAttribute::AfSpecUnspec(families) if ipv6 => {
                mtu = families.iter().filter_map(ipv6_mtu).fold(mtu, usize::min);
            }
            _ => {}
        }
    }
    Ok(OutsideLink {
        name: name_of(&link),
        mtu,
        by_route: false,
    })
}

fn ipv6_mtu(family: &AfSpecUnspec) -> Option<usize> {
    let AfSpecUnspec::Inet6(attributes) = family else {
        return None;
    };
    attributes.iter().find_map(|attribute| match attribute {
        AfSpecInet6::DevConf(config) => u32::try_from(config.mtu6)
            .ok()
            .filter(|mtu| *mtu > 0)
            .map(octets),
        _ => None,
    })
}

/// The route that answers a question.
pub(crate) fn route_to(netlink: &Netlink, question: RouteMessage) -> io::Result<RouteMessage> {
    match ask(netlink, RouteNetlinkMessage::GetRoute(question))? {
        RouteNetlinkMessage::NewRoute(route) => Ok(route),
        other => Err(unexpected(&other)),
    }
}

/// The question for the route of packets from `local`, or of packets without a source.
pub(crate) fn question(local: Option<IpAddr>, remote: IpAddr) -> RouteMessage {
    let mut route = RouteMessage::default();
    let address = |address| match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    };
    let (family, len, flags) = match remote {
        IpAddr::V4(_) => (AddressFamily::Inet, 32, RouteFlags::FibMatch),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128, RouteFlags::empty()),
    };
    route.header.address_family = family;
    route.header.destination_prefix_length = len;
    route.header.flags = flags;
    let destination = RouteAttribute::Destination(address(remote));
    route.attributes.push(destination);
    if let Some(local) = local {
        route.header.source_prefix_length = len;
        // Routing rules may lead our packets elsewhere than the machine's others.
        route.attributes.extend([
            RouteAttribute::Source(address(local)),
            RouteAttribute::IpProto(UDP),
            RouteAttribute::Sport(NATT_PORT),
        ]);
    }
    route
}

/// The links that a route leads to.
fn links_of(route: &RouteMessage) -> Vec<u32> {
    let mut links = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => links.push(*index),
            RouteAttribute::MultiPath(hops) => {
                links.extend(hops.iter().map(|hop| hop.interface_index));
            }
            _ => {}
        }
    }
    links
}

/// The MTU that a route itself sets.
fn mtu_of(route: &RouteMessage) -> Option<usize> {
    route.attributes.iter().find_map(|attribute| {
        let RouteAttribute::Metrics(metrics) = attribute else {
            return None;
        };
        metrics.iter().find_map(|metric| match metric {
            RouteMetric::Mtu(mtu) => Some(octets(*mtu)),
            _ => None,
        })
    })
}

fn octets(mtu: u32) -> usize {
    usize::try_from(mtu).unwrap_or(usize::MAX)
}

fn ask(netlink: &Netlink, message: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut request = vec![0; message.buffer_len()];
    message.serialize(&mut request);
    netlink.ask(&request, read)
}

fn read(answer: &[u8]) -> io::Result<RouteNetlinkMessage> {
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(message) => Ok(message),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &impl std::fmt::Debug) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("netlink: an answer of another kind than asked for: {answer:?}"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::IpAddr;

    use proptest::prelude::*;
    use vgw_lab::{Lab, Namespace, Veth};

    use super::{OutsideLink, link_to, read};
    use crate::links::netlink::Netlink;

    fn ip(namespace: &Namespace, arguments: &str) {
        let status = namespace.command("ip").args(arguments.split(' ')).status();
        assert!(status.unwrap().success(), "{arguments}");
    }

    fn expect(name: &str, mtu: usize, by_route: bool) -> OutsideLink {
        OutsideLink {
            name: name.into(),
            mtu,
            by_route,
        }
    }

    #[test]
    #[ignore = "needs root"]
    fn the_least_of_link_and_route_is_told_as_it_is_now() {
        let lab = Lab::new("link").unwrap();
        let [near, far] = ["near", "far"].map(|name| lab.namespace(name).unwrap());
        for number in 1..=2 {
            let address = |host| {
                [
                    format!("192.0.{number}.{host}/24").parse().unwrap(),
                    format!("2001:db8:{number}::{host}/64").parse().unwrap(),
                ]
            };
            let [one, two] = [1, 2].map(address);
            let name = format!("out{number}");
            let end = |namespace, addresses| Veth {
                namespace,
                name: &name,
                addresses,
            };
            end(&near, &one).connect(end(&far, &two)).unwrap();
        }
        let netlink = near.run(Netlink::open).unwrap().unwrap();
        let parse = |address: &str| address.parse::<IpAddr>().unwrap();
        let to = |local, remote| link_to(&netlink, parse(local), parse(remote)).unwrap();
        for (local, remote, behind, hop, short) in [
            (
                "192.0.1.1",
                "192.0.1.2",
                "203.0.113.0/24",
                "192.0.1.2",
                "203.0.113.9",
            ),
            (
                "2001:db8:1::1",
                "2001:db8:1::2",
                "2001:db8:9::/64",
                "2001:db8:1::2",
                "2001:db8:9::9",
            ),
        ] {
            assert_eq!(to(local, remote), expect("out1", 1500, false));
            ip(&near, "link set out1 mtu 1400");
            assert_eq!(to(local, remote), expect("out1", 1400, false));
            ip(&near, "link set out1 mtu 1500");
            assert_eq!(to(local, remote), expect("out1", 1500, false));

            let gone = link_to(&netlink, parse(local), parse(short)).unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::NetworkUnreachable, "{gone}");
            ip(&near, &format!("route add {behind} via {hop} mtu 1380"));
            assert_eq!(to(local, short), expect("out1", 1380, true));
            ip(&near, &format!("route change {behind} via {hop} mtu 1900"));
            assert_eq!(to(local, short), expect("out1", 1500, false));
        }

        // Of two links that share the traffic the narrower counts.
        ip(&near, "link set out2 mtu 1300");
        let hops = "nexthop via 192.0.1.2 nexthop via 192.0.2.2";
        ip(&near, &format!("route add 198.51.100.0/24 {hops}"));
        assert_eq!(to("192.0.1.1", "198.51.100.9"), expect("out2", 1300, false));

        // A routing rule by source address, as with several Internet lines.
        ip(&near, "route add 198.18.0.0/15 via 192.0.1.2");
        ip(&near, "route add 198.18.0.0/15 via 192.0.2.2 table 7");
        ip(&near, "rule add from 192.0.2.1 table 7");
        assert_eq!(to("192.0.1.1", "198.18.0.9"), expect("out1", 1500, false));
        assert_eq!(to("192.0.2.1", "198.18.0.9"), expect("out2", 1300, false));

        // What a router advertised holds for IPv6 alone.
        near.set_parameter("ipv6/conf/out1/mtu", "1290").unwrap();
        assert_eq!(to("2001:db8:1::1", "2001:db8:1::2").mtu, 1290);
        assert_eq!(to("192.0.1.1", "192.0.1.2").mtu, 1500);
    }

    proptest! {
        #[test]
        fn any_octets_are_an_answer_or_not(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&octets);
        }
    }
}
