//! The receiving side of an SA.

use std::array;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgw_crypto::{AeadKey, Covered, DirectionKeys, EspSuite, KeyError, NotAuthentic};

use crate::drop_reason::DropReason;
use crate::frame::Frame;
use crate::layout::{Layout, TRAILER_LEN};
use crate::replay::ReplayWindow;
use crate::suites::Cipher;
use crate::suites::aead;
use crate::suites::cbc_hmac::{self, CbcHmac, GROUP};
use crate::{NEXT_HEADER_IPV4, NEXT_HEADER_IPV6, NEXT_HEADER_NONE};

/// An SA to receive with. Keys never change; what was received lies behind a
/// lock that [`InboundSa::opener`] takes once for a burst.
pub struct InboundSa {
    suite: EspSuite,
    frame: Frame,
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
        Self::after(spi, suite, keys, ReplayWindow::new(replay_window))
    }

    /// An SA that goes on where another with these keys has ended. `window` is
    /// that one's [`Self::window`].
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn after(
        spi: u32,
        suite: EspSuite,
        keys: &DirectionKeys,
        window: ReplayWindow,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            suite,
            frame: Frame::new(spi, suite),
            cipher: Cipher::new(suite, keys)?,
            window: Mutex::new(window),
        })
    }

    /// Which sequence numbers were received. Waits for an [`Opener`] that is at work.
    #[must_use]
    pub fn window(&self) -> ReplayWindow {
        self.lock().clone()
    }

    /// Our SPI, which every packet must carry.
    #[must_use]
    pub fn spi(&self) -> u32 {
        self.frame.spi
    }

    /// Where the parts of this SA's packets lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.frame.layout
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
    /// [`DropReason`]. What `packet` holds is then undefined, and it may have been
    /// authentic only if the reason is one that decryption brings to light.
    pub fn open(&mut self, packet: &mut [u8]) -> Result<Opened, DropReason> {
        let whole = 0..packet.len();
        let mut result = Err(DropReason::Malformed);
        match &self.sa.cipher {
            Cipher::Aead(key) => return self.open_one(key, Some(packet)),
            Cipher::CbcHmac(keys) => {
                self.open_group(keys, packet, &[whole], |opened| result = opened);
            }
            #[cfg(feature = "floor")]
            Cipher::Floor => return self.open_floor(Some(packet)),
        }
        result
    }

    /// Opens each of `packets`, which ascend in `buffer` without overlap, as
    /// [`Self::open`] does, and appends one result per packet to `opened`. A
    /// range that overlaps the one before it or leaves the buffer is
    /// [`DropReason::Malformed`].
    pub fn open_burst(
        &mut self,
        buffer: &mut [u8],
        packets: &[Range<usize>],
        opened: &mut Vec<Result<Opened, DropReason>>,
    ) {
        match &self.sa.cipher {
            Cipher::Aead(key) => {
                let open =
                    |packet: &Range<usize>| self.open_one(key, buffer.get_mut(packet.clone()));
                opened.extend(packets.iter().map(open));
            }
            Cipher::CbcHmac(keys) => {
                for group in packets.chunks(GROUP) {
                    self.open_group(keys, buffer, group, |result| opened.push(result));
                }
            }
            #[cfg(feature = "floor")]
            Cipher::Floor => {
                for packet in packets {
                    opened.push(self.open_floor(buffer.get(packet.clone())));
                }
            }
        }
    }

    #[inline]
    fn open_one(&mut self, key: &AeadKey, packet: Option<&mut [u8]>) -> Result<Opened, DropReason> {
        let packet = packet.ok_or(DropReason::Malformed)?;
        let sequence = self.admit(packet)?;
        let payload = aead::open(key, &self.sa.frame, sequence, packet)
            .map_err(|NotAuthentic| DropReason::NotAuthentic)?;
        self.window.commit(sequence);
        self.sa.opened(payload, sequence)
    }

    #[cfg(feature = "floor")]
    fn open_floor(&mut self, packet: Option<&[u8]>) -> Result<Opened, DropReason> {
        let packet = packet.ok_or(DropReason::Malformed)?;
        let sequence = self.admit(packet)?;
        self.window.commit(sequence);
        let payload =
            crate::suites::floor::payload(&self.sa.frame, packet).ok_or(DropReason::Malformed)?;
        self.sa.opened(payload, sequence)
    }

    /// Opens at most [`GROUP`] packets: all are authenticated before the first
    /// is decrypted (RFC 4303 section 3.4.4.1).
    fn open_group(
        &mut self,
        keys: &CbcHmac,
        buffer: &mut [u8],
        group: &[Range<usize>],
        mut push: impl FnMut(Result<Opened, DropReason>),
    ) {
        let mut admitted = [Err(DropReason::Malformed); GROUP];
        let mut covered: [Covered; GROUP] = array::from_fn(|_| Covered::default());
        let mut free = covered.iter_mut();
        let mut free_from = 0;
        for (packet, admitted) in group.iter().zip(&mut admitted) {
            // What was authenticated must not change when another is decrypted.
            if packet.start < free_from {
                continue;
            }
            *admitted = buffer
                .get(packet.clone())
                .ok_or(DropReason::Malformed)
                .and_then(|packet| self.admit(packet));
            if let (Ok(sequence), Some(covered)) = (*admitted, free.next()) {
                free_from = packet.end;
                *covered = Covered {
                    range: packet.start..packet.end - keys.mac.icv_len(),
                    high: self.sa.frame.high_half(sequence),
                };
            }
        }
        let count = GROUP - free.len();
        let mut authentic = [false; GROUP];
        keys.mac.verify_burst(
            buffer,
            covered.get(..count).unwrap_or_default(),
            &mut authentic,
        );

        let mut authentic = authentic.into_iter();
        for (packet, admitted) in group.iter().zip(admitted) {
            push(admitted.and_then(|sequence| {
                if authentic.next() != Some(true) {
                    return Err(DropReason::NotAuthentic);
                }
                // Another of the group may have had the same number, or have
                // moved the window past it.
                if !self.window.check(sequence) {
                    return Err(DropReason::Replayed);
                }
                self.window.commit(sequence);
                let packet = buffer
                    .get_mut(packet.clone())
                    .ok_or(DropReason::Malformed)?;
                let payload = cbc_hmac::decrypt(keys, packet)
                    .map_err(|NotAuthentic| DropReason::Malformed)?;
                self.sa.opened(payload, sequence)
            }));
        }
    }

    /// The whole sequence number of a packet that is worth authenticating.
    #[inline]
    fn admit(&self, packet: &[u8]) -> Result<u64, DropReason> {
        let frame = &self.sa.frame;
        let (spi, low) = frame.parse(packet).ok_or(DropReason::Malformed)?;
        if spi != frame.spi {
            return Err(DropReason::WrongSpi);
        }
        let sequence = if frame.esn {
            self.window.infer(low).ok_or(DropReason::Replayed)?
        } else {
            u64::from(low)
        };
        // RFC 4303 section 3.4.3: duplicates go before the integrity check, the
        // window moves after it.
        if !self.window.check(sequence) {
            return Err(DropReason::Replayed);
        }
        Ok(sequence)
    }
}

impl InboundSa {
    /// What lies in an authentic packet's payload.
    #[inline]
    fn opened(&self, payload: &[u8], sequence: u64) -> Result<Opened, DropReason> {
        let (inner_len, next_header) = inner(payload)?;
        let inner_at = self.frame.layout.header_len;
        Ok(Opened {
            inner: inner_at..inner_at + inner_len,
            next_header,
            sequence,
        })
    }
}

/// The inner packet's length and kind, once padding and next header are found
/// to be in order.
#[inline]
fn inner(payload: &[u8]) -> Result<(usize, u8), DropReason> {
    let (rest, [pad_len, next_header]) = payload
        .split_last_chunk::<TRAILER_LEN>()
        .ok_or(DropReason::Malformed)?;
    let (inner, padding) = rest
        .len()
        .checked_sub(usize::from(*pad_len))
        .and_then(|inner_len| rest.split_at_checked(inner_len))
        .ok_or(DropReason::BadPadding)?;
    // RFC 4303 section 2.4: 1, 2, 3, …
    let mut difference = 0;
    for (found, expected) in padding.iter().zip(1..=*pad_len) {
        difference |= found ^ expected;
    }
    if difference != 0 {
        return Err(DropReason::BadPadding);
    }
    let version = inner.first().map(|octet| octet >> 4);
    match (*next_header, version) {
        (NEXT_HEADER_IPV4, Some(4)) | (NEXT_HEADER_IPV6, Some(6)) => {
            Ok((inner.len(), *next_header))
        }
        (NEXT_HEADER_NONE, _) => Err(DropReason::Dummy),
        _ => Err(DropReason::BadNextHeader),
    }
}

impl fmt::Debug for InboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundSa")
            .field("spi", &format_args!("{:#010x}", self.frame.spi))
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
