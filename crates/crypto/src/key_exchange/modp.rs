//! The MODP groups: constant-time exponentiation with short exponents.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use zeroize::Zeroizing;

use super::modp_groups::Modp;
use crate::error::KeyExchangeError;
use crate::random::{RandomError, SecretRandom};
use crate::secret::Secret;
use crate::transform::Group;

/// The generator of every MODP group (RFC 2409 section 6, RFC 3526).
const GENERATOR: u8 = 2;

/// A private exponent and the group it belongs to.
pub(super) struct Exponent {
    group: Group,
    prime: Odd<BoxedUint>,
    value: Zeroizing<BoxedUint>,
    bits: u32,
}

impl Exponent {
    /// Draws an exponent of the size that the group needs.
    pub(super) fn generate<const LIMBS: usize>(
        group: Group,
        modp: &Modp<LIMBS>,
        random: &mut SecretRandom,
    ) -> Result<Self, RandomError> {
        let mut octets = Zeroizing::new(vec![0; modp.exponent_len]);
        random.source().try_fill_bytes(&mut octets)?;
        // The exponent then has its full size, and in particular is not zero.
        if let Some(first) = octets.first_mut() {
            *first |= 0x80;
        }
        Ok(Self::from_be_octets(group, modp, &octets))
    }

    pub(super) fn from_be_octets<const LIMBS: usize>(
        group: Group,
        modp: &Modp<LIMBS>,
        octets: &[u8],
    ) -> Self {
        let bits = u32::try_from(octets.len()).map_or(u32::MAX, |len| len.saturating_mul(8));
        Self {
            group,
            prime: Odd::from(&modp.prime),
            value: Zeroizing::new(BoxedUint::from_be_slice_truncated(octets, bits)),
            bits,
        }
    }

    /// The exponent, in as many octets as it was made of.
    pub(super) fn to_be_octets(&self) -> Secret {
        let octets = Zeroizing::new(self.value.to_be_bytes().into_vec());
        let len = usize::try_from(self.bits / 8).unwrap_or(usize::MAX);
        let start = octets.len().saturating_sub(len);
        Secret::from(octets.get(start..).unwrap_or_default())
    }

    /// Our public value, as long as the prime (RFC 7296 section 3.4).
    pub(super) fn public(&self) -> Vec<u8> {
        let bits = self.prime.as_ref().bits_precision();
        let generator = BoxedUint::from_be_slice_truncated(&[GENERATOR], bits);
        self.power(generator).to_be_bytes().into_vec()
    }

    /// The shared secret, as long as the prime (RFC 7296 section 2.14).
    pub(super) fn agree(&self, peer_public: &[u8]) -> Result<Secret, KeyExchangeError> {
        let peer = element(self.group, &self.prime, peer_public)?;
        let shared = Zeroizing::new(self.power(peer));
        Ok(Secret::new(shared.to_be_bytes().into_vec()))
    }

    fn power(&self, base: BoxedUint) -> BoxedUint {
        let params = BoxedMontyParams::new_vartime(self.prime.clone());
        let base = BoxedMontyForm::new(base, &params);
        let power = Zeroizing::new(base.pow_bounded_exp(&self.value, self.bits));
        power.retrieve()
    }
}

/// Whether a public value is one of the group.
pub(super) fn check<const LIMBS: usize>(
    group: Group,
    modp: &Modp<LIMBS>,
    value: &[u8],
) -> Result<(), KeyExchangeError> {
    element(group, &Odd::from(&modp.prime), value).map(drop)
}

/// RFC 6989 section 2.1: only 1, p - 1 and values off the field are weak where p is
/// a safe prime. The value is public, time may depend on it.
fn element(
    group: Group,
    prime: &Odd<BoxedUint>,
    value: &[u8],
) -> Result<BoxedUint, KeyExchangeError> {
    let prime: &BoxedUint = prime.as_ref();
    let value = BoxedUint::from_be_slice_truncated(value, prime.bits_precision());
    let one = BoxedUint::one();
    let above_one = value.cmp_vartime(&one).is_gt();
    let below_last = value.cmp_vartime(prime.wrapping_sub(&one)).is_lt();
    if above_one && below_last {
        Ok(value)
    } else {
        Err(KeyExchangeError::OutOfRange { group })
    }
}
