//! The two shapes of protection: AEAD, and a cipher beside an HMAC.

use vgw_crypto::{AeadKey, CbcKey, DirectionKeys, EspSuite, KeyError, MacKey, NotAuthentic};

/// The keys of one direction, ready for use.
pub(crate) enum Cipher {
    Aead(Box<AeadKey>),
    CbcHmac(Box<CbcHmac>),
}

/// AES-CBC, then HMAC over what it made.
pub(crate) struct CbcHmac {
    pub(crate) cbc: CbcKey,
    pub(crate) mac: MacKey,
}

impl Cipher {
    pub(crate) fn new(suite: EspSuite, keys: &DirectionKeys) -> Result<Self, KeyError> {
        let encryption = suite.encryption;
        match (encryption.is_aead(), suite.integrity) {
            (true, None) => {
                let key = AeadKey::new(encryption, keys.encryption.expose())?;
                Ok(Self::Aead(Box::new(key)))
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

/// Calls `with` with the additional authenticated data of AEAD: SPI and
/// sequence number, 64 bits of it with ESN (RFC 4106 section 5).
pub(crate) fn with_aad<T>(
    spi: [u8; 4],
    high: Option<[u8; 4]>,
    low: [u8; 4],
    with: impl FnOnce(&[u8]) -> T,
) -> T {
    let [a, b, c, d] = spi;
    let [i, j, k, l] = low;
    match high {
        Some([e, f, g, h]) => with(&[a, b, c, d, e, f, g, h, i, j, k, l]),
        None => with(&[a, b, c, d, i, j, k, l]),
    }
}

impl CbcHmac {
    /// Writes the ICV over everything before it and, with ESN, the high half of
    /// the sequence number, which is not sent (RFC 4303 sections 2.2.1 and 2.8).
    /// None if `packet` is shorter than its ICV.
    pub(crate) fn write_icv(&self, packet: &mut [u8], high: Option<[u8; 4]>) -> Option<()> {
        let covered_len = packet.len().checked_sub(self.mac.icv_len())?;
        let (covered, icv) = packet.split_at_mut_checked(covered_len)?;
        self.mac.icv(&[covered, octets(&high)], icv);
        Some(())
    }

    /// Checks what [`Self::write_icv`] wrote.
    pub(crate) fn check_icv(
        &self,
        packet: &[u8],
        high: Option<[u8; 4]>,
    ) -> Result<(), NotAuthentic> {
        let (covered, icv) = packet
            .len()
            .checked_sub(self.mac.icv_len())
            .and_then(|covered_len| packet.split_at_checked(covered_len))
            .ok_or(NotAuthentic)?;
        self.mac.verify(&[covered, octets(&high)], icv)
    }
}

fn octets(high: &Option<[u8; 4]>) -> &[u8] {
    high.as_ref().map_or(&[], <[u8; 4]>::as_slice)
}
