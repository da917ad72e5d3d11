use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::{InnerError, InnerPacket, UpperLayer};

/// An IPv4 packet without options around `payload`.
pub(crate) fn ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    packet
}

/// An IPv6 packet around `payload`.
pub(crate) fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

const A6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 2);

#[test]
fn an_ipv4_packet_gives_its_addresses_and_ports() {
    let octets = ipv4(
        [10, 0, 0, 1],
        [10, 1, 0, 2],
        17,
        &[0x13, 0x88, 0, 53, 0, 8, 0, 0],
    );
    let packet = InnerPacket::parse(&octets).unwrap();
    assert_eq!(packet.source(), IpAddr::from(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!(
        packet.destination(),
        IpAddr::from(Ipv4Addr::new(10, 1, 0, 2))
    );
    assert_eq!(packet.next_header(), 4);
    assert_eq!(
        packet.upper_layer(),
        UpperLayer {
            protocol: 17,
            ports: Some((5000, 53))
        }
    );
}

#[test]
fn octets_after_the_packet_are_cut_off_as_padding() {
    let mut octets = ipv4([10, 0, 0, 1], [10, 1, 0, 2], 17, &[0; 8]);
    octets.extend([0xEE; 100]);
    assert_eq!(InnerPacket::parse(&octets).unwrap().octets().len(), 28);
}

#[test]
fn a_packet_shorter_than_its_header_says_is_refused() {
    let octets = ipv4([10, 0, 0, 1], [10, 1, 0, 2], 17, &[0; 8]);
    assert_eq!(
        InnerPacket::parse(&octets[..27]),
        Err(InnerError::Truncated {
            found: 27,
            expected: 28
        })
    );
    let octets = ipv6(A6, B6, 17, &[0; 8]);
    assert_eq!(
        InnerPacket::parse(&octets[..39]),
        Err(InnerError::Truncated {
            found: 39,
            expected: 40
        })
    );
}

#[test]
fn an_impossible_header_length_or_version_is_refused() {
    let mut octets = ipv4([10, 0, 0, 1], [10, 1, 0, 2], 17, &[0; 8]);
    octets[0] = 0x44;
    assert_eq!(
        InnerPacket::parse(&octets),
        Err(InnerError::HeaderLength {
            header: 16,
            total: 28
        })
    );
    octets[0] = 0x55;
    assert_eq!(InnerPacket::parse(&octets), Err(InnerError::Version(5)));
    assert_eq!(InnerPacket::parse(&[]), Err(InnerError::Version(0)));
}

#[test]
fn a_later_fragment_shows_its_protocol_but_no_ports() {
    let mut octets = ipv4([10, 0, 0, 1], [10, 1, 0, 2], 6, &[0x11; 8]);
    octets[7] = 1;
    let packet = InnerPacket::parse(&octets).unwrap();
    assert_eq!(
        packet.upper_layer(),
        UpperLayer {
            protocol: 6,
            ports: None
        }
    );

    let mut fragment = vec![6, 0, 0x00, 0x08, 0, 0, 0, 1];
    fragment.extend([0x11; 8]);
    let octets = ipv6(A6, B6, 44, &fragment);
    let packet = InnerPacket::parse(&octets).unwrap();
    assert_eq!(
        packet.upper_layer(),
        UpperLayer {
            protocol: 6,
            ports: None
        }
    );
}

#[test]
fn ports_of_ipv6_are_found_behind_extension_headers() {
    let mut payload = vec![60, 0, 0, 0, 0, 0, 0, 0]; // hop-by-hop, then destination options
    payload.extend([44, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // 16 octets, then fragment
    payload.extend([6, 0, 0, 1, 0, 0, 0, 1]); // first fragment, then TCP
    payload.extend([0, 80, 0x10, 0, 0, 0, 0, 0]);
    let octets = ipv6(A6, B6, 0, &payload);
    let packet = InnerPacket::parse(&octets).unwrap();
    assert_eq!(packet.next_header(), 41);
    assert_eq!(
        packet.upper_layer(),
        UpperLayer {
            protocol: 6,
            ports: Some((80, 4096))
        }
    );
}

#[test]
fn icmp_gives_type_and_code_as_ports() {
    let octets = ipv4([10, 0, 0, 1], [10, 1, 0, 2], 1, &[8, 0, 0, 0, 0, 0, 0, 0]);
    let packet = InnerPacket::parse(&octets).unwrap();
    assert_eq!(packet.upper_layer().ports, Some((0x0800, 0x0800)));
}

proptest! {
    #[test]
    fn any_octets_are_parsed_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(packet) = InnerPacket::parse(&octets) {
            prop_assert!(packet.octets().len() <= octets.len());
            let _ = packet.upper_layer();
        }
    }

    #[test]
    fn any_payload_behind_any_next_header_ends(next in any::<u8>(), payload in proptest::collection::vec(any::<u8>(), 0..400)) {
        let octets = ipv6(A6, B6, next, &payload);
        let packet = InnerPacket::parse(&octets).unwrap();
        let _ = packet.upper_layer();
    }
}
