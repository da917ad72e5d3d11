//! What one read of the TUN device gives, cut into packets.
//!
//! With TSO and USO the kernel hands over many segments of a flow as one
//! packet that no wire carries, with [`VnetHeader`] saying where to cut. Each
//! segment is copied once, straight to where it goes, and summed on the way.

mod read;

use thiserror::Error;

use crate::packet::checksum::Sum;
use crate::packet::headers::{IPV6_HEADER, TCP, TCP_HEADER, UDP, UDP_CHECKSUM, UDP_HEADER};
use crate::packet::vnet::{
    GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, VnetHeader,
};
use read::{constant_sum, pseudo_header, read_ipv4, read_ipv6, read_upper};

/// RFC 9293 section 3.1, with CWR of RFC 3168 section 6.1.
const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// One read of the TUN device: a packet, or several of one flow in one.
#[derive(Debug)]
pub struct Segments<'a> {
    packet: &'a [u8],
    plan: Option<Plan>,
}

/// How a packet of several segments is cut. Offsets are from its start.
#[derive(Debug, Clone, Copy)]
struct Plan {
    ip: Ip,
    transport: usize,
    upper: Upper,
    /// Octets of headers, which every segment begins with.
    headers: usize,
    /// Octets of payload of every segment but the last.
    payload: usize,
    count: usize,
    last_payload: usize,
    /// Of the transport header and its pseudo-header, without what differs
    /// from segment to segment.
    sum: Sum,
}

#[derive(Debug, Clone, Copy)]
enum Ip {
    V4 {
        id: u16,
        /// Of the header, without total length, identification and checksum.
        sum: Sum,
    },
    V6,
}

#[derive(Debug, Clone, Copy)]
enum Upper {
    Tcp {
        sequence: u32,
        /// Octets 12 and 13 of the header: data offset and flags.
        offset_and_flags: [u8; 2],
    },
    Udp {
        /// Over IPv4 the sender may have left the checksum out (RFC 768).
        checksum: bool,
    },
}

/// Why a read cannot be cut into packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// A way of segmenting that was never asked for, such as UFO.
    #[error(
        "GSO type {0:#04x}, not TCPV4 (1), TCPV6 (4) or UDP_L4 (5), with or without ECN (0x80)"
    )]
    GsoType(u8),
    /// Segments without payload.
    #[error("GSO size 0, not at least 1")]
    GsoSize,
    /// The IP version does not go with the GSO type.
    #[error("IP version {found} in a packet of GSO type {gso_type:#04x}")]
    Version {
        /// What the packet begins with.
        found: u8,
        /// What the kernel says it is.
        gso_type: u8,
    },
    /// A header, or the checksum field, lies beyond the packet's end.
    #[error("{found} octets where the headers need {expected}")]
    Truncated {
        /// Octets there are.
        found: usize,
        /// Octets there should be.
        expected: usize,
    },
    /// A length field that contradicts the length of what was read.
    #[error("{field} says {found} octets where there are {expected}")]
    Length {
        /// Which field.
        field: &'static str,
        /// What it says.
        found: usize,
        /// What was read.
        expected: usize,
    },
    /// A header length below that of the header's fixed part.
    #[error("{header} header of {found} octets, not at least {expected}")]
    HeaderLength {
        /// Which header.
        header: &'static str,
        /// What its length field says, in octets.
        found: usize,
        /// Its fixed part.
        expected: usize,
    },
    /// A fragment, which has no segments.
    #[error("segments in an IP fragment")]
    Fragment,
    /// The protocol does not go with the GSO type.
    #[error("protocol {found} where the GSO type asks for {expected}")]
    Protocol {
        /// What the IP header says.
        found: u8,
        /// What the kernel says it is.
        expected: u8,
    },
    /// The octets to sum do not begin at the transport header.
    #[error("checksum from octet {found}, where the transport header begins at {expected}")]
    ChecksumStart {
        /// `csum_start`.
        found: usize,
        /// What the IP header says.
        expected: usize,
    },
    /// The checksum goes where the protocol has none.
    #[error("checksum {found} octets into the transport header, not {expected}")]
    ChecksumOffset {
        /// `csum_offset`.
        found: usize,
        /// Where the protocol has it.
        expected: usize,
    },
    /// Segments whose checksum is neither left to us nor known to be right: to
    /// compute new ones would make a damaged packet look whole.
    #[error("segments with flags {0:#04x}, neither NEEDS_CSUM (1) nor DATA_VALID (2)")]
    Unverified(u8),
}

impl<'a> Segments<'a> {
    /// Takes what was read, the header and the octets behind it, and checks one
    /// against the other. Of a single packet only the checksum is touched: it
    /// is completed in place if the kernel left that to us.
    ///
    /// # Errors
    ///
    /// [`SegmentError`] says what contradicts what.
    pub fn new(header: VnetHeader, packet: &'a mut [u8]) -> Result<Self, SegmentError> {
        if header.gso_type != GSO_NONE {
            let plan = Plan::new(header, packet)?;
            return Ok(Self {
                packet,
                plan: Some(plan),
            });
        }
        if header.flags & NEEDS_CSUM != 0 {
            complete_checksum(header, packet)?;
        }
        Ok(Self { packet, plan: None })
    }

    /// Packets there are, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.plan.as_ref().map_or(1, |plan| plan.count)
    }

    /// The octets as read. The addresses and ports are those of every segment.
    #[must_use]
    pub const fn packet(&self) -> &[u8] {
        self.packet
    }

    /// Octets of every segment but the last.
    #[must_use]
    pub fn segment_len(&self) -> usize {
        match &self.plan {
            Some(plan) if plan.count > 1 => plan.headers.saturating_add(plan.payload),
            _ => self.packet.len(),
        }
    }

    /// Octets of the last segment.
    #[must_use]
    pub fn last_len(&self) -> usize {
        match &self.plan {
            Some(plan) => plan.headers.saturating_add(plan.last_payload),
            None => self.packet.len(),
        }
    }

    /// Writes the segment `index`, counted from 0, to `out`. None if `out` does
    /// not have exactly its length, or if there is no such segment.
    pub fn write(&self, index: usize, out: &mut [u8]) -> Option<()> {
        let Some(plan) = &self.plan else {
            if index != 0 || out.len() != self.packet.len() {
                return None;
            }
            out.copy_from_slice(self.packet);
            return Some(());
        };
        plan.write(self.packet, index, out)
    }
}

impl Plan {
    fn new(header: VnetHeader, packet: &[u8]) -> Result<Self, SegmentError> {
        let gso_type = header.gso_type & !GSO_ECN;
        let version = packet.first().map_or(0, |first| first >> 4);
        let protocol = match (gso_type, version) {
            (GSO_TCPV4, 4) | (GSO_TCPV6, 6) => TCP,
            (GSO_UDP_L4, 4 | 6) => UDP,
            (GSO_TCPV4 | GSO_TCPV6 | GSO_UDP_L4, found) => {
                return Err(SegmentError::Version { found, gso_type });
            }
            _ => return Err(SegmentError::GsoType(header.gso_type)),
        };
        let payload = usize::from(header.gso_size);
        if payload == 0 {
            return Err(SegmentError::GsoSize);
        }
        let (ip, found, transport) = if version == 4 {
            read_ipv4(packet)?
        } else {
            read_ipv6(packet)?
        };
        if found != protocol {
            return Err(SegmentError::Protocol {
                found,
                expected: protocol,
            });
        }
        let (mut upper, upper_len) = read_upper(protocol, packet, transport)?;
        let pseudo = pseudo_header(header, protocol, packet, transport)?;
        if let Upper::Udp { checksum } = &mut upper {
            *checksum |= header.flags & NEEDS_CSUM != 0;
        }
        let headers = transport.saturating_add(upper_len);
        let upper_header = packet
            .get(transport..headers)
            .ok_or(SegmentError::Truncated {
                found: packet.len(),
                expected: headers,
            })?;
        let octets = packet.len().saturating_sub(headers);
        let count = octets.div_ceil(payload).max(1);
        let whole = payload.saturating_mul(count.saturating_sub(1));
        Ok(Self {
            ip,
            transport,
            upper,
            headers,
            payload,
            count,
            last_payload: octets.saturating_sub(whole),
            sum: pseudo.and_sum(constant_sum(protocol, upper_header)),
        })
    }

    fn write(&self, packet: &[u8], index: usize, out: &mut [u8]) -> Option<()> {
        let last = index.checked_add(1)? == self.count;
        let payload = if last {
            self.last_payload
        } else {
            self.payload
        };
        let done = index.checked_mul(self.payload)?;
        let from = packet
            .get(self.headers.checked_add(done)?..)?
            .get(..payload)?;
        let total = out.len();
        let (headers, to) = out.split_at_mut_checked(self.headers)?;
        if index >= self.count || to.len() != payload {
            return None;
        }
        headers.copy_from_slice(packet.get(..self.headers)?);
        let sum = self.sum.and_sum(Sum::of_copied(from, to)?);
        let (ip, upper) = headers.split_at_mut_checked(self.transport)?;
        let upper_len = u16::try_from(total.checked_sub(self.transport)?).ok()?;
        match self.ip {
            Ip::V4 { id, sum } => {
                // RFC 6864 section 4.1: only non-atomic datagrams need an
                // identification of their own; consecutive ones suit both kinds.
                let id = id.wrapping_add(low_half(index));
                let total = u16::try_from(total).ok()?;
                let [_, _, l0, l1, i0, i1, _, _, _, _, c0, c1, ..] = ip.first_chunk_mut::<20>()?;
                [*l0, *l1] = total.to_be_bytes();
                [*i0, *i1] = id.to_be_bytes();
                [*c0, *c1] = sum.and_word(total).and_word(id).checksum().to_be_bytes();
            }
            Ip::V6 => {
                let [_, _, _, _, l0, l1, ..] = ip.first_chunk_mut::<IPV6_HEADER>()?;
                let payload_len = u16::try_from(total.checked_sub(IPV6_HEADER)?).ok()?;
                [*l0, *l1] = payload_len.to_be_bytes();
            }
        }
        let sum = sum.and_word(upper_len);
        match self.upper {
            Upper::Tcp {
                sequence,
                offset_and_flags: [offset, flags],
            } => {
                let sequence = sequence.wrapping_add(u32::try_from(done).ok()?);
                // FIN and PSH go with the last segment; CWR, which answers the
                // peer's ECE, with the first (RFC 3168 section 6.1.2).
                let flags = if last { flags } else { flags & !FIN_AND_PSH };
                let flags = if index == 0 { flags } else { flags & !CWR };
                let sum = sum
                    .and_double(sequence)
                    .and_word(u16::from_be_bytes([offset, flags]));
                let [
                    _,
                    _,
                    _,
                    _,
                    sequence_field @ ..,
                    _,
                    _,
                    _,
                    _,
                    _,
                    flags_field,
                    _,
                    _,
                    c0,
                    c1,
                    _,
                    _,
                ] = upper.first_chunk_mut::<TCP_HEADER>()?;
                *sequence_field = sequence.to_be_bytes();
                *flags_field = flags;
                [*c0, *c1] = sum.checksum().to_be_bytes();
            }
            Upper::Udp { checksum } => {
                let [_, _, _, _, l0, l1, c0, c1] = upper.first_chunk_mut::<UDP_HEADER>()?;
                [*l0, *l1] = upper_len.to_be_bytes();
                if checksum {
                    // RFC 768: a computed zero is sent as all ones. The length
                    // counts twice, in the pseudo-header and in the header.
                    let checksum = match sum.and_word(upper_len).checksum() {
                        0 => 0xFFFF,
                        checksum => checksum,
                    };
                    [*c0, *c1] = checksum.to_be_bytes();
                }
            }
        }
        Some(())
    }
}

/// What an identification counts up by.
fn low_half(index: usize) -> u16 {
    let [low @ .., _, _, _, _, _, _] = u64::try_from(index).unwrap_or_default().to_le_bytes();
    u16::from_le_bytes(low)
}

/// The checksum of a packet that is not cut: over everything from `csum_start`,
/// where the field holds the sum of the pseudo-header.
fn complete_checksum(header: VnetHeader, packet: &mut [u8]) -> Result<(), SegmentError> {
    let start = usize::from(header.csum_start);
    let offset = usize::from(header.csum_offset);
    let truncated = SegmentError::Truncated {
        found: packet.len(),
        expected: start.saturating_add(offset).saturating_add(2),
    };
    let summed = packet.get_mut(start..).ok_or(truncated)?;
    let sum = Sum::of(summed).checksum();
    let field = summed
        .get_mut(offset..)
        .and_then(|octets| octets.first_chunk_mut::<2>())
        .ok_or(truncated)?;
    let checksum = if sum == 0 && offset == UDP_CHECKSUM {
        0xFFFF
    } else {
        sum
    };
    *field = checksum.to_be_bytes();
    Ok(())
}

#[cfg(test)]
pub(crate) mod draft;
#[cfg(test)]
pub(crate) mod tests;
