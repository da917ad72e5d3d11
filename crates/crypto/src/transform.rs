//! The transforms this gateway implements, one table row each.
//!
//! IANA "Internet Key Exchange Version 2 (IKEv2) Parameters" gives the numbers,
//! AWS's tunnel options the names that people read. Order within each enum is
//! AWS's "lowest first".

use std::fmt;

macro_rules! transforms {
    (
        $(#[$meta:meta])*
        $name:ident { $( $variant:ident = $label:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each variant is named by its own label")]
        pub enum $name { $( $variant, )+ }

        impl $name {
            /// Every algorithm of this kind, lowest first.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The name in configuration, status and logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $label, )+ }
            }

            /// The algorithm that has this [`Self::name`].
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|a| a.name().eq_ignore_ascii_case(name))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

transforms! {
    /// Transform type 1, ENCR. GCM is the variant with a 16-octet ICV (RFC 4106, RFC 5282).
    Encryption {
        AesCbc128 = "AES128",
        AesCbc256 = "AES256",
        AesGcm128 = "AES128-GCM-16",
        AesGcm256 = "AES256-GCM-16",
    }
}

impl Encryption {
    /// The IANA transform ID: 12 is ENCR_AES_CBC, 20 is ENCR_AES_GCM_16.
    #[must_use]
    pub const fn iana(self) -> u16 {
        match self {
            Self::AesCbc128 | Self::AesCbc256 => 12,
            Self::AesGcm128 | Self::AesGcm256 => 20,
        }
    }

    /// Value of the Key Length attribute, in bits (RFC 7296 section 3.3.5).
    #[must_use]
    pub const fn key_bits(self) -> u16 {
        match self {
            Self::AesCbc128 | Self::AesGcm128 => 128,
            Self::AesCbc256 | Self::AesGcm256 => 256,
        }
    }

    /// The algorithm of an ENCR transform as it stands in a proposal.
    #[must_use]
    pub fn from_iana(id: u16, key_bits: Option<u16>) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|a| a.iana() == id && Some(a.key_bits()) == key_bits)
    }

    /// Whether the cipher authenticates by itself and takes no integrity transform.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::AesGcm128 | Self::AesGcm256)
    }

    /// Octets of cipher key, without salt.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesCbc128 | Self::AesGcm128 => 16,
            Self::AesCbc256 | Self::AesGcm256 => 32,
        }
    }

    /// Octets of salt that follow the key in the keying material (RFC 4106 section 8.1).
    #[must_use]
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 4 } else { 0 }
    }

    /// Octets of keying material taken from KEYMAT: key and salt.
    #[must_use]
    pub const fn keymat_len(self) -> usize {
        self.key_len() + self.salt_len()
    }

    /// Octets of explicit IV in each packet.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        if self.is_aead() { 8 } else { 16 }
    }

    /// What the ciphertext's length must be a multiple of, in octets. ESP pads
    /// to 4 at least (RFC 4303 section 2.4).
    #[must_use]
    pub const fn block_len(self) -> usize {
        if self.is_aead() { 4 } else { 16 }
    }
}

transforms! {
    /// Transform type 3, INTEG.
    Integrity {
        HmacSha1_96 = "SHA1",
        HmacSha256_128 = "SHA2-256",
        HmacSha384_192 = "SHA2-384",
        HmacSha512_256 = "SHA2-512",
    }
}

impl Integrity {
    /// The IANA transform ID (RFC 2404, RFC 4868).
    #[must_use]
    pub const fn iana(self) -> u16 {
        match self {
            Self::HmacSha1_96 => 2,
            Self::HmacSha256_128 => 12,
            Self::HmacSha384_192 => 13,
            Self::HmacSha512_256 => 14,
        }
    }

    /// The algorithm with this transform ID.
    #[must_use]
    pub fn from_iana(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|a| a.iana() == id)
    }

    /// Octets of key: as many as the hash's output has.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 20,
            Self::HmacSha256_128 => 32,
            Self::HmacSha384_192 => 48,
            Self::HmacSha512_256 => 64,
        }
    }

    /// Octets of integrity check value, after truncation.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 12,
            Self::HmacSha256_128 => 16,
            Self::HmacSha384_192 => 24,
            Self::HmacSha512_256 => 32,
        }
    }
}

transforms! {
    /// Transform type 2, PRF.
    Prf {
        HmacSha1 = "PRF-SHA1",
        HmacSha256 = "PRF-SHA2-256",
        HmacSha384 = "PRF-SHA2-384",
        HmacSha512 = "PRF-SHA2-512",
    }
}

impl Prf {
    /// The IANA transform ID (RFC 2104, RFC 4868).
    #[must_use]
    pub const fn iana(self) -> u16 {
        match self {
            Self::HmacSha1 => 2,
            Self::HmacSha256 => 5,
            Self::HmacSha384 => 6,
            Self::HmacSha512 => 7,
        }
    }

    /// The algorithm with this transform ID.
    #[must_use]
    pub fn from_iana(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|a| a.iana() == id)
    }

    /// Octets of output, which is also the preferred key length (RFC 7296 section 2.13).
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// The PRF built on the same hash as an integrity algorithm. AWS's options
    /// name only the integrity algorithm; the PRF follows it.
    #[must_use]
    pub const fn matching(integrity: Integrity) -> Self {
        match integrity {
            Integrity::HmacSha1_96 => Self::HmacSha1,
            Integrity::HmacSha256_128 => Self::HmacSha256,
            Integrity::HmacSha384_192 => Self::HmacSha384,
            Integrity::HmacSha512_256 => Self::HmacSha512,
        }
    }
}

transforms! {
    /// Transform type 4, Key Exchange Method (Diffie-Hellman group).
    Group {
        Modp1024 = "2",
        Modp1536 = "5",
        Modp2048 = "14",
        Modp3072 = "15",
        Modp4096 = "16",
        Modp6144 = "17",
        Modp8192 = "18",
        Ecp256 = "19",
        Ecp384 = "20",
        Ecp521 = "21",
        Curve25519 = "31",
    }
}

impl Group {
    /// The IANA transform ID (RFC 2409, RFC 3526, RFC 5903, RFC 8031).
    #[must_use]
    pub const fn iana(self) -> u16 {
        match self {
            Self::Modp1024 => 2,
            Self::Modp1536 => 5,
            Self::Modp2048 => 14,
            Self::Modp3072 => 15,
            Self::Modp4096 => 16,
            Self::Modp6144 => 17,
            Self::Modp8192 => 18,
            Self::Ecp256 => 19,
            Self::Ecp384 => 20,
            Self::Ecp521 => 21,
            Self::Curve25519 => 31,
        }
    }

    /// The group with this transform ID.
    #[must_use]
    pub fn from_iana(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|a| a.iana() == id)
    }

    /// Octets of public value in the KE payload: the prime's length for MODP,
    /// x and y without a prefix for ECP (RFC 5903 section 7), u for Curve25519.
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Self::Modp1024 => 128,
            Self::Modp1536 => 192,
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
            Self::Modp6144 => 768,
            Self::Modp8192 => 1024,
            Self::Ecp256 => 64,
            Self::Ecp384 => 96,
            Self::Ecp521 => 132,
            Self::Curve25519 => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Encryption, Group, Integrity, Prf};

    #[test]
    fn every_transform_is_found_again_by_its_number_and_by_its_name() {
        for &a in Encryption::ALL {
            assert_eq!(Encryption::from_iana(a.iana(), Some(a.key_bits())), Some(a));
            assert_eq!(Encryption::from_name(a.name()), Some(a));
        }
        for &a in Integrity::ALL {
            assert_eq!(Integrity::from_iana(a.iana()), Some(a));
            assert_eq!(Integrity::from_name(a.name()), Some(a));
        }
        for &a in Prf::ALL {
            assert_eq!(Prf::from_iana(a.iana()), Some(a));
        }
        for &a in Group::ALL {
            assert_eq!(Group::from_iana(a.iana()), Some(a));
            assert_eq!(Group::from_name(a.name()), Some(a));
        }
    }

    #[test]
    fn an_aes_transform_without_key_length_names_no_algorithm() {
        assert_eq!(Encryption::from_iana(12, None), None);
        assert_eq!(Encryption::from_iana(12, Some(192)), None);
    }
}
