mod properties;

use std::ops::Range;

use super::{Bundle, Coalesce, Coalescer, Kind, WriteOutcome};
use crate::offload::segment::Segments;
use crate::offload::segment::draft::{ACK, CWR, Draft, ECE, FIN, PSH, RST, SYN, URG, Upper};
use crate::offload::segment::tests::all;
use crate::packet::checksum::tests::naive;
use crate::packet::vnet::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VnetHeader};

const BOTH: Coalesce = Coalesce {
    tcp: true,
    udp: true,
};

/// What comes out of packets that lie in a buffer with something between them.
fn joined_by(coalescer: &mut Coalescer, packets: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut buffer = vec![0xEE; 17];
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for packet in packets {
        ranges.push(buffer.len()..buffer.len() + packet.len());
        buffer.extend(packet);
        buffer.extend([0xEE; 5]);
    }
    for range in ranges {
        coalescer.push(&buffer, range);
    }
    let mut written = Vec::new();
    coalescer.flush(&mut buffer, |joined| {
        written.push(read(&joined));
        WriteOutcome::Done
    });
    written
}

fn read(joined: &Bundle<'_>) -> (VnetHeader, Vec<u8>) {
    let (vnet, packet) = joined.parts.split_first().unwrap();
    let header = VnetHeader::from_octets(vnet[..].try_into().unwrap());
    (header, packet.iter().flat_map(|s| s.to_vec()).collect())
}

fn joined(packets: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>)> {
    joined_by(&mut Coalescer::new(BOTH), packets)
}

fn build(drafts: &[Draft]) -> Vec<Vec<u8>> {
    drafts.iter().map(Draft::build).collect()
}

/// How many packets each packet that comes out stands for. Cutting it must give
/// what went in.
#[track_caller]
fn groups(drafts: &[Draft]) -> Vec<usize> {
    let packets = build(drafts);
    let mut cut = Vec::new();
    let mut groups = Vec::new();
    for (header, mut packet) in joined(&packets) {
        let segments = Segments::new(header, &mut packet).unwrap();
        groups.push(segments.count());
        cut.extend(all(&segments));
    }
    assert_eq!(cut, packets);
    groups
}

fn payload(octets: usize) -> Vec<u8> {
    (0..=255).cycle().take(octets).collect()
}

/// Three segments of a flow, of 1,000 octets each.
fn three() -> Vec<Draft> {
    Draft::tcp(payload(3000)).cut(1000)
}

/// Three segments, of which the second was changed.
fn second(change: impl FnOnce(&mut Draft)) -> Vec<Draft> {
    let mut drafts = three();
    change(&mut drafts[1]);
    drafts
}

fn set_flags(draft: &mut Draft, add: u16) {
    *draft = draft.clone().flags(add);
}

#[test]
fn segments_in_order_become_one_packet() {
    assert_eq!(groups(&three()), [3]);
    let (header, packet) = joined(&build(&three())).remove(0);
    assert_eq!(
        header,
        VnetHeader {
            flags: NEEDS_CSUM,
            gso_type: GSO_TCPV4,
            hdr_len: 40,
            gso_size: 1000,
            csum_start: 20,
            csum_offset: 16,
        }
    );
    let (_, expected) = Draft::tcp(payload(3000)).build_super(1000);
    assert_eq!(packet, expected);
    assert_eq!(naive(&packet[..20]), 0xFFFF);
}

#[test]
fn segments_over_ipv6_become_one_packet() {
    let draft = Draft::tcp(payload(3000)).options(&[1; 12]).over_ipv6();
    assert_eq!(groups(&draft.cut(1000)), [3]);
    let (header, packet) = joined(&build(&draft.cut(1000))).remove(0);
    let (_, expected) = draft.build_super(1000);
    assert_eq!(packet, expected);
    assert_eq!((header.gso_type, header.hdr_len), (GSO_TCPV6, 72));
    assert_eq!((header.csum_start, header.csum_offset), (40, 16));
}

#[test]
fn datagrams_of_one_length_become_one_packet() {
    for draft in [
        Draft::udp(payload(3500)),
        Draft::udp(payload(3500)).over_ipv6(),
    ] {
        assert_eq!(groups(&draft.cut(1000)), [4]);
        let (header, packet) = joined(&build(&draft.cut(1000))).remove(0);
        let (expected_header, expected) = draft.build_super(1000);
        assert_eq!(packet, expected);
        assert_eq!(header, expected_header);
        assert_eq!(header.gso_type, GSO_UDP_L4);
    }
}

#[test]
fn a_packet_alone_stays_as_it_is() {
    let packet = Draft::tcp(payload(100)).flags(PSH).build();
    let alone = [(VnetHeader::default(), packet.clone())];
    assert_eq!(joined(&[packet]), alone);
}

#[test]
fn what_is_not_asked_for_is_not_joined() {
    let tcp = build(&three());
    let udp = build(&Draft::udp(payload(3000)).cut(1000));
    let only = |tcp_on, udp_on| {
        Coalescer::new(Coalesce {
            tcp: tcp_on,
            udp: udp_on,
        })
    };
    assert_eq!(joined_by(&mut only(false, true), &tcp).len(), 3);
    assert_eq!(joined_by(&mut only(false, true), &udp).len(), 1);
    assert_eq!(joined_by(&mut only(true, false), &tcp).len(), 1);
    assert_eq!(joined_by(&mut only(true, false), &udp).len(), 3);
}

#[test]
fn a_burst_is_forgotten_once_it_is_flushed() {
    let mut coalescer = Coalescer::new(BOTH);
    let packets = build(&three());
    assert_eq!(joined_by(&mut coalescer, &packets[..1]).len(), 1);
    assert_eq!(joined_by(&mut coalescer, &packets[1..]).len(), 1);
    assert_eq!(joined_by(&mut coalescer, &[]).len(), 0);
}

#[test]
fn a_gap_or_a_retransmission_begins_anew() {
    assert_eq!(groups(&second(|d| *d = d.clone().after(1))), [1, 1, 1]);
    let [one, two, three] = <[Draft; 3]>::try_from(three()).unwrap();
    let mut again = one.clone();
    again.id = two.id;
    assert_eq!(groups(&[one, again, three.clone()]), [1, 1, 1]);
    assert_eq!(groups(&[two, three]), [2]);
}

#[test]
fn push_and_fin_end_a_group_and_are_kept() {
    for flags in [PSH, FIN, PSH | FIN] {
        assert_eq!(groups(&second(|d| set_flags(d, flags))), [2, 1], "{flags}");
        let (_, packet) = joined(&build(&second(|d| set_flags(d, flags)))).remove(0);
        assert_eq!(u16::from(packet[33]), ACK | flags);
        let mut first = three();
        set_flags(&mut first[0], flags);
        assert_eq!(groups(&first), [1, 2], "{flags}");
    }
}

#[test]
fn a_segment_with_syn_rst_urg_or_cwr_goes_alone() {
    for flags in [SYN, RST, URG, CWR] {
        assert_eq!(groups(&second(|d| set_flags(d, flags))), [1, 1, 1]);
        let drafts: Vec<_> = three().into_iter().map(|d| d.flags(flags)).collect();
        assert_eq!(groups(&drafts), [1, 1, 1], "{flags}");
    }
}

#[test]
fn ece_and_the_reserved_bits_must_agree() {
    for flags in [ECE, 0x100, 0x800] {
        assert_eq!(groups(&second(|d| set_flags(d, flags))), [1, 1, 1]);
        let drafts: Vec<_> = three().into_iter().map(|d| d.flags(flags)).collect();
        assert_eq!(groups(&drafts), [3], "{flags}");
    }
}

#[test]
fn acknowledgment_window_and_options_must_agree() {
    let tcp = |change: fn(&mut u32, &mut u16, &mut Vec<u8>)| {
        second(|draft| {
            let Upper::Tcp {
                acknowledgment,
                window,
                options,
                ..
            } = &mut draft.upper
            else {
                panic!("not TCP");
            };
            change(acknowledgment, window, options);
        })
    };
    assert_eq!(groups(&tcp(|ack, _, _| *ack += 1)), [1, 1, 1]);
    assert_eq!(groups(&tcp(|_, window, _| *window += 1)), [1, 1, 1]);
    assert_eq!(
        groups(&tcp(|_, _, options| options.extend([1; 4]))),
        [1, 1, 1]
    );
    let timestamps = |n: u8| [1, 1, 8, 10, 0, 0, 0, n, 0, 0, 0, 1];
    let mut drafts: Vec<_> = three()
        .into_iter()
        .map(|d| d.options(&timestamps(1)))
        .collect();
    assert_eq!(groups(&drafts), [3]);
    drafts[2] = drafts[2].clone().options(&timestamps(2));
    assert_eq!(groups(&drafts), [2, 1]);
}

#[test]
fn what_the_path_may_change_must_agree() {
    assert_eq!(groups(&second(|d| d.class = 3)), [1, 1, 1]);
    assert_eq!(groups(&second(|d| d.hops -= 1)), [1, 1, 1]);
    assert_eq!(groups(&second(|d| d.dont_fragment = false)), [1, 1, 1]);
    let changed = |change: fn(&mut Draft)| {
        let mut drafts = Draft::tcp(payload(3000)).over_ipv6().cut(1000);
        change(&mut drafts[1]);
        groups(&drafts)
    };
    assert_eq!(changed(|d| d.class = 3), [1, 1, 1]);
    assert_eq!(changed(|d| d.hops -= 1), [1, 1, 1]);
    assert_eq!(changed(|d| d.flow_label = 1), [1, 1, 1]);
}

#[test]
fn identifications_count_up_or_stay_the_same_with_dont_fragment() {
    assert_eq!(groups(&second(|d| d.id += 7)), [1, 1, 1]);
    let constant = |dont_fragment| {
        let mut drafts = three();
        for draft in &mut drafts {
            draft.id = 5;
            draft.dont_fragment = dont_fragment;
        }
        drafts
    };
    assert_eq!(joined(&build(&constant(true))).len(), 1);
    assert_eq!(groups(&constant(false)), [1, 1, 1]);
    // Once constant, always constant.
    let mut drafts = constant(true);
    drafts[2].id += 2;
    assert_eq!(joined(&build(&drafts)).len(), 2);
}

#[test]
fn a_shorter_segment_ends_a_group_and_a_longer_one_begins_one() {
    let lengths = |lengths: [usize; 4]| {
        let mut done = 0;
        let mut drafts = Vec::new();
        for (id, octets) in (0..).zip(lengths) {
            let mut draft = Draft::tcp(payload(octets)).after(done);
            draft.id = id;
            drafts.push(draft);
            done += u32::try_from(octets).unwrap();
        }
        let udp = drafts.iter().map(|draft| Draft {
            upper: Upper::Udp,
            ..draft.clone()
        });
        assert_eq!(groups(&udp.collect::<Vec<_>>()), groups(&drafts));
        groups(&drafts)
    };
    assert_eq!(lengths([1000, 1000, 999, 1000]), [3, 1]);
    assert_eq!(lengths([1000, 1, 1000, 1000]), [2, 2]);
    assert_eq!(lengths([1000, 1001, 1001, 1001]), [1, 3]);
}

#[test]
fn what_goes_alone_is_not_passed_by_its_flow() {
    let mut ack = three().remove(1);
    ack.payload.clear();
    let [one, two, three] = <[Draft; 3]>::try_from(three()).unwrap();
    assert_eq!(groups(&[one, ack, two, three]), [1, 1, 2]);
}

#[test]
fn what_hides_its_ports_is_passed_by_nothing() {
    let [one, two, three] = <[Draft; 3]>::try_from(three()).unwrap();
    let mut with_options = two.clone();
    with_options.ip_options = vec![1; 4];
    assert_eq!(groups(&[one.clone(), with_options, two.clone()]), [1, 1, 1]);
    let mut extended = two.clone().over_ipv6();
    extended.extensions = vec![(60, vec![0; 6])];
    assert_eq!(groups(&[one.clone(), extended, two.clone()]), [1, 1, 1]);
    for fragment in [[0x20, 0], [0, 1], [0x1F, 0]] {
        let mut packets = build(&[one.clone(), two.clone(), two.clone(), three.clone()]);
        packets[1][6..8].copy_from_slice(&fragment);
        let written = joined(&packets);
        assert_eq!(written.len(), 3);
        assert_eq!(written[1].1, packets[1]);
    }
}

#[test]
fn other_protocols_hinder_nobody() {
    let [one, two, three] = <[Draft; 3]>::try_from(three()).unwrap();
    let mut icmp = Draft::udp(payload(56)).build();
    icmp[9] = 1;
    let packets = [one.build(), icmp.clone(), two.build(), three.build()];
    let written = joined(&packets);
    assert_eq!(written.len(), 2);
    assert_eq!(written[1], (VnetHeader::default(), icmp));
}

#[test]
fn a_packet_with_a_wrong_checksum_is_written_alone_as_it_is() {
    // Payload, TCP header, IPv4 header.
    for damaged_octet in [500, 36, 8, 10] {
        for which in 0..3 {
            let mut packets = build(&three());
            packets[which][damaged_octet] ^= 1;
            let written = joined(&packets);
            let alone = (VnetHeader::default(), packets[which].clone());
            assert!(written.contains(&alone), "{damaged_octet} of {which}");
            assert_eq!(written.len(), if which == 1 { 3 } else { 2 });
        }
    }
}

#[test]
fn datagrams_without_checksum_go_alone() {
    let mut packets = build(&Draft::udp(payload(3000)).cut(1000));
    packets[1][26..28].fill(0);
    let written = joined(&packets);
    let alone = packets.into_iter().map(|p| (VnetHeader::default(), p));
    assert_eq!(written, alone.collect::<Vec<_>>());
}

#[test]
fn at_most_64_packets_and_65535_octets_become_one() {
    assert_eq!(groups(&Draft::tcp(payload(700)).cut(10)), [64, 6]);
    assert_eq!(groups(&Draft::udp(payload(700)).cut(10)), [64, 6]);
    // 65,495 octets of payload beside 40 of headers.
    assert_eq!(groups(&Draft::tcp(payload(65_495)).cut(8187)), [8]);
    let mut one_more = Draft::tcp(payload(65_495)).cut(8187);
    one_more[7].payload.push(0);
    assert_eq!(groups(&one_more), [7, 1]);
}

#[test]
fn flows_are_joined_apart_in_order_of_their_first_packets() {
    let with_port = |port| {
        let mut draft = Draft::tcp(payload(3000));
        draft.ports.0 = port;
        draft.cut(1000)
    };
    let (one, two) = (with_port(1), with_port(2));
    let mut mixed = Vec::new();
    for (a, b) in one.iter().zip(&two) {
        mixed.extend([a.build(), b.build()]);
    }
    let written = joined(&mixed);
    assert_eq!(written.len(), 2);
    assert_eq!(written[0].1[21], 1);
    assert_eq!(written[1].1[21], 2);
}

#[test]
fn more_flows_than_are_kept_open_are_still_in_order() {
    let mut packets = Vec::new();
    for round in 0..2 {
        for port in 0..40 {
            let mut draft = Draft::tcp(payload(2000));
            draft.ports.0 = port;
            packets.push(draft.cut(1000).remove(round).build());
        }
    }
    let cut: Vec<_> = joined(&packets).into_iter().map(|(_, p)| p).collect();
    assert_eq!(cut, packets);
}

#[test]
fn more_packets_than_planned_for_are_carried_all_the_same() {
    let draft = Draft::tcp(payload(3000));
    assert_eq!(groups(&draft.cut(10)), [64, 64, 64, 64, 44]);
}

#[test]
fn a_range_beyond_the_buffer_holds_no_packet() {
    let mut coalescer = Coalescer::new(BOTH);
    coalescer.push(&[0x45; 40], 20..41);
    coalescer.push(&[0x45; 40], Range { start: 9, end: 3 });
    coalescer.flush(&mut [], |_| panic!("something was written"));
}

/// The packets that come out when every joined packet is refused, and the
/// joined ones that were tried.
fn refused(packets: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<(Kind, usize)>) {
    let mut coalescer = Coalescer::new(BOTH);
    let mut buffer = packets.concat();
    let mut at = 0;
    for packet in packets {
        coalescer.push(&buffer, at..at + packet.len());
        at += packet.len();
    }
    let (mut single, mut tried) = (Vec::new(), Vec::new());
    coalescer.flush(&mut buffer, |joined| match joined.kind {
        Some(kind) => {
            tried.push((kind, joined.packets));
            WriteOutcome::Singly
        }
        None => {
            let (header, packet) = read(&joined);
            assert_eq!((header, joined.packets), (VnetHeader::default(), 1));
            single.push(packet);
            WriteOutcome::Singly
        }
    });
    (single, tried)
}

#[test]
fn what_is_not_taken_joined_comes_again_one_by_one_as_it_was() {
    // PSH on the last changes the first packet's flags when they are joined.
    let tcp = Draft::tcp(payload(2500)).flags(PSH);
    for (draft, kind) in [
        (tcp.clone(), Kind::Tcp),
        (tcp.options(&[1; 12]).over_ipv6(), Kind::Tcp),
        (Draft::udp(payload(2500)), Kind::Udp),
        (Draft::udp(payload(2500)).over_ipv6(), Kind::Udp),
    ] {
        let packets = build(&draft.cut(1000));
        assert_eq!(refused(&packets), (packets, vec![(kind, 3)]));
    }
}

#[test]
fn the_longest_headers_come_back_whole() {
    let draft = Draft::tcp(payload(3000)).options(&[1; 40]).over_ipv6();
    let packets = build(&draft.cut(1000));
    assert_eq!(refused(&packets), (packets, vec![(Kind::Tcp, 3)]));
}

#[test]
fn a_kind_that_is_left_single_is_joined_no_more_and_the_other_still_is() {
    let mut coalescer = Coalescer::new(BOTH);
    coalescer.leave_single(Kind::Tcp);
    let tcp = build(&three());
    assert_eq!(joined_by(&mut coalescer, &tcp).len(), 3);
    let udp = build(&Draft::udp(payload(3000)).cut(1000));
    assert_eq!(joined_by(&mut coalescer, &udp).len(), 1);
}
