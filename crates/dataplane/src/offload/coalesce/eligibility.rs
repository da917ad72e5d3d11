//! The parts of a packet that decide whether it may be joined to another.

use super::Coalesce;
use crate::packet::checksum::Sum;
use crate::packet::headers::{IPV4_HEADER, IPV6_HEADER, TCP, TCP_HEADER, UDP, UDP_HEADER};

/// FIN and PSH: may differ, and end a group.
const CLOSING: u8 = 0x09;
/// SYN, RST, URG and CWR: a packet with one of them is not joined.
const SINGLE: u8 = 0x02 | 0x04 | 0x20 | 0x80;

/// What the coalescer needs to know of a packet.
#[derive(Debug)]
pub(super) enum Eligibility {
    /// May be joined.
    Candidate(Candidate),
    /// Goes alone, and no packet of its flow may pass it.
    Alone(Flow),
    /// Goes alone, and may be of any flow: a fragment, or headers between IP
    /// and the ports.
    AnyFlow,
    /// Neither TCP nor UDP.
    Other,
}

/// What the packets of a flow have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    /// Source and destination; IPv4's are the first 8 octets.
    addresses: [u64; 4],
    ports: u32,
    pub(super) udp: bool,
    pub(super) ipv6: bool,
}

/// A packet that may be joined.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) flow: Flow,
    /// The IP fields that must agree: IPv4's TOS, DF and TTL; IPv6's traffic
    /// class, flow label and hop limit.
    path: u64,
    /// This and DF are IPv4's; for IPv6 they are 0 and false.
    id: u16,
    dont_fragment: bool,
    /// Octets of the IP header.
    pub(super) ip_header: usize,
    /// Octets of all headers.
    pub(super) headers: usize,
    /// Octets of payload, at least one.
    pub(super) payload: usize,
    /// All 0 for UDP.
    tcp: TcpFields,
}

#[derive(Debug, Default)]
struct TcpFields {
    sequence: u32,
    acknowledgment: u32,
    /// Data offset, reserved bits, flags and window.
    offset_flags_window: u32,
    /// Compared though URG is not set: nothing of a packet may be lost.
    urgent: u16,
}

/// How the identifications of a group's packets go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// They go up by one with each packet.
    Counting,
    /// They are the same in all: atomic datagrams (RFC 6864 section 4.1).
    Fixed,
    /// IPv6 has none.
    Absent,
}

impl Eligibility {
    #[inline]
    pub(super) fn of(packet: &[u8], what: Coalesce) -> Self {
        match packet.first().map(|first| first >> 4) {
            Some(4) => Self::of_ipv4(packet, what),
            Some(6) => Self::of_ipv6(packet, what),
            _ => Self::Other,
        }
    }

    #[inline(always)]
    fn of_ipv4(packet: &[u8], what: Coalesce) -> Self {
        let Some((header, upper)) = packet.split_first_chunk::<IPV4_HEADER>() else {
            return Self::Other;
        };
        let [
            first,
            tos,
            l0,
            l1,
            i0,
            i1,
            f0,
            f1,
            ttl,
            protocol,
            _,
            _,
            addresses @ ..,
        ] = *header;
        if !matches!(protocol, TCP | UDP) {
            return Self::Other;
        }
        // RFC 791 section 3.1: options, more fragments, or an offset.
        if first != 0x45 || f0 & 0x3F != 0 || f1 != 0 {
            return Self::AnyFlow;
        }
        let whole = usize::from(u16::from_be_bytes([l0, l1])) == packet.len();
        let seen = Seen {
            addresses: [u64::from_ne_bytes(addresses), 0, 0, 0],
            ipv6: false,
            // The reserved bit of the flags, too, must agree.
            path: u64::from(u32::from_be_bytes([0, tos, ttl, f0])),
            id: u16::from_be_bytes([i0, i1]),
            dont_fragment: f0 & 0x40 != 0,
            ip_header: IPV4_HEADER,
        };
        seen.with(protocol, upper, whole, what)
    }

    #[inline(always)]
    fn of_ipv6(packet: &[u8], what: Coalesce) -> Self {
        /// The extension headers of RFC 8200 section 4, and AH: TCP or UDP may
        /// be behind them.
        const EXTENSIONS: [u8; 8] = [0, 43, 44, 51, 60, 135, 139, 140];

        let Some((header, upper)) = packet.split_first_chunk::<IPV6_HEADER>() else {
            return Self::Other;
        };
        let [v0, v1, v2, v3, l0, l1, next, hops, addresses @ ..] = *header;
        if EXTENSIONS.contains(&next) {
            return Self::AnyFlow;
        }
        if !matches!(next, TCP | UDP) {
            return Self::Other;
        }
        let (words, _) = addresses.as_chunks::<8>();
        let mut flow = [0; 4];
        for (to, from) in flow.iter_mut().zip(words) {
            *to = u64::from_ne_bytes(*from);
        }
        let whole = usize::from(u16::from_be_bytes([l0, l1])) == upper.len();
        let seen = Seen {
            addresses: flow,
            ipv6: true,
            path: u64::from(u32::from_be_bytes([v0, v1, v2, v3])) << 8 | u64::from(hops),
            id: 0,
            dont_fragment: false,
            ip_header: IPV6_HEADER,
        };
        seen.with(next, upper, whole, what)
    }
}

/// What the IP header has told.
struct Seen {
    addresses: [u64; 4],
    ipv6: bool,
    path: u64,
    id: u16,
    dont_fragment: bool,
    ip_header: usize,
}

impl Seen {
    #[inline(always)]
    fn with(self, protocol: u8, upper: &[u8], whole: bool, what: Coalesce) -> Eligibility {
        let udp = protocol == UDP;
        let Some((ports, _)) = upper.split_first_chunk::<4>() else {
            return Eligibility::AnyFlow;
        };
        let flow = Flow {
            addresses: self.addresses,
            ports: u32::from_ne_bytes(*ports),
            udp,
            ipv6: self.ipv6,
        };
        let (joins, upper) = if udp {
            (what.udp, udp_fields(upper))
        } else {
            (what.tcp, tcp_fields(upper))
        };
        match upper {
            Some((header, payload, tcp)) if joins && whole => Eligibility::Candidate(Candidate {
                flow,
                path: self.path,
                id: self.id,
                dont_fragment: self.dont_fragment,
                ip_header: self.ip_header,
                headers: self.ip_header.saturating_add(header),
                payload,
                tcp,
            }),
            _ => Eligibility::Alone(flow),
        }
    }
}

/// Octets of header and of payload, if there is a checksum and a payload, and
/// the length agrees.
#[inline]
fn udp_fields(upper: &[u8]) -> Option<(usize, usize, TcpFields)> {
    let [_, _, _, _, l0, l1, c0, c1] = *upper.first_chunk::<UDP_HEADER>()?;
    let payload = upper.len().checked_sub(UDP_HEADER).filter(|n| *n > 0)?;
    let whole = usize::from(u16::from_be_bytes([l0, l1])) == upper.len();
    let summed = [c0, c1] != [0, 0];
    (whole && summed).then_some((UDP_HEADER, payload, TcpFields::default()))
}

/// Octets of header and of payload, if there is a payload and no flag that
/// keeps the packet alone.
#[inline]
fn tcp_fields(upper: &[u8]) -> Option<(usize, usize, TcpFields)> {
    let [
        _,
        _,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        a0,
        a1,
        a2,
        a3,
        offset,
        flags,
        w0,
        w1,
        _,
        _,
        u0,
        u1,
    ] = *upper.first_chunk::<TCP_HEADER>()?;
    let header = usize::from(offset >> 4) * 4;
    let payload = upper.len().checked_sub(header).filter(|n| *n > 0)?;
    let fields = TcpFields {
        sequence: u32::from_be_bytes([s0, s1, s2, s3]),
        acknowledgment: u32::from_be_bytes([a0, a1, a2, a3]),
        offset_flags_window: u32::from_be_bytes([offset, flags, w0, w1]),
        urgent: u16::from_be_bytes([u0, u1]),
    };
    (header >= TCP_HEADER && flags & SINGLE == 0).then_some((header, payload, fields))
}

impl Flow {
    /// Never 0, and mostly different for different flows.
    pub(super) fn digest(&self) -> u32 {
        let [a, b, c, d] = self.addresses;
        let mixed = a ^ b.rotate_left(11) ^ c.rotate_left(23) ^ d.rotate_left(37);
        let mixed = (mixed ^ u64::from(self.ports)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let [.., h0, h1, h2, h3] = mixed.to_le_bytes();
        u32::from_le_bytes([h0, h1, h2, h3]) | 1
    }
}

impl Candidate {
    /// Whether others may join this packet.
    pub(super) const fn may_lead(&self) -> bool {
        self.closing_flags() == 0
    }

    /// FIN and PSH.
    pub(super) const fn closing_flags(&self) -> u8 {
        let [_, flags, _, _] = self.tcp.offset_flags_window.to_be_bytes();
        flags & CLOSING
    }

    /// Whether this packet follows `done` octets of the payload that `lead`
    /// begins, and its headers differ in nothing else.
    pub(super) fn follows(&self, lead: &Self, done: usize) -> bool {
        if self.path != lead.path || self.headers != lead.headers || self.payload > lead.payload {
            return false;
        }
        if self.flow.udp {
            return true;
        }
        let closing = u32::from_be_bytes([0, CLOSING, 0, 0]);
        let sequence = u32::try_from(done).map(|done| lead.tcp.sequence.wrapping_add(done));
        sequence == Ok(self.tcp.sequence)
            && self.tcp.acknowledgment == lead.tcp.acknowledgment
            && self.tcp.offset_flags_window & !closing == lead.tcp.offset_flags_window
            && self.tcp.urgent == lead.tcp.urgent
    }

    /// How the identifications go on with this packet after `packets` others,
    /// of which `lead` is the first. None if they do not.
    pub(super) fn ids_after(&self, lead: &Self, packets: usize, ids: Option<Ids>) -> Option<Ids> {
        if self.flow.ipv6 {
            return Some(Ids::Absent);
        }
        let ahead = usize::from(self.id.wrapping_sub(lead.id));
        let found = if ahead == packets {
            Ids::Counting
        } else if ahead == 0 && self.dont_fragment {
            Ids::Fixed
        } else {
            return None;
        };
        (ids.is_none() || ids == Some(found)).then_some(found)
    }

    /// Whether the TCP options agree octet by octet, timestamps too. `packet`
    /// and `first` are the octets of `self` and of `lead`.
    pub(super) fn same_options(&self, packet: &[u8], lead: &Self, first: &[u8]) -> bool {
        let options = self.ip_header.saturating_add(TCP_HEADER);
        self.flow.udp || packet.get(options..self.headers) == first.get(options..lead.headers)
    }

    /// Whether the checksums of the IP header and of TCP or UDP are right.
    /// `packet` is the one that this was read from.
    pub(super) fn checksums_hold(&self, packet: &[u8]) -> bool {
        // The addresses end the IP header: everything from there on is summed,
        // and beside that only protocol and length.
        let from = if self.flow.ipv6 { 8 } else { 12 };
        let header = packet.first_chunk::<IPV4_HEADER>();
        let damaged = |header: &[u8; IPV4_HEADER]| Sum::of(header).folded() != 0xFFFF;
        if !self.flow.ipv6 && header.is_none_or(damaged) {
            return false;
        }
        let upper_len = packet.len().saturating_sub(self.ip_header);
        let protocol = if self.flow.udp { UDP } else { TCP };
        let sum = Sum::of(packet.get(from..).unwrap_or_default())
            .and_word(u16::from(protocol))
            .and_word(u16::try_from(upper_len).unwrap_or_default());
        sum.folded() == 0xFFFF
    }
}
