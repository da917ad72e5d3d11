//! The header of a packet that travels inside a tunnel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;
use vgw_esp::{NEXT_HEADER_IPV4, NEXT_HEADER_IPV6};

use crate::packet::headers::{ICMP, ICMPV6, IPV4_HEADER, IPV6_HEADER, TCP, UDP};

/// An IPv4 or IPv6 packet whose fixed header has been checked: the version is
/// known and the octets are exactly as many as the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerPacket<'a> {
    octets: &'a [u8],
    header_len: usize,
    source: IpAddr,
    destination: IpAddr,
}

/// Why octets are not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InnerError {
    /// Neither IPv4 nor IPv6.
    #[error("IP version is {0}, not 4 or 6")]
    Version(u8),
    /// The header says that there is more than there is, or there is no header.
    #[error("{found} octets where the packet needs {expected}")]
    Truncated {
        /// Octets there are.
        found: usize,
        /// Octets there should be.
        expected: usize,
    },
    /// An IPv4 header length below 20 octets or beyond the packet's end.
    #[error("IPv4 header of {header} octets in a packet of {total}")]
    HeaderLength {
        /// What the header length field says, in octets.
        header: usize,
        /// What the total length field says.
        total: usize,
    },
}

/// What selectors compare beside the addresses (RFC 4301 section 4.4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpperLayer {
    /// IP protocol of the payload; of IPv6, after the extension headers.
    pub protocol: u8,
    /// Source and destination port. For ICMP both are type and code (RFC 7296
    /// section 3.13.1). None where the packet has none or, being a fragment,
    /// does not show them.
    pub ports: Option<(u16, u16)>,
}

impl<'a> InnerPacket<'a> {
    /// Reads the header at the start of `octets`. What follows the packet's
    /// own length is cut off: traffic flow confidentiality padding (RFC 4303
    /// section 2.7) stands there.
    ///
    /// # Errors
    ///
    /// [`InnerError`] says what was found and what the header asks for.
    pub fn parse(octets: &'a [u8]) -> Result<Self, InnerError> {
        let version = octets.first().map_or(0, |first| first >> 4);
        match version {
            4 => Self::parse_ipv4(octets),
            6 => Self::parse_ipv6(octets),
            other => Err(InnerError::Version(other)),
        }
    }

    fn parse_ipv4(octets: &'a [u8]) -> Result<Self, InnerError> {
        let header: &[u8; IPV4_HEADER] = octets.first_chunk().ok_or(InnerError::Truncated {
            found: octets.len(),
            expected: IPV4_HEADER,
        })?;
        let [
            first,
            _,
            len_0,
            len_1,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            addresses @ ..,
        ] = *header;
        let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
        let header_len = usize::from(first & 0x0F) * 4;
        let total = usize::from(u16::from_be_bytes([len_0, len_1]));
        if header_len < IPV4_HEADER || total < header_len {
            return Err(InnerError::HeaderLength {
                header: header_len,
                total,
            });
        }
        Ok(Self {
            octets: cut(octets, total)?,
            header_len,
            source: Ipv4Addr::new(s0, s1, s2, s3).into(),
            destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
        })
    }

    fn parse_ipv6(octets: &'a [u8]) -> Result<Self, InnerError> {
        let truncated = InnerError::Truncated {
            found: octets.len(),
            expected: IPV6_HEADER,
        };
        let (fixed, rest) = octets.split_first_chunk::<8>().ok_or(truncated)?;
        let (source, rest) = rest.split_first_chunk::<16>().ok_or(truncated)?;
        let destination = rest.first_chunk::<16>().ok_or(truncated)?;
        let [_, _, _, _, len_0, len_1, _, _] = *fixed;
        let total = IPV6_HEADER + usize::from(u16::from_be_bytes([len_0, len_1]));
        Ok(Self {
            octets: cut(octets, total)?,
            header_len: IPV6_HEADER,
            source: Ipv6Addr::from(*source).into(),
            destination: Ipv6Addr::from(*destination).into(),
        })
    }

    /// Source address.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        self.source
    }

    /// Destination address.
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        self.destination
    }

    /// The packet, without what may follow it.
    #[must_use]
    pub const fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// ESP's Next Header for this packet (RFC 4303 section 2.6).
    #[must_use]
    pub const fn next_header(&self) -> u8 {
        match self.source {
            IpAddr::V4(_) => NEXT_HEADER_IPV4,
            IpAddr::V6(_) => NEXT_HEADER_IPV6,
        }
    }

    /// Protocol and ports, found behind options and extension headers.
    #[must_use]
    pub fn upper_layer(&self) -> UpperLayer {
        let (protocol, payload) = self.behind_headers();
        UpperLayer {
            protocol,
            ports: payload.and_then(|payload| ports(protocol, payload)),
        }
    }

    /// The upper layer's protocol and its octets. None for a fragment other
    /// than the first, which lacks their start.
    pub(crate) fn transport(&self) -> Option<(u8, &'a [u8])> {
        let (protocol, payload) = self.behind_headers();
        Some((protocol, payload?))
    }

    fn behind_headers(&self) -> (u8, Option<&'a [u8]>) {
        let payload = self.octets.get(self.header_len..).unwrap_or_default();
        match self.source {
            IpAddr::V4(_) => {
                let protocol = self.octets.get(9).copied().unwrap_or_default();
                let later_fragment = be16(self.octets, 6).is_none_or(|field| field & 0x1FFF != 0);
                (protocol, (!later_fragment).then_some(payload))
            }
            IpAddr::V6(_) => {
                let next = self.octets.get(6).copied().unwrap_or_default();
                behind_extension_headers(next, payload)
            }
        }
    }
}

fn cut(octets: &[u8], total: usize) -> Result<&[u8], InnerError> {
    octets.get(..total).ok_or(InnerError::Truncated {
        found: octets.len(),
        expected: total,
    })
}

fn be16(octets: &[u8], at: usize) -> Option<u16> {
    let field = octets.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*field))
}

/// Walks the chain of RFC 8200 section 4. Every step takes at least 8 octets,
/// so it ends with the packet.
fn behind_extension_headers(mut next: u8, mut payload: &[u8]) -> (u8, Option<&[u8]>) {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION_OPTIONS: u8 = 60;

    loop {
        let Some([following, len, _, _, ..]) = payload.first_chunk::<8>() else {
            return (next, Some(payload));
        };
        let header_len = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(*len) + 1) * 8,
            // RFC 4302 section 2.2: in 4-octet units, less 2.
            AUTHENTICATION => ((usize::from(*len) + 2) * 4).max(8),
            FRAGMENT if be16(payload, 2).is_none_or(|field| field & 0xFFF8 != 0) => {
                return (*following, None);
            }
            FRAGMENT => 8,
            _ => return (next, Some(payload)),
        };
        next = *following;
        payload = payload.get(header_len..).unwrap_or_default();
    }
}

fn ports(protocol: u8, payload: &[u8]) -> Option<(u16, u16)> {
    const DCCP: u8 = 33;
    const SCTP: u8 = 132;
    const UDP_LITE: u8 = 136;

    match protocol {
        TCP | UDP | DCCP | SCTP | UDP_LITE => Some((be16(payload, 0)?, be16(payload, 2)?)),
        ICMP | ICMPV6 => be16(payload, 0).map(|type_and_code| (type_and_code, type_and_code)),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
