//! The two shapes of protection: AEAD, and a cipher beside an HMAC.

pub(crate) mod aead;
pub(crate) mod cbc_hmac;
#[cfg(feature = "floor")]
pub(crate) mod floor;

use vgw_crypto::{AeadKey, CbcKey, DirectionKeys, EspSuite, KeyError, MacKey};

use crate::suites::cbc_hmac::CbcHmac;

/// The keys of one direction, ready for use.
pub(crate) enum Cipher {
    Aead(AeadKey),
    CbcHmac(Box<CbcHmac>),
    /// None at all.
    #[cfg(feature = "floor")]
    Floor,
}

impl Cipher {
    pub(crate) fn new(suite: EspSuite, keys: &DirectionKeys) -> Result<Self, KeyError> {
        let cipher = Self::of(suite, keys)?;
        #[cfg(feature = "floor")]
        let cipher = {
            drop(cipher);
            Self::Floor
        };
        Ok(cipher)
    }

    fn of(suite: EspSuite, keys: &DirectionKeys) -> Result<Self, KeyError> {
        let encryption = suite.encryption;
        match (encryption.is_aead(), suite.integrity) {
            (true, None) => {
                let key = AeadKey::new(encryption, keys.encryption.expose())?;
                Ok(Self::Aead(key))
            }
            (true, Some(integrity)) => Err(KeyError::TakesNoIntegrity {
                encryption,
                integrity,
            }),
            (false, None) => Err(KeyError::NeedsIntegrity { encryption }),
            (false, Some(integrity)) => Ok(Self::CbcHmac(Box::new(CbcHmac {
                cbc: CbcKey::new(encryption, keys.encryption.expose())?,
                mac: MacKey::new(integrity, keys.integrity.expose())?,
            }))),
        }
    }
}
