//! What a router tells the sender of a packet that it cannot forward.

use std::net::IpAddr;

use crate::packet::checksum::Sum;
use crate::packet::headers::{ICMP, ICMPV6, IPV4_HEADER, IPV6_HEADER};
use crate::packet::inner::InnerPacket;

/// Octets of the longest answer (RFC 4443 section 2.4 (c)).
pub(crate) const MAX_ANSWER: usize = 1280;
/// Answers that one burst may cause (RFC 1812 section 4.3.2.8).
pub(crate) const ANSWERS: usize = 8;
/// Octets of the longest answer over IPv4 (RFC 1812 section 4.3.2.3).
const MAX_IPV4_ANSWER: usize = 576;

const ICMP_HEADER: usize = 8;
const ICMPV6_REDIRECT: u16 = 137;
const HOPS: u8 = 64;

/// A type and code for each family, and what follows the checksum.
struct Message {
    v4: [u8; 2],
    v6: [u8; 2],
    rest: u32,
}

/// Writes the answer to a packet that is too large: "fragmentation needed"
/// (RFC 792, RFC 1191 section 4) or "packet too big" (RFC 4443 section 3.2),
/// with the largest size that fits. Returns its length; None where no answer
/// may be given.
///
/// Its source is the address that the packet was sent to, as the gateway need
/// not have an address inside.
pub(crate) fn too_big(packet: &[u8], mtu: usize, out: &mut [u8]) -> Option<usize> {
    let message = Message {
        v4: [3, 4],
        v6: [2, 0],
        rest: u32::try_from(mtu).ok()?,
    };
    answer(packet, &message, out)
}

/// Writes the answer to a packet whose hops are used up (RFC 792, RFC 4443
/// section 3.3), as [`too_big`] does.
pub(crate) fn time_exceeded(packet: &[u8], out: &mut [u8]) -> Option<usize> {
    let message = Message {
        v4: [11, 0],
        v6: [3, 0],
        rest: 0,
    };
    answer(packet, &message, out)
}

fn answer(octets: &[u8], message: &Message, out: &mut [u8]) -> Option<usize> {
    let packet = InnerPacket::parse(octets).ok()?;
    if !may_be_answered(&packet) {
        return None;
    }
    let octets = packet.octets();
    match (packet.source(), packet.destination()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let quoted = quote(octets, MAX_IPV4_ANSWER - IPV4_HEADER);
            let len = IPV4_HEADER + ICMP_HEADER + quoted.len();
            let out = out.get_mut(..len)?;
            let (header, icmp) = out.split_first_chunk_mut::<IPV4_HEADER>()?;
            write_icmp(icmp, message.v4, message.rest, quoted, Sum::default())?;
            write_ipv4(
                header,
                u16::try_from(len).ok()?,
                destination.octets(),
                source.octets(),
            );
            Some(len)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let quoted = quote(octets, MAX_ANSWER - IPV6_HEADER);
            let icmp_len = ICMP_HEADER + quoted.len();
            let len = IPV6_HEADER + icmp_len;
            let out = out.get_mut(..len)?;
            let (header, icmp) = out.split_first_chunk_mut::<IPV6_HEADER>()?;
            let icmp_len = u16::try_from(icmp_len).ok()?;
            // RFC 4443 section 2.3: the pseudo-header counts.
            let pseudo = Sum::of(&source.octets())
                .and_sum(Sum::of(&destination.octets()))
                .and_word(icmp_len)
                .and_word(u16::from(ICMPV6));
            write_icmp(icmp, message.v6, message.rest, quoted, pseudo)?;
            write_ipv6(header, icmp_len, destination.octets(), source.octets());
            Some(len)
        }
        _ => None,
    }
}

/// RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 (e):
/// no answer to an ICMP error, to a fragment other than the first, or to a
/// packet that was sent to many or comes from no single host.
fn may_be_answered(packet: &InnerPacket<'_>) -> bool {
    let single = |address: IpAddr| {
        // Networks 0 and 240 and up belong to no host (RFC 1122 section 3.2.1.3).
        let no_host = matches!(address, IpAddr::V4(v4) if matches!(v4.octets(), [0 | 240.., ..]));
        !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || no_host)
    };
    if !single(packet.source()) || !single(packet.destination()) {
        return false;
    }
    let upper = packet.upper_layer();
    // Type and code stand where ports would be.
    let icmp_type = upper.ports.map(|(type_and_code, _)| type_and_code >> 8);
    match (upper.protocol, icmp_type) {
        (ICMP, Some(kind)) => matches!(kind, 0 | 8..=10 | 13..=18),
        (ICMPV6, Some(kind)) => kind >= 128 && kind != ICMPV6_REDIRECT,
        // A later fragment, or a packet cut short: its ICMP type is not known.
        (ICMP | ICMPV6, None) => false,
        _ => !is_later_fragment(packet.octets()),
    }
}

fn is_later_fragment(packet: &[u8]) -> bool {
    match packet {
        [first, _, _, _, _, _, f0, f1, ..] if first >> 4 == 4 => f0 & 0x1F != 0 || *f1 != 0,
        _ => false,
    }
}

/// The start of the packet, as much as fits beside the ICMP header.
fn quote(packet: &[u8], room: usize) -> &[u8] {
    packet.get(..room - ICMP_HEADER).unwrap_or(packet)
}

fn write_icmp(
    out: &mut [u8],
    [kind, code]: [u8; 2],
    rest: u32,
    quoted: &[u8],
    pseudo: Sum,
) -> Option<()> {
    let [r0, r1, r2, r3] = rest.to_be_bytes();
    let (header, body) = out.split_first_chunk_mut::<ICMP_HEADER>()?;
    *header = [kind, code, 0, 0, r0, r1, r2, r3];
    let sum = pseudo
        .and_sum(Sum::of(header))
        .and_sum(Sum::of_copied(quoted, body)?);
    let [c0, c1] = sum.checksum().to_be_bytes();
    *header = [kind, code, c0, c1, r0, r1, r2, r3];
    Some(())
}

fn write_ipv4(header: &mut [u8; IPV4_HEADER], len: u16, from: [u8; 4], to: [u8; 4]) {
    // RFC 1812 section 4.3.2.5: precedence 6 or 7.
    const INTERNETWORK_CONTROL: u8 = 0xC0;
    let [l0, l1] = len.to_be_bytes();
    let [s0, s1, s2, s3] = from;
    let [d0, d1, d2, d3] = to;
    *header = [
        0x45,
        INTERNETWORK_CONTROL,
        l0,
        l1,
        0,
        0,
        0,
        0,
        HOPS,
        ICMP,
        0,
        0,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ];
    let checksum = Sum::of(header).checksum().to_be_bytes();
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&checksum);
    }
}

fn write_ipv6(header: &mut [u8; IPV6_HEADER], payload_len: u16, from: [u8; 16], to: [u8; 16]) {
    let [l0, l1] = payload_len.to_be_bytes();
    let fixed = [0x60, 0, 0, 0, l0, l1, ICMPV6, HOPS];
    let octets = fixed.into_iter().chain(from).chain(to);
    for (field, octet) in header.iter_mut().zip(octets) {
        *field = octet;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{MAX_ANSWER, time_exceeded, too_big};
    use crate::packet::checksum::tests::naive;
    use crate::packet::inner::InnerPacket;
    use crate::packet::inner::tests::ipv4;

    const FROM: [u8; 4] = [10, 0, 0, 1];
    const TO: [u8; 4] = [192, 168, 10, 2];

    fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        packet.extend([next_header, 64]);
        for last in [1, 2] {
            packet.extend([0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend(payload);
        packet
    }

    #[test]
    fn the_sender_of_an_ipv4_packet_learns_the_mtu_and_sees_its_packet() {
        let packet = ipv4(FROM, TO, 17, &[7; 1472]);
        let mut out = [0; MAX_ANSWER];
        let len = too_big(&packet, 1438, &mut out).unwrap();
        assert_eq!(len, 576);
        let answer = InnerPacket::parse(&out[..len]).unwrap();
        assert_eq!(answer.source(), std::net::IpAddr::from(TO));
        assert_eq!(answer.destination(), std::net::IpAddr::from(FROM));
        assert_eq!(naive(&out[..20]), 0xFFFF);
        assert_eq!(naive(&out[20..len]), 0xFFFF);
        assert_eq!(out[20..22], [3, 4]);
        assert_eq!(out[24..28], [0, 0, 0x05, 0x9E]);
        assert_eq!(out[28..len], packet[..548]);
    }

    #[test]
    fn the_sender_of_an_ipv6_packet_learns_the_mtu_and_sees_its_packet() {
        let packet = ipv6(17, &[7; 1460]);
        let mut out = [0; MAX_ANSWER];
        let len = too_big(&packet, 1418, &mut out).unwrap();
        assert_eq!(len, 1280);
        assert_eq!(out[40..42], [2, 0]);
        assert_eq!(out[44..48], [0, 0, 0x05, 0x8A]);
        assert_eq!(out[48..len], packet[..1232]);
        assert_eq!(out[8..40], [&packet[24..40], &packet[8..24]].concat());
        // Source, destination, length and next header count in the checksum.
        let mut summed = out[8..40].to_vec();
        summed.extend([0, 0, 0x04, 0xD8, 0, 0, 0, 58]);
        summed.extend(&out[40..len]);
        assert_eq!(naive(&summed), 0xFFFF);
    }

    #[test]
    fn used_up_hops_are_told_with_their_own_type() {
        let mut out = [0; MAX_ANSWER];
        let len = time_exceeded(&ipv4(FROM, TO, 17, &[0; 8]), &mut out).unwrap();
        assert_eq!((len, &out[20..22]), (20 + 8 + 28, &[11, 0][..]));
        let len = time_exceeded(&ipv6(17, &[0; 8]), &mut out).unwrap();
        assert_eq!((len, &out[40..42]), (40 + 8 + 48, &[3, 0][..]));
    }

    #[test]
    fn an_icmp_error_is_never_answered_but_an_echo_is() {
        let mut out = [0; MAX_ANSWER];
        for (kind, answered) in [(3, false), (11, false), (5, false), (8, true), (0, true)] {
            let packet = ipv4(FROM, TO, 1, &[kind, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(
                too_big(&packet, 1438, &mut out).is_some(),
                answered,
                "{kind}"
            );
        }
        for (kind, answered) in [(1, false), (2, false), (128, true), (137, false)] {
            let packet = ipv6(58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(
                too_big(&packet, 1438, &mut out).is_some(),
                answered,
                "{kind}"
            );
        }
    }

    #[test]
    fn what_was_sent_to_many_or_comes_from_nobody_is_not_answered() {
        let mut out = [0; MAX_ANSWER];
        for (from, to) in [
            ([0, 0, 0, 0], TO),
            ([224, 0, 0, 1], TO),
            (FROM, [224, 0, 0, 1]),
            (FROM, [255; 4]),
            ([0, 1, 2, 3], TO),
            ([240, 0, 0, 1], TO),
        ] {
            assert_eq!(too_big(&ipv4(from, to, 17, &[0; 8]), 1438, &mut out), None);
        }
        let mut fragment = ipv4(FROM, TO, 17, &[0; 8]);
        fragment[7] = 1;
        assert_eq!(too_big(&fragment, 1438, &mut out), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_answered_or_not(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut out = [0; MAX_ANSWER];
            for octets in [octets.clone(), ipv4(FROM, TO, 1, &octets), ipv6(58, &octets)] {
                if let Some(len) = too_big(&octets, 1280, &mut out) {
                    prop_assert!(InnerPacket::parse(&out[..len]).is_ok());
                }
            }
        }
    }
}
