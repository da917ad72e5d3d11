use proptest::prelude::*;

use super::{AeadKey, Cipher};
use crate::error::{KeyError, NotAuthentic};
use crate::testing::hex;
use crate::transform::Encryption;

struct Vector {
    encryption: Encryption,
    key: &'static str,
    nonce: &'static str,
    aad: &'static str,
    plain: &'static str,
    sealed: &'static str,
}

// draft-mcgrew-gcm-test-01 section 4, the first 128-bit and the first
// 256-bit case; McGrew and Viega, "The Galois/Counter Mode of Operation",
// appendix B, test cases 4 and 16.
const VECTORS: &[Vector] = &[
    Vector {
        encryption: Encryption::AesGcm128,
        key: "4c80cdefbb5d10da906ac73c3613a634",
        nonce: "2e443b684956ed7e3b244cfe",
        aad: "000043218765432100000000",
        plain: "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000\
                00000000045f736970045f756470037369700963796265726369747902646b00\
                0021000101020201",
        sealed: "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34\
                 cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce\
                 61bc17d768fd9732459018148f6cbe722fd04796562dfdb4",
    },
    Vector {
        encryption: Encryption::AesGcm256,
        key: "abbccddef00112233445566778899aababbccddef00112233445566778899aab",
        nonce: "112233440102030405060708",
        aad: "4a2cbfe300000002",
        plain: "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000\
                7002400020bf0000020405b40101040201020201",
        sealed: "ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763\
                 748a637985771d347f0545659f14e99def842d8eb335f4eecfdbf831824b4c49\
                 15956c96",
    },
    Vector {
        encryption: Encryption::AesGcm128,
        key: "feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        plain: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        sealed: "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                 21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091\
                 5bc94fbc3221a5db94fae95ae7121a47",
    },
    Vector {
        encryption: Encryption::AesGcm256,
        key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        plain: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        sealed: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
                 76fc6ece0f4e1768cddf8853bb2d551b",
    },
];

/// The two implementations of a key: the one that this CPU gets, and the one
/// that runs on every CPU.
fn every_way(encryption: Encryption, keymat: &[u8]) -> [AeadKey; 2] {
    [
        AeadKey::new(encryption, keymat).unwrap(),
        AeadKey::portable(encryption, keymat).unwrap(),
    ]
}

fn keys_and_iv(vector: &Vector) -> ([AeadKey; 2], [u8; 8]) {
    let nonce = hex(vector.nonce);
    let keymat = [hex(vector.key), nonce[..4].to_vec()].concat();
    let keys = every_way(vector.encryption, &keymat);
    (keys, nonce[4..].try_into().unwrap())
}

#[test]
fn published_vectors_are_sealed_and_opened() {
    for vector in VECTORS {
        let (keys, iv) = keys_and_iv(vector);
        for key in keys {
            let mut data = hex(vector.plain);
            let icv = key.seal_in_place(iv, &hex(vector.aad), &mut data);
            assert_eq!([&data[..], &icv].concat(), hex(vector.sealed));
            key.open_in_place(iv, &hex(vector.aad), &mut data, &icv)
                .unwrap();
            assert_eq!(data, hex(vector.plain));
        }
    }
}

#[test]
fn a_cpu_with_wide_instructions_uses_them() {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq") {
        let key = AeadKey::new(Encryption::AesGcm128, &[1; 20]).unwrap();
        assert!(matches!(key.cipher, Cipher::Wide(_)));
    }
    let key = AeadKey::portable(Encryption::AesGcm128, &[1; 20]).unwrap();
    assert!(matches!(key.cipher, Cipher::Ring(_)));
}

/// Octets that repeat only after 251.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251).try_into().unwrap()).collect()
}

// Lengths around every group and block of the wide implementation, up to one and a
// half groups beyond the second; additional data of no, one and several blocks.
#[test]
fn every_way_gives_the_same_octets_whatever_the_lengths() {
    for encryption in [Encryption::AesGcm128, Encryption::AesGcm256] {
        let [one, other] = every_way(encryption, &pattern(encryption.keymat_len()));
        for aad_len in [0, 1, 8, 12, 15, 16, 17, 28, 32, 33] {
            let aad = pattern(aad_len);
            for len in 0..=900 {
                let mut data = pattern(len);
                let mut expected = data.clone();
                let icv = one.seal_in_place([7; 8], &aad, &mut data);
                let expected_icv = other.seal_in_place([7; 8], &aad, &mut expected);
                assert_eq!((&data, icv), (&expected, expected_icv), "{len}, {aad_len}");
                one.open_in_place([7; 8], &aad, &mut data, &icv).unwrap();
                assert_eq!(data, pattern(len));
            }
        }
    }
}

// The counter's lowest octet overflows after 4,096 octets, the next after a
// mebibyte.
#[test]
fn every_way_counts_alike_in_a_long_message() {
    let [one, other] = every_way(Encryption::AesGcm128, &pattern(20));
    let mut data = pattern((1 << 20) + 5000);
    let mut expected = data.clone();
    let icv = one.seal_in_place([7; 8], b"aad", &mut data);
    let expected_icv = other.seal_in_place([7; 8], b"aad", &mut expected);
    assert!(data == expected);
    assert_eq!(icv, expected_icv);
}

proptest! {
    #[test]
    fn one_changed_bit_anywhere_is_not_authentic(
        len in 1_usize..800,
        aad_len in 1_usize..40,
        keymat: [u8; 20],
        iv: [u8; 8],
        at: prop::sample::Index,
        bit in 0_u32..8,
    ) {
        for key in every_way(Encryption::AesGcm128, &keymat) {
            let mut aad = pattern(aad_len);
            let mut data = pattern(len);
            let mut icv = key.seal_in_place(iv, &aad, &mut data);
            let at = at.index(len + aad_len + icv.len());
            let mut octets = data.iter_mut().chain(&mut aad).chain(&mut icv);
            *octets.nth(at).unwrap() ^= 1_u8 << bit;
            prop_assert_eq!(key.open_in_place(iv, &aad, &mut data, &icv), Err(NotAuthentic));
        }
    }

    #[test]
    fn every_way_gives_the_same_octets_under_any_key(
        keymat: [u8; 36],
        iv: [u8; 8],
        aad in prop::collection::vec(any::<u8>(), 0..40),
        data in prop::collection::vec(any::<u8>(), 0..1600),
    ) {
        let [one, other] = every_way(Encryption::AesGcm256, &keymat);
        let (mut data, mut expected) = (data.clone(), data);
        let icv = one.seal_in_place(iv, &aad, &mut data);
        let expected_icv = other.seal_in_place(iv, &aad, &mut expected);
        prop_assert_eq!((data, icv), (expected, expected_icv));
    }
}

#[test]
fn another_iv_another_aad_or_a_shortened_icv_is_not_authentic() {
    let (keys, iv) = keys_and_iv(&VECTORS[0]);
    for key in keys {
        let mut sealed = b"some data".to_vec();
        let icv = key.seal_in_place(iv, b"aad", &mut sealed);
        let opened =
            |iv, aad: &[u8], icv: &[u8]| key.open_in_place(iv, aad, &mut sealed.clone(), icv);
        assert_eq!(opened(iv, b"aad", &icv), Ok(()));
        assert_eq!(opened([0; 8], b"aad", &icv), Err(NotAuthentic));
        assert_eq!(opened(iv, b"aae", &icv), Err(NotAuthentic));
        assert_eq!(opened(iv, b"aad", &icv[..12]), Err(NotAuthentic));
        assert_eq!(opened(iv, b"aad", &[]), Err(NotAuthentic));
    }
}

#[test]
fn a_key_without_its_salt_is_refused_with_both_lengths() {
    let error = AeadKey::new(Encryption::AesGcm256, &[0; 32]).unwrap_err();
    assert_eq!(
        error,
        KeyError::Length {
            algorithm: "AES256-GCM-16",
            expected: 36,
            found: 32
        }
    );
}

#[test]
fn a_cbc_cipher_makes_no_aead_key() {
    assert!(matches!(
        AeadKey::new(Encryption::AesCbc128, &[0; 20]),
        Err(KeyError::Kind { .. })
    ));
}
