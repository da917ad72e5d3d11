//! Authentication by pre-shared key (RFC 7296 section 2.15).

use std::fmt;

use subtle::ConstantTimeEq;
use vgw_crypto::{Prf, Secret};

use crate::peer::config::{PeerConfig, Psk};
use crate::peer::identity::Identity;
use crate::v2::wire::{Auth, AuthMethod, Id};

/// RFC 7296 section 2.15: 17 ASCII characters without a terminator.
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// Characters of an unproven identity that a log gets; a host name has no more
/// than 255 octets (RFC 1035 section 2.3.4).
const MAX_CLAIM: usize = 255;

/// What one side signs: its first message, the other's nonce, its own identity.
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

    /// Whether the signer knows the key. Compared in constant time.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn verify(&self, psk: &Psk, auth: &Auth) -> Result<Authenticated, Unproved> {
        if auth.method != AuthMethod::SHARED_KEY {
            return Err(Unproved::Method(auth.method));
        }
        if !bool::from(self.proof(psk).expose().ct_eq(&auth.data)) {
            return Err(Unproved::Key);
        }
        Ok(Authenticated(()))
    }

    /// Whether the signer, this peer, knows its key.
    ///
    /// # Errors
    /// Why not; of a wrong key also whether it is one that was mistaken for the right one.
    pub(crate) fn verify_peer(
        &self,
        peer: &PeerConfig,
        auth: &Auth,
    ) -> Result<Authenticated, Unproved> {
        let unproved = match self.verify(&peer.psk, auth) {
            Ok(proof) => return Ok(proof),
            Err(unproved) => unproved,
        };
        let mut others = peer.mistakable.iter();
        let used = others.find(|other| self.verify(&other.psk, auth).is_ok());
        Err(used.map_or(unproved, |used| {
            Unproved::KeyOf(Mistaken {
                used: used.of.clone(),
                expected: peer.name.clone(),
            })
        }))
    }
}

/// Why an AUTH payload proves nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unproved {
    /// Not by a pre-shared key.
    #[error("the peer authenticates by {0}, expected {expected}", expected = AuthMethod::SHARED_KEY)]
    Method(AuthMethod),
    /// By an unknown key.
    #[error(
        "the peer's AUTH does not match our pre-shared key for it; compare the keys, \
         and which tunnel each is for"
    )]
    Key,
    /// By the key of another peer.
    #[error("the peer's AUTH {0}")]
    KeyOf(Mistaken),
}

/// Whose key a peer used.
#[derive(Debug, Clone)]
pub(crate) struct Mistaken {
    used: String,
    expected: String,
}

impl fmt::Display for Mistaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { used, expected } = self;
        write!(
            f,
            "was made with the pre-shared key of {used}, not with that of {expected}: at the \
             peer the two keys are swapped, or the addresses that its tunnels go to"
        )
    }
}

/// Proof that the peer showed it knows the key; an established SA is made of one.
#[derive(Debug)]
pub(crate) struct Authenticated(());

/// What somebody says in an ID payload, proved or not, for a log.
pub(crate) fn said(id: &Id) -> String {
    match id.identity() {
        Some(identity) => claimed(&identity),
        None => format!("something of ID type {}", id.kind),
    }
}

/// An identity that nobody proved, for a log: no longer than an honest one.
fn claimed(id: &Identity) -> String {
    let text = id.to_string();
    match text.char_indices().nth(MAX_CLAIM) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
