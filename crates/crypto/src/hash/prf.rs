//! Pseudorandom functions: HMAC, and the key stream prf+.

use zeroize::Zeroizing;

use crate::hash::keyed_hash::KeyedHash;
use crate::secret::Secret;
use crate::transform::Prf;

impl Prf {
    /// prf(`key`, `parts` concatenated): [`Prf::output_len`] octets. The key may
    /// have any length (RFC 7296 section 2.13).
    #[must_use]
    pub fn compute(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        let mut output = vec![0; self.output_len()];
        self.keyed(key).digest_into(parts, &mut output);
        Secret::new(output)
    }

    /// prf+(`key`, `seed` concatenated), RFC 7296 section 2.13: `len` octets,
    /// but no more than 255 times [`Prf::output_len`], which is where the RFC
    /// ends the stream.
    #[must_use]
    pub fn expand(self, key: &[u8], seed: &[&[u8]], len: usize) -> Secret {
        let keyed = self.keyed(key);
        let len = len.min(self.output_len() * usize::from(u8::MAX));
        // Reserved at once, so that no reallocation leaves a copy behind.
        let mut stream = Vec::with_capacity(len);
        let mut previous = Zeroizing::new(Vec::with_capacity(self.output_len()));
        for counter in 1..=u8::MAX {
            if stream.len() == len {
                break;
            }
            let counter = [counter];
            let mut parts = Vec::with_capacity(seed.len() + 2);
            parts.push(previous.as_slice());
            parts.extend_from_slice(seed);
            parts.push(&counter);
            let mut block = Zeroizing::new(vec![0; self.output_len()]);
            keyed.digest_into(&parts, &mut block);
            stream.extend(block.iter().take(len - stream.len()));
            previous = block;
        }
        Secret::new(stream)
    }

    fn keyed(self, key: &[u8]) -> KeyedHash {
        match self {
            Self::HmacSha1 => KeyedHash::sha1(key),
            Self::HmacSha256 => KeyedHash::sha256(key),
            Self::HmacSha384 => KeyedHash::sha384(key),
            Self::HmacSha512 => KeyedHash::sha512(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::hex;
    use crate::transform::Prf;

    // RFC 4231 section 4.3, test case 2; RFC 2202 section 3, test case 2.
    #[test]
    fn each_prf_answers_as_the_rfcs_print() {
        let cases = [
            (Prf::HmacSha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                Prf::HmacSha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Prf::HmacSha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
                 8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Prf::HmacSha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (prf, expected) in cases {
            let output = prf.compute(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
            assert_eq!(output.expose(), hex(expected), "{prf}");
            assert_eq!(output.len(), prf.output_len());
        }
    }

    // RFC 4231 section 4.7, test case 6.
    #[test]
    fn a_key_longer_than_the_hash_block_is_hashed_first() {
        let output = Prf::HmacSha256.compute(
            &[0xaa; 131],
            &[b"Test Using Larger Than Block-Size Key - Hash Key First"],
        );
        assert_eq!(
            output.expose(),
            hex("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
        );
    }

    #[test]
    fn expansion_chains_each_block_into_the_next_and_numbers_it_from_one() {
        for &prf in Prf::ALL {
            let stream = prf.expand(b"key", &[b"se", b"ed"], prf.output_len() * 2 + 3);
            let first = prf.compute(b"key", &[b"seed\x01"]);
            let second = prf.compute(b"key", &[first.expose(), b"seed\x02"]);
            let third = prf.compute(b"key", &[second.expose(), b"seed\x03"]);
            let mut expected = [first.expose(), second.expose(), third.expose()].concat();
            expected.truncate(prf.output_len() * 2 + 3);
            assert_eq!(stream.expose(), expected, "{prf}");
        }
    }

    #[test]
    fn expansion_ends_after_255_blocks() {
        let prf = Prf::HmacSha1;
        let most = prf.output_len() * 255;
        assert_eq!(prf.expand(b"key", &[], most).len(), most);
        assert_eq!(prf.expand(b"key", &[], most + 1).len(), most);
        assert_eq!(prf.expand(b"key", &[], 0).len(), 0);
    }
}
