//! The two shapes of protection: AEAD, and a cipher beside an HMAC.

use vgw_crypto::{AeadKey, CbcKey, DirectionKeys, EspSuite, KeyError, MacKey, NotAuthentic};

use crate::frame::{Frame, high_half};

/// The keys of one direction, ready for use.
pub(crate) enum Cipher {
    Aead(AeadKey),
    CbcHmac(CbcHmac),
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
            (true, None) => Ok(Self::Aead(AeadKey::new(
                encryption,
                keys.encryption.expose(),
            )?)),
            (true, Some(integrity)) => Err(KeyError::TakesNoIntegrity {
                encryption,
                integrity,
            }),
            (false, None) => Err(KeyError::NeedsIntegrity { encryption }),
            (false, Some(integrity)) => Ok(Self::CbcHmac(CbcHmac {
                cbc: CbcKey::new(encryption, keys.encryption.expose())?,
                mac: MacKey::new(integrity, keys.integrity.expose())?,
            })),
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
    /// Writes the ICV over everything before it, and the high half of the
    /// sequence number after it with ESN (RFC 4303 sections 2.2.1 and 2.8).
    pub(crate) fn write_icv(&self, frame: &mut Frame<'_>, sequence: u64, esn: bool) {
        let high = high_half(sequence, esn);
        let covered = [
            frame.spi.as_slice(),
            frame.sequence.as_slice(),
            frame.iv,
            frame.payload,
            high.as_ref().map_or(&[], <[u8; 4]>::as_slice),
        ];
        self.mac.icv(&covered, frame.icv);
    }

    /// Checks what [`Self::write_icv`] wrote.
    pub(crate) fn check_icv(
        &self,
        frame: &Frame<'_>,
        sequence: u64,
        esn: bool,
    ) -> Result<(), NotAuthentic> {
        let high = high_half(sequence, esn);
        let covered = [
            frame.spi.as_slice(),
            frame.sequence.as_slice(),
            frame.iv,
            frame.payload,
            high.as_ref().map_or(&[], <[u8; 4]>::as_slice),
        ];
        self.mac.verify(&covered, frame.icv)
    }
}
