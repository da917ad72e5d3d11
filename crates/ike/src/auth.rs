//! Authentication by pre-shared key (RFC 7296 section 2.15).

use subtle::ConstantTimeEq;
use vgw_crypto::{Prf, Secret};

use crate::config::Psk;
use crate::identity::Identity;
use crate::wire::{Auth, AuthMethod, Id};

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
    /// One line that says why not.
    pub(crate) fn verify(&self, psk: &Psk, auth: &Auth) -> Result<Authenticated, String> {
        if auth.method != AuthMethod::SHARED_KEY {
            return Err(format!(
                "the peer authenticates by {}, expected {}",
                auth.method,
                AuthMethod::SHARED_KEY
            ));
        }
        if !bool::from(self.proof(psk).expose().ct_eq(&auth.data)) {
            return Err(
                "the peer's AUTH does not match our pre-shared key for it; compare the keys, \
                 and which tunnel each is for"
                    .to_owned(),
            );
        }
        Ok(Authenticated(()))
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
