use proptest::prelude::*;

use super::draft::{ACK, CWR, Draft, ECE, FIN, PSH, URG, Upper};
use super::{SegmentError, Segments};
use crate::packet::checksum::tests::naive;
use crate::packet::vnet::{DATA_VALID, GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, VnetHeader};

/// All segments, each written into a buffer of the length announced.
pub(crate) fn all(segments: &Segments<'_>) -> Vec<Vec<u8>> {
    let last = segments.count() - 1;
    (0..=last)
        .map(|index| {
            let octets = if index == last {
                segments.last_len()
            } else {
                segments.segment_len()
            };
            let mut out = vec![0xEE; octets];
            segments.write(index, &mut out).unwrap();
            out
        })
        .collect()
}

fn payload(octets: usize) -> Vec<u8> {
    (0..=255).cycle().take(octets).collect()
}

#[track_caller]
fn assert_cut(draft: &Draft, gso_size: u16) {
    let (header, mut packet) = draft.build_super(gso_size);
    let expected: Vec<_> = draft.cut(gso_size).iter().map(Draft::build).collect();
    let segments = Segments::new(header, &mut packet).unwrap();
    assert_eq!(segments.count(), expected.len());
    assert_eq!(all(&segments), expected);
}

fn error(header: VnetHeader, packet: &[u8]) -> SegmentError {
    Segments::new(header, &mut packet.to_vec()).unwrap_err()
}

#[test]
fn tcp_over_ipv4_is_cut_with_ids_and_sequence_numbers_counting_up() {
    let mut draft = Draft::tcp(payload(3000)).flags(PSH);
    draft.id = 0xFFFF;
    draft.dont_fragment = false;
    assert_cut(&draft, 1400);
    let (header, mut packet) = draft.build_super(1400);
    let segments = Segments::new(header, &mut packet).unwrap();
    assert_eq!(
        (
            segments.count(),
            segments.segment_len(),
            segments.last_len()
        ),
        (3, 1440, 240)
    );
    let packets = all(&segments);
    assert_eq!(packets[0][4..6], [0xFF, 0xFF]);
    assert_eq!(packets[1][4..6], [0, 0]);
    assert_eq!(packets[2][24..28], 3800u32.to_be_bytes());
}

#[test]
fn fin_and_psh_are_on_the_last_segment_only_and_cwr_on_the_first() {
    let draft = Draft::tcp(payload(1000)).flags(FIN | PSH | CWR | ECE | URG);
    let (header, mut packet) = draft.build_super(400);
    let flags: Vec<_> = all(&Segments::new(header, &mut packet).unwrap())
        .iter()
        .map(|segment| u16::from(segment[33]))
        .collect();
    let every = ACK | ECE | URG;
    assert_eq!(flags, [every | CWR, every, every | FIN | PSH]);
}

#[test]
fn a_super_packet_of_one_segment_keeps_all_its_flags() {
    let draft = Draft::tcp(payload(100)).flags(FIN | PSH | CWR);
    assert_cut(&draft, 100);
    assert_cut(&draft, 1400);
    assert_cut(&Draft::tcp(Vec::new()), 1400);
}

#[test]
fn datagrams_get_their_own_length_and_checksum() {
    assert_cut(&Draft::udp(payload(3000)), 1200);
    assert_cut(&Draft::udp(payload(3000)).over_ipv6(), 1200);
}

#[test]
fn a_udp_checksum_that_comes_out_zero_is_sent_as_ones() {
    let mut draft = Draft::udp(vec![0; 4]);
    let built = draft.build();
    // What the checksum was, summed again, makes all ones.
    draft.payload[..2].copy_from_slice(&built[26..28]);
    let expected = draft.build();
    assert_eq!(expected[26..28], [0xFF, 0xFF]);
    assert_cut(&draft, 4);
    let (header, mut packet) = draft.build_super(4);
    let single = VnetHeader {
        gso_type: GSO_NONE,
        ..header
    };
    let segments = Segments::new(single, &mut packet).unwrap();
    assert_eq!(segments.packet(), expected);
}

#[test]
fn a_packet_with_nothing_left_to_do_is_passed_on_untouched() {
    let mut udp = Draft::udp(payload(100)).build();
    udp[26..28].fill(0);
    for mut packet in [udp, Vec::new(), vec![0xFF; 7]] {
        let copy = packet.clone();
        let segments = Segments::new(VnetHeader::default(), &mut packet).unwrap();
        assert_eq!((segments.count(), segments.segment_len()), (1, copy.len()));
        assert_eq!(segments.last_len(), copy.len());
        assert_eq!(all(&segments), [copy]);
    }
}

#[test]
fn the_checksum_of_a_single_packet_is_completed_in_place() {
    for draft in [Draft::tcp(payload(99)), Draft::udp(payload(99)).over_ipv6()] {
        let (header, mut packet) = draft.build_super(0);
        let header = VnetHeader {
            gso_type: GSO_NONE,
            ..header
        };
        let segments = Segments::new(header, &mut packet).unwrap();
        assert_eq!(segments.packet(), draft.build());
    }
}

#[test]
fn a_jumbo_segment_is_cut_as_any_other() {
    assert_cut(&Draft::tcp(payload(60_000)), 8960);
    assert_cut(&Draft::tcp(payload(65_495)), 1);
    assert_cut(&Draft::tcp(payload(65_515)).over_ipv6(), u16::MAX);
}

#[test]
fn a_verified_packet_needs_no_pseudo_header_sum() {
    for draft in [
        Draft::tcp(payload(2999)),
        Draft::tcp(payload(3000)).over_ipv6(),
        Draft::udp(payload(2999)),
    ] {
        let (header, _) = draft.build_super(1000);
        let mut packet = draft.build();
        let header = VnetHeader {
            flags: DATA_VALID,
            csum_start: 0,
            csum_offset: 0,
            ..header
        };
        let expected: Vec<_> = draft.cut(1000).iter().map(Draft::build).collect();
        assert_eq!(all(&Segments::new(header, &mut packet).unwrap()), expected);
    }
}

#[test]
fn verified_datagrams_without_checksum_stay_without() {
    let draft = Draft::udp(payload(3000));
    let (header, _) = draft.build_super(1000);
    let mut packet = draft.build();
    packet[26..28].fill(0);
    let header = VnetHeader {
        flags: DATA_VALID,
        ..header
    };
    for (segment, draft) in all(&Segments::new(header, &mut packet).unwrap())
        .iter()
        .zip(draft.cut(1000))
    {
        let mut expected = draft.build();
        expected[26..28].fill(0);
        assert_eq!(*segment, expected);
    }
}

#[test]
fn behind_a_routing_header_the_senders_pseudo_header_counts() {
    let mut draft = Draft::tcp(payload(2000)).over_ipv6();
    // RFC 6275 section 6.4: type 2, one segment left, the home address.
    let mut routing = vec![2, 1, 0, 0, 0, 0];
    routing.extend([0xfb; 16]);
    draft.extensions = vec![(43, routing)];
    let (header, mut packet) = draft.build_super(1000);
    let expected: Vec<_> = draft.cut(1000).iter().map(Draft::build).collect();
    // The sender has summed another destination, five more in all.
    let field = 40 + 24 + 16;
    let sum = u16::from_be_bytes([packet[field], packet[field + 1]]);
    packet[field..field + 2].copy_from_slice(&(sum + 5).to_be_bytes());
    for (segment, expected) in all(&Segments::new(header, &mut packet).unwrap())
        .iter()
        .zip(expected)
    {
        let found = u16::from_be_bytes([segment[field], segment[field + 1]]);
        let plain = u16::from_be_bytes([expected[field], expected[field + 1]]);
        assert_eq!(found, plain - 5);
    }
}

#[test]
fn the_header_length_of_the_kernel_is_not_trusted() {
    let draft = Draft::tcp(payload(3000)).options(&[1; 12]);
    let (header, mut packet) = draft.build_super(1000);
    let expected: Vec<_> = draft.cut(1000).iter().map(Draft::build).collect();
    for hdr_len in [0, 40, u16::MAX] {
        let header = VnetHeader { hdr_len, ..header };
        assert_eq!(all(&Segments::new(header, &mut packet).unwrap()), expected);
    }
}

#[test]
fn a_segment_is_written_only_into_its_own_length() {
    let (header, mut packet) = Draft::tcp(payload(2500)).build_super(1000);
    let segments = Segments::new(header, &mut packet).unwrap();
    assert!(segments.write(0, &mut [0; 1040]).is_some());
    assert!(segments.write(0, &mut [0; 1039]).is_none());
    assert!(segments.write(0, &mut [0; 1041]).is_none());
    assert!(segments.write(0, &mut []).is_none());
    assert!(segments.write(2, &mut [0; 540]).is_some());
    assert!(segments.write(3, &mut [0; 40]).is_none());
    assert!(segments.write(usize::MAX, &mut [0; 540]).is_none());
}

#[test]
fn a_gso_type_that_was_not_asked_for_is_refused() {
    let (header, packet) = Draft::udp(payload(3000)).build_super(1000);
    for gso_type in [2, 3, 6, 0x20, 0x80, 0xFF] {
        let header = VnetHeader { gso_type, ..header };
        assert_eq!(error(header, &packet), SegmentError::GsoType(gso_type));
    }
}

#[test]
fn what_the_kernel_says_is_checked_against_the_octets() {
    let draft = Draft::tcp(payload(3000));
    let (header, packet) = draft.build_super(1000);
    let with = |change: fn(&mut VnetHeader)| {
        let mut header = header;
        change(&mut header);
        error(header, &packet)
    };
    assert_eq!(with(|h| h.gso_size = 0), SegmentError::GsoSize);
    assert_eq!(
        with(|h| h.gso_type = GSO_TCPV6),
        SegmentError::Version {
            found: 4,
            gso_type: GSO_TCPV6
        }
    );
    assert_eq!(
        with(|h| h.gso_type = 5),
        SegmentError::Protocol {
            found: 6,
            expected: 17
        }
    );
    assert_eq!(with(|h| h.flags = 0), SegmentError::Unverified(0));
    assert_eq!(
        with(|h| h.csum_start = 24),
        SegmentError::ChecksumStart {
            found: 24,
            expected: 20
        }
    );
    assert_eq!(
        with(|h| h.csum_offset = 6),
        SegmentError::ChecksumOffset {
            found: 6,
            expected: 16
        }
    );
    assert_eq!(
        error(header, &packet[..2000]),
        SegmentError::Length {
            field: "IPv4 total length",
            found: 3040,
            expected: 2000
        }
    );
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let (header, packet) = Draft::tcp(payload(3000)).build_super(1000);
    let with = |at: usize, octet: u8| {
        let mut packet = packet.clone();
        packet[at] = octet;
        error(header, &packet)
    };
    assert_eq!(with(6, 0x20), SegmentError::Fragment);
    assert_eq!(with(7, 1), SegmentError::Fragment);
    assert_eq!(
        with(0, 0x44),
        SegmentError::HeaderLength {
            header: "IPv4",
            found: 16,
            expected: 20
        }
    );
    assert_eq!(
        with(32, 0x40),
        SegmentError::HeaderLength {
            header: "TCP",
            found: 16,
            expected: 20
        }
    );
    let (header, mut packet) = Draft::udp(payload(3000)).over_ipv6().build_super(1000);
    packet[44] = 0;
    assert_eq!(
        error(header, &packet),
        SegmentError::Length {
            field: "UDP length",
            found: 3008 & 0xFF,
            expected: 3008
        }
    );
    packet[6] = 44;
    assert_eq!(error(header, &packet), SegmentError::Fragment);
}

#[test]
fn headers_beyond_the_packet_are_refused() {
    let (header, packet) = Draft::tcp(Vec::new()).options(&[1; 40]).build_super(1000);
    for cut in 0..packet.len() {
        let mut packet = packet[..cut].to_vec();
        if cut >= 4 {
            packet[2..4].copy_from_slice(&u16::try_from(cut).unwrap().to_be_bytes());
        }
        let found = error(header, &packet);
        let wrong = matches!(
            found,
            SegmentError::Truncated { .. } | SegmentError::Version { .. }
        );
        assert!(wrong, "{cut}: {found}");
    }
    let single = VnetHeader {
        flags: NEEDS_CSUM,
        csum_start: 20,
        csum_offset: 16,
        ..VnetHeader::default()
    };
    assert_eq!(
        error(single, &[0; 37]),
        SegmentError::Truncated {
            found: 37,
            expected: 38
        }
    );
}

prop_compose! {
    fn draft()(
        (ipv6, tcp, dont_fragment) in any::<(bool, bool, bool)>(),
        (class, hops, id) in any::<(u8, u8, u16)>(),
        flow_label in 0u32..1 << 20,
        (sequence, acknowledgment, window) in any::<(u32, u32, u16)>(),
        flags in 0u16..1 << 12,
        tcp_options in 0usize..=10,
        ip_options in 0usize..=10,
        kinds in prop::collection::vec((prop::sample::select(vec![0u8, 60, 43]), 0usize..3), 0..3),
        payload in prop::collection::vec(any::<u8>(), 0..5000),
    ) -> Draft {
        let upper = if tcp {
            let options = vec![1; 4 * tcp_options];
            Upper::Tcp { sequence, acknowledgment, flags, window, options }
        } else {
            Upper::Udp
        };
        Draft {
            ipv6,
            class,
            hops,
            flow_label,
            id,
            dont_fragment,
            ip_options: vec![1; 4 * ip_options],
            extensions: kinds.iter().map(|(kind, n)| (*kind, vec![0; 8 * n + 6])).collect(),
            upper,
            ..Draft::udp(payload)
        }
    }
}

proptest! {
    #[test]
    fn a_super_packet_is_cut_into_the_packets_that_it_stands_for(
        draft in draft(),
        gso_size in 1u16..3000,
    ) {
        assert_cut(&draft, gso_size);
        let (header, mut packet) = draft.build_super(gso_size);
        let headers = packet.len() - draft.payload.len();
        let segments = Segments::new(header, &mut packet).unwrap();
        let payload: Vec<u8> = all(&segments).iter().flat_map(|s| s[headers..].to_vec()).collect();
        prop_assert_eq!(payload, draft.payload);
    }

    #[test]
    fn a_damaged_super_packet_is_refused_or_cut_into_what_it_announces(
        draft in draft(),
        gso_size in 1u16..3000,
        damage in prop::collection::vec((0usize..120, any::<u8>()), 0..4),
        header_damage in prop::option::of((0usize..10, any::<u8>())),
        end in any::<prop::sample::Index>(),
        whole: bool,
    ) {
        let (header, mut packet) = draft.build_super(gso_size);
        for (at, octet) in damage {
            if let Some(to) = packet.get_mut(at) {
                *to = octet;
            }
        }
        let mut header = header.to_octets();
        if let Some((at, octet)) = header_damage {
            header[at] = octet;
        }
        if !whole {
            packet.truncate(end.index(packet.len() + 1));
        }
        if let Ok(segments) = Segments::new(VnetHeader::from_octets(header), &mut packet) {
            prop_assert_eq!(all(&segments).len(), segments.count());
        }
    }

    #[test]
    fn any_octets_are_refused_or_cut(
        header: [u8; 10],
        mut packet in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(segments) = Segments::new(VnetHeader::from_octets(header), &mut packet) {
            prop_assert_eq!(all(&segments).len(), segments.count());
        }
    }
}

#[test]
fn every_header_checksum_is_right_in_itself() {
    let mut draft = Draft::tcp(payload(4000));
    draft.ip_options = vec![1; 8];
    let (header, mut packet) = draft.build_super(999);
    assert_eq!(header.gso_type, GSO_TCPV4);
    for segment in all(&Segments::new(header, &mut packet).unwrap()) {
        assert_eq!(naive(&segment[..28]), 0xFFFF);
    }
}
