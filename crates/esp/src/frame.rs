//! An ESP packet taken apart in place.

use crate::layout::Layout;

/// The parts of one packet; the borrow checker keeps them apart.
pub(crate) struct Frame<'a> {
    pub(crate) spi: &'a mut [u8; 4],
    /// Low half of the sequence number.
    pub(crate) sequence: &'a mut [u8; 4],
    pub(crate) iv: &'a mut [u8],
    /// Inner packet, padding and trailer: what gets encrypted.
    pub(crate) payload: &'a mut [u8],
    pub(crate) icv: &'a mut [u8],
}

impl<'a> Frame<'a> {
    /// Takes `packet`, SPI first, apart. None if it is too short, or its payload
    /// not one block at least and whole blocks.
    pub(crate) fn split(layout: &Layout, packet: &'a mut [u8]) -> Option<Self> {
        let (header, rest) = packet.split_at_mut_checked(layout.header_len)?;
        let (payload, icv) = rest.split_at_mut_checked(rest.len().checked_sub(layout.icv_len)?)?;
        if payload.is_empty() || payload.len() % layout.block_len != 0 {
            return None;
        }
        let (spi, header) = header.split_first_chunk_mut()?;
        let (sequence, iv) = header.split_first_chunk_mut()?;
        Some(Self {
            spi,
            sequence,
            iv,
            payload,
            icv,
        })
    }
}

/// The high half of a sequence number as it enters the ICV: with ESN only
/// (RFC 4303 section 2.2.1).
pub(crate) fn high_half(sequence: u64, esn: bool) -> Option<[u8; 4]> {
    let [a, b, c, d, ..] = sequence.to_be_bytes();
    esn.then_some([a, b, c, d])
}

/// The low half of a sequence number, which the packet carries.
pub(crate) fn low_half(sequence: u64) -> [u8; 4] {
    let [.., e, f, g, h] = sequence.to_be_bytes();
    [e, f, g, h]
}
