//! The sending side: numbers, padding, IVs, refusals.

use std::collections::BTreeSet;

use vgw_crypto::{Encryption, EspSuite, Integrity, KeyError};

use super::{SPI, cbc, gcm, ipv4, keys, pair, seal, seal_as};
use crate::{Exhausted, Layout, NEXT_HEADER_IPV4, OutboundSa, Plain, SealError};

const LAST: u64 = 0xffff_ffff;

/// A fresh SA whose counter stands at `sequence`.
fn advanced(suite: EspSuite, sequence: u64) -> OutboundSa {
    let (sa, _) = pair(suite);
    while sa.sequence() < sequence {
        let left = sequence - sa.sequence();
        sa.reserve(u32::try_from(left).unwrap_or(u32::MAX)).unwrap();
    }
    sa
}

#[test]
fn the_first_number_is_one_and_a_burst_gets_consecutive_numbers() {
    let (sa, _) = pair(gcm(false));
    assert_eq!(sa.reserve(3), Ok(1));
    assert_eq!(sa.sequence(), 3);
    assert_eq!(sa.reserve(1), Ok(4));
}

#[test]
fn without_esn_no_number_past_32_bits_is_handed_out() {
    let sa = advanced(gcm(false), LAST - 2);
    let refused = |found| Err(Exhausted { last: LAST, found });
    assert_eq!(sa.reserve(3), refused(3));
    assert_eq!(sa.sequence(), LAST - 2, "a refusal takes no number");
    assert_eq!(sa.reserve(2), Ok(LAST - 1));
    assert_eq!(sa.reserve(1), refused(1));
    assert_eq!(sa.sequence(), LAST);
}

#[test]
fn with_esn_numbers_go_on_past_32_bits() {
    let sa = advanced(gcm(true), LAST);
    assert_eq!(sa.reserve(1), Ok(LAST + 1));
}

#[test]
fn a_number_that_the_sa_cannot_have_handed_out_is_refused() {
    let (sa, _) = pair(gcm(false));
    let mut buf = vec![0; sa.sealed_len(40)];
    for found in [0, LAST + 1] {
        assert_eq!(
            sa.seal(found, &mut buf, 40, NEXT_HEADER_IPV4),
            Err(SealError::Sequence { found, last: LAST })
        );
    }
}

#[test]
fn header_fields_and_the_gcm_iv_are_spi_and_sequence_number() {
    let (sa, _) = pair(gcm(true));
    let packet = seal_as(&sa, 0x0102_0304_0506_0708, &ipv4(40), NEXT_HEADER_IPV4);
    assert_eq!(packet[..4], SPI.to_be_bytes());
    assert_eq!(packet[4..8], [5, 6, 7, 8]);
    assert_eq!(packet[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn cbc_ivs_differ_from_packet_to_packet_and_between_seeds() {
    let suite = cbc(false);
    let mut ivs = BTreeSet::new();
    for seed in [[1; 32], [2; 32]] {
        let sa = OutboundSa::new(SPI, suite, &keys(suite), seed).unwrap();
        for _ in 0..100 {
            ivs.insert(seal(&sa, &ipv4(40), NEXT_HEADER_IPV4)[8..24].to_vec());
        }
    }
    assert_eq!(ivs.len(), 200);
}

#[test]
fn a_suite_that_combines_what_cannot_be_combined_is_refused() {
    let both = EspSuite {
        integrity: Some(Integrity::HmacSha1_96),
        ..gcm(false)
    };
    let neither = EspSuite {
        integrity: None,
        ..cbc(false)
    };
    assert_eq!(
        OutboundSa::new(SPI, both, &keys(both), [0; 32]).unwrap_err(),
        KeyError::TakesNoIntegrity {
            encryption: Encryption::AesGcm128,
            integrity: Integrity::HmacSha1_96
        }
    );
    assert_eq!(
        OutboundSa::new(SPI, neither, &keys(neither), [0; 32]).unwrap_err(),
        KeyError::NeedsIntegrity {
            encryption: Encryption::AesCbc128
        }
    );
    assert!(matches!(
        OutboundSa::new(SPI, gcm(false), &keys(cbc(false)), [0; 32]),
        Err(KeyError::Length { .. })
    ));
}

#[test]
fn debug_output_shows_no_key_and_sas_are_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let (outbound, inbound) = pair(cbc(true));
    shared(&outbound);
    shared(&inbound);
    assert_eq!(
        format!("{outbound:?}"),
        "OutboundSa { spi: 0x00008765, suite: AES128/SHA1/ESN, sequence: 0, .. }"
    );
    assert_eq!(
        format!("{inbound:?}"),
        "InboundSa { spi: 0x00008765, suite: AES128/SHA1/ESN, .. }"
    );
}

#[test]
fn a_packet_that_the_cipher_does_not_take_is_an_error_and_not_a_sealed_one() {
    for suite in [gcm(false), cbc(false)] {
        let (sa, _) = pair(suite);
        // More padding than its length field can tell (RFC 4303 section 2.4).
        let block_len = 512;
        let layout = Layout {
            block_len,
            ..sa.layout()
        };
        let sa = sa.with_layout_for_test(layout);
        let len = sa.sealed_len(40);
        let plains = [0, len].map(|at| Plain {
            at,
            inner_len: 40,
            next_header: NEXT_HEADER_IPV4,
        });
        let mut buffer = vec![0x45; 2 * len];
        assert_eq!(
            sa.seal_burst(1, &mut buffer, &plains),
            Err(SealError::Unsealed { packets: 2 }),
            "{suite}"
        );
    }
}
