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

/// Our side of one key exchange: a private key, wiped on drop, and the public
/// value that the peer gets.
pub struct KeyPair {
    group: Group,
    private: Private,
    public: Vec<u8>,
}

enum Private {
    Modp(Exponent),
    Ecp256(SecretKey<NistP256>),
    Ecp384(SecretKey<NistP384>),
    Ecp521(SecretKey<NistP521>),
    Curve25519(StaticSecret),
}

impl KeyPair {
    /// A fresh key pair for one exchange over `group`.
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
        Ok(Self::from_private(group, private))
    }

    fn from_private(group: Group, private: Private) -> Self {
        let public = match &private {
            Private::Modp(exponent) => exponent.public(),
            Private::Ecp256(scalar) => ecp::public(scalar),
            Private::Ecp384(scalar) => ecp::public(scalar),
            Private::Ecp521(scalar) => ecp::public(scalar),
            Private::Curve25519(scalar) => PublicKey::from(scalar).to_bytes().to_vec(),
        };
        Self {
            group,
            private,
            public,
        }
    }

    /// The group that the key pair belongs to.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// Our public value as it stands in the KE payload: [`Group::public_len`]
    /// octets.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
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
        write!(f, "KeyPair(group {})", self.group)
    }
}
