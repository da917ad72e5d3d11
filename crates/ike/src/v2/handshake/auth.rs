//! Authentication by pre-shared key (RFC 7296 section 2.15).

use subtle::ConstantTimeEq;
use vgw_crypto::{Prf, Secret};

use crate::peer::config::{PeerConfig, Psk};
use crate::v2::handshake::auth_failure::{AuthFailure, WrongKeyOwner};
use crate::v2::wire::{Auth, AuthMethod, Id};

/// RFC 7296 section 2.15: 17 ASCII characters without a terminator.
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// The fields that one side signs: its first message, the other's nonce, its own identity.
pub(crate) struct Signed<'a> {
    /// The SA's PRF.
    pub prf: Prf,
    /// The signer's IKE_SA_INIT message, whole.
    pub message: &'a [u8],
    /// The other side's nonce.
    pub nonce: &'a [u8],
    /// SK_pi or SK_pr, the signer's.
    pub sk_p: &'a Secret,
    /// The signer's ID payload.
    pub id: &'a Id,
}

impl Signed<'_> {
    fn proof(&self, psk: &Psk) -> Secret {
        let maced_id = self.prf.compute(self.sk_p.expose(), &[&self.id.body()]);
        let key = self.prf.compute(psk.0.expose(), &[KEY_PAD]);
        let parts = [self.message, self.nonce, maced_id.expose()];
        self.prf.compute(key.expose(), &parts)
    }

    /// The AUTH payload.
    pub(crate) fn sign(&self, psk: &Psk) -> Auth {
        Auth {
            method: AuthMethod::SHARED_KEY,
            data: self.proof(psk).expose().to_vec(),
        }
    }

    /// Checks that the signer knows the key, comparing in constant time.
    ///
    /// # Errors
    /// Why AUTH is not valid.
    pub(crate) fn verify(&self, psk: &Psk, auth: &Auth) -> Result<AuthProof, AuthFailure> {
        if auth.method != AuthMethod::SHARED_KEY {
            return Err(AuthFailure::Method(auth.method));
        }
        if !bool::from(self.proof(psk).expose().ct_eq(&auth.data)) {
            return Err(AuthFailure::UnknownKey);
        }
        Ok(AuthProof(()))
    }

    /// Checks that the signer, this peer, knows its key.
    ///
    /// # Errors
    /// Why AUTH is not valid; a wrong key is also compared with those that may be mistaken for it.
    pub(crate) fn verify_peer(
        &self,
        peer: &PeerConfig,
        auth: &Auth,
    ) -> Result<AuthProof, AuthFailure> {
        let unproved = match self.verify(&peer.psk, auth) {
            Ok(proof) => return Ok(proof),
            Err(unproved) => unproved,
        };
        let mut others = peer.mistakable.iter();
        let used = others.find(|other| self.verify(&other.psk, auth).is_ok());
        Err(used.map_or(unproved, |used| {
            AuthFailure::WrongKey(WrongKeyOwner {
                used: used.of.clone(),
                expected: peer.name.clone(),
            })
        }))
    }
}

/// Proof that the peer has shown that it knows the key; needed to make an established SA.
#[derive(Debug)]
pub(crate) struct AuthProof(());
