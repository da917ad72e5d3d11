//! Which inner packets an SA may carry (RFC 4301 section 5.2).

use std::net::IpAddr;

use crate::packet::inner::{InnerPacket, UpperLayer};
use crate::tables::counters::DropReason;

/// One traffic selector: a range of addresses, ports and a protocol (RFC 7296
/// section 3.13.1). Both addresses are of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selector {
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

impl Selector {
    fn covers(&self, address: IpAddr) -> bool {
        // IpAddr orders every IPv4 address below every IPv6 one, so a range of
        // one family holds no address of the other.
        self.first <= address && address <= self.last
    }

    const fn any_port(&self) -> bool {
        self.first_port == 0 && self.last_port == u16::MAX
    }

    const fn any_upper_layer(&self) -> bool {
        self.protocol == 0 && self.any_port()
    }

    fn admits(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        self.covers(address)
            && (self.protocol == 0 || self.protocol == protocol)
            // A fragment that shows no port could hide a forbidden one.
            && (self.any_port() || port.is_some_and(|port| (self.first_port..=self.last_port).contains(&port)))
    }
}

/// Both sides of what a CHILD SA may carry, narrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selectors {
    local: Vec<Selector>,
    remote: Vec<Selector>,
    addresses_only: bool,
}

impl Selectors {
    /// `local` is our side, `remote` the peer's.
    #[must_use]
    pub fn new(local: Vec<Selector>, remote: Vec<Selector>) -> Self {
        let addresses_only = local.iter().chain(&remote).all(Selector::any_upper_layer);
        Self {
            local,
            remote,
            addresses_only,
        }
    }

    /// Whether a packet from us to the peer may travel.
    pub(crate) fn admit_outbound(&self, packet: &InnerPacket<'_>) -> bool {
        let (local, remote) = (packet.source(), packet.destination());
        if self.addresses_only {
            return covered(&self.local, local) && covered(&self.remote, remote);
        }
        let UpperLayer { protocol, ports } = packet.upper_layer();
        let (local_port, remote_port) = ports.unzip();
        admitted(&self.local, local, protocol, local_port)
            && admitted(&self.remote, remote, protocol, remote_port)
    }

    /// Whether a decrypted packet from the peer to us is what was negotiated;
    /// if not, why it is dropped.
    pub(crate) fn admit_inbound(&self, packet: &InnerPacket<'_>) -> Result<(), DropReason> {
        let (remote, local) = (packet.source(), packet.destination());
        if !covered(&self.remote, remote) {
            return Err(DropReason::SourceNotAllowed);
        }
        if self.addresses_only {
            return if covered(&self.local, local) {
                Ok(())
            } else {
                Err(DropReason::OutsideSelectors)
            };
        }
        let UpperLayer { protocol, ports } = packet.upper_layer();
        let (remote_port, local_port) = ports.unzip();
        if admitted(&self.local, local, protocol, local_port)
            && admitted(&self.remote, remote, protocol, remote_port)
        {
            Ok(())
        } else {
            Err(DropReason::OutsideSelectors)
        }
    }
}

fn covered(selectors: &[Selector], address: IpAddr) -> bool {
    selectors.iter().any(|selector| selector.covers(address))
}

fn admitted(selectors: &[Selector], address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
    selectors
        .iter()
        .any(|selector| selector.admits(address, protocol, port))
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::{Selector, Selectors};
    use crate::packet::inner::InnerPacket;
    use crate::packet::inner::tests::ipv4;
    use crate::tables::counters::DropReason;

    fn net(prefix: &str) -> Selector {
        let net: IpNet = prefix.parse().unwrap();
        Selector {
            protocol: 0,
            first_port: 0,
            last_port: u16::MAX,
            first: net.network(),
            last: net.broadcast(),
        }
    }

    const UDP_5000_TO_53: [u8; 8] = [0x13, 0x88, 0, 53, 0, 8, 0, 0];

    #[test]
    fn a_packet_between_the_selected_networks_is_admitted_and_no_other() {
        let selectors = Selectors::new(
            vec![net("10.0.0.0/16")],
            vec![net("10.1.0.0/16"), net("fd00::/64")],
        );
        let out = ipv4([10, 0, 0, 1], [10, 1, 0, 1], 17, &UDP_5000_TO_53);
        assert!(selectors.admit_outbound(&InnerPacket::parse(&out).unwrap()));
        let astray = ipv4([10, 0, 0, 1], [10, 2, 0, 1], 17, &UDP_5000_TO_53);
        assert!(!selectors.admit_outbound(&InnerPacket::parse(&astray).unwrap()));
    }

    #[test]
    fn a_decrypted_packet_is_dropped_as_spoofed_or_as_outside_its_selectors() {
        let selectors = Selectors::new(vec![net("10.0.0.0/16")], vec![net("10.1.0.0/16")]);
        let good = ipv4([10, 1, 0, 1], [10, 0, 0, 1], 17, &UDP_5000_TO_53);
        let spoofed = ipv4([10, 2, 0, 1], [10, 0, 0, 1], 17, &UDP_5000_TO_53);
        let astray = ipv4([10, 1, 0, 1], [10, 3, 0, 1], 17, &UDP_5000_TO_53);
        let admit = |octets: &[u8]| selectors.admit_inbound(&InnerPacket::parse(octets).unwrap());
        assert_eq!(admit(&good), Ok(()));
        assert_eq!(admit(&spoofed), Err(DropReason::SourceNotAllowed));
        assert_eq!(admit(&astray), Err(DropReason::OutsideSelectors));
    }

    #[test]
    fn a_selector_of_one_port_admits_neither_another_port_nor_a_fragment_without_ports() {
        let dns = Selector {
            protocol: 17,
            first_port: 53,
            last_port: 53,
            ..net("10.1.0.0/16")
        };
        let selectors = Selectors::new(vec![net("10.0.0.0/16")], vec![dns]);
        let admit = |octets: &[u8]| selectors.admit_outbound(&InnerPacket::parse(octets).unwrap());
        let to_dns = ipv4([10, 0, 0, 1], [10, 1, 0, 1], 17, &UDP_5000_TO_53);
        assert!(admit(&to_dns));
        assert!(!admit(&ipv4(
            [10, 0, 0, 1],
            [10, 1, 0, 1],
            6,
            &UDP_5000_TO_53
        )));
        assert!(!admit(&ipv4(
            [10, 0, 0, 1],
            [10, 1, 0, 1],
            17,
            &[0, 53, 0, 54, 0, 8, 0, 0]
        )));
        let mut fragment = to_dns;
        fragment[7] = 4;
        assert!(!admit(&fragment));
    }

    #[test]
    fn inbound_the_remote_port_is_the_source_port() {
        let dns = Selector {
            protocol: 17,
            first_port: 53,
            last_port: 53,
            ..net("10.1.0.0/16")
        };
        let selectors = Selectors::new(vec![net("10.0.0.0/16")], vec![dns]);
        let answer = ipv4(
            [10, 1, 0, 1],
            [10, 0, 0, 1],
            17,
            &[0, 53, 0x13, 0x88, 0, 8, 0, 0],
        );
        assert_eq!(
            selectors.admit_inbound(&InnerPacket::parse(&answer).unwrap()),
            Ok(())
        );
        let other = ipv4(
            [10, 1, 0, 1],
            [10, 0, 0, 1],
            17,
            &[0, 54, 0x13, 0x88, 0, 8, 0, 0],
        );
        assert_eq!(
            selectors.admit_inbound(&InnerPacket::parse(&other).unwrap()),
            Err(DropReason::OutsideSelectors)
        );
    }
}
