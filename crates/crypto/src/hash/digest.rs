//! SHA-1 as IKE uses it without a key: NAT detection (RFC 7296 section 2.23),
//! where nothing depends on its strength.

use sha1::{Digest, Sha1};

/// SHA-1 over the concatenated `parts`.
#[must_use]
pub fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::sha1;

    #[test]
    fn parts_hash_like_the_whole() {
        // FIPS 180-4's example "abc".
        let expected = [
            0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e, 0x25, 0x71, 0x78, 0x50,
            0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d,
        ];
        assert_eq!(sha1(&[b"a", b"", b"bc"]), expected);
    }
}
