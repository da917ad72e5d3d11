//! Addresses of links, and what the kernel delivers to the machine itself because of them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use vgw_dataplane::address_of;

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalAddress {
    /// The index of the link.
    pub index: u32,
    /// The address, and the network that it is in.
    pub net: IpNet,
    /// The broadcast address that was set with it.
    pub broadcast: Option<Ipv4Addr>,
    /// Whether the kernel knows that no other machine has it, and takes routes from it.
    pub settled: bool,
}

impl LocalAddress {
    pub(super) fn of(message: &AddressMessage) -> Option<Self> {
        let (address, length) = address_of(message)?;
        let broadcast = message.attributes.iter().find_map(|a| match a {
            AddressAttribute::Broadcast(address) => Some(*address),
            _ => None,
        });
        let flags = message.header.flags;
        let unsettled = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
        Some(Self {
            index: message.header.index,
            net: IpNet::new(address, length).ok()?,
            broadcast,
            settled: !flags.intersects(unsettled),
        })
    }

    /// Destinations that the machine takes for its own: the address, its network's
    /// broadcast address and, the first of the network, what older kernels broadcast
    /// to (RFC 1122 section 3.2.1.3), or IPv6's anycast address of all routers
    /// (RFC 4291 section 2.6.1). A link of two has neither (RFC 3021, RFC 6164).
    pub(super) fn destinations(&self) -> impl Iterator<Item = IpAddr> {
        let shared = self.net.prefix_len() + 1 < self.net.max_prefix_len();
        let first = shared.then(|| self.net.network());
        let last = match self.net {
            IpNet::V4(net) if shared => Some(net.broadcast()),
            _ => None,
        };
        let broadcast = self.broadcast.into_iter().chain(last).map(IpAddr::V4);
        [self.net.addr()].into_iter().chain(first).chain(broadcast)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr};

    use super::LocalAddress;

    fn destinations(net: &str, broadcast: Option<[u8; 4]>) -> BTreeSet<IpAddr> {
        let address = LocalAddress {
            index: 1,
            net: net.parse().unwrap(),
            broadcast: broadcast.map(Ipv4Addr::from),
            settled: true,
        };
        address.destinations().collect()
    }

    #[test]
    fn the_machine_takes_what_is_for_its_network_as_well_as_for_its_address() {
        for (net, broadcast, expected) in [
            (
                "10.0.1.9/24",
                Some([10, 0, 1, 77]),
                &["10.0.1.0", "10.0.1.9", "10.0.1.77", "10.0.1.255"][..],
            ),
            ("10.0.1.8/31", None, &["10.0.1.8"]),
            ("10.0.1.9/32", None, &["10.0.1.9"]),
            ("fd00::9/64", None, &["fd00::", "fd00::9"]),
            ("fd00::9/127", None, &["fd00::9"]),
        ] {
            let expected: BTreeSet<IpAddr> = expected.iter().map(|a| a.parse().unwrap()).collect();
            assert_eq!(destinations(net, broadcast), expected, "{net}");
        }
    }
}
