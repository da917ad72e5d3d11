//! Published vectors, refusals, and every way to encrypt a burst.

use std::ops::Range;

use proptest::prelude::*;

use super::CbcKey;
use crate::error::{KeyError, LengthError};
use crate::testing::hex;
use crate::transform::Encryption;

// RFC 3602 section 4, cases 1, 2 and 4; NIST SP 800-38A section F.2.5.
#[test]
fn published_vectors_are_encrypted_and_decrypted() {
    let cases = [
        (
            Encryption::AesCbc128,
            "06a9214036b8a15b512e03d534120006",
            "3dafba429d9eb430b422da802c9fac41",
            b"Single block msg".to_vec(),
            "e353779c1079aeb82708942dbe77181a",
        ),
        (
            Encryption::AesCbc128,
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            (0..32).collect(),
            "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
        ),
        (
            Encryption::AesCbc128,
            "56e47a38c5598974bc46903dba290349",
            "8ce82eefbea0da3c44699ed7db51b7d9",
            (0xa0..=0xdf).collect(),
            "c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e\
             35907aa632c3ffdf868bb7b29d3d46ad83ce9f9a102ee99d49a53e87f4c3da55",
        ),
        (
            Encryption::AesCbc256,
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "000102030405060708090a0b0c0d0e0f",
            hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"),
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d",
        ),
    ];
    for (encryption, key, iv, plain, sealed) in cases {
        let key = hex(key);
        let iv = hex(iv).try_into().unwrap();
        for key in [
            CbcKey::new(encryption, &key),
            CbcKey::portable(encryption, &key),
        ] {
            let key = key.unwrap();
            let mut data = plain.clone();
            key.encrypt_in_place(&iv, &mut data).unwrap();
            assert_eq!(data, hex(sealed));
            key.decrypt_in_place(&iv, &mut data).unwrap();
            assert_eq!(data, plain);
        }
    }
}

#[test]
fn a_partial_block_is_refused_and_left_alone() {
    let key = CbcKey::new(Encryption::AesCbc128, &[1; 16]).unwrap();
    let mut data = [5; 17];
    let error = LengthError {
        found: 17,
        block: 16,
    };
    assert_eq!(key.encrypt_in_place(&[0; 16], &mut data), Err(error));
    assert_eq!(key.decrypt_in_place(&[0; 16], &mut data), Err(error));
    assert_eq!(data, [5; 17]);
}

#[test]
fn a_key_of_the_wrong_length_or_kind_is_refused() {
    assert_eq!(
        CbcKey::new(Encryption::AesCbc256, &[0; 16]).unwrap_err(),
        KeyError::Length {
            algorithm: "AES256",
            expected: 32,
            found: 16
        }
    );
    assert!(matches!(
        CbcKey::new(Encryption::AesGcm128, &[0; 16]),
        Err(KeyError::Kind { .. })
    ));
}

proptest! {
    #[test]
    fn decryption_undoes_encryption(
        long in any::<bool>(),
        iv in any::<[u8; 16]>(),
        blocks in proptest::collection::vec(any::<[u8; 16]>(), 0..100),
    ) {
        let encryption = if long { Encryption::AesCbc256 } else { Encryption::AesCbc128 };
        let key = CbcKey::new(encryption, &vec![9; encryption.key_len()]).unwrap();
        let plain = blocks.concat();
        let mut data = plain.clone();
        key.encrypt_in_place(&iv, &mut data).unwrap();
        key.decrypt_in_place(&iv, &mut data).unwrap();
        prop_assert_eq!(data, plain);
    }

    // On every CPU, all ways to encrypt several packets at once give the same
    // as one packet after the other, and all ways to decrypt undo it.
    #[test]
    fn a_burst_is_its_packets_encrypted_one_by_one(
        long in any::<bool>(),
        key in any::<[u8; 32]>(),
        packets in proptest::collection::vec((0_usize..20, 0_usize..100), 0..40),
        seed in any::<u8>(),
    ) {
        let encryption = if long { Encryption::AesCbc256 } else { Encryption::AesCbc128 };
        let key = &key[..encryption.key_len()];
        let portable = CbcKey::portable(encryption, key).unwrap();
        let mut plain = Vec::new();
        let mut stretches = Vec::new();
        for (gap, blocks) in packets {
            let start = plain.len() + gap + 16;
            let end = start + blocks * 16;
            plain.extend((plain.len()..end).map(|at| at.to_le_bytes()[0] ^ seed));
            stretches.push(start..end);
        }
        let mut expected = plain.clone();
        for stretch in &stretches {
            let iv = expected[stretch.start - 16..stretch.start].try_into().unwrap();
            portable.encrypt_in_place(&iv, &mut expected[stretch.clone()]).unwrap();
        }
        for key in [CbcKey::new(encryption, key).unwrap(), portable] {
            let mut found = plain.clone();
            key.encrypt_burst(&mut found, &stretches).unwrap();
            prop_assert_eq!(&found, &expected);
            for stretch in &stretches {
                let iv = found[stretch.start - 16..stretch.start].try_into().unwrap();
                key.decrypt_in_place(&iv, &mut found[stretch.clone()]).unwrap();
            }
            prop_assert_eq!(&found, &plain);
        }
    }
}

#[test]
fn stretches_without_an_iv_with_partial_blocks_or_out_of_order_are_refused() {
    let key = CbcKey::new(Encryption::AesCbc128, &[1; 16]).unwrap();
    let backwards = Range { start: 32, end: 16 };
    for stretches in [
        vec![15..31, 60..60],
        vec![16..33, 60..60],
        vec![16..96, 60..60],
        vec![16..32, 32..48],
        vec![64..80, 16..32],
        vec![backwards, 60..60],
    ] {
        let refused = key.encrypt_burst(&mut [0; 80], &stretches);
        assert!(refused.is_err(), "{stretches:?}");
    }
}
