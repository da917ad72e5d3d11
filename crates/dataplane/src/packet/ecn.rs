//! Explicit congestion notification through the tunnel (RFC 6040), and DSCP.

use crate::packet::checksum::replaced;

const ECN: u8 = 0x03;
const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// The packet was marked as congested on the way, but its transport does not
/// know such marks: it is dropped instead (RFC 6040 section 4.2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Congested;

/// The outer header's DSCP and ECN for an inner packet: normal mode of RFC 6040
/// section 4.1, which copies ECN.
pub(crate) fn outer_traffic_class(inner: &[u8], copy_dscp: bool) -> u8 {
    let class = traffic_class(inner);
    if copy_dscp { class } else { class & ECN }
}

/// Copies into the inner packet the marks that its outer header got on the path
/// (RFC 6040 section 4.2, figure 4).
pub(crate) fn decapsulate(outer: u8, inner: &mut [u8]) -> Result<(), Congested> {
    let outer = outer & ECN;
    // What nearly every packet is: unmarked.
    if outer == NOT_ECT {
        return Ok(());
    }
    let found = traffic_class(inner) & ECN;
    let marked = match (found, outer) {
        (NOT_ECT, CE) => return Err(Congested),
        (ECT_0 | ECT_1, CE) => CE,
        (ECT_0, ECT_1) => ECT_1,
        _ => return Ok(()),
    };
    set_ecn(inner, marked);
    Ok(())
}

fn traffic_class(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 4 => *second,
        [first, second, ..] => (first << 4) | (second >> 4),
        _ => 0,
    }
}

fn set_ecn(packet: &mut [u8], ecn: u8) {
    match packet {
        [first, second, _, _, _, _, _, _, _, _, c0, c1, ..] if *first >> 4 == 4 => {
            let before = u16::from_be_bytes([*first, *second]);
            *second = (*second & !ECN) | ecn;
            let after = u16::from_be_bytes([*first, *second]);
            let checksum = u16::from_be_bytes([*c0, *c1]);
            [*c0, *c1] = replaced(checksum, before, after).to_be_bytes();
        }
        [_, second, ..] => *second = (*second & !(ECN << 4)) | (ecn << 4),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{CE, Congested, ECT_0, ECT_1, NOT_ECT, decapsulate, outer_traffic_class};
    use crate::packet::checksum::tests::naive;

    /// A header with this traffic class and a right checksum.
    fn packet(version: u8, class: u8) -> Vec<u8> {
        if version == 6 {
            let mut packet = vec![0; 40];
            packet[0] = 0x60 | class >> 4;
            packet[1] = class << 4 | 0x0A;
            return packet;
        }
        let mut packet = vec![0x45, class, 0, 20, 1, 2, 0x40, 0, 64, 6, 0, 0];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        let checksum = !naive(&packet);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    #[test]
    fn the_inner_mark_becomes_what_figure_4_of_rfc_6040_says() {
        // By inner, then by outer: Not-ECT, ECT(0), ECT(1), CE.
        let outer = [NOT_ECT, ECT_0, ECT_1, CE];
        let figure = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE); 4]),
        ];
        for version in [4, 6] {
            for (inner, row) in figure {
                for (outer, expected) in outer.into_iter().zip(row) {
                    let dscp = 0xB8;
                    let mut arrived = packet(version, dscp | inner);
                    let result = decapsulate(dscp | outer, &mut arrived);
                    match expected {
                        Some(ecn) => assert_eq!(arrived, packet(version, dscp | ecn)),
                        None => assert_eq!(result, Err(Congested)),
                    }
                }
            }
        }
    }

    #[test]
    fn outside_ecn_is_always_copied_and_dscp_only_where_it_is_wanted() {
        for version in [4, 6] {
            let packet = packet(version, 0xB9);
            assert_eq!(outer_traffic_class(&packet, true), 0xB9);
            assert_eq!(outer_traffic_class(&packet, false), 0x01);
        }
    }

    #[test]
    fn octets_that_are_no_packet_are_left_alone() {
        for len in 0..12 {
            let mut octets = vec![0x45; len];
            let _ = decapsulate(CE, &mut octets);
            assert_eq!(octets.len(), len);
            let _ = outer_traffic_class(&octets, true);
        }
    }
}
