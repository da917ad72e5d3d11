//! Published vectors, refusals, and every way to compute a burst.

use proptest::prelude::*;

use super::{Covered, MacKey, Range};
use crate::error::{KeyError, NoPlace, NotAuthentic};
use crate::testing::hex;
use crate::transform::Integrity;

// RFC 4868 section 2.7.1 (AUTH256-1, AUTH384-1, AUTH512-1) and RFC 2202
// section 3, test case 1, cut to 96 bits (RFC 2404 section 2).
#[test]
fn each_algorithm_cuts_its_output_as_the_rfcs_print() {
    let cases = [
        (Integrity::HmacSha1_96, "b617318655057264e28bc0b6"),
        (
            Integrity::HmacSha256_128,
            "198a607eb44bfbc69903a0f1cf2bbdc5",
        ),
        (
            Integrity::HmacSha384_192,
            "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973",
        ),
        (
            Integrity::HmacSha512_256,
            "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8",
        ),
    ];
    for (integrity, expected) in cases {
        let key = MacKey::new(integrity, &vec![0x0b; integrity.key_len()]).unwrap();
        let icv = key.icv(&[b"Hi ", b"There"]);
        assert_eq!(icv, hex(expected), "{integrity}");
        assert_eq!(key.verify(&[b"Hi There"], &icv), Ok(()));
    }
}

#[test]
fn a_key_of_the_wrong_length_is_refused_with_both_lengths() {
    let error = MacKey::new(Integrity::HmacSha256_128, &[0; 20]).unwrap_err();
    assert_eq!(
        error,
        KeyError::Length {
            algorithm: "SHA2-256",
            expected: 32,
            found: 20
        }
    );
}

#[test]
fn a_shortened_icv_is_refused_although_its_octets_match() {
    let key = MacKey::new(Integrity::HmacSha1_96, &[7; 20]).unwrap();
    let icv = key.icv(&[b"data"]);
    for len in 0..12 {
        assert_eq!(key.verify(&[b"data"], &icv[..len]), Err(NotAuthentic));
    }
}

#[test]
fn debug_output_names_the_algorithm_and_no_key() {
    let key = MacKey::new(Integrity::HmacSha1_96, &[7; 20]).unwrap();
    assert_eq!(format!("{key:?}"), "MacKey(SHA1)");
}

// On every CPU, all ways to compute several check values at once give the same
// as one message after the other.
proptest! {
    #[test]
    fn a_burst_has_the_check_values_of_its_messages(
        which in 0..Integrity::ALL.len(),
        key in any::<[u8; 64]>(),
        lens in proptest::collection::vec(
            prop_oneof![0_usize..300, Just(1432), 1400_usize..1500],
            0..40,
        ),
        high in any::<Option<[u8; 4]>>(),
        seed in any::<u8>(),
    ) {
        let integrity = Integrity::ALL[which];
        let key = || MacKey::new(integrity, &key[..integrity.key_len()]).unwrap();
        let icv_len = integrity.icv_len();
        let mut plain = Vec::new();
        let mut messages = Vec::new();
        for len in lens {
            let start = plain.len();
            plain.extend((0..len).map(|at| at.to_le_bytes()[0] ^ seed));
            messages.push(Covered { range: start..start + len, high });
            plain.resize(start + len + icv_len, 0);
        }
        let mut expected = plain.clone();
        for message in &messages {
            let (data, icv) = expected.split_at_mut(message.range.end);
            let made = key().icv(&[&data[message.range.start..], message.high()]);
            icv[..icv_len].copy_from_slice(&made);
        }
        for key in [key(), key().one_by_one()] {
            let mut found = plain.clone();
            key.icv_burst(&mut found, &messages).unwrap();
            prop_assert_eq!(&found, &expected);
            let mut authentic = vec![false; messages.len()];
            key.verify_burst(&found, &messages, &mut authentic);
            prop_assert!(authentic.iter().all(|authentic| *authentic));
            // One wrong check value is found among right ones.
            if let Some(last) = messages.last() {
                found[last.range.end + icv_len - 1] ^= 1;
                key.verify_burst(&found, &messages, &mut authentic);
                prop_assert_eq!(authentic.pop(), Some(false));
                prop_assert!(authentic.iter().all(|authentic| *authentic));
            }
        }
    }
}

#[test]
fn a_message_that_does_not_lie_in_the_buffer_is_an_error_not_authentic_and_changes_nothing() {
    for &integrity in Integrity::ALL {
        let key = MacKey::new(integrity, &vec![7; integrity.key_len()]).unwrap();
        let mut buffer = [0; 100];
        let backwards = Range { start: 50, end: 20 };
        let messages =
            [90..101, 99..100, backwards, 200..300].map(|range| Covered { range, high: None });
        let (start, end) = (90, 101);
        assert_eq!(
            key.icv_burst(&mut buffer, &messages),
            Err(NoPlace { start, end })
        );
        assert_eq!(buffer, [0; 100]);
        let mut authentic = [true; 4];
        key.verify_burst(&buffer, &messages, &mut authentic);
        assert_eq!(authentic, [false; 4]);
    }
}

proptest! {
    #[test]
    fn any_flipped_bit_is_noticed(
        which in 0..Integrity::ALL.len(),
        mut data in proptest::collection::vec(any::<u8>(), 1..200),
        at in any::<proptest::sample::Index>(),
        bit in 0..8u32,
    ) {
        let integrity = Integrity::ALL[which];
        let key = MacKey::new(integrity, &vec![3; integrity.key_len()]).unwrap();
        let icv = key.icv(&[&data]);
        let at = at.index(data.len());
        data[at] ^= 1 << bit;
        prop_assert_eq!(key.verify(&[&data], &icv), Err(NotAuthentic));
    }
}
