//! The receiving side: every reason to drop a packet.

use vgw_crypto::{AeadKey, CbcKey, EspSuite, MacKey};

use super::{SPI, cbc, gcm, ipv4, keys, pair, seal, seal_as, suites};
use crate::{DropReason, InboundSa, NEXT_HEADER_IPV4, NEXT_HEADER_IPV6, NEXT_HEADER_NONE};

const SUBSPACE: u64 = 1 << 32;

/// An authentic packet around any payload, which a correct sender might not make.
fn forge(suite: EspSuite, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let keys = keys(suite);
    let mut packet = [SPI.to_be_bytes(), sequence.to_be_bytes()].concat();
    let mut data = payload.to_vec();
    let Some(integrity) = suite.integrity else {
        let aad = packet.clone();
        let key = AeadKey::new(suite.encryption, keys.encryption.expose()).unwrap();
        let icv = key.seal_in_place([9; 8], &aad, &mut data);
        return [&packet[..], &[9; 8], &data, &icv].concat();
    };
    let cbc = CbcKey::new(suite.encryption, keys.encryption.expose()).unwrap();
    cbc.encrypt_in_place(&[9; 16], &mut data).unwrap();
    packet.extend([9; 16]);
    packet.extend(data);
    let mac = MacKey::new(integrity, keys.integrity.expose()).unwrap();
    let icv = mac.icv(&[&packet]);
    [packet, icv].concat()
}

fn open_forged(payload: &[u8]) -> [Result<usize, DropReason>; 2] {
    [gcm(false), cbc(false)].map(|suite| {
        let (_, sa) = pair(suite);
        let opened = sa.opener().open(&mut forge(suite, 1, payload));
        opened.map(|opened| opened.inner.len())
    })
}

#[test]
fn ipv4_and_ipv6_come_back_as_they_went_in() {
    let mut ipv6 = ipv4(60);
    ipv6[0] = 0x60;
    for suite in suites() {
        let (outbound, inbound) = pair(suite);
        let mut opener = inbound.opener();
        for (inner, next_header) in [(&ipv4(61), NEXT_HEADER_IPV4), (&ipv6, NEXT_HEADER_IPV6)] {
            let mut packet = seal(&outbound, inner, next_header);
            let opened = opener.open(&mut packet).unwrap();
            assert_eq!(&packet[opened.inner.clone()], inner, "{suite}");
            assert_eq!(opened.next_header, next_header);
            assert_eq!(opened.sequence, outbound.sequence());
        }
    }
}

#[test]
fn a_replayed_packet_is_dropped_before_decryption() {
    for suite in [gcm(false), cbc(true)] {
        let (outbound, inbound) = pair(suite);
        let packet = seal(&outbound, &ipv4(40), NEXT_HEADER_IPV4);
        let mut opener = inbound.opener();
        opener.open(&mut packet.clone()).unwrap();
        let mut replayed = packet.clone();
        assert_eq!(opener.open(&mut replayed), Err(DropReason::Replayed));
        assert_eq!(replayed, packet, "nothing was decrypted");
    }
}

#[test]
fn a_forged_packet_does_not_move_the_window() {
    for suite in suites() {
        let (outbound, inbound) = pair(suite);
        let genuine = seal(&outbound, &ipv4(40), NEXT_HEADER_IPV4);
        let mut forged = genuine.clone();
        // The number of a packet far ahead.
        forged[5] = 0x40;
        let mut opener = inbound.opener();
        assert_eq!(
            opener.open(&mut forged),
            Err(DropReason::NotAuthentic),
            "{suite}"
        );
        assert!(opener.open(&mut genuine.clone()).is_ok(), "{suite}");
    }
}

#[test]
fn packets_out_of_order_are_accepted_within_the_window_only() {
    let (outbound, inbound) = pair(gcm(false));
    let sealed: Vec<_> = (0..70)
        .map(|_| seal(&outbound, &ipv4(40), NEXT_HEADER_IPV4))
        .collect();
    let mut opener = inbound.opener();
    // The window has 64 packets; the last has number 70.
    assert!(opener.open(&mut sealed[69].clone()).is_ok());
    assert!(opener.open(&mut sealed[6].clone()).is_ok());
    assert_eq!(
        opener.open(&mut sealed[5].clone()),
        Err(DropReason::Replayed)
    );
}

#[test]
fn the_receiver_follows_the_number_across_32_bits_with_esn() {
    for suite in suites().into_iter().filter(|suite| suite.esn) {
        let (outbound, inbound) = pair(suite);
        let mut opener = inbound.opener();
        for sequence in [
            SUBSPACE / 2,
            SUBSPACE - 2,
            SUBSPACE + 1,
            SUBSPACE - 1,
            SUBSPACE,
        ] {
            let mut packet = seal_as(&outbound, sequence, &ipv4(40), NEXT_HEADER_IPV4);
            let opened = opener.open(&mut packet).unwrap();
            assert_eq!(opened.sequence, sequence, "{suite}");
        }
    }
}

// RFC 4303 section 2.2.1: the high half is not sent but authenticated.
#[test]
fn a_packet_of_another_subspace_is_not_authentic() {
    for suite in suites().into_iter().filter(|suite| suite.esn) {
        let (outbound, inbound) = pair(suite);
        let mut packet = seal_as(&outbound, SUBSPACE * 3 + 5, &ipv4(40), NEXT_HEADER_IPV4);
        assert_eq!(
            inbound.opener().open(&mut packet),
            Err(DropReason::NotAuthentic),
            "{suite}"
        );
    }
}

#[test]
fn sender_and_receiver_that_disagree_on_esn_understand_nothing() {
    for (ours, theirs) in [(gcm(true), gcm(false)), (cbc(true), cbc(false))] {
        let (outbound, _) = pair(ours);
        let (_, inbound) = pair(theirs);
        let mut packet = seal(&outbound, &ipv4(40), NEXT_HEADER_IPV4);
        assert_eq!(
            inbound.opener().open(&mut packet),
            Err(DropReason::NotAuthentic)
        );
    }
}

#[test]
fn number_zero_is_never_accepted() {
    let (_, inbound) = pair(gcm(false));
    let mut packet = forge(gcm(false), 0, &[0x45, 1, 1, 4]);
    assert_eq!(
        inbound.opener().open(&mut packet),
        Err(DropReason::Replayed)
    );
}

#[test]
fn a_packet_shorter_than_its_suite_or_of_partial_blocks_is_malformed() {
    for suite in suites() {
        let (outbound, inbound) = pair(suite);
        let packet = seal(&outbound, &ipv4(40), NEXT_HEADER_IPV4);
        let block_len = outbound.layout().block_len;
        let least = outbound.sealed_len(0);
        let mut opener = inbound.opener();
        for len in (0..least).chain([packet.len() - 1]) {
            let mut cut = packet[..len].to_vec();
            assert_eq!(
                opener.open(&mut cut),
                Err(DropReason::Malformed),
                "{suite} {len}"
            );
        }
        let mut cut = packet[..packet.len() - block_len].to_vec();
        assert_eq!(
            opener.open(&mut cut),
            Err(DropReason::NotAuthentic),
            "{suite}"
        );
    }
}

#[test]
fn a_packet_of_another_spi_is_refused() {
    let (outbound, _) = pair(gcm(false));
    let suite = gcm(false);
    let other = InboundSa::new(SPI + 1, suite, &keys(suite), 64).unwrap();
    let mut packet = seal(&outbound, &ipv4(40), NEXT_HEADER_IPV4);
    assert_eq!(other.opener().open(&mut packet), Err(DropReason::WrongSpi));
}

#[test]
fn padding_must_count_up_from_one_and_fit_the_payload() {
    let payload = |tail: &[u8]| {
        let mut payload = vec![0x45; 16 - tail.len()];
        payload.extend(tail);
        payload
    };
    assert_eq!(open_forged(&payload(&[0, 4])), [Ok(14), Ok(14)]);
    assert_eq!(open_forged(&payload(&[1, 2, 2, 4])), [Ok(12), Ok(12)]);
    for tail in [&[0, 1, 2, 4][..], &[1, 3, 2, 4], &[1, 1, 2, 4]] {
        assert_eq!(
            open_forged(&payload(tail)),
            [Err(DropReason::BadPadding), Err(DropReason::BadPadding)]
        );
    }
    // Pad lengths of 15 and 255 where 14 octets are left.
    for pad_len in [15, 255] {
        assert_eq!(
            open_forged(&payload(&[pad_len, 4])),
            [Err(DropReason::BadPadding), Err(DropReason::BadPadding)]
        );
    }
}

// RFC 4303 section 2.4: a sender may pad up to 255 octets.
#[test]
fn the_longest_padding_is_accepted() {
    let mut payload = vec![0x45; 15];
    payload.extend(1..=255_u8);
    payload.extend([255, 4]);
    assert_eq!(payload.len(), 272);
    assert_eq!(open_forged(&payload), [Ok(15), Ok(15)]);
}

#[test]
fn the_next_header_must_be_that_of_the_inner_packet() {
    let packet = |first: u8, next_header: u8| {
        let mut payload = vec![first; 14];
        payload.extend([0, next_header]);
        open_forged(&payload)[0]
    };
    assert_eq!(packet(0x45, 4), Ok(14));
    assert_eq!(packet(0x60, 41), Ok(14));
    assert_eq!(packet(0x60, 4), Err(DropReason::BadNextHeader));
    assert_eq!(packet(0x45, 41), Err(DropReason::BadNextHeader));
    assert_eq!(packet(0x45, 17), Err(DropReason::BadNextHeader));
}

#[test]
fn a_dummy_packet_is_dropped_but_moves_the_window() {
    let (outbound, inbound) = pair(cbc(false));
    let mut packet = seal(&outbound, &[], NEXT_HEADER_NONE);
    let again = packet.clone();
    assert_eq!(inbound.opener().open(&mut packet), Err(DropReason::Dummy));
    assert_eq!(inbound.sequence(), 1);
    assert_eq!(
        inbound.opener().open(&mut again.clone()),
        Err(DropReason::Replayed)
    );
}

#[test]
fn a_packet_later_than_the_window_is_replayed_and_with_esn_not_authentic() {
    for (esn, why) in [
        (false, DropReason::Replayed),
        (true, DropReason::NotAuthentic),
    ] {
        let (sender, receiver) = pair(gcm(esn));
        let mut late = seal_as(&sender, 1, &ipv4(40), NEXT_HEADER_IPV4);
        let mut newest = seal_as(&sender, 100, &ipv4(40), NEXT_HEADER_IPV4);
        receiver.opener().open(&mut newest).unwrap();
        assert_eq!(receiver.opener().open(&mut late), Err(why));
    }
}
