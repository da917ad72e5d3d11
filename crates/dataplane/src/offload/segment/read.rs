//! The headers of a packet that is to be cut.

use super::{Ip, SegmentError, Upper, low_half};
use crate::packet::checksum::Sum;
use crate::packet::headers::{
    IPV4_HEADER, IPV6_HEADER, TCP_CHECKSUM, TCP_HEADER, UDP, UDP_CHECKSUM, UDP_HEADER,
};
use crate::packet::vnet::{DATA_VALID, NEEDS_CSUM, VnetHeader};

/// The header's constant part, its protocol and where its payload begins.
pub(super) fn read_ipv4(packet: &[u8]) -> Result<(Ip, u8, usize), SegmentError> {
    let fixed: &[u8; IPV4_HEADER] = packet.first_chunk().ok_or(SegmentError::Truncated {
        found: packet.len(),
        expected: IPV4_HEADER,
    })?;
    let [first, _, l0, l1, i0, i1, f0, f1, _, protocol, c0, c1, ..] = *fixed;
    let header_len = usize::from(first & 0x0F) * 4;
    if header_len < IPV4_HEADER {
        return Err(SegmentError::HeaderLength {
            header: "IPv4",
            found: header_len,
            expected: IPV4_HEADER,
        });
    }
    let header = packet.get(..header_len).ok_or(SegmentError::Truncated {
        found: packet.len(),
        expected: header_len,
    })?;
    check_length(
        "IPv4 total length",
        u16::from_be_bytes([l0, l1]),
        packet.len(),
    )?;
    // RFC 791 section 3.1: more fragments, or an offset.
    if u16::from_be_bytes([f0, f1]) & 0x3FFF != 0 {
        return Err(SegmentError::Fragment);
    }
    let id = u16::from_be_bytes([i0, i1]);
    let sum = Sum::of(header)
        .without_word(u16::from_be_bytes([l0, l1]))
        .without_word(id)
        .without_word(u16::from_be_bytes([c0, c1]));
    Ok((Ip::V4 { id, sum }, protocol, header_len))
}

/// As [`read_ipv4`]; walks the chain of RFC 8200 section 4, each step of which
/// takes at least 8 octets.
pub(super) fn read_ipv6(packet: &[u8]) -> Result<(Ip, u8, usize), SegmentError> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;

    let truncated = |expected| SegmentError::Truncated {
        found: packet.len(),
        expected,
    };
    let fixed: &[u8; IPV6_HEADER] = packet.first_chunk().ok_or(truncated(IPV6_HEADER))?;
    let [_, _, _, _, l0, l1, mut next, ..] = *fixed;
    let payload = packet.len().saturating_sub(IPV6_HEADER);
    check_length("IPv6 payload length", u16::from_be_bytes([l0, l1]), payload)?;
    let mut at = IPV6_HEADER;
    while matches!(next, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
        let header = packet.get(at..).and_then(|rest| rest.first_chunk::<8>());
        let [following, len, ..] = header.ok_or(truncated(at.saturating_add(8)))?;
        next = *following;
        at = at.saturating_add((usize::from(*len) + 1) * 8);
    }
    if next == FRAGMENT {
        return Err(SegmentError::Fragment);
    }
    Ok((Ip::V6, next, at))
}

/// The transport header and its length.
pub(super) fn read_upper(
    protocol: u8,
    packet: &[u8],
    transport: usize,
) -> Result<(Upper, usize), SegmentError> {
    let truncated = |header_len| SegmentError::Truncated {
        found: packet.len(),
        expected: transport.saturating_add(header_len),
    };
    let octets = packet.get(transport..).ok_or(truncated(0))?;
    if protocol == UDP {
        let header = octets
            .first_chunk::<UDP_HEADER>()
            .ok_or(truncated(UDP_HEADER))?;
        let [_, _, _, _, l0, l1, c0, c1] = *header;
        check_length("UDP length", u16::from_be_bytes([l0, l1]), octets.len())?;
        let checksum = [c0, c1] != [0, 0];
        return Ok((Upper::Udp { checksum }, UDP_HEADER));
    }
    let header = octets
        .first_chunk::<TCP_HEADER>()
        .ok_or(truncated(TCP_HEADER))?;
    let [_, _, _, _, s0, s1, s2, s3, _, _, _, _, offset, flags, ..] = *header;
    let header_len = usize::from(offset >> 4) * 4;
    if header_len < TCP_HEADER {
        return Err(SegmentError::HeaderLength {
            header: "TCP",
            found: header_len,
            expected: TCP_HEADER,
        });
    }
    let upper = Upper::Tcp {
        sequence: u32::from_be_bytes([s0, s1, s2, s3]),
        offset_and_flags: [offset, flags],
    };
    Ok((upper, header_len))
}

/// The sum of the pseudo-header, less the length in it.
///
/// It is not taken from the addresses: behind a routing header the destination
/// is not the one in the IP header (RFC 8200 section 8.1), but the sender knew.
pub(super) fn pseudo_header(
    header: VnetHeader,
    protocol: u8,
    packet: &[u8],
    transport: usize,
) -> Result<Sum, SegmentError> {
    let octets = packet.get(transport..).unwrap_or_default();
    let length = low_half(octets.len());
    if header.flags & NEEDS_CSUM == 0 {
        if header.flags & DATA_VALID == 0 {
            return Err(SegmentError::Unverified(header.flags));
        }
        // A right sum over everything is zero, so the pseudo-header is what the rest leaves.
        let pseudo = Sum::default().without_word(Sum::of(octets).folded());
        return Ok(pseudo.without_word(length));
    }
    let start = usize::from(header.csum_start);
    if start != transport {
        return Err(SegmentError::ChecksumStart {
            found: start,
            expected: transport,
        });
    }
    let offset = usize::from(header.csum_offset);
    let expected = if protocol == UDP {
        UDP_CHECKSUM
    } else {
        TCP_CHECKSUM
    };
    if offset != expected {
        return Err(SegmentError::ChecksumOffset {
            found: offset,
            expected,
        });
    }
    let field = octets
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<2>());
    let field = field.copied().map_or(0, u16::from_be_bytes);
    Ok(Sum::default().and_word(field).without_word(length))
}

/// The sum of what a transport header says in every segment: of UDP's all but
/// length and checksum; of TCP's all but sequence number, flags and checksum.
pub(super) fn constant_sum(protocol: u8, header: &[u8]) -> Sum {
    let without = |sum: Sum, from, len| {
        let octets = header.get(from..).and_then(|rest| rest.get(..len));
        sum.without_word(Sum::of(octets.unwrap_or_default()).folded())
    };
    let sum = without(Sum::of(header), 4, 4);
    if protocol == UDP {
        return sum;
    }
    without(without(sum, 12, 2), TCP_CHECKSUM, 2)
}

fn check_length(field: &'static str, found: u16, expected: usize) -> Result<(), SegmentError> {
    let found = usize::from(found);
    if found != expected {
        return Err(SegmentError::Length {
            field,
            found,
            expected,
        });
    }
    Ok(())
}
