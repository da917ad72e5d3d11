//! ICMP errors about packets that we sent outside: what they say, and which packet they quote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use vgw_sa::{IKE_PORT, NATT_PORT, SentPacket};

use crate::packet::headers::{IPV4_HEADER, IPV6_HEADER, UDP};

/// Type, code, checksum and four octets that say more, in both families.
const ICMP_HEADER: usize = 8;
/// IP protocol number of ESP (RFC 4303).
const ESP: u8 = 50;

/// An error that a packet of ours did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// What it says.
    pub says: &'static str,
    /// The packet that it quotes.
    pub packet: SentPacket,
}

impl IcmpError {
    /// Reads an IPv4 packet with an ICMP message (RFC 792). None if that is no such error, or
    /// what it quotes cannot be a packet of ours.
    #[must_use]
    pub fn parse_v4(packet: &[u8]) -> Option<Self> {
        let message = packet.get(header_len(packet)?..)?;
        let (header, quoted) = message.split_first_chunk::<ICMP_HEADER>()?;
        let says = match header {
            [3, 0, ..] => "network unreachable",
            [3, 1, ..] => "host unreachable",
            [3, 2, ..] => "protocol unreachable",
            [3, 3, ..] => "port unreachable",
            // The path's MTU is no sign of its end.
            [3, 4, ..] => return None,
            [3, 9 | 10 | 13, ..] => "communication prohibited",
            [3, ..] => "destination unreachable",
            [11, 0, ..] => "time to live exceeded",
            _ => return None,
        };
        let (ip, _) = quoted.split_first_chunk::<IPV4_HEADER>()?;
        let [
            _,
            _,
            _,
            _,
            _,
            _,
            flags,
            low,
            _,
            protocol,
            _,
            _,
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
        ] = *ip;
        // Only a first fragment has ports or an SPI.
        if u16::from_be_bytes([flags & 0x1F, low]) != 0 {
            return None;
        }
        let payload = quoted.get(header_len(quoted)?..)?;
        let ends = [Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h)];
        let packet = sent(ends.map(IpAddr::V4), protocol, payload)?;
        Some(Self { says, packet })
    }

    /// Reads an ICMPv6 message (RFC 4443), as [`Self::parse_v4`] does.
    #[must_use]
    pub fn parse_v6(message: &[u8]) -> Option<Self> {
        let (header, quoted) = message.split_first_chunk::<ICMP_HEADER>()?;
        let says = match header {
            [1, 0, ..] => "network unreachable",
            [1, 1 | 5 | 6, ..] => "communication prohibited",
            [1, 3, ..] => "host unreachable",
            [1, 4, ..] => "port unreachable",
            [1, ..] => "destination unreachable",
            [3, 0, ..] => "hop limit exceeded",
            _ => return None,
        };
        let (ip, payload) = quoted.split_first_chunk::<IPV6_HEADER>()?;
        let [0x60..=0x6F, _, _, _, _, _, next, _, ends @ ..] = ip else {
            return None;
        };
        let (local, remote) = ends.split_first_chunk::<16>()?;
        let remote = remote.first_chunk::<16>()?;
        let ends = [local, remote].map(|end| IpAddr::V6(Ipv6Addr::from(*end)));
        let packet = sent(ends, *next, payload)?;
        Some(Self { says, packet })
    }
}

/// Octets of an IPv4 header with its options.
fn header_len(packet: &[u8]) -> Option<usize> {
    let first = packet.first().filter(|first| **first >> 4 == 4)?;
    let len = usize::from(first & 0x0F) * 4;
    (len >= IPV4_HEADER).then_some(len)
}

/// The packet that begins so: of the payload eight octets are quoted at least.
fn sent([local, remote]: [IpAddr; 2], protocol: u8, payload: &[u8]) -> Option<SentPacket> {
    let word = |at: usize| payload.get(at..)?.first_chunk::<4>().copied();
    match protocol {
        ESP => Some(SentPacket {
            local: SocketAddr::new(local, 0),
            remote: SocketAddr::new(remote, 0),
            spi: Some(u32::from_be_bytes(word(0)?)),
        }),
        UDP => {
            let [a, b, c, d] = word(0)?;
            let [from, to] = [[a, b], [c, d]].map(u16::from_be_bytes);
            if ![IKE_PORT, NATT_PORT].contains(&from) {
                return None;
            }
            // Zero marks an IKE message (RFC 3948 section 2.2).
            let spi = word(8).map(u32::from_be_bytes).filter(|spi| *spi != 0);
            Some(SentPacket {
                local: SocketAddr::new(local, from),
                remote: SocketAddr::new(remote, to),
                spi: spi.filter(|_| from == NATT_PORT),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vgw_sa::SentPacket;

    use super::IcmpError;

    /// An IPv4 header with options of 4 octets.
    fn ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let mut header = vec![0x46, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        header.extend(source);
        header.extend(destination);
        header.extend([1, 1, 1, 1]);
        header
    }

    /// What 192.0.2.9 says of a packet from 203.0.113.1 to 192.0.2.1.
    fn error_v4(icmp: [u8; 2], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = ipv4(1, [192, 0, 2, 9], [203, 0, 113, 1]);
        packet.extend(icmp);
        packet.extend([0; 6]);
        packet.extend(ipv4(protocol, [203, 0, 113, 1], [192, 0, 2, 1]));
        packet.extend(payload);
        packet
    }

    fn error_v6(icmp: [u8; 2], next: u8, payload: &[u8]) -> Vec<u8> {
        let mut message = icmp.to_vec();
        message.extend([0; 6]);
        message.extend([0x60, 0, 0, 0, 0, 0, next, 64]);
        for last in [1, 2] {
            message.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        message.extend(payload);
        message
    }

    fn packet(local: &str, remote: &str, spi: Option<u32>) -> SentPacket {
        SentPacket {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            spi,
        }
    }

    /// A UDP header from port 4500 to 4501, as much of it as every router quotes.
    const UDP: [u8; 8] = [17, 148, 17, 149, 0, 0, 0, 0];
    const SPI: [u8; 8] = [0xAB, 0xCD, 0, 1, 0, 0, 0, 7];

    #[test]
    fn the_packet_is_told_by_its_ends_and_its_spi_as_far_as_it_is_quoted() {
        let told = |says, packet| Some(IcmpError { says, packet });
        let (near, far) = ("203.0.113.1", "192.0.2.1");
        let in_udp = |spi| packet(&format!("{near}:4500"), &format!("{far}:4501"), spi);
        let native = packet(&format!("{near}:0"), &format!("{far}:0"), Some(0xABCD_0001));
        let v4 = |icmp, protocol, payload: &[u8]| {
            IcmpError::parse_v4(&error_v4(icmp, protocol, payload))
        };
        assert_eq!(v4([3, 1], 50, &SPI), told("host unreachable", native));
        assert_eq!(v4([3, 3], 17, &UDP), told("port unreachable", in_udp(None)));
        let esp = [UDP, SPI].concat();
        let ike = [UDP, [0; 8]].concat();
        let prohibited = "communication prohibited";
        assert_eq!(
            v4([3, 13], 17, &esp),
            told(prohibited, in_udp(Some(0xABCD_0001)))
        );
        assert_eq!(v4([3, 13], 17, &ike), told(prohibited, in_udp(None)));

        let (near, far) = ("[2001:db8::1]", "[2001:db8::2]");
        let in_udp = packet(&format!("{near}:4500"), &format!("{far}:4501"), None);
        let native = packet(&format!("{near}:0"), &format!("{far}:0"), Some(0xABCD_0001));
        let v6 = |icmp, next, payload: &[u8]| IcmpError::parse_v6(&error_v6(icmp, next, payload));
        assert_eq!(v6([1, 0], 17, &UDP), told("network unreachable", in_udp));
        assert_eq!(v6([3, 0], 50, &SPI), told("hop limit exceeded", native));
    }

    #[test]
    fn what_tells_of_the_mtu_or_quotes_what_we_never_send_is_no_error() {
        for icmp in [[3, 4], [0, 0], [8, 0], [11, 1], [5, 1]] {
            assert_eq!(IcmpError::parse_v4(&error_v4(icmp, 50, &SPI)), None);
        }
        for icmp in [[2, 0], [3, 1], [128, 0]] {
            assert_eq!(IcmpError::parse_v6(&error_v6(icmp, 50, &SPI)), None);
        }
        let from_elsewhere = [0, 53, 17, 148, 0, 0, 0, 0];
        for (protocol, payload) in [(17, from_elsewhere), (6, UDP)] {
            assert_eq!(
                IcmpError::parse_v4(&error_v4([3, 1], protocol, &payload)),
                None
            );
        }
        let mut later_fragment = error_v4([3, 1], 50, &SPI);
        later_fragment[24 + 8 + 7] = 1;
        assert_eq!(IcmpError::parse_v4(&later_fragment), None);
    }

    #[test]
    fn what_quotes_too_little_is_no_error() {
        for whole in [
            error_v4([3, 1], 50, &SPI[..4]),
            error_v4([3, 1], 17, &UDP[..4]),
        ] {
            assert!(IcmpError::parse_v4(&whole).is_some());
            for len in 0..whole.len() {
                assert_eq!(IcmpError::parse_v4(&whole[..len]), None, "{len}");
            }
        }
        let whole = error_v6([1, 0], 50, &SPI[..4]);
        assert!(IcmpError::parse_v6(&whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(IcmpError::parse_v6(&whole[..len]), None, "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_an_error_or_not(
            head in any::<[u8; 2]>(),
            octets in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let _ = IcmpError::parse_v4(&octets);
            let _ = IcmpError::parse_v6(&octets);
            let _ = IcmpError::parse_v4(&error_v4(head, 17, &octets));
            let _ = IcmpError::parse_v6(&error_v6(head, 50, &octets));
        }
    }
}
