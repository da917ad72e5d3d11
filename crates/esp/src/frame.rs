//! The fields around the inner packet, and the numbers in them.

use vgw_crypto::EspSuite;

use crate::layout::{Layout, SPI_AND_SEQUENCE_LEN, TRAILER_LEN};

/// What all packets of an SA have in common.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) spi: u32,
    /// The high half of the sequence number counts (RFC 4303 section 2.2.1).
    pub(crate) esn: bool,
    pub(crate) layout: Layout,
}

impl Frame {
    pub(crate) fn new(spi: u32, suite: EspSuite) -> Self {
        Self {
            spi,
            esn: suite.esn,
            layout: Layout::of(suite),
        }
    }

    /// The SPI and the sent half of the sequence number, with which a packet begins.
    pub(crate) fn header(&self, sequence: u64) -> [u8; SPI_AND_SEQUENCE_LEN] {
        let [a, b, c, d] = self.spi.to_be_bytes();
        let [.., e, f, g, h] = sequence.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// SPI and low half of the sequence number of `packet`. None if it is too
    /// short, or its payload is not whole blocks, at least one.
    pub(crate) fn parse(&self, packet: &[u8]) -> Option<(u32, u32)> {
        let Layout {
            header_len,
            block_len,
            icv_len,
        } = self.layout;
        let payload_len = packet.len().checked_sub(header_len + icv_len)?;
        if payload_len == 0 || !payload_len.is_multiple_of(block_len) {
            return None;
        }
        let [a, b, c, d, e, f, g, h] = *packet.first_chunk::<SPI_AND_SEQUENCE_LEN>()?;
        let spi = u32::from_be_bytes([a, b, c, d]);
        Some((spi, u32::from_be_bytes([e, f, g, h])))
    }

    /// The high half of a sequence number as it enters the ICV: with ESN only
    /// (RFC 4303 section 2.2.1).
    pub(crate) fn high_half(&self, sequence: u64) -> Option<[u8; 4]> {
        let [a, b, c, d, ..] = sequence.to_be_bytes();
        self.esn.then_some([a, b, c, d])
    }
}

/// Writes padding, pad length and next header after the inner packet. None if
/// they do not fit `payload`.
pub(crate) fn write_trailer(payload: &mut [u8], inner_len: usize, next_header: u8) -> Option<()> {
    let (padding, trailer) = payload
        .get_mut(inner_len..)?
        .split_last_chunk_mut::<TRAILER_LEN>()?;
    let pad_len = u8::try_from(padding.len()).ok()?;
    // RFC 4303 section 2.4: 1, 2, 3, …
    for (octet, value) in padding.iter_mut().zip(1..=pad_len) {
        *octet = value;
    }
    *trailer = [pad_len, next_header];
    Some(())
}
