//! Bursts: what many packets at a time add to one.

use std::ops::Range;

use proptest::prelude::*;
use vgw_crypto::EspSuite;

use super::{cbc, gcm, ipv4, pair, seal, seal_as, suites};
use crate::{DropReason, NEXT_HEADER_IPV4, OutboundSa, Plain, SealError};

const LAST: u64 = 0xffff_ffff;

/// Inner packets in their places, `gap` octets between the ESP packets.
fn laid_out(sa: &OutboundSa, inners: &[Vec<u8>], gap: usize) -> (Vec<u8>, Vec<Plain>) {
    let mut buffer = Vec::new();
    let mut packets = Vec::new();
    for inner in inners {
        let at = buffer.len() + gap;
        buffer.resize(at + sa.layout().header_len, 0);
        buffer.extend(inner);
        buffer.resize(at + sa.sealed_len(inner.len()), 0);
        packets.push(Plain {
            at,
            inner_len: inner.len(),
            next_header: NEXT_HEADER_IPV4,
        });
    }
    buffer.resize(buffer.len() + gap, 0);
    (buffer, packets)
}

fn places(sa: &OutboundSa, packets: &[Plain]) -> Vec<Range<usize>> {
    packets
        .iter()
        .map(|plain| plain.at..plain.at + sa.sealed_len(plain.inner_len))
        .collect()
}

fn sealed_burst(suite: EspSuite, count: usize) -> (Vec<u8>, Vec<Range<usize>>) {
    let (sa, _) = pair(suite);
    let (mut buffer, packets) = laid_out(&sa, &vec![ipv4(100); count], 0);
    sa.seal_burst(1, &mut buffer, &packets).unwrap();
    (buffer, places(&sa, &packets))
}

proptest! {
    #[test]
    fn a_burst_is_its_packets_sealed_one_by_one_and_opens_to_them(
        which in 0..suites().len(),
        lens in proptest::collection::vec(prop_oneof![1_usize..1600, Just(1400)], 0..40),
        gap in 0_usize..20,
        first in prop_oneof![1_u64..1000, (1_u64 << 31)..0xffff_ff00],
    ) {
        let suite = suites()[which];
        let (outbound, inbound) = pair(suite);
        let inners: Vec<_> = lens.iter().map(|len| ipv4(*len)).collect();
        let (mut buffer, packets) = laid_out(&outbound, &inners, gap);
        outbound.seal_burst(first, &mut buffer, &packets).unwrap();

        let places = places(&outbound, &packets);
        let numbered = || (first..).zip(&inners).zip(&places);
        for ((sequence, inner), place) in numbered() {
            let single = seal_as(&outbound, sequence, inner, NEXT_HEADER_IPV4);
            prop_assert_eq!(&buffer[place.clone()], &single[..]);
        }

        let mut opened = Vec::new();
        inbound.opener().open_burst(&mut buffer, &places, &mut opened);
        prop_assert_eq!(opened.len(), inners.len());
        for (((sequence, inner), place), opened) in numbered().zip(opened) {
            let opened = opened.unwrap();
            prop_assert_eq!(opened.sequence, sequence);
            prop_assert_eq!(&buffer[place.clone()][opened.inner], &inner[..]);
        }
    }

    #[test]
    fn a_spoilt_packet_of_a_burst_is_refused_and_the_others_are_not(
        which in 0..suites().len(),
        count in 1_usize..40,
        spoilt in any::<proptest::sample::Index>(),
        at in any::<proptest::sample::Index>(),
    ) {
        let (mut buffer, places) = sealed_burst(suites()[which], count);
        let spoilt = spoilt.index(count);
        let packet = &mut buffer[places[spoilt].clone()];
        // Behind the SPI and the sequence number.
        let at = 8 + at.index(packet.len() - 8);
        packet[at] ^= 0x10;
        let (_, inbound) = pair(suites()[which]);
        let mut opened = Vec::new();
        inbound.opener().open_burst(&mut buffer, &places, &mut opened);
        for (i, opened) in opened.into_iter().enumerate() {
            let expected = (i != spoilt).then_some(100).ok_or(DropReason::NotAuthentic);
            prop_assert_eq!(opened.map(|opened| opened.inner.len()), expected);
        }
    }

    #[test]
    fn opening_a_burst_is_total_on_any_ranges(
        which in 0..suites().len(),
        mut buffer in proptest::collection::vec(any::<u8>(), 0..400),
        places in proptest::collection::vec((0_usize..500, 0_usize..500), 0..20),
    ) {
        let (_, inbound) = pair(suites()[which]);
        let places: Vec<_> = places.into_iter().map(|(start, end)| start..end).collect();
        let mut opened = Vec::new();
        inbound.opener().open_burst(&mut buffer, &places, &mut opened);
        prop_assert_eq!(opened.len(), places.len());
        prop_assert!(opened.iter().all(Result::is_err));
    }
}

#[test]
fn of_two_packets_with_one_number_in_a_burst_the_first_is_accepted() {
    for suite in suites() {
        let (outbound, inbound) = pair(suite);
        let packet = seal(&outbound, &ipv4(60), NEXT_HEADER_IPV4);
        let mut buffer = packet.repeat(3);
        let len = packet.len();
        let mut opened = Vec::new();
        let places = [0..len, len..2 * len, 2 * len..3 * len];
        inbound
            .opener()
            .open_burst(&mut buffer, &places, &mut opened);
        let accepted: Vec<_> = opened.iter().map(Result::is_ok).collect();
        assert_eq!(accepted, [true, false, false], "{suite}");
        assert_eq!(opened[1], Err(DropReason::Replayed), "{suite}");
        assert_eq!(opened[2], Err(DropReason::Replayed), "{suite}");
    }
}

#[test]
fn a_packet_that_the_burst_itself_moves_out_of_the_window_is_dropped() {
    for suite in [gcm(false), cbc(false)] {
        let (outbound, inbound) = pair(suite);
        let ahead = seal_as(&outbound, 1000, &ipv4(60), NEXT_HEADER_IPV4);
        let behind = seal_as(&outbound, 5, &ipv4(60), NEXT_HEADER_IPV4);
        let len = ahead.len();
        let mut buffer = [ahead, behind].concat();
        let mut opened = Vec::new();
        inbound
            .opener()
            .open_burst(&mut buffer, &[0..len, len..2 * len], &mut opened);
        assert!(opened[0].is_ok(), "{suite}");
        assert_eq!(opened[1], Err(DropReason::Replayed), "{suite}");
    }
}

#[test]
fn a_range_that_overlaps_the_one_before_it_is_not_opened() {
    let (mut buffer, places) = sealed_burst(cbc(false), 2);
    let (_, inbound) = pair(cbc(false));
    let whole = places[0].clone();
    let mut opened = Vec::new();
    inbound.opener().open_burst(
        &mut buffer,
        &[
            whole.clone(),
            whole.start + 1..whole.end + 1,
            places[1].clone(),
        ],
        &mut opened,
    );
    assert!(opened[0].is_ok());
    assert_eq!(opened[1], Err(DropReason::Malformed));
    assert!(opened[2].is_ok());
}

#[test]
fn packets_that_overlap_descend_or_leave_the_buffer_are_refused_whole() {
    for suite in [gcm(false), cbc(false)] {
        let (sa, _) = pair(suite);
        let (mut buffer, good) = laid_out(&sa, &[ipv4(40), ipv4(40)], 0);
        let before = buffer.clone();
        let len = buffer.len();
        let plain = |at, inner_len| Plain {
            at,
            inner_len,
            next_header: NEXT_HEADER_IPV4,
        };
        let second = good[1].at;
        for (packets, at, free_from) in [
            ([good[0], plain(second - 1, 40)], second - 1, second),
            ([good[1], good[0]], 0, len),
            ([good[0], plain(second + 1, 40)], second + 1, second),
            ([good[0], plain(second, 400)], second, second),
            ([good[0], plain(second, usize::MAX)], second, second),
            ([good[0], plain(usize::MAX, 1)], usize::MAX, second),
        ] {
            let refused = sa.seal_burst(1, &mut buffer, &packets);
            assert_eq!(
                refused,
                Err(SealError::Place {
                    at,
                    inner_len: packets[1].inner_len,
                    free_from,
                    buffer_len: len,
                })
            );
            assert_eq!(buffer, before, "nothing is sealed");
        }
    }
}

#[test]
fn numbers_that_the_sa_cannot_have_handed_out_are_refused() {
    let (sa, _) = pair(gcm(false));
    let (mut buffer, packets) = laid_out(&sa, &[ipv4(40), ipv4(40)], 0);
    for (first, found) in [(0, 0), (LAST, LAST + 1), (u64::MAX, u64::MAX)] {
        assert_eq!(
            sa.seal_burst(first, &mut buffer, &packets),
            Err(SealError::Sequence { found, last: LAST })
        );
    }
    assert_eq!(sa.seal_burst(LAST - 1, &mut buffer, &packets), Ok(()));
}

#[test]
fn the_last_two_numbers_of_all_seal_a_burst() {
    for suite in [gcm(true), cbc(true)] {
        let (sa, _) = pair(suite);
        let (mut buffer, packets) = laid_out(&sa, &[ipv4(40), ipv4(40)], 0);
        assert_eq!(sa.seal_burst(u64::MAX - 1, &mut buffer, &packets), Ok(()));
        assert!(sa.seal_burst(u64::MAX, &mut buffer, &packets).is_err());
    }
}

#[test]
fn a_burst_of_no_packets_is_nothing() {
    let (sa, inbound) = pair(gcm(false));
    assert_eq!(sa.seal_burst(1, &mut [], &[]), Ok(()));
    let mut opened = Vec::new();
    inbound.opener().open_burst(&mut [], &[], &mut opened);
    assert_eq!(opened, []);
}
