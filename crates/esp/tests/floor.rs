//! Without cryptography: RUSTFLAGS="--cfg vgw_floor" cargo test -p vgw-esp
//! --features floor --test floor

#![cfg(feature = "floor")]

use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Integrity, Secret};
use vgw_esp::{DropReason, InboundSa, NEXT_HEADER_IPV4, OutboundSa, Plain};

#[test]
fn packets_pass_in_clear_with_everything_else_in_its_place() {
    for (encryption, integrity) in [
        (Encryption::AesGcm128, None),
        (Encryption::AesCbc256, Some(Integrity::HmacSha256_128)),
    ] {
        let suite = EspSuite {
            encryption,
            integrity,
            esn: true,
        };
        let keys = DirectionKeys {
            encryption: Secret::new(vec![1; encryption.keymat_len()]),
            integrity: Secret::new(vec![2; integrity.map_or(0, Integrity::key_len)]),
        };
        let outbound = OutboundSa::new(1, suite, &keys, [3; 32]).unwrap();
        let inbound = InboundSa::new(1, suite, &keys, 64).unwrap();
        let len = outbound.sealed_len(1400);
        let mut buffer = vec![0x45; 2 * len];
        let packets = [0, len].map(|at| Plain {
            at,
            inner_len: 1400,
            next_header: NEXT_HEADER_IPV4,
        });
        let first = outbound.reserve(2).unwrap();
        outbound.seal_burst(first, &mut buffer, &packets).unwrap();

        let inner_at = outbound.layout().header_len;
        assert_eq!(buffer[..8], [0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(buffer[inner_at..inner_at + 1400], [0x45; 1400]);
        let mut opened = Vec::new();
        for _ in 0..2 {
            inbound
                .opener()
                .open_burst(&mut buffer, &[0..len, len..2 * len], &mut opened);
        }
        assert_eq!(opened[1].clone().unwrap().inner, inner_at..inner_at + 1400);
        assert_eq!(opened[2], Err(DropReason::Replayed));
        assert_eq!(
            inbound.opener().open(&mut buffer[..len]),
            Err(DropReason::Replayed)
        );
    }
}
