//! Packets under AES-CBC and HMAC (RFC 3602, RFC 4868), a group at a time: both
//! are serial within a packet and parallel across packets.

use std::array;
use std::ops::Range;

use vgw_crypto::{CbcKey, Covered, MacKey, NotAuthentic};

use crate::frame::{Frame, write_trailer};
use crate::layout::{Plain, SPI_AND_SEQUENCE_LEN};

/// Packets that are worked on at a time. This many of a usual MTU fit into a
/// first-level cache.
pub const GROUP: usize = 16;

/// SPI, sequence number and IV.
const HEADER_LEN: usize = 24;

/// Octets of IV, one AES block.
const IV_LEN: usize = 16;

/// AES-CBC, then HMAC over what it made.
pub(crate) struct CbcHmac {
    pub(crate) cbc: CbcKey,
    pub(crate) mac: MacKey,
}

/// Seals at most [`GROUP`] packets under consecutive numbers, each `plain` in
/// its place in `buffer`. None if one does not fit there.
pub(crate) fn seal(
    keys: &CbcHmac,
    iv_key: &CbcKey,
    frame: &Frame,
    first: u64,
    buffer: &mut [u8],
    group: &[Plain],
) -> Option<()> {
    let mut ivs = [[0; IV_LEN]; GROUP];
    let ivs = ivs.get_mut(..group.len())?;
    unpredictable_ivs(iv_key, first, ivs);

    let mut payloads: [Range<usize>; GROUP] = array::from_fn(|_| 0..0);
    let mut covered: [Covered; GROUP] = array::from_fn(|_| Covered::default());
    let mut sequence = first;
    for (((plain, iv), payload), covered) in
        group.iter().zip(&*ivs).zip(&mut payloads).zip(&mut covered)
    {
        let end = plain.at + frame.layout.sealed_len(plain.inner_len) - keys.mac.icv_len();
        *payload = plain.at + HEADER_LEN..end;
        *covered = Covered {
            range: plain.at..end,
            high: frame.high_half(sequence),
        };
        let packet = buffer.get_mut(plain.at..end)?;
        let (front, rest) = packet.split_first_chunk_mut::<SPI_AND_SEQUENCE_LEN>()?;
        let (iv_field, payload) = rest.split_first_chunk_mut::<IV_LEN>()?;
        *front = frame.header(sequence);
        *iv_field = *iv;
        write_trailer(payload, plain.inner_len, plain.next_header)?;
        sequence = sequence.wrapping_add(1);
    }
    keys.cbc
        .encrypt_burst(buffer, payloads.get(..group.len())?)
        .ok()?;
    keys.mac.icv_burst(buffer, covered.get(..group.len())?).ok()
}

/// NIST SP 800-38A appendix C, first method: a nonce, here the sequence number,
/// encrypted. Neither the peer nor anyone else knows the key.
fn unpredictable_ivs(iv_key: &CbcKey, first: u64, ivs: &mut [[u8; IV_LEN]]) {
    let mut sequence = first;
    for iv in ivs.iter_mut() {
        *iv = u128::from(sequence).to_be_bytes();
        sequence = sequence.wrapping_add(1);
    }
    iv_key.encrypt_blocks(ivs);
}

/// Decrypts `packet`, which is authentic, and returns its payload in clear.
pub(crate) fn decrypt<'p>(keys: &CbcHmac, packet: &'p mut [u8]) -> Result<&'p [u8], NotAuthentic> {
    let payload_end = packet.len().saturating_sub(keys.mac.icv_len());
    let (front, payload) = packet
        .get_mut(..payload_end)
        .and_then(<[u8]>::split_first_chunk_mut::<HEADER_LEN>)
        .ok_or(NotAuthentic)?;
    let [_, _, _, _, _, _, _, _, iv @ ..] = &*front;
    keys.cbc
        .decrypt_in_place(iv, payload)
        .map_err(|_| NotAuthentic)?;
    Ok(payload)
}
