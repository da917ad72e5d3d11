//! The ECP groups of RFC 5903: NIST curves, points as x and y without a prefix.

use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::{
    AffinePoint, CurveArithmetic, FieldBytesSize, PublicKey, SecretKey, ecdh,
};
use zeroize::Zeroizing;

use crate::error::KeyExchangeError;
use crate::secret::Secret;
use crate::transform::Group;

/// Tag of an uncompressed point in SEC 1 section 2.3.3, which IKE leaves out.
const UNCOMPRESSED: u8 = 4;

/// The public value of `private`: x, then y (RFC 5903 section 7).
pub(super) fn public<C>(private: &SecretKey<C>) -> Vec<u8>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let point = private.public_key().to_sec1_point(false);
    point.as_bytes().iter().skip(1).copied().collect()
}

/// The x coordinate of the shared point (RFC 5903 section 7).
pub(super) fn agree<C>(
    group: Group,
    private: &SecretKey<C>,
    peer_public: &[u8],
) -> Result<Secret, KeyExchangeError>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let peer = point::<C>(group, peer_public)?;
    // The copy that the computation needs is wiped as well.
    let copy = Zeroizing::new(private.to_nonzero_scalar());
    let scalar = &*copy;
    let shared = ecdh::diffie_hellman(scalar, peer.as_affine());
    Ok(Secret::from(shared.raw_secret_bytes().as_slice()))
}

/// The peer's point, which is on the curve (RFC 6989 section 2.3).
pub(super) fn point<C>(group: Group, value: &[u8]) -> Result<PublicKey<C>, KeyExchangeError>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    // Infinity has no coordinates, but it is sometimes written as zeros.
    if value.iter().all(|octet| *octet == 0) {
        return Err(KeyExchangeError::Infinity { group });
    }
    let mut point = Vec::with_capacity(1 + value.len());
    point.push(UNCOMPRESSED);
    point.extend_from_slice(value);
    PublicKey::<C>::from_sec1_bytes(&point).map_err(|_| KeyExchangeError::NotOnCurve { group })
}
