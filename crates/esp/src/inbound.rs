//! The receiving side of an SA.

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgw_crypto::{DirectionKeys, EspSuite, KeyError};

use crate::cipher::{Cipher, with_aad};
use crate::drop::Drop;
use crate::frame::{Frame, high_half};
use crate::layout::{Layout, TRAILER_LEN};
use crate::replay::ReplayWindow;
use crate::{NEXT_HEADER_IPV4, NEXT_HEADER_IPV6, NEXT_HEADER_NONE};

/// An SA to receive with. Keys never change; what was received lies behind a
/// lock that [`InboundSa::opener`] takes once for a burst.
pub struct InboundSa {
    spi: u32,
    suite: EspSuite,
    layout: Layout,
    cipher: Cipher,
    window: Mutex<ReplayWindow>,
}

/// An opened packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Where in the ESP packet the inner packet lies, in octets. Traffic flow
    /// confidentiality padding may follow it in there (RFC 4303 section 2.7).
    pub inner: Range<usize>,
    /// 4 for IPv4, 41 for IPv6; the inner packet's version says the same.
    pub next_header: u8,
    /// The whole sequence number.
    pub sequence: u64,
}

impl InboundSa {
    /// An SA that has received nothing yet, with an anti-replay window of
    /// `replay_window` packets, brought into 64 to 8192.
    ///
    /// # Errors
    /// [`KeyError`] if `keys` do not fit `suite`, or `suite` combines what
    /// cannot be combined.
    pub fn new(
        spi: u32,
        suite: EspSuite,
        keys: &DirectionKeys,
        replay_window: u32,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            spi,
            suite,
            layout: Layout::of(suite),
            cipher: Cipher::new(suite, keys)?,
            window: Mutex::new(ReplayWindow::new(replay_window)),
        })
    }

    /// Our SPI, which every packet must carry.
    #[must_use]
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// Where the parts of this SA's packets lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The highest authentic sequence number so far, 0 before the first. Waits
    /// for an [`Opener`] that is at work.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.lock().top()
    }

    /// Takes the window's lock, for as many packets as follow each other.
    pub fn opener(&self) -> Opener<'_> {
        Opener {
            sa: self,
            window: self.lock(),
        }
    }

    #[cfg(test)]
    pub(crate) fn commit_for_test(&self, sequence: u64) {
        self.lock().commit(sequence);
    }

    // A panic elsewhere cannot leave the window half changed in a way that
    // accepts a packet twice: the number is marked after the words are cleared.
    fn lock(&self) -> MutexGuard<'_, ReplayWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens packets of one SA, one after the other.
pub struct Opener<'a> {
    sa: &'a InboundSa,
    window: MutexGuard<'a, ReplayWindow>,
}

impl Opener<'_> {
    /// Checks and decrypts `packet`, from the SPI on, in place.
    ///
    /// # Errors
    /// [`Drop`]. What `packet` holds is then undefined, and it may have been
    /// authentic only if the reason is one that decryption brings to light.
    pub fn open(&mut self, packet: &mut [u8]) -> Result<Opened, Drop> {
        let sa = self.sa;
        let frame = Frame::split(&sa.layout, packet).ok_or(Drop::Malformed)?;
        if *frame.spi != sa.spi.to_be_bytes() {
            return Err(Drop::WrongSpi);
        }
        let low = u32::from_be_bytes(*frame.sequence);
        let sequence = if sa.suite.esn {
            self.window.infer(low).ok_or(Drop::Replayed)?
        } else {
            u64::from(low)
        };
        // RFC 4303 section 3.4.3: duplicates go before the integrity check, the
        // window moves after it.
        if !self.window.check(sequence) {
            return Err(Drop::Replayed);
        }
        let payload = sa.decrypt(packet, sequence)?;
        self.window.commit(sequence);

        let (inner_len, next_header) = inner(payload)?;
        Ok(Opened {
            inner: sa.layout.header_len..sa.layout.header_len + inner_len,
            next_header,
            sequence,
        })
    }
}

impl InboundSa {
    /// Checks the integrity of `packet` and returns its payload in clear.
    fn decrypt<'p>(&self, packet: &'p mut [u8], sequence: u64) -> Result<&'p [u8], Drop> {
        let high = high_half(sequence, self.suite.esn);
        if let Cipher::CbcHmac(keys) = &self.cipher {
            // RFC 4303 section 3.4.4.1: integrity before decryption.
            keys.check_icv(packet, high)
                .map_err(|_| Drop::NotAuthentic)?;
        }
        let frame = Frame::split(&self.layout, packet).ok_or(Drop::Malformed)?;
        match &self.cipher {
            Cipher::Aead(key) => {
                let iv = (&*frame.iv).try_into().map_err(|_| Drop::Malformed)?;
                with_aad(*frame.spi, high, *frame.sequence, |aad| {
                    key.open_in_place(iv, aad, frame.payload, frame.icv)
                })
                .map_err(|_| Drop::NotAuthentic)?;
            }
            Cipher::CbcHmac(keys) => {
                let iv = (&*frame.iv).try_into().map_err(|_| Drop::Malformed)?;
                keys.cbc
                    .decrypt_in_place(iv, frame.payload)
                    .map_err(|_| Drop::Malformed)?;
            }
        }
        Ok(frame.payload)
    }
}

/// The inner packet's length and kind, once padding and next header are found
/// to be in order.
fn inner(payload: &[u8]) -> Result<(usize, u8), Drop> {
    let (rest, [pad_len, next_header]) = payload
        .split_last_chunk::<TRAILER_LEN>()
        .ok_or(Drop::Malformed)?;
    let (inner, padding) = rest
        .len()
        .checked_sub(usize::from(*pad_len))
        .and_then(|inner_len| rest.split_at_checked(inner_len))
        .ok_or(Drop::BadPadding)?;
    // RFC 4303 section 2.4: 1, 2, 3, …
    if !padding.iter().copied().eq(1..=*pad_len) {
        return Err(Drop::BadPadding);
    }
    let version = inner.first().map(|octet| octet >> 4);
    match (*next_header, version) {
        (NEXT_HEADER_IPV4, Some(4)) | (NEXT_HEADER_IPV6, Some(6)) => {
            Ok((inner.len(), *next_header))
        }
        (NEXT_HEADER_NONE, _) => Err(Drop::Dummy),
        _ => Err(Drop::BadNextHeader),
    }
}

impl fmt::Debug for InboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundSa")
            .field("spi", &format_args!("{:#010x}", self.spi))
            .field("suite", &format_args!("{}", self.suite))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Opener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("sa", self.sa)
            .field("top", &self.window.top())
            .finish_non_exhaustive()
    }
}
