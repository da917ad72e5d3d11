//! The filter of a watcher, a program for the kernel (BPF): it sees a packet from its
//! network header on and gives how many octets of it are to be kept, 0 if it is let go.

use anyhow::Result;
use socket2::SockFilter;

/// Octets of a packet that are kept: the longest header that is read.
pub(super) const KEPT: usize = 40;

/// EtherTypes.
pub(super) const IPV4: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;

/// Where addresses are, octets from the start of the header: of IPv4 (RFC 791), of IPv6
/// (RFC 8200), of ARP for IPv4 over Ethernet (RFC 826).
pub(super) const IPV4_SOURCE: usize = 12;
pub(super) const IPV4_DESTINATION: usize = 16;
pub(super) const IPV6_SOURCE: usize = 8;
pub(super) const IPV6_DESTINATION: usize = 24;
pub(super) const ARP_SENDER: usize = 14;
pub(super) const ARP_TARGET: usize = 24;

/// A prefix of at most 32 bits.
struct Prefix {
    bits: u32,
    mask: u32,
}

/// RFC 1918, and RFC 3927 for the insides of tunnels.
const PRIVATE_V4: [Prefix; 4] = [
    Prefix {
        bits: 0x0a00_0000,
        mask: 0xff00_0000,
    },
    Prefix {
        bits: 0xac10_0000,
        mask: 0xfff0_0000,
    },
    Prefix {
        bits: 0xc0a8_0000,
        mask: 0xffff_0000,
    },
    Prefix {
        bits: 0xa9fe_0000,
        mask: 0xffff_0000,
    },
];
/// RFC 4193.
const PRIVATE_V6: [Prefix; 1] = [Prefix {
    bits: 0xfc00_0000,
    mask: 0xfe00_0000,
}];

/// The program: a part for each EtherType.
pub(super) fn program() -> Result<Vec<SockFilter>> {
    let mut program = part(IPV4, [IPV4_SOURCE, IPV4_DESTINATION], &PRIVATE_V4)?;
    program.extend(part(IPV6, [IPV6_SOURCE, IPV6_DESTINATION], &PRIVATE_V6)?);
    program.extend(part(ARP, [ARP_SENDER, ARP_TARGET], &PRIVATE_V4)?);
    program.push(keep(0)?);
    Ok(program)
}

/// Keeps a packet of this EtherType if one of its addresses has one of these prefixes,
/// and else lets it go; one of another type is left to the next part.
fn part(ether_type: u16, addresses: [usize; 2], prefixes: &[Prefix]) -> Result<Vec<SockFilter>> {
    let mut body = Vec::new();
    for address in addresses {
        for prefix in prefixes {
            body.push(load(address)?);
            body.push(and(prefix.mask));
            body.push(skip_unless(prefix.bits, 1)?);
            body.push(keep(KEPT)?);
        }
    }
    body.push(keep(0)?);
    let mut part = vec![
        load_ether_type(),
        skip_unless(u32::from(ether_type), body.len())?,
    ];
    part.append(&mut body);
    Ok(part)
}

/// Loads the four octets that begin here. A packet that has none is let go.
fn load(at: usize) -> Result<SockFilter> {
    // BPF_LD | BPF_W | BPF_ABS
    Ok(SockFilter::new(0x20, 0, 0, u32::try_from(at)?))
}

fn load_ether_type() -> SockFilter {
    // BPF_LD | BPF_W | BPF_ABS, of SKF_AD_OFF + SKF_AD_PROTOCOL
    SockFilter::new(0x20, 0, 0, 0xffff_f000)
}

fn and(mask: u32) -> SockFilter {
    // BPF_ALU | BPF_AND | BPF_K
    SockFilter::new(0x54, 0, 0, mask)
}

/// Skips this many instructions unless the loaded value is `value`.
fn skip_unless(value: u32, instructions: usize) -> Result<SockFilter> {
    // BPF_JMP | BPF_JEQ | BPF_K
    let skip = u8::try_from(instructions)?;
    Ok(SockFilter::new(0x15, 0, skip, value))
}

/// Ends the program: this many octets are kept.
fn keep(octets: usize) -> Result<SockFilter> {
    // BPF_RET | BPF_K
    Ok(SockFilter::new(0x06, 0, 0, u32::try_from(octets)?))
}
