//! One packet under AES-GCM (RFC 4106).

use vgw_crypto::{AeadKey, NotAuthentic};

use crate::frame::{Frame, write_trailer};
use crate::layout::Plain;

/// SPI, sequence number and explicit IV.
const HEADER_LEN: usize = 16;

/// Octets of integrity check value.
const ICV_LEN: usize = 16;

/// Seals `packet`, where `plain` lies at the front. None if its length is not
/// what the layout prescribes.
#[inline]
pub(crate) fn seal(
    key: &AeadKey,
    frame: &Frame,
    sequence: u64,
    packet: &mut [u8],
    plain: &Plain,
) -> Option<()> {
    let (front, rest) = packet.split_first_chunk_mut::<HEADER_LEN>()?;
    let (payload, icv) = rest.split_last_chunk_mut::<ICV_LEN>()?;
    write_trailer(payload, plain.inner_len, plain.next_header)?;
    let header = frame.header(sequence);
    // RFC 4106 section 3.1: the IV must be unique under the key.
    let iv = sequence.to_be_bytes();
    let [a, b, c, d, e, f, g, h] = header;
    let [i, j, k, l, m, n, o, p] = iv;
    *front = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p];
    *icv = with_aad(header, frame.high_half(sequence), |aad| {
        key.seal_in_place(iv, aad, payload)
    });
    Some(())
}

/// Checks and decrypts `packet`, which has this whole sequence number, and
/// returns its payload in clear.
#[inline]
pub(crate) fn open<'p>(
    key: &AeadKey,
    frame: &Frame,
    sequence: u64,
    packet: &'p mut [u8],
) -> Result<&'p [u8], NotAuthentic> {
    let (front, rest) = packet
        .split_first_chunk_mut::<HEADER_LEN>()
        .ok_or(NotAuthentic)?;
    let (payload, icv) = rest.split_last_chunk_mut::<ICV_LEN>().ok_or(NotAuthentic)?;
    let [a, b, c, d, e, f, g, h, iv @ ..] = *front;
    let header = [a, b, c, d, e, f, g, h];
    with_aad(header, frame.high_half(sequence), |aad| {
        key.open_in_place(iv, aad, payload, icv)
    })?;
    Ok(payload)
}

/// Calls `with` with the additional authenticated data: SPI and sequence number,
/// 64 bits of it with ESN (RFC 4106 section 5).
#[inline]
fn with_aad<T>(header: [u8; 8], high: Option<[u8; 4]>, with: impl FnOnce(&[u8]) -> T) -> T {
    let [a, b, c, d, i, j, k, l] = header;
    match high {
        Some([e, f, g, h]) => with(&[a, b, c, d, e, f, g, h, i, j, k, l]),
        None => with(&header),
    }
}
