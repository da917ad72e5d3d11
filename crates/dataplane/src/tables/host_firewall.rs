//! What may reach the gateway's own host out of a tunnel.
//!
//! Connecting a site to a VPC must not open the gateway's ssh to the site. So
//! the host itself gets only what routing needs, what answers the host, and the
//! services that are configured. Each packet is judged by itself: the host's
//! own connections are not tracked.

use vgw_sa::{HostService, InsideAddress, Transport};

use crate::packet::headers::{ICMP, ICMPV6, TCP, UDP};
use crate::packet::inner::InnerPacket;

/// Border Gateway Protocol (RFC 4271 section 8.2.1).
const BGP_PORT: u16 = 179;
/// Linux's default for `net.ipv4.ip_local_port_range`; a daemon without
/// `/proc/sys` cannot see whether it was changed. UDP to one of these ports is
/// taken for an answer to the host.
const ANSWER_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Services of the host that are open to tunnels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostServices {
    /// These, beside what routing needs and what answers the host.
    Only(Vec<HostService>),
    /// All of them: the host takes everything, as if it stood behind the gateway.
    All,
}

impl Default for HostServices {
    /// None.
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

impl From<Vec<HostService>> for HostServices {
    fn from(services: Vec<HostService>) -> Self {
        if services.contains(&HostService::All) {
            return Self::All;
        }
        Self::Only(services)
    }
}

impl HostServices {
    fn open(&self, protocol: Transport, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Only(services) => services.iter().any(|service| service.is_at(protocol, port)),
        }
    }

    /// Whether a packet for the host is delivered. `inside` is its destination
    /// if that is the inside address of a tunnel which the packet may come by.
    pub(crate) fn admit(&self, packet: &InnerPacket<'_>, inside: Option<&InsideAddress>) -> bool {
        if *self == Self::All {
            return true;
        }
        let Some((protocol, payload)) = packet.transport() else {
            // A later fragment is useless if the first was dropped, and the kernel
            // lets none overlap the first (RFC 5722 section 4; RFC 1858).
            return true;
        };
        match (protocol, payload) {
            (ICMP, [kind, ..]) => is_echo_or_error(*kind),
            (ICMPV6, [kind, ..]) => is_echo_or_error_v6(*kind),
            (TCP, [_, _, d0, d1, _, _, _, _, _, _, _, _, _, flags, ..]) => {
                let to = u16::from_be_bytes([*d0, *d1]);
                // Only as destination: any client may have it as its source port.
                let bgp =
                    to == BGP_PORT && inside.is_some_and(|inside| inside.peer == packet.source());
                bgp || !opens_connection(*flags) || self.open(Transport::Tcp, to)
            }
            (UDP, [_, _, d0, d1, ..]) => {
                let to = u16::from_be_bytes([*d0, *d1]);
                ANSWER_PORTS.contains(&to) || self.open(Transport::Udp, to)
            }
            // Another protocol, or a packet too short to tell.
            _ => false,
        }
    }
}

/// Whether a TCP segment is not part of a connection that the host has: a SYN
/// without ACK, or one with neither ACK nor RST (RFC 9293 section 3.10.7).
const fn opens_connection(flags: u8) -> bool {
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    flags & (RST | ACK) == 0
}

/// Echo reply and request, destination unreachable, time exceeded, parameter
/// problem (RFC 792).
const fn is_echo_or_error(kind: u8) -> bool {
    matches!(kind, 0 | 3 | 8 | 11 | 12)
}

/// Errors, echo request and reply (RFC 4443 section 2.1), and no neighbour
/// discovery.
const fn is_echo_or_error_v6(kind: u8) -> bool {
    matches!(kind, 1..=4 | 128 | 129)
}

#[cfg(test)]
mod tests {

    use vgw_sa::{GatewayId, InsideAddress};

    use super::{HostService, HostServices, TCP, Transport, UDP};
    use crate::packet::inner::InnerPacket;
    use crate::packet::inner::tests::ipv4;

    const PEER: [u8; 4] = [169, 254, 10, 2];
    const OURS: [u8; 4] = [169, 254, 10, 1];
    const SITE: [u8; 4] = [192, 168, 0, 7];

    const SYN: u8 = 0x02;
    const SYN_ACK: u8 = 0x12;
    const RST: u8 = 0x04;

    fn inside() -> InsideAddress {
        InsideAddress {
            ours: OURS.into(),
            peer: PEER.into(),
            tunnels: GatewayId(0).tunnel(0).into(),
        }
    }

    fn tcp(source: [u8; 4], from: u16, to: u16, flags: u8) -> Vec<u8> {
        let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
        segment.extend([0; 9]);
        segment.extend([flags, 0, 0, 0, 0, 0, 0]);
        ipv4(source, OURS, TCP, &segment)
    }

    fn udp(to: u16) -> Vec<u8> {
        let [t0, t1] = to.to_be_bytes();
        ipv4(SITE, OURS, UDP, &[0, 53, t0, t1, 0, 8, 0, 0])
    }

    fn admits(services: &HostServices, packet: &[u8]) -> bool {
        services.admit(&InnerPacket::parse(packet).unwrap(), Some(&inside()))
    }

    fn closed(packet: &[u8]) -> bool {
        !admits(&HostServices::default(), packet)
    }

    #[test]
    fn echo_and_errors_reach_the_host_and_other_icmp_does_not() {
        for (kind, open) in [
            (8, true),
            (0, true),
            (3, true),
            (11, true),
            (5, false),
            (13, false),
        ] {
            let packet = ipv4(SITE, OURS, 1, &[kind, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(!closed(&packet), open, "{kind}");
        }
    }

    #[test]
    fn a_connection_of_the_host_gets_its_answers_and_none_is_opened_to_it() {
        assert!(closed(&tcp(SITE, 40_000, 22, SYN)));
        assert!(closed(&tcp(SITE, 40_000, 22, 0)), "no flag at all");
        assert!(!closed(&tcp(SITE, 22, 40_000, SYN_ACK)));
        assert!(!closed(&tcp(SITE, 22, 40_000, RST)));
        assert!(closed(&udp(53)) && closed(&udp(161)) && closed(&udp(61_000)));
        assert!(!closed(&udp(32_768)) && !closed(&udp(60_999)));
        assert!(closed(&ipv4(SITE, OURS, 50, &[0; 40])), "no other protocol");
        assert!(closed(&ipv4(SITE, OURS, TCP, &[0; 13])), "flags not shown");
    }

    #[test]
    fn bgp_comes_from_the_peer_s_inside_address_alone() {
        assert!(!closed(&tcp(PEER, 40_000, 179, SYN)));
        assert!(closed(&tcp(SITE, 40_000, 179, SYN)));
        assert!(closed(&tcp(PEER, 179, 22, SYN)), "from BGP's port to ssh");
        assert!(!closed(&tcp(PEER, 179, 40_000, SYN_ACK)));
        let packet = tcp(PEER, 40_000, 179, SYN);
        let packet = InnerPacket::parse(&packet).unwrap();
        assert!(!HostServices::default().admit(&packet, None));
    }

    #[test]
    fn a_configured_service_is_open_and_no_other() {
        let service = |protocol, first, last| HostService::Ports {
            protocol,
            first,
            last,
        };
        let services = HostServices::from(vec![
            service(Transport::Tcp, 22, 22),
            service(Transport::Udp, 5000, 5009),
        ]);
        assert!(admits(&services, &tcp(SITE, 40_000, 22, SYN)));
        assert!(!admits(&services, &tcp(SITE, 40_000, 23, SYN)));
        assert!(admits(&services, &udp(5009)) && !admits(&services, &udp(5010)));
        assert!(!admits(&services, &udp(22)));
        assert!(admits(&HostServices::All, &udp(22)));
    }

    #[test]
    fn a_later_fragment_passes_as_nothing_comes_of_it_without_the_first() {
        let mut fragment = udp(53);
        assert!(closed(&fragment));
        fragment[7] = 8;
        assert!(!closed(&fragment));
    }
}
