//! Clamping the maximum segment size that TCP ends announce to each other, so
//! that what they send fits the tunnel (RFC 9293 section 3.7.1).

use crate::packet::checksum::replaced;
use crate::packet::headers::{IPV6_HEADER, TCP, TCP_HEADER};
use crate::packet::mtu::Family;

const SYN: u8 = 0x02;

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// The maximum segment size of TCP over this family in packets of at most `mtu`
/// octets: what headers without options leave (RFC 6691).
#[must_use]
pub const fn mss(mtu: usize, inside: Family) -> usize {
    mtu.saturating_sub(inside.header_len() + TCP_HEADER)
}

/// Lowers the maximum segment size that a SYN announces to what fits `mtu`
/// octets of packet, and says whether it did. Every other packet, and one that
/// announces less, stays as it is. With `partial_checksum` the checksum field
/// holds only the sum of the pseudo-header, which a change does not touch.
pub(crate) fn clamp_mss(packet: &mut [u8], mtu: usize, partial_checksum: bool) -> bool {
    let Some((start, inside)) = tcp_of_syn(packet) else {
        return false;
    };
    let Ok(limit) = u16::try_from(mss(mtu, inside)) else {
        return false;
    };
    let Some(tcp) = packet.get_mut(start..) else {
        return false;
    };
    lower(tcp, limit, partial_checksum).is_some()
}

/// Where the TCP header of a SYN begins, and over which family.
fn tcp_of_syn(packet: &[u8]) -> Option<(usize, Family)> {
    let (start, inside) = match packet {
        // Not a fragment, but perhaps the first of some.
        [first, _, _, _, _, _, f0, f1, _, TCP, ..]
            if first >> 4 == 4 && f0 & 0x1F == 0 && *f1 == 0 =>
        {
            (usize::from(first & 0x0F) * 4, Family::V4)
        }
        [first, _, _, _, _, _, TCP, ..] if first >> 4 == 6 => (IPV6_HEADER, Family::V6),
        _ => return None,
    };
    let flags = packet.get(start + 13)?;
    (flags & SYN != 0).then_some((start, inside))
}

/// Lowers the option, if it is there and larger than `limit`.
fn lower(tcp: &mut [u8], limit: u16, partial_checksum: bool) -> Option<()> {
    let header_len = usize::from(tcp.get(12)? >> 4) * 4;
    let at = find(tcp.get(TCP_HEADER..header_len)?)? + TCP_HEADER;
    let value = tcp.get_mut(at..)?.first_chunk_mut::<2>()?;
    let announced = u16::from_be_bytes(*value);
    if announced <= limit {
        return None;
    }
    *value = limit.to_be_bytes();
    if partial_checksum {
        return Some(());
    }
    // Across two words of the sum, the value counts with its octets exchanged
    // (RFC 1071 section 2).
    let as_summed = |value: u16| {
        if at.is_multiple_of(2) {
            value
        } else {
            value.swap_bytes()
        }
    };
    let checksum = tcp.get_mut(16..)?.first_chunk_mut::<2>()?;
    let before = u16::from_be_bytes(*checksum);
    *checksum = replaced(before, as_summed(announced), as_summed(limit)).to_be_bytes();
    Some(())
}

/// Where the value of the option lies among `options`. Every step takes at
/// least one octet, so it ends with them.
fn find(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match options.get(at..)? {
            [NO_OPERATION, ..] => at += 1,
            [END_OF_OPTIONS, ..] => return None,
            [MAXIMUM_SEGMENT_SIZE, 4, _, _, ..] => return Some(at + 2),
            [_, len, ..] if *len >= 2 => at += usize::from(*len),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{SYN, TCP, clamp_mss};
    use crate::packet::checksum::tests::naive;

    /// A TCP packet without payload with these flags and options, its checksum
    /// right for the TCP header alone.
    fn packet(version: u8, flags: u8, options: &[u8]) -> Vec<u8> {
        let mut tcp = vec![
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, flags, 1, 0, 0, 0, 0, 0,
        ];
        tcp.extend(options);
        tcp.resize(tcp.len().next_multiple_of(4), 0);
        tcp[12] = u8::try_from(tcp.len() / 4).unwrap() << 4;
        let checksum = !naive(&tcp);
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        let mut packet = vec![0; if version == 4 { 20 } else { 40 }];
        packet[0] = if version == 4 { 0x45 } else { 0x60 };
        packet[if version == 4 { 9 } else { 6 }] = TCP;
        packet.extend(tcp);
        packet
    }

    #[test]
    fn a_syn_that_announces_more_than_fits_is_lowered_and_its_checksum_stays_right() {
        for (version, mss) in [(4, 1398_u16), (6, 1378)] {
            for options in [
                vec![2, 4, 5, 180],
                // The value lies across two words of the checksum.
                vec![1, 2, 4, 5, 180],
                vec![1, 3, 3, 7, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 5, 180],
            ] {
                let mut syn = packet(version, SYN, &options);
                assert!(clamp_mss(&mut syn, 1438, false));
                let expected = mss.to_be_bytes();
                assert_eq!(syn[syn.len() - syn.len() % 2..].len(), 0);
                let start = if version == 4 { 20 } else { 40 };
                let at = start + 20 + options.len() - 2;
                assert_eq!(syn[at..at + 2], expected);
                assert_eq!(naive(&syn[start..]), 0xFFFF);
            }
        }
    }

    #[test]
    fn a_partial_checksum_is_left_alone() {
        let mut syn = packet(4, SYN, &[2, 4, 5, 180]);
        let checksum = syn[36..38].to_vec();
        assert!(clamp_mss(&mut syn, 1438, true));
        assert_eq!(syn[36..38], checksum);
    }

    #[test]
    fn nothing_else_is_changed() {
        let announces = [2, 4, 5, 180];
        let small = packet(4, SYN, &[2, 4, 2, 24]);
        let no_syn = packet(4, 0x10, &announces);
        let mut udp = packet(4, SYN, &announces);
        udp[9] = 17;
        let mut fragment = packet(4, SYN, &announces);
        fragment[7] = 1;
        let ended = packet(4, SYN, &[0, 2, 4, 5, 180]);
        let cut = packet(4, SYN, &[3, 3, 7, 2]);
        let endless = packet(4, SYN, &[5, 0, 2, 4, 5, 180]);
        for before in [small, no_syn, udp, fragment, ended, cut, endless] {
            let mut after = before.clone();
            assert!(!clamp_mss(&mut after, 1438, false));
            assert_eq!(after, before);
        }
    }

    proptest! {
        #[test]
        fn any_octets_keep_their_length(
            mut octets in proptest::collection::vec(any::<u8>(), 0..120),
            version in prop_oneof![Just(0x45), Just(0x4F), Just(0x60), Just(0x40)],
            mtu in 0_usize..70_000,
        ) {
            if let Some(first) = octets.first_mut() {
                *first = version;
            }
            for at in [6, 9] {
                if let Some(octet) = octets.get_mut(at) {
                    *octet = TCP;
                }
            }
            let len = octets.len();
            clamp_mss(&mut octets, mtu, false);
            prop_assert_eq!(octets.len(), len);
        }
    }
}
