//! The sending side of an SA.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use vgw_crypto::{AeadKey, CbcKey, DirectionKeys, Encryption, EspSuite, KeyError};
use zeroize::Zeroizing;

use crate::cipher::{CbcHmac, Cipher, with_aad};
use crate::frame::{Frame, high_half, low_half};
use crate::layout::{Layout, TRAILER_LEN};

/// Padding of RFC 4303 section 2.4, as much of it as any suite needs.
const PADDING: [u8; 15] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// All sequence numbers of the SA are used up; it must be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("sequence numbers of the SA end at {last}, {found} more were asked for")]
pub struct Exhausted {
    /// The last number that the SA may use.
    pub last: u64,
    /// How many were asked for.
    pub found: u32,
}

/// Why a packet was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// The buffer is not what [`OutboundSa::sealed_len`] says of the inner packet.
    #[error("buffer for an inner packet of {inner_len} octets has {found}, expected {expected}")]
    Length {
        /// Octets of inner packet.
        inner_len: usize,
        /// Octets the buffer must have.
        expected: usize,
        /// Octets it has.
        found: usize,
    },
    /// The sequence number is not one that the SA hands out.
    #[error("sequence number {found} is not between 1 and {last}")]
    Sequence {
        /// The number given.
        found: u64,
        /// The last number that the SA may use.
        last: u64,
    },
    /// No number is left.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

/// A packet of a burst, before it is sealed.
#[derive(Debug)]
pub struct Plain<'a> {
    /// Room for the whole ESP packet; the inner packet lies at
    /// [`Layout::header_len`].
    pub buf: &'a mut [u8],
    /// Octets of inner packet.
    pub inner_len: usize,
    /// What the inner packet is (RFC 4303 section 2.6).
    pub next_header: u8,
}

/// An SA to send with. Keys never change; the sequence counter is atomic, so
/// that threads share the SA behind an `Arc`.
pub struct OutboundSa {
    spi: u32,
    suite: EspSuite,
    layout: Layout,
    sealing: Sealing,
    /// The last number handed out.
    sequence: AtomicU64,
}

enum Sealing {
    Aead(Box<AeadKey>),
    CbcHmac {
        keys: Box<CbcHmac>,
        iv_key: Box<CbcKey>,
    },
}

impl OutboundSa {
    /// An SA that has sent nothing yet. `iv_seed` must be random and is used
    /// with CBC only: it is the key that makes the IVs.
    ///
    /// # Errors
    /// [`KeyError`] if `keys` do not fit `suite`, or `suite` combines what
    /// cannot be combined.
    pub fn new(
        spi: u32,
        suite: EspSuite,
        keys: &DirectionKeys,
        iv_seed: [u8; 32],
    ) -> Result<Self, KeyError> {
        let iv_seed = Zeroizing::new(iv_seed);
        let sealing = match Cipher::new(suite, keys)? {
            Cipher::Aead(key) => Sealing::Aead(key),
            Cipher::CbcHmac(keys) => Sealing::CbcHmac {
                keys,
                iv_key: Box::new(CbcKey::new(Encryption::AesCbc256, iv_seed.as_slice())?),
            },
        };
        Ok(Self {
            spi,
            suite,
            layout: Layout::of(suite),
            sealing,
            sequence: AtomicU64::new(0),
        })
    }

    /// The peer's SPI, which every packet carries.
    #[must_use]
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// Where the parts of this SA's packets lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Octets of ESP packet around an inner packet of `inner_len` octets.
    #[must_use]
    pub fn sealed_len(&self, inner_len: usize) -> usize {
        self.layout.sealed_len(inner_len)
    }

    /// The last sequence number handed out, 0 before the first.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    /// The last sequence number that this SA may use (RFC 4303 section 3.3.3:
    /// the counter must not cycle).
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        if self.suite.esn {
            u64::MAX
        } else {
            u64::from(u32::MAX)
        }
    }

    /// Takes `count` sequence numbers and returns the first. Numbers that are
    /// not used are lost, which the receiver does not mind.
    ///
    /// # Errors
    /// [`Exhausted`] if fewer are left; none is taken then.
    pub fn reserve(&self, count: u32) -> Result<u64, Exhausted> {
        let last = self.last_sequence();
        let after = |before: u64| {
            before
                .checked_add(u64::from(count))
                .filter(|sequence| *sequence <= last)
        };
        // Only uniqueness matters: no other memory is published by the counter.
        self.sequence
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, after)
            .map(|before| before.saturating_add(1))
            .map_err(|_| Exhausted { last, found: count })
    }

    /// Seals the inner packet at `buf[header_len..header_len + inner_len]` in
    /// place, under a number that [`Self::reserve`] returned and that no other
    /// packet gets: with AES-GCM, using it twice gives away the key stream.
    ///
    /// # Errors
    /// [`SealError`] if `buf` is not [`Self::sealed_len`] octets long or the
    /// number is out of range; `buf` is unchanged then.
    pub fn seal(
        &self,
        sequence: u64,
        buf: &mut [u8],
        inner_len: usize,
        next_header: u8,
    ) -> Result<(), SealError> {
        self.check_len(buf.len(), inner_len)?;
        let last = self.last_sequence();
        if sequence == 0 || sequence > last {
            return Err(SealError::Sequence {
                found: sequence,
                last,
            });
        }
        let wrong_length = self.wrong_length(buf.len(), inner_len);
        let frame = Frame::split(&self.layout, buf).ok_or(wrong_length)?;
        *frame.spi = self.spi.to_be_bytes();
        *frame.sequence = low_half(sequence);
        write_trailer(frame.payload, inner_len, next_header).ok_or(wrong_length)?;
        let high = high_half(sequence, self.suite.esn);
        match &self.sealing {
            Sealing::Aead(key) => {
                // RFC 4106 section 3.1: the IV must be unique under the key.
                let iv = sequence.to_be_bytes();
                frame.iv.copy_from_slice(&iv);
                let icv = with_aad(*frame.spi, high, *frame.sequence, |aad| {
                    key.seal_in_place(iv, aad, frame.payload)
                });
                frame.icv.copy_from_slice(&icv);
            }
            Sealing::CbcHmac { keys, iv_key } => {
                let iv = unpredictable_iv(iv_key, sequence).ok_or(wrong_length)?;
                frame.iv.copy_from_slice(&iv);
                keys.cbc
                    .encrypt_in_place(&iv, frame.payload)
                    .map_err(|_| wrong_length)?;
                keys.write_icv(buf, high).ok_or(wrong_length)?;
            }
        }
        Ok(())
    }

    /// Seals a burst under consecutive numbers and returns how many packets that
    /// were: all of them.
    ///
    /// # Errors
    /// [`SealError`] if a buffer has the wrong length or too few numbers are
    /// left. Nothing is sealed then.
    pub fn seal_burst(&self, packets: &mut [Plain<'_>]) -> Result<usize, SealError> {
        for packet in packets.iter() {
            self.check_len(packet.buf.len(), packet.inner_len)?;
        }
        let count = u32::try_from(packets.len()).map_err(|_| Exhausted {
            last: self.last_sequence(),
            found: u32::MAX,
        })?;
        let first = self.reserve(count)?;
        for (sequence, packet) in (first..).zip(packets.iter_mut()) {
            self.seal(sequence, packet.buf, packet.inner_len, packet.next_header)?;
        }
        Ok(packets.len())
    }

    fn check_len(&self, found: usize, inner_len: usize) -> Result<(), SealError> {
        if found == self.sealed_len(inner_len) {
            Ok(())
        } else {
            Err(self.wrong_length(found, inner_len))
        }
    }

    fn wrong_length(&self, found: usize, inner_len: usize) -> SealError {
        SealError::Length {
            inner_len,
            expected: self.sealed_len(inner_len),
            found,
        }
    }
}

/// Writes padding, pad length and next header after the inner packet.
fn write_trailer(payload: &mut [u8], inner_len: usize, next_header: u8) -> Option<()> {
    let (padding, trailer) = payload
        .get_mut(inner_len..)?
        .split_last_chunk_mut::<TRAILER_LEN>()?;
    padding.copy_from_slice(PADDING.get(..padding.len())?);
    *trailer = [u8::try_from(padding.len()).ok()?, next_header];
    Some(())
}

/// NIST SP 800-38A appendix C, first method: a nonce, here the sequence number,
/// encrypted. The key is none that the peer or anyone else knows.
fn unpredictable_iv(iv_key: &CbcKey, sequence: u64) -> Option<[u8; 16]> {
    let mut iv = u128::from(sequence).to_be_bytes();
    // One block of CBC with an IV of zeros is the bare cipher.
    iv_key.encrypt_in_place(&[0; 16], &mut iv).ok()?;
    Some(iv)
}

impl fmt::Debug for OutboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundSa")
            .field("spi", &format_args!("{:#010x}", self.spi))
            .field("suite", &format_args!("{}", self.suite))
            .field("sequence", &self.sequence())
            .finish_non_exhaustive()
    }
}
