//! Counting hops down, as a router does.

use crate::packet::checksum::replaced;

/// Takes one from TTL or hop limit (RFC 1812 section 5.3.1, RFC 8200 section
/// 3). False if that would leave none, and then the packet is unchanged.
pub(crate) fn decrement_hops(packet: &mut [u8]) -> bool {
    match packet {
        [first, _, _, _, _, _, _, _, ttl, protocol, c0, c1, ..] if *first >> 4 == 4 => {
            if *ttl <= 1 {
                return false;
            }
            let before = u16::from_be_bytes([*ttl, *protocol]);
            *ttl -= 1;
            let after = u16::from_be_bytes([*ttl, *protocol]);
            let checksum = u16::from_be_bytes([*c0, *c1]);
            [*c0, *c1] = replaced(checksum, before, after).to_be_bytes();
            true
        }
        [first, _, _, _, _, _, _, hop_limit, ..] if *first >> 4 == 6 => {
            if *hop_limit <= 1 {
                return false;
            }
            *hop_limit -= 1;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::decrement_hops;
    use crate::packet::checksum::tests::naive;

    #[test]
    fn the_last_hop_is_not_taken() {
        for version in [0x45, 0x60] {
            let mut packet = vec![0; 40];
            packet[0] = version;
            let hops = if version == 0x45 { 8 } else { 7 };
            for (left, goes_on) in [(0, false), (1, false), (2, true), (255, true)] {
                packet[hops] = left;
                assert_eq!(decrement_hops(&mut packet), goes_on);
                assert_eq!(packet[hops], if goes_on { left - 1 } else { left });
            }
        }
        assert!(!decrement_hops(&mut [0x45; 5]));
    }

    #[test]
    fn the_header_checksum_stays_right_down_to_the_last_hop() {
        let mut packet = vec![0x45, 0, 0, 20, 0xFF, 0xFF, 0x40, 0, 255, 17, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        let checksum = !naive(&packet);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        while decrement_hops(&mut packet) {
            assert_eq!(naive(&packet), 0xFFFF);
        }
        assert_eq!(packet[8], 1);
    }
}
