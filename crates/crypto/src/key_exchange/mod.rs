//! Ephemeral Diffie-Hellman over every group: MODP, ECP and Curve25519.

mod ecp;
mod modp;
mod modp_groups;
#[cfg(test)]
mod tests;

use std::fmt;

use p256::NistP256;
use p256::elliptic_curve::{Generate, SecretKey};
use p384::NistP384;
use p521::NistP521;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use self::modp::Exponent;
use self::modp_groups::{
    MODP_1024, MODP_1536, MODP_2048, MODP_3072, MODP_4096, MODP_6144, MODP_8192,
};
use crate::error::KeyExchangeError;
use crate::random::{RandomError, SecretRandom};
use crate::secret::Secret;
use crate::transform::Group;

/// X25519 values, top bit cleared, that give zero with every private key: the
/// points of order 1, 2, 4 and 8 of the curve and its twist. Two of them have a
/// second form, with a coordinate beyond the prime (RFC 7748 section 7).
const CURVE25519_SMALL_ORDER: [[u8; 32]; 7] = [
    // 0
    [0; 32],
    // 1
    with_ends(1, 0, 0),
    // p - 1, p and p + 1, where p is 2^255 - 19
    with_ends(0xec, 0xff, 0x7f),
    with_ends(0xed, 0xff, 0x7f),
    with_ends(0xee, 0xff, 0x7f),
    // Order 8
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
];

/// Thirty-two octets with given ends.
const fn with_ends(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut octets = [between; 32];
    octets[0] = first;
    octets[31] = last;
    octets
}

/// Checks a peer's public value at a small part of the cost of the key
/// exchange, so that no key pair is made for a bad one. A value that passes
/// here passes in [`KeyPair::agree`] too.
///
/// # Errors
/// [`KeyExchangeError`] if it is of the wrong length, out of range (RFC 6989 section
/// 2.1), not on the curve (section 2.3), or yields nothing secret (RFC 8031 section 2).
pub fn check_public(group: Group, value: &[u8]) -> Result<(), KeyExchangeError> {
    if value.len() != group.public_len() {
        return Err(KeyExchangeError::Length {
            group,
            found: value.len(),
            expected: group.public_len(),
        });
    }
    match group {
        Group::Modp1024 => modp::check(group, &MODP_1024, value),
        Group::Modp1536 => modp::check(group, &MODP_1536, value),
        Group::Modp2048 => modp::check(group, &MODP_2048, value),
        Group::Modp3072 => modp::check(group, &MODP_3072, value),
        Group::Modp4096 => modp::check(group, &MODP_4096, value),
        Group::Modp6144 => modp::check(group, &MODP_6144, value),
        Group::Modp8192 => modp::check(group, &MODP_8192, value),
        Group::Ecp256 => ecp::point::<NistP256>(group, value).map(drop),
        Group::Ecp384 => ecp::point::<NistP384>(group, value).map(drop),
        Group::Ecp521 => ecp::point::<NistP521>(group, value).map(drop),
        Group::Curve25519 => check_curve25519(value),
    }
}

fn check_curve25519(value: &[u8]) -> Result<(), KeyExchangeError> {
    let mut value = value.to_vec();
    // RFC 7748 section 5: the top bit is ignored.
    if let Some(last) = value.last_mut() {
        *last &= 0x7f;
    }
    let small = CURVE25519_SMALL_ORDER
        .iter()
        .any(|small| *small == value[..]);
    if small {
        return Err(KeyExchangeError::ZeroSecret {
            group: Group::Curve25519,
        });
    }
    Ok(())
}

/// The random part of our side of one key exchange, wiped on drop. Drawing it takes no time;
/// computing its public value ([`Self::into_key_pair`]) takes half the time of the exchange.
pub struct PrivateKey {
    group: Group,
    private: Private,
}

enum Private {
    Modp(Exponent),
    Ecp256(SecretKey<NistP256>),
    Ecp384(SecretKey<NistP384>),
    Ecp521(SecretKey<NistP521>),
    Curve25519(StaticSecret),
}

impl PrivateKey {
    /// A fresh private key for one exchange over `group`.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn generate(group: Group, random: &mut SecretRandom) -> Result<Self, RandomError> {
        let private = match group {
            Group::Modp1024 => Private::Modp(Exponent::generate(group, &MODP_1024, random)?),
            Group::Modp1536 => Private::Modp(Exponent::generate(group, &MODP_1536, random)?),
            Group::Modp2048 => Private::Modp(Exponent::generate(group, &MODP_2048, random)?),
            Group::Modp3072 => Private::Modp(Exponent::generate(group, &MODP_3072, random)?),
            Group::Modp4096 => Private::Modp(Exponent::generate(group, &MODP_4096, random)?),
            Group::Modp6144 => Private::Modp(Exponent::generate(group, &MODP_6144, random)?),
            Group::Modp8192 => Private::Modp(Exponent::generate(group, &MODP_8192, random)?),
            Group::Ecp256 => Private::Ecp256(SecretKey::try_generate_from_rng(random.source())?),
            Group::Ecp384 => Private::Ecp384(SecretKey::try_generate_from_rng(random.source())?),
            Group::Ecp521 => Private::Ecp521(SecretKey::try_generate_from_rng(random.source())?),
            Group::Curve25519 => {
                let mut octets = Zeroizing::new([0; 32]);
                random.source().try_fill_bytes(octets.as_mut_slice())?;
                Private::Curve25519(StaticSecret::from(*octets))
            }
        };
        Ok(Self { group, private })
    }

    /// The private key with a value that [`Self::value`] gave. None if the value is not one of the
    /// group.
    #[must_use]
    pub fn restore(group: Group, value: &Secret) -> Option<Self> {
        let octets = value.expose();
        let private = match group {
            Group::Modp1024 => Private::Modp(Exponent::from_be_octets(group, &MODP_1024, octets)),
            Group::Modp1536 => Private::Modp(Exponent::from_be_octets(group, &MODP_1536, octets)),
            Group::Modp2048 => Private::Modp(Exponent::from_be_octets(group, &MODP_2048, octets)),
            Group::Modp3072 => Private::Modp(Exponent::from_be_octets(group, &MODP_3072, octets)),
            Group::Modp4096 => Private::Modp(Exponent::from_be_octets(group, &MODP_4096, octets)),
            Group::Modp6144 => Private::Modp(Exponent::from_be_octets(group, &MODP_6144, octets)),
            Group::Modp8192 => Private::Modp(Exponent::from_be_octets(group, &MODP_8192, octets)),
            Group::Ecp256 => Private::Ecp256(SecretKey::from_slice(octets).ok()?),
            Group::Ecp384 => Private::Ecp384(SecretKey::from_slice(octets).ok()?),
            Group::Ecp521 => Private::Ecp521(SecretKey::from_slice(octets).ok()?),
            Group::Curve25519 => {
                let octets = Zeroizing::new(<[u8; 32]>::try_from(octets).ok()?);
                Private::Curve25519(StaticSecret::from(*octets))
            }
        };
        Some(Self { group, private })
    }

    /// The private value, big-endian; that of Curve25519 as RFC 7748 has it.
    #[must_use]
    pub fn value(&self) -> Secret {
        match &self.private {
            Private::Modp(exponent) => exponent.to_be_octets(),
            Private::Ecp256(scalar) => Secret::from(Zeroizing::new(scalar.to_bytes()).as_slice()),
            Private::Ecp384(scalar) => Secret::from(Zeroizing::new(scalar.to_bytes()).as_slice()),
            Private::Ecp521(scalar) => Secret::from(Zeroizing::new(scalar.to_bytes()).as_slice()),
            Private::Curve25519(scalar) => Secret::from(scalar.as_bytes().as_slice()),
        }
    }

    /// The group that the key belongs to.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// Computes the public value.
    #[must_use]
    pub fn into_key_pair(self) -> KeyPair {
        let public = match &self.private {
            Private::Modp(exponent) => exponent.public(),
            Private::Ecp256(scalar) => ecp::public(scalar),
            Private::Ecp384(scalar) => ecp::public(scalar),
            Private::Ecp521(scalar) => ecp::public(scalar),
            Private::Curve25519(scalar) => PublicKey::from(scalar).to_bytes().to_vec(),
        };
        KeyPair {
            private: self,
            public,
        }
    }

    /// The shared secret g^ir: for MODP left-padded to the prime's length
    /// (RFC 7296 section 2.14), for ECP the x coordinate (RFC 5903 section 7).
    ///
    /// # Errors
    /// [`KeyExchangeError`] if the peer's value is of the wrong length, out of
    /// range, not on the curve, or yields nothing secret.
    pub fn agree(self, peer_public: &[u8]) -> Result<Secret, KeyExchangeError> {
        let group = self.group;
        if peer_public.len() != group.public_len() {
            return Err(KeyExchangeError::Length {
                group,
                found: peer_public.len(),
                expected: group.public_len(),
            });
        }
        match &self.private {
            Private::Modp(exponent) => exponent.agree(peer_public),
            Private::Ecp256(scalar) => ecp::agree(group, scalar, peer_public),
            Private::Ecp384(scalar) => ecp::agree(group, scalar, peer_public),
            Private::Ecp521(scalar) => ecp::agree(group, scalar, peer_public),
            Private::Curve25519(scalar) => agree_on_curve25519(scalar, peer_public),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(group {})", self.group)
    }
}

/// Our side of one key exchange: a private key, wiped on drop, and the public
/// value that the peer gets.
pub struct KeyPair {
    private: PrivateKey,
    public: Vec<u8>,
}

impl KeyPair {
    /// A fresh key pair for one exchange over `group`.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn generate(group: Group, random: &mut SecretRandom) -> Result<Self, RandomError> {
        PrivateKey::generate(group, random).map(PrivateKey::into_key_pair)
    }

    /// The group that the key pair belongs to.
    #[must_use]
    pub fn group(&self) -> Group {
        self.private.group
    }

    /// Our public value as it stands in the KE payload: [`Group::public_len`]
    /// octets.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The private key alone.
    #[must_use]
    pub fn into_private(self) -> PrivateKey {
        self.private
    }

    /// The shared secret ([`PrivateKey::agree`]).
    ///
    /// # Errors
    /// As [`PrivateKey::agree`].
    pub fn agree(self, peer_public: &[u8]) -> Result<Secret, KeyExchangeError> {
        self.private.agree(peer_public)
    }
}

fn agree_on_curve25519(
    private: &StaticSecret,
    peer_public: &[u8],
) -> Result<Secret, KeyExchangeError> {
    let group = Group::Curve25519;
    let peer_public: [u8; 32] = peer_public
        .try_into()
        .map_err(|_| KeyExchangeError::Length {
            group,
            found: peer_public.len(),
            expected: group.public_len(),
        })?;
    let shared = private.diffie_hellman(&PublicKey::from(peer_public));
    // RFC 8031 section 2: a result of all zeros must be refused.
    if !shared.was_contributory() {
        return Err(KeyExchangeError::ZeroSecret { group });
    }
    Ok(Secret::from(shared.as_bytes().as_slice()))
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair(group {})", self.group())
    }
}
