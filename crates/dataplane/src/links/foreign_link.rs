//! Packets that leave by a link that their source address does not belong to: on a
//! machine with two lines and one default route, those with the second line's address do.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkFlags;
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::links::netlink::{Netlink, address_of};
use crate::links::outside_link::{link_message, name_of, question, route_to};
use crate::packet::mtu::Family;

/// A link by which packets from an outside address leave although it has
/// neither that address nor another one of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignLink {
    /// Its name.
    pub name: Arc<str>,
    /// The addresses that it has.
    pub addresses: BTreeSet<IpAddr>,
    /// The link that has the outside address.
    pub own: Arc<str>,
    /// Peers' packets arrive by `own` and are dropped there, as its reverse
    /// path filter is strict.
    pub filtered: bool,
}

/// An address of a link.
#[derive(Debug)]
struct LinkAddress {
    index: u32,
    net: IpNet,
}

/// The link by which packets from `local` to `remote` leave, if it is a foreign
/// one. For an address of no link, or of a link without a line (loopback,
/// dummy), no link is foreign.
pub(crate) fn foreign_link(
    netlink: &Netlink,
    local: IpAddr,
    remote: IpAddr,
) -> io::Result<Option<ForeignLink>> {
    // The route as it is taken, not as configured: of several links, one.
    let mut asked = question(Some(local), remote);
    asked.header.flags = RouteFlags::empty();
    let route = route_to(netlink, asked)?;
    let Some(leaves) = link_of(&route).filter(|_| route.header.kind == RouteType::Unicast) else {
        return Ok(None);
    };
    // Mostly it is the link of the address itself, which is cheaper to ask for.
    if link_of(&route_to(netlink, question(None, local))?) == Some(leaves) {
        return Ok(None);
    }
    let addresses = addresses(netlink, local)?;
    let of_link = addresses.iter().filter(|address| address.index == leaves);
    if of_link.clone().any(|address| address.net.contains(&local)) {
        return Ok(None);
    }
    let own = addresses.iter().find(|address| address.net.addr() == local);
    let Some(own) = own.map(|address| address.index) else {
        return Ok(None);
    };
    let message = link_message(netlink, own)?;
    let flags = message.header.flags;
    if flags.contains(LinkFlags::Loopback) || flags.contains(LinkFlags::Noarp) {
        return Ok(None);
    }
    Ok(Some(ForeignLink {
        name: name_of(&link_message(netlink, leaves)?),
        addresses: of_link.map(|address| address.net.addr()).collect(),
        own: name_of(&message),
        filtered: local.is_ipv4() && is_strict(netlink, own)?,
    }))
}

/// Whether the kernel drops packets from a link if their answers would leave by another.
fn is_strict(netlink: &Netlink, index: u32) -> io::Result<bool> {
    let rp_filter = |index| Ok::<_, io::Error>(netlink.net_conf(Family::V4, index)?.rp_filter);
    Ok(rp_filter(Some(index))?.max(rp_filter(None)?) == 1)
}

fn link_of(route: &RouteMessage) -> Option<u32> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })
}

/// Every address of the family that `like` is of.
fn addresses(netlink: &Netlink, like: IpAddr) -> io::Result<Vec<LinkAddress>> {
    let mut message = AddressMessage::default();
    message.header.family = match like {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let message = RouteNetlinkMessage::GetAddress(message);
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut request = vec![0; message.buffer_len()];
    message.serialize(&mut request);
    let mut found = Vec::new();
    netlink.ask_for_all(&request, |messages| read(messages, &mut found))?;
    Ok(found)
}

/// Reads the messages of one datagram; true if the last of all was among them.
fn read(mut messages: &[u8], found: &mut Vec<LinkAddress>) -> io::Result<bool> {
    /// `struct nlmsghdr`; messages are aligned to 4.
    const HEADER: usize = 16;
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    while let Some(length) = messages.first_chunk() {
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
        let message = messages.get(..length).filter(|_| length >= HEADER);
        let message = message.ok_or_else(|| invalid("netlink: a message is cut off".to_owned()))?;
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)
            .map_err(|error| invalid(error.to_string()))?;
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => {
                found.extend(LinkAddress::of(&address));
            }
            _ => {}
        }
        messages = messages
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(false)
}

impl LinkAddress {
    fn of(message: &AddressMessage) -> Option<Self> {
        let (address, length) = address_of(message)?;
        Some(Self {
            index: message.header.index,
            net: IpNet::new(address, length).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;
    use vgw_lab::{Lab, Namespace, Veth};

    use super::{ForeignLink, foreign_link, read};
    use crate::links::netlink::Netlink;

    fn ip(namespace: &Namespace, arguments: &str) {
        let status = namespace.command("ip").args(arguments.split(' ')).status();
        assert!(status.unwrap().success(), "{arguments}");
    }

    fn parse(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    #[ignore = "needs root"]
    fn a_packet_leaves_by_a_foreign_link_unless_its_address_has_routes_of_its_own() {
        let lab = Lab::new("foreign").unwrap();
        let [near, far] = ["near", "far"].map(|name| lab.namespace(name).unwrap());
        for name in ["out1", "out2", "lone"] {
            let end = |namespace| Veth {
                namespace,
                name,
                addresses: &[],
            };
            end(&near).connect(end(&far)).unwrap();
        }
        ip(&near, "link set lone arp off");
        ip(&near, "address add 203.0.113.3/32 dev lone");
        ip(&near, "address add 203.0.113.4/32 dev lo");
        for (add, net) in [("address", "192.0"), ("-6 address", "2001:db8:")] {
            let (separator, rest) = match net {
                "192.0" => (".", ".1/24"),
                _ => ("", "::1/64 nodad"),
            };
            for number in [1, 2] {
                ip(
                    &near,
                    &format!("{add} add {net}{separator}{number}{rest} dev out{number}"),
                );
            }
        }
        ip(&near, "route add default via 192.0.1.9");
        ip(&near, "-6 route add default via 2001:db8:1::9");
        let netlink = near.run(Netlink::open).unwrap().unwrap();
        let of = |local, remote| foreign_link(&netlink, parse(local), parse(remote)).unwrap();
        let foreign = |own: &str, filtered| {
            Some(ForeignLink {
                name: "out1".into(),
                addresses: [parse(own)].into(),
                own: "out2".into(),
                filtered,
            })
        };
        for parameter in ["all", "out2"] {
            near.set_parameter(&format!("ipv4/conf/{parameter}/rp_filter"), "0")
                .unwrap();
        }
        assert_eq!(of("192.0.1.1", "198.51.100.7"), None);
        assert_eq!(of("2001:db8:1::1", "2001:db8:7::7"), None);
        let second = || of("192.0.2.1", "198.51.100.7");
        assert_eq!(second(), foreign("192.0.1.1", false));
        near.set_parameter("ipv4/conf/all/rp_filter", "1").unwrap();
        assert_eq!(second(), foreign("192.0.1.1", true));
        near.set_parameter("ipv4/conf/out2/rp_filter", "2").unwrap();
        assert_eq!(second(), foreign("192.0.1.1", false));
        let sixth = of("2001:db8:2::1", "2001:db8:7::7").unwrap();
        assert_eq!((&*sixth.name, &*sixth.own), ("out1", "out2"));

        // No link is foreign for a neighbour on the own line, for this machine,
        // or for an address of no link or of a link without a line.
        assert_eq!(of("192.0.2.1", "192.0.2.7"), None);
        assert_eq!(of("192.0.2.1", "192.0.1.1"), None);
        for address in ["203.0.113.3", "203.0.113.4"] {
            assert_eq!(of(address, "198.51.100.7"), None, "{address}");
        }
        ip(&near, "route add default via 192.0.2.9 table 102");
        ip(&near, "rule add from 192.0.2.1 table 102");
        assert_eq!(second(), None);
        ip(&near, "rule delete from 192.0.2.1 table 102");
        assert_ne!(second(), None);
        // Both lines may be in one network, and an address on both.
        ip(&near, "address add 192.0.2.5/24 dev out1");
        assert_eq!(second(), None);
        ip(&near, "address del 192.0.2.5/24 dev out1");
        ip(&near, "address add 192.0.2.1/32 dev out1");
        assert_eq!(second(), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_addresses_or_not(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&octets, &mut Vec::new());
        }
    }
}
