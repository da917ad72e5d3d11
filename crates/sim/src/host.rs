//! Packets of the hosts behind the gateways.

use std::net::IpAddr;

use vgw_dataplane::Family;

use crate::dice::Dice;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
/// Octets of a SYN's TCP header, whose only option is the segment size.
const TCP_HEADER: usize = 24;
const UDP_HEADER: usize = 8;
const ICMP_HEADER: usize = 8;
/// The packet's number, behind all headers.
const NUMBER: usize = 8;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// IPv6 hosts and links have no smaller MTU (RFC 8200 section 5).
pub const IPV6_MINIMUM: usize = 1280;

/// What a packet is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Whether DF is set; IPv6 always counts as if it were.
    pub dont_fragment: bool,
    /// The maximum segment size that it announces, if it is a SYN; else it is a datagram.
    pub mss: Option<u16>,
    /// Octets of the whole packet.
    pub len: usize,
}

/// What a host makes of a packet that it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// One of another host's.
    Packet {
        /// Its number.
        number: u64,
        /// Its octets.
        len: usize,
        /// The maximum segment size that it announces.
        mss: Option<u16>,
    },
    /// One of its own was too big.
    TooBig {
        /// That one's number.
        number: u64,
        /// How many octets fit.
        limit: usize,
    },
}

impl Shape {
    /// A datagram over IPv4 that fits everywhere.
    pub const SMALL: Self = Self {
        family: Family::V4,
        dont_fragment: false,
        mss: None,
        len: IPV4_HEADER + UDP_HEADER + NUMBER,
    };

    /// A packet at random: a SYN, or a datagram that is small, about as large as
    /// tunnels carry, or larger. Most are small: a large one takes the time of twenty.
    #[must_use]
    pub fn draw(dice: &mut Dice) -> Self {
        let family = if dice.per_mille(500) {
            Family::V4
        } else {
            Family::V6
        };
        let dont_fragment = family == Family::V6 || dice.per_mille(500);
        let (mss, from, to) = match dice.below(20) {
            0..3 => (u16::try_from(500 + dice.below(9000)).ok(), 0, 0),
            3..5 => (None, 1200, 1520),
            5 => (None, 1520, 9200),
            _ => (None, 0, 200),
        };
        let shape = Self {
            family,
            dont_fragment,
            mss,
            len: 0,
        };
        let len = usize::try_from(from + dice.below(to - from)).unwrap_or_default();
        Self {
            len: len.max(shape.headers() + NUMBER),
            ..shape
        }
    }

    const fn headers(self) -> usize {
        let ip = match self.family {
            Family::V4 => IPV4_HEADER,
            Family::V6 => IPV6_HEADER,
        };
        ip + if self.mss.is_some() {
            TCP_HEADER
        } else {
            UDP_HEADER
        }
    }

    /// A packet like this from one host to the other, with this number.
    #[must_use]
    pub fn packet(self, from: IpAddr, to: IpAddr, number: u64) -> Vec<u8> {
        let protocol = if self.mss.is_some() { TCP } else { UDP };
        let len = u16::try_from(self.len).unwrap_or(u16::MAX).to_be_bytes();
        let flags = if self.dont_fragment { 0x40 } else { 0 };
        let mut packet = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                // Version and header length; TOS; length; id; flags; TTL; checksum.
                let mut header = vec![0x45, 0, len[0], len[1], 0, 0, flags, 0, 64, protocol, 0, 0];
                header.extend([from.octets(), to.octets()].concat());
                header
            }
            (from, to) => {
                let payload = self.len.saturating_sub(IPV6_HEADER);
                let payload = u16::try_from(payload).unwrap_or(u16::MAX).to_be_bytes();
                let mut header = vec![0x60, 0, 0, 0, payload[0], payload[1], protocol, 64];
                header.extend([v6(from), v6(to)].concat());
                header
            }
        };
        match self.mss {
            Some(mss) => {
                let [high, low] = mss.to_be_bytes();
                // Ports; numbers; header length and SYN; window, checksum, urgent; MSS.
                packet.extend([0x1B, 0x58, 0x1B, 0x58, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2]);
                packet.extend([1, 0, 0, 0, 0, 0, 2, 4, high, low]);
            }
            None => packet.extend([0x1B, 0x58, 0x1B, 0x58, 0, 0, 0, 0]),
        }
        packet.extend(number.to_be_bytes());
        packet.resize(self.len, 0x5A);
        packet
    }

    /// Whether it may travel in fragments of the outer packet although its sender is
    /// told of others that are too big.
    #[must_use]
    pub const fn may_be_fragmented(self) -> bool {
        match self.family {
            Family::V4 => !self.dont_fragment,
            Family::V6 => self.len <= IPV6_MINIMUM,
        }
    }
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// What a host makes of a packet. None if it is of neither kind.
#[must_use]
pub fn read(packet: &[u8]) -> Option<Seen> {
    let (protocol, payload) = match packet.first()? >> 4 {
        4 => (*packet.get(9)?, packet.get(IPV4_HEADER..)?),
        6 => (*packet.get(6)?, packet.get(IPV6_HEADER..)?),
        _ => return None,
    };
    let number_at = |at: usize| {
        let number = payload.get(at..)?.first_chunk()?;
        Some(u64::from_be_bytes(*number))
    };
    let mss = |payload: &[u8]| Some(u16::from_be_bytes(*payload.get(22..)?.first_chunk()?));
    let len = packet.len();
    match (protocol, payload) {
        (UDP, _) => Some(Seen::Packet {
            number: number_at(UDP_HEADER)?,
            len,
            mss: None,
        }),
        (TCP, _) => Some(Seen::Packet {
            number: number_at(TCP_HEADER)?,
            len,
            mss: Some(mss(payload)?),
        }),
        // RFC 1191 section 4; RFC 4443 section 3.2.
        (ICMP, [3, 4, _, _, _, _, limit @ ..]) => {
            too_big(u16::from_be_bytes(*limit.first_chunk()?).into(), payload)
        }
        (ICMPV6, [2, 0, _, _, limit @ ..]) => {
            too_big(u32::from_be_bytes(*limit.first_chunk()?), payload)
        }
        _ => None,
    }
}

fn too_big(limit: u32, icmp: &[u8]) -> Option<Seen> {
    let limit = usize::try_from(limit).ok()?;
    // It shows the start of the packet that was too big.
    match read(icmp.get(ICMP_HEADER..)?)? {
        Seen::Packet { number, .. } => Some(Seen::TooBig { number, limit }),
        Seen::TooBig { .. } => None,
    }
}
