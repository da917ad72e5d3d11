//! Which inner packets an SA may carry (RFC 4301 section 5.2).

use std::net::IpAddr;

use vgw_sa::TrafficSelector;

use crate::packet::inner::{InnerPacket, UpperLayer};
use crate::tables::counters::DropReason;

/// Both sides of what a CHILD SA may carry, narrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selectors {
    local: Vec<TrafficSelector>,
    remote: Vec<TrafficSelector>,
    addresses_only: bool,
}

impl Selectors {
    /// `local` is our side, `remote` the peer's.
    #[must_use]
    pub fn new(local: Vec<TrafficSelector>, remote: Vec<TrafficSelector>) -> Self {
        let addresses_only = local.iter().chain(&remote).all(any_upper_layer);
        Self {
            local,
            remote,
            addresses_only,
        }
    }

    /// Our side and the peer's.
    pub(crate) fn both(&self) -> [&[TrafficSelector]; 2] {
        [&self.local, &self.remote]
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

const fn any_upper_layer(selector: &TrafficSelector) -> bool {
    selector.protocol == 0 && selector.any_port()
}

fn covered(selectors: &[TrafficSelector], address: IpAddr) -> bool {
    selectors.iter().any(|selector| selector.contains(address))
}

fn admitted(
    selectors: &[TrafficSelector],
    address: IpAddr,
    protocol: u8,
    port: Option<u16>,
) -> bool {
    selectors
        .iter()
        .any(|selector| admits(selector, address, protocol, port))
}

fn admits(selector: &TrafficSelector, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
    let ports = selector.first_port..=selector.last_port;
    selector.contains(address)
        && (selector.protocol == 0 || selector.protocol == protocol)
        // A fragment that shows no port could hide a forbidden one.
        && (selector.any_port() || port.is_some_and(|port| ports.contains(&port)))
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;
    use vgw_sa::TrafficSelector;

    use super::Selectors;
    use crate::packet::inner::InnerPacket;
    use crate::packet::inner::tests::ipv4;
    use crate::tables::counters::DropReason;

    fn net(prefix: &str) -> TrafficSelector {
        prefix.parse::<IpNet>().unwrap().into()
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
        let dns = TrafficSelector {
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
        let dns = TrafficSelector {
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
