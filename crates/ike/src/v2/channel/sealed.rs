//! Sealing and opening of the Encrypted payload (RFC 7296 section 3.14; RFC 5282 with an AEAD
//! cipher).

use vgw_crypto::{AeadKey, CbcKey, DirectionKeys, Encryption, IkeSuite, KeyError, MacKey, Secret};

use crate::v2::channel::datagrams::Datagrams;
use crate::v2::wire::{Header, Payload, Sealed, begin_sealed, encode_payloads};

const AEAD_IV_LEN: usize = 8;
const AEAD_ICV_LEN: usize = 16;
const CBC_BLOCK_LEN: usize = 16;

/// Length in bytes of the key that makes the IVs of AES-CBC: an AES-256 key.
pub(crate) const IV_KEY_LEN: usize = 32;

/// The message was not sealed by the peer with this SA's keys: anyone could have sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not authentic")]
pub(crate) struct NotAuthentic;

enum Protection {
    Aead(Box<AeadKey>),
    Cbc(Box<CbcThenMac>),
}

struct CbcThenMac {
    cipher: CbcKey,
    mac: MacKey,
}

impl Protection {
    fn new(suite: IkeSuite, keys: &DirectionKeys) -> Result<Self, KeyError> {
        let DirectionKeys {
            encryption,
            integrity,
        } = keys;
        let Some(algorithm) = suite.integrity else {
            let key = AeadKey::new(suite.encryption, encryption.expose())?;
            return Ok(Self::Aead(Box::new(key)));
        };
        Ok(Self::Cbc(Box::new(CbcThenMac {
            cipher: CbcKey::new(suite.encryption, encryption.expose())?,
            mac: MacKey::new(algorithm, integrity.expose())?,
        })))
    }
}

/// Seals what we send.
pub(crate) struct SealKey {
    protection: Protection,
    iv_key: CbcKey,
    // RFC 5282 section 3.1: an IV must never repeat under one key, and a counter never does.
    next_iv: u64,
}

impl SealKey {
    /// Made from SK_e and SK_a of our direction, a secret random key for IVs, and the number of IVs
    /// made with that key before.
    pub(crate) fn new(
        suite: IkeSuite,
        keys: &DirectionKeys,
        iv_key: &Secret,
        next_iv: u64,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            protection: Protection::new(suite, keys)?,
            iv_key: CbcKey::new(Encryption::AesCbc256, iv_key.expose())?,
            next_iv,
        })
    }

    /// How many IVs have been made so far.
    pub(crate) fn next_iv(&self) -> u64 {
        self.next_iv
    }

    /// Builds a message whose payloads are encrypted.
    pub(crate) fn seal(&mut self, header: &Header, payloads: &[Payload]) -> Datagrams {
        let (first, mut body) = encode_payloads(payloads);
        let counter = self.next_iv;
        self.next_iv += 1;
        match &self.protection {
            Protection::Aead(key) => {
                // Pad Length 0; RFC 5282 section 3 requires no alignment.
                body.push(0);
                let body_len = AEAD_IV_LEN + body.len() + AEAD_ICV_LEN;
                let mut message = begin_sealed(header, first, body_len);
                let iv = counter.to_be_bytes();
                let icv = key.seal_in_place(iv, &message, &mut body);
                message.extend_from_slice(&iv);
                message.extend_from_slice(&body);
                message.extend_from_slice(&icv);
                message.into()
            }
            Protection::Cbc(keys) => {
                let CbcThenMac { cipher, mac } = &**keys;
                let icv_len = mac.icv_len();
                let pad_len = CBC_BLOCK_LEN - 1 - body.len() % CBC_BLOCK_LEN;
                body.resize(body.len() + pad_len, 0);
                body.push(u8::try_from(pad_len).unwrap_or(0));
                // NIST SP 800-38A appendix C, first method: an encrypted counter is an IV that
                // nobody can predict.
                let mut iv = [u128::from(counter).to_be_bytes()];
                self.iv_key.encrypt_blocks(&mut iv);
                let [iv] = iv;
                let body_len = CBC_BLOCK_LEN + body.len() + icv_len;
                let mut message = begin_sealed(header, first, body_len);
                if cipher.encrypt_in_place(&iv, &mut body).is_err() {
                    // Cannot happen: the body was padded to whole blocks above.
                    body.clear();
                }
                message.extend_from_slice(&iv);
                message.extend_from_slice(&body);
                let icv = mac.icv(&[&message]);
                message.extend_from_slice(&icv);
                message.into()
            }
        }
    }
}

/// Opens what we receive.
pub(crate) struct OpenKey(Protection);

impl OpenKey {
    /// Made from SK_e and SK_a of the peer's direction.
    pub(crate) fn new(suite: IkeSuite, keys: &DirectionKeys) -> Result<Self, KeyError> {
        Protection::new(suite, keys).map(Self)
    }

    /// The encoded payloads inside, without padding. Integrity is checked before anything else is
    /// read.
    pub(crate) fn open(&self, datagram: &[u8], sealed: &Sealed) -> Result<Vec<u8>, NotAuthentic> {
        let associated = datagram.get(..sealed.body.start).ok_or(NotAuthentic)?;
        let body = datagram.get(sealed.body.clone()).ok_or(NotAuthentic)?;
        let plaintext = match &self.0 {
            Protection::Aead(key) => {
                let (iv, rest) = body
                    .split_first_chunk::<AEAD_IV_LEN>()
                    .ok_or(NotAuthentic)?;
                let (data, icv) = rest
                    .split_last_chunk::<AEAD_ICV_LEN>()
                    .ok_or(NotAuthentic)?;
                let mut data = data.to_vec();
                key.open_in_place(*iv, associated, &mut data, icv)
                    .map_err(|_| NotAuthentic)?;
                data
            }
            Protection::Cbc(keys) => {
                let CbcThenMac { cipher, mac } = &**keys;
                let icv_len = mac.icv_len();
                let covered = datagram.len().checked_sub(icv_len).ok_or(NotAuthentic)?;
                let (covered, icv) = datagram.split_at_checked(covered).ok_or(NotAuthentic)?;
                mac.verify(&[covered], icv).map_err(|_| NotAuthentic)?;
                let data_len = body.len().checked_sub(icv_len).ok_or(NotAuthentic)?;
                let (data, _) = body.split_at_checked(data_len).ok_or(NotAuthentic)?;
                let (iv, data) = data
                    .split_first_chunk::<CBC_BLOCK_LEN>()
                    .ok_or(NotAuthentic)?;
                let mut data = data.to_vec();
                cipher
                    .decrypt_in_place(iv, &mut data)
                    .map_err(|_| NotAuthentic)?;
                data
            }
        };
        strip_padding(plaintext).ok_or(NotAuthentic)
    }
}

fn strip_padding(mut plaintext: Vec<u8>) -> Option<Vec<u8>> {
    let pad_len = usize::from(plaintext.pop()?);
    let len = plaintext.len().checked_sub(pad_len)?;
    plaintext.truncate(len);
    Some(plaintext)
}
