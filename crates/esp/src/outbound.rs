//! The sending side of an SA.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use vgw_crypto::{AeadKey, CbcKey, DirectionKeys, Encryption, EspSuite, KeyError};
use zeroize::Zeroizing;

use crate::frame::Frame;
use crate::layout::{Layout, Plain};
use crate::suites::Cipher;
use crate::suites::aead;
use crate::suites::cbc_hmac::{self, CbcHmac, GROUP};

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
    /// A packet has its place, but the cipher did not take it: none of the
    /// packets may be sent, some of them are still in clear.
    #[error("the cipher did not take all of {packets} packets")]
    Unsealed {
        /// Packets of the burst.
        packets: usize,
    },
    /// A packet of a burst overlaps the one before it or leaves the buffer.
    #[error(
        "ESP packet at {at}, around {inner_len} octets, does not lie between {free_from} and {buffer_len}"
    )]
    Place {
        /// Where the packet was to begin.
        at: usize,
        /// Octets of its inner packet.
        inner_len: usize,
        /// Where the packet before it ends.
        free_from: usize,
        /// Octets of buffer.
        buffer_len: usize,
    },
}

/// An SA to send with. Keys never change; the sequence counter is atomic, so
/// that threads share the SA behind an `Arc`.
pub struct OutboundSa {
    suite: EspSuite,
    frame: Frame,
    sealing: Sealing,
    /// The last number handed out.
    sequence: AtomicU64,
}

enum Sealing {
    Aead(AeadKey),
    CbcHmac {
        keys: Box<CbcHmac>,
        iv_key: Box<CbcKey>,
    },
    #[cfg(feature = "floor")]
    Floor,
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
        Self::after(spi, suite, keys, iv_seed, 0)
    }

    /// An SA that goes on where another with these keys has ended, whose last
    /// number was `sequence`. The other must send no more: with AES-GCM the IV
    /// follows from the number, and must not repeat (RFC 4106 section 3.1).
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn after(
        spi: u32,
        suite: EspSuite,
        keys: &DirectionKeys,
        iv_seed: [u8; 32],
        sequence: u64,
    ) -> Result<Self, KeyError> {
        let iv_seed = Zeroizing::new(iv_seed);
        let sealing = match Cipher::new(suite, keys)? {
            Cipher::Aead(key) => Sealing::Aead(key),
            Cipher::CbcHmac(keys) => Sealing::CbcHmac {
                keys,
                iv_key: Box::new(CbcKey::new(Encryption::AesCbc256, iv_seed.as_slice())?),
            },
            #[cfg(feature = "floor")]
            Cipher::Floor => Sealing::Floor,
        };
        Ok(Self {
            suite,
            frame: Frame::new(spi, suite),
            sealing,
            sequence: AtomicU64::new(sequence),
        })
    }

    /// The peer's SPI, which every packet carries.
    #[must_use]
    pub fn spi(&self) -> u32 {
        self.frame.spi
    }

    /// Where the parts of this SA's packets lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.frame.layout
    }

    /// Octets of ESP packet around an inner packet of `inner_len` octets.
    #[must_use]
    pub fn sealed_len(&self, inner_len: usize) -> usize {
        self.frame.layout.sealed_len(inner_len)
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
    /// number is out of range; `buf` is unchanged then. [`SealError::Unsealed`]
    /// leaves it undefined, and perhaps in clear.
    pub fn seal(
        &self,
        sequence: u64,
        buf: &mut [u8],
        inner_len: usize,
        next_header: u8,
    ) -> Result<(), SealError> {
        let expected = self.sealed_len(inner_len);
        if buf.len() != expected {
            return Err(SealError::Length {
                inner_len,
                expected,
                found: buf.len(),
            });
        }
        let plain = Plain {
            at: 0,
            inner_len,
            next_header,
        };
        self.seal_burst(sequence, buf, &[plain])
    }

    /// Seals `packets` in their places in `buffer`, the first under the number
    /// `first`, each later one under the next. The numbers are those that
    /// [`Self::reserve`] returned, and no other packet gets them: with AES-GCM,
    /// using one twice gives away the key stream.
    ///
    /// # Errors
    /// [`SealError`] if the packets do not ascend in `buffer` without overlap, or
    /// a number is out of range; nothing is sealed then. [`SealError::Unsealed`]
    /// leaves some sealed and some in clear. Whatever the error is, none of the
    /// packets may be sent.
    pub fn seal_burst(
        &self,
        first: u64,
        buffer: &mut [u8],
        packets: &[Plain],
    ) -> Result<(), SealError> {
        self.check_numbers(first, packets.len())?;
        self.check_places(buffer.len(), packets)?;
        let sealed = match &self.sealing {
            Sealing::Aead(key) => {
                self.seal_each(first, buffer, packets, |sequence, packet, plain| {
                    aead::seal(key, &self.frame, sequence, packet, plain)
                })
            }
            Sealing::CbcHmac { keys, iv_key } => {
                self.seal_groups(keys, iv_key, first, buffer, packets)
            }
            #[cfg(feature = "floor")]
            Sealing::Floor => self.seal_each(first, buffer, packets, |sequence, packet, plain| {
                crate::suites::floor::seal(&self.frame, sequence, packet, plain)
            }),
        };
        sealed.ok_or(SealError::Unsealed {
            packets: packets.len(),
        })
    }

    /// The SA with a layout that does not fit its cipher.
    #[cfg(test)]
    pub(crate) fn with_layout_for_test(mut self, layout: Layout) -> Self {
        self.frame.layout = layout;
        self
    }

    fn seal_each(
        &self,
        first: u64,
        buffer: &mut [u8],
        packets: &[Plain],
        seal: impl Fn(u64, &mut [u8], &Plain) -> Option<()>,
    ) -> Option<()> {
        let mut sequence = first;
        for plain in packets {
            let end = plain.at + self.sealed_len(plain.inner_len);
            let packet = buffer.get_mut(plain.at..end)?;
            seal(sequence, packet, plain)?;
            sequence = sequence.wrapping_add(1);
        }
        Some(())
    }

    fn seal_groups(
        &self,
        keys: &CbcHmac,
        iv_key: &CbcKey,
        first: u64,
        buffer: &mut [u8],
        packets: &[Plain],
    ) -> Option<()> {
        let mut sequence = first;
        for group in packets.chunks(GROUP) {
            cbc_hmac::seal(keys, iv_key, &self.frame, sequence, buffer, group)?;
            sequence = sequence.wrapping_add(u64::try_from(group.len()).ok()?);
        }
        Some(())
    }

    fn check_numbers(&self, first: u64, count: usize) -> Result<(), SealError> {
        let last = self.last_sequence();
        let others = u64::try_from(count.saturating_sub(1)).unwrap_or(u64::MAX);
        match first.checked_add(others) {
            Some(found) if first > 0 && found <= last => Ok(()),
            found => Err(SealError::Sequence {
                found: if first > 0 {
                    found.unwrap_or(u64::MAX)
                } else {
                    0
                },
                last,
            }),
        }
    }

    fn check_places(&self, buffer_len: usize, packets: &[Plain]) -> Result<(), SealError> {
        let mut free_from = 0;
        for plain in packets {
            let room = buffer_len.saturating_sub(plain.at);
            // A packet longer than the buffer needs no exact length, which
            // might not be representable.
            let sealed_len = if plain.inner_len < room {
                self.sealed_len(plain.inner_len)
            } else {
                usize::MAX
            };
            if plain.at < free_from || sealed_len > room {
                return Err(SealError::Place {
                    at: plain.at,
                    inner_len: plain.inner_len,
                    free_from,
                    buffer_len,
                });
            }
            free_from = plain.at + sealed_len;
        }
        Ok(())
    }
}

impl fmt::Debug for OutboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundSa")
            .field("spi", &format_args!("{:#010x}", self.frame.spi))
            .field("suite", &format_args!("{}", self.suite))
            .field("sequence", &self.sequence())
            .finish_non_exhaustive()
    }
}
