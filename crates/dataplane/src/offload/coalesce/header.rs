//! The headers of a joined packet.

use super::Lead;
use crate::packet::checksum::Sum;
use crate::packet::headers::{TCP, TCP_CHECKSUM, TCP_HEADER, UDP, UDP_CHECKSUM, UDP_HEADER};
use crate::packet::vnet::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VnetHeader};

/// Makes the first packet's headers those of the joined packet, and returns how
/// to cut it. The checksum field gets the sum of the pseudo-header, as the
/// kernel expects of a packet to be cut. None, with nothing changed that
/// matters, cannot happen with the headers of a candidate.
pub(super) fn join(lead: &Lead, packet: &mut [u8]) -> Option<VnetHeader> {
    let candidate = &lead.candidate;
    let total = u16::try_from(lead.octets).ok()?;
    let csum_start = u16::try_from(candidate.ip_header).ok()?;
    let upper_len = total.checked_sub(csum_start)?;
    let (ip, upper) = packet.split_at_mut_checked(candidate.ip_header)?;
    let addresses = if candidate.flow.ipv6 {
        let [_, _, _, _, l0, l1, _, _, addresses @ ..] = ip.first_chunk_mut::<40>()?;
        [*l0, *l1] = upper_len.to_be_bytes();
        Sum::of(addresses)
    } else {
        let header = ip.first_chunk_mut::<20>()?;
        let [_, _, l0, l1, _, _, _, _, _, _, c0, c1, ..] = header;
        [*l0, *l1] = total.to_be_bytes();
        [*c0, *c1] = [0, 0];
        let checksum = Sum::of(header).checksum();
        let [_, _, _, _, _, _, _, _, _, _, c0, c1, addresses @ ..] = header;
        [*c0, *c1] = checksum.to_be_bytes();
        Sum::of(addresses)
    };
    let protocol = if candidate.flow.udp { UDP } else { TCP };
    let pseudo = addresses
        .and_word(u16::from(protocol))
        .and_word(upper_len)
        .folded();
    if candidate.flow.udp {
        let [_, _, _, _, l0, l1, c0, c1] = upper.first_chunk_mut::<UDP_HEADER>()?;
        [*l0, *l1] = upper_len.to_be_bytes();
        [*c0, *c1] = pseudo.to_be_bytes();
    } else {
        let [.., flags, _, _, c0, c1, _, _] = upper.first_chunk_mut::<TCP_HEADER>()?;
        *flags |= lead.flags;
        [*c0, *c1] = pseudo.to_be_bytes();
    }
    let (gso_type, csum_offset) = match (candidate.flow.udp, candidate.flow.ipv6) {
        (true, _) => (GSO_UDP_L4, UDP_CHECKSUM),
        (false, false) => (GSO_TCPV4, TCP_CHECKSUM),
        (false, true) => (GSO_TCPV6, TCP_CHECKSUM),
    };
    Some(VnetHeader {
        flags: NEEDS_CSUM,
        gso_type,
        hdr_len: u16::try_from(candidate.headers).ok()?,
        gso_size: u16::try_from(candidate.payload).ok()?,
        csum_start,
        csum_offset: u16::try_from(csum_offset).ok()?,
    })
}
