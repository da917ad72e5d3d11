//! Published vectors, and everything that can be wrong with a public value.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::modp::Exponent;
use super::modp_groups::{
    MODP_1024, MODP_1536, MODP_2048, MODP_3072, MODP_4096, MODP_6144, MODP_8192, Modp,
};
use super::{CURVE25519_SMALL_ORDER, KeyPair, PrivateKey, check_public};
use crate::error::KeyExchangeError;
use crate::random::SecretRandom;
use crate::secret::Secret;
use crate::testing::hex;
use crate::transform::Group;

fn random() -> SecretRandom {
    SecretRandom::new(ChaCha20Rng::seed_from_u64(7))
}

fn from_vector(group: Group, private: &str) -> KeyPair {
    let key = PrivateKey::restore(group, &Secret::new(hex(private))).unwrap();
    assert_eq!(key.value().expose(), hex(private));
    key.into_key_pair()
}

struct Vector {
    group: Group,
    private: [&'static str; 2],
    public: [&'static str; 2],
    shared: &'static str,
}

// RFC 5903 sections 8.1 to 8.3; RFC 7748 section 6.1.
const VECTORS: &[Vector] = &[
    Vector {
        group: Group::Ecp256,
        private: [
            "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
            "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
        ],
        public: [
            "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180\
             5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
            "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63\
             56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
        ],
        shared: "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
    },
    Vector {
        group: Group::Ecp384,
        private: [
            "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655\
             E35B538041E649EE3FAEF896783AB194",
            "41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942\
             E0308312916B8ED2960E4BD55A7448FC",
        ],
        public: [
            "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6\
             DE3AC808ACB4BDB4C88732AEE95F41AA\
             9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38E\
             EB9FCFF3C2C947DAE69B4C634573A81C",
            "E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D\
             0D1AC43A0336DEF96FDA41D0774A3571\
             DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FF\
             F83FA40142209DFF5EAAD96DB9E6386C",
        ],
        shared: "11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4\
                 D603135569B9E9D09CF5D4A270F59746",
    },
    Vector {
        group: Group::Ecp521,
        private: [
            "0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A0\
             95AA85A30FE1C2952C6771D937BA9777F5957B2639BAB072462F68C27A57382D\
             4A52",
            "0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E\
             9C677D600B343757A3BDBF2A3163E4C2F869CCA7458AA4A4EFFC311F5CB15168\
             5EB9",
        ],
        public: [
            "0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBE\
             E1E3BF42E00B8E380AEAE57C2D107564941885942AF5A7F4601723C4195D176C\
             ED3E\
             017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10A\
             D8A788015AC405D7799DC75E7B7D5B6CF2261A6A7F1507438BF01BEB6CA3926F\
             9582",
            "00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A21\
             9B97C356436ADC6E95BB0352F6BE64A6C2912D4EF2D0433CED2B6171640012D9\
             460F\
             015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87\
             220B6536C5C408A1D2AEBB8E86D678AE49CB57091F4732296579AB44FCD17F0F\
             C56A",
        ],
        shared: "01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04\
                 D1427E73CA4BAA240A34786859810C06B3C715A3A8CC3151F2BEE417996D19F3\
                 DDEA",
    },
    Vector {
        group: Group::Curve25519,
        private: [
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        ],
        public: [
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        ],
        shared: "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    },
];

#[test]
fn published_vectors_give_their_public_values_and_shared_secret() {
    for vector in VECTORS {
        for (ours, theirs) in [(0, 1), (1, 0)] {
            let pair = from_vector(vector.group, vector.private[ours]);
            assert_eq!(pair.public(), hex(vector.public[ours]), "{}", vector.group);
            let shared = pair.agree(&hex(vector.public[theirs])).unwrap();
            assert_eq!(shared.expose(), hex(vector.shared), "{}", vector.group);
        }
    }
}

#[test]
fn both_sides_of_every_group_agree() {
    let mut random = random();
    for &group in Group::ALL {
        let ours = KeyPair::generate(group, &mut random).unwrap();
        let theirs = KeyPair::generate(group, &mut random).unwrap();
        assert_eq!(ours.public().len(), group.public_len(), "{group}");
        assert_ne!(ours.public(), theirs.public(), "{group}");
        let (our_public, their_public) = (ours.public().to_vec(), theirs.public().to_vec());
        let shared = ours.agree(&their_public).unwrap();
        assert_eq!(
            shared.expose(),
            theirs.agree(&our_public).unwrap().expose(),
            "{group}"
        );
        let expected = match group {
            Group::Ecp256 | Group::Ecp384 | Group::Ecp521 => group.public_len() / 2,
            _ => group.public_len(),
        };
        assert_eq!(shared.len(), expected, "{group}");
    }
}

#[test]
fn a_public_value_of_the_wrong_length_is_refused_with_both_lengths() {
    let mut random = random();
    for &group in Group::ALL {
        let expected = group.public_len();
        for found in [0, 1, expected - 1, expected + 1] {
            let pair = KeyPair::generate(group, &mut random).unwrap();
            assert_eq!(
                pair.agree(&vec![2; found]).unwrap_err(),
                KeyExchangeError::Length {
                    group,
                    found,
                    expected
                }
            );
        }
    }
}

fn prime_octets<const LIMBS: usize>(modp: &Modp<LIMBS>) -> Vec<u8> {
    let prime: crypto_bigint::Odd<crypto_bigint::BoxedUint> = (&modp.prime).into();
    prime.as_ref().to_be_bytes().into_vec()
}

// Every prime is 7 mod 8, so that 2 has the order (p - 1) / 2. A mistyped digit
// would make p composite, and 2^((p - 1) / 2) anything but 1 (Euler's test).
fn assert_two_generates_the_subgroup<const LIMBS: usize>(group: Group, modp: &Modp<LIMBS>) {
    let mut half = prime_octets(modp);
    assert_eq!(half.len(), group.public_len(), "{group}");
    let mut carry = 0;
    for octet in &mut half {
        let next = *octet & 1;
        *octet = *octet >> 1 | carry << 7;
        carry = next;
    }
    let mut one = vec![0; half.len()];
    *one.last_mut().unwrap() = 1;
    let exponent = Exponent::from_be_octets(group, modp, &half);
    assert_eq!(exponent.public(), one, "{group}");
}

#[test]
fn two_generates_the_large_subgroup_of_every_modp_group() {
    assert_two_generates_the_subgroup(Group::Modp1024, &MODP_1024);
    assert_two_generates_the_subgroup(Group::Modp1536, &MODP_1536);
    assert_two_generates_the_subgroup(Group::Modp2048, &MODP_2048);
    assert_two_generates_the_subgroup(Group::Modp3072, &MODP_3072);
    assert_two_generates_the_subgroup(Group::Modp4096, &MODP_4096);
    assert_two_generates_the_subgroup(Group::Modp6144, &MODP_6144);
    assert_two_generates_the_subgroup(Group::Modp8192, &MODP_8192);
}

#[test]
fn a_modp_secret_keeps_its_leading_zeros() {
    // 2^1 raised to 3 is 8: 255 octets of zeros before it.
    let pair = from_vector(Group::Modp2048, "03");
    let mut two = vec![0; 256];
    two[255] = 2;
    let mut eight = vec![0; 256];
    eight[255] = 8;
    assert_eq!(pair.agree(&two).unwrap().expose(), eight);
}

#[test]
fn modp_values_outside_1_to_p_minus_1_are_refused() {
    let group = Group::Modp2048;
    let prime = prime_octets(&MODP_2048);
    let with_last = |last: u8| [&prime[..255], &[last]].concat();
    let small = |value: u8| [&[0; 255][..], &[value]].concat();
    let weak = [
        small(0),
        small(1),
        with_last(0xfe),
        prime.clone(),
        vec![0xff; 256],
    ];
    for peer in weak {
        let pair = KeyPair::generate(group, &mut random()).unwrap();
        assert_eq!(
            pair.agree(&peer).unwrap_err(),
            KeyExchangeError::OutOfRange { group }
        );
    }
    for peer in [small(2), with_last(0xfd)] {
        let pair = KeyPair::generate(group, &mut random()).unwrap();
        assert!(pair.agree(&peer).is_ok());
    }
}

#[test]
fn a_point_off_the_curve_or_at_infinity_is_refused() {
    for group in [Group::Ecp256, Group::Ecp384, Group::Ecp521] {
        let pair = || KeyPair::generate(group, &mut random()).unwrap();
        let mut off = pair().public().to_vec();
        *off.last_mut().unwrap() ^= 1;
        assert_eq!(
            pair().agree(&off).unwrap_err(),
            KeyExchangeError::NotOnCurve { group }
        );
        // Coordinates past the field's prime.
        assert_eq!(
            pair().agree(&vec![0xff; group.public_len()]).unwrap_err(),
            KeyExchangeError::NotOnCurve { group }
        );
        assert_eq!(
            pair().agree(&vec![0; group.public_len()]).unwrap_err(),
            KeyExchangeError::Infinity { group }
        );
    }
}

// RFC 7748 section 6.1; u = 0, 1 and a point of order 8.
#[test]
fn curve25519_values_of_small_order_are_refused() {
    let group = Group::Curve25519;
    let mut one = [0; 32];
    one[0] = 1;
    let order_8 = hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
    for peer in [&[0; 32][..], &one, &order_8] {
        let pair = KeyPair::generate(group, &mut random()).unwrap();
        assert_eq!(
            pair.agree(peer).unwrap_err(),
            KeyExchangeError::ZeroSecret { group }
        );
    }
}

#[test]
fn each_listed_curve25519_value_of_small_order_gives_zero_and_is_refused_beforehand() {
    let group = Group::Curve25519;
    for listed in CURVE25519_SMALL_ORDER {
        for top in [0, 0x80] {
            let mut value = listed;
            value[31] |= top;
            let zero = Err(KeyExchangeError::ZeroSecret { group });
            assert_eq!(check_public(group, &value), zero);
            let pair = KeyPair::generate(group, &mut random()).unwrap();
            assert_eq!(pair.agree(&value).map(drop), zero);
        }
    }
}

#[test]
fn an_honest_value_of_every_group_passes_beforehand() {
    for &group in Group::ALL {
        let pair = KeyPair::generate(group, &mut random()).unwrap();
        assert_eq!(check_public(group, pair.public()), Ok(()), "{group}");
    }
}

#[test]
fn debug_output_shows_the_group_and_no_key() {
    let pair = KeyPair::generate(Group::Ecp256, &mut random()).unwrap();
    assert_eq!(format!("{pair:?}"), "KeyPair(group 19)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agreement_is_total_on_random_octets_and_refuses_what_was_refused_beforehand(
        which in 0..Group::ALL.len(),
        octets in proptest::collection::vec(any::<u8>(), 1024),
        cut in any::<bool>(),
    ) {
        let group = Group::ALL[which];
        let len = if cut { octets.len() / 2 } else { group.public_len() };
        let pair = KeyPair::generate(group, &mut random()).unwrap();
        let before = check_public(group, &octets[..len]);
        prop_assert_eq!(pair.agree(&octets[..len]).map(drop), before);
    }
}
