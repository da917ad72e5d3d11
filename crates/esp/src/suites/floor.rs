//! Packets in clear, for benches only: what is left of the path when the
//! cryptography is taken out. Both ends must be built so.

use crate::frame::{Frame, write_trailer};
use crate::layout::Plain;

/// Seals `packet` but for its IV, encryption and ICV.
pub(crate) fn seal(frame: &Frame, sequence: u64, packet: &mut [u8], plain: &Plain) -> Option<()> {
    let payload_end = packet.len().checked_sub(frame.layout.icv_len)?;
    let payload = packet.get_mut(frame.layout.header_len..payload_end)?;
    write_trailer(payload, plain.inner_len, plain.next_header)?;
    *packet.first_chunk_mut()? = frame.header(sequence);
    Some(())
}

/// The payload of what [`seal`] sealed.
pub(crate) fn payload<'p>(frame: &Frame, packet: &'p [u8]) -> Option<&'p [u8]> {
    let payload_end = packet.len().checked_sub(frame.layout.icv_len)?;
    packet.get(frame.layout.header_len..payload_end)
}
