//! Sees on a router what should not be there: addresses of private networks.
//!
//! The kernel does the work: a filter on a packet socket picks the offenders from all
//! that the router's links receive, counts them, and keeps the first of them in the
//! socket's buffer. No thread runs, and any other packet costs a few comparisons.

mod filter;

use std::ffi::c_int;
use std::fmt;
use std::mem::size_of_val;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_indextoname;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockType, SockaddrLike, bind, recvfrom, socket,
};
use socket2::Socket;

use crate::Namespace;
use filter::{ARP, IPV4, IPV6, KEPT};

/// Offenders that are described.
const DESCRIBED: usize = 10;

/// `PACKET_STATISTICS` and `PACKET_IGNORE_OUTGOING` of packet(7), which libc lacks.
const STATISTICS: c_int = 6;
const IGNORE_OUTGOING: c_int = 23;

/// Watches a router's links from its start on for addresses of private networks (RFC
/// 1918, RFC 4193) and of tunnels' insides (169.254.0.0/16): in an outermost IP header,
/// where only the outside addresses of ESP and IKE belong, and in ARP.
#[derive(Debug)]
pub struct Watcher {
    router: Namespace,
    socket: Socket,
    /// All offenders, also those that the socket had no room for.
    count: u64,
    first: Vec<Leak>,
}

/// A packet that should not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// The router's link that it came in by.
    pub link: String,
    /// Its source; of an ARP message, the sender's address.
    pub from: IpAddr,
    /// Its destination; of an ARP message, the address that is asked for.
    pub to: IpAddr,
    /// What it is.
    pub kind: Kind,
}

/// What leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A message that asks for an address, or tells one.
    Arp,
    /// An IP packet: the number that IANA gives to what follows its header.
    Ip(u8),
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, from, to, .. } = self;
        match self.kind {
            Kind::Arp => write!(f, "ARP of {from} about {to}, by {link}"),
            Kind::Ip(protocol) => {
                write!(f, "IP protocol {protocol} from {from} to {to}, by {link}")
            }
        }
    }
}

impl Watcher {
    /// Begins to watch all links of a router, those that it gets later, too.
    ///
    /// # Errors
    /// When the caller is not root or the kernel refuses.
    pub fn start(router: &Namespace) -> Result<Self> {
        let socket = router
            .run(open)?
            .with_context(|| format!("{}: watching its links", router.name()))?;
        Ok(Self {
            router: router.clone(),
            socket,
            count: 0,
            first: Vec::new(),
        })
    }

    /// How many offenders there were since the start, and the first ten of them.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn leaks(&mut self) -> Result<(u64, &[Leak])> {
        self.look()?;
        Ok((self.count, &self.first))
    }

    /// Fails when there was an offender since the start, and describes the first ones.
    ///
    /// # Errors
    /// When there was one, or the socket fails.
    pub fn check(&mut self) -> Result<()> {
        let (count, first) = self.leaks()?;
        let described: Vec<_> = first.iter().map(|leak| format!("\n  {leak}")).collect();
        ensure!(
            count == 0,
            "{count} packets on the internet with an address of a private network, among them:{}",
            described.concat()
        );
        Ok(())
    }

    /// Takes what the kernel has kept and counted.
    fn look(&mut self) -> Result<()> {
        let socket = self.socket.as_raw_fd();
        let mut packet = [0; KEPT];
        loop {
            match recvfrom::<LinkAddr>(socket, &mut packet) {
                Ok((length, origin)) if self.first.len() < DESCRIBED => {
                    let origin = origin.context("a packet came by no link")?;
                    let packet = packet.get(..length).unwrap_or_default();
                    self.first.push(self.describe(packet, origin)?);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => return Err(error).context("reading what was seen"),
            }
        }
        self.count += u64::from(counted(socket)?);
        Ok(())
    }

    fn describe(&self, packet: &[u8], origin: LinkAddr) -> Result<Leak> {
        let index = u32::try_from(origin.ifindex())?;
        let link = match self.router.run(|| if_indextoname(index))? {
            Ok(name) => name.to_string_lossy().into_owned(),
            // It may have gone since.
            Err(_) => format!("link {index}"),
        };
        let ether_type = u16::from_be(origin.protocol());
        let (from, to, kind) = read(ether_type, packet)
            .with_context(|| format!("kept of EtherType {ether_type:#06x}: {packet:02x?}"))?;
        Ok(Leak {
            link,
            from,
            to,
            kind,
        })
    }
}

/// A packet socket that receives what the filter picks of all that comes in.
fn open() -> Result<Socket> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
    let socket = Socket::from(socket);
    socket.attach_filter(&filter::program()?)?;
    ignore_outgoing(socket.as_raw_fd())?;
    // Before this it receives nothing, so nothing has passed the filter by.
    bind(socket.as_raw_fd(), &all_links()?)?;
    Ok(socket)
}

fn all_links() -> Result<LinkAddr> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET)?,
        sll_protocol: u16::try_from(libc::ETH_P_ALL)?.to_be(),
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address))?;
    // SAFETY: the pointer is to a `sockaddr_ll` that is wholly initialised, and the
    // length is its own.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    address.context("an address of no link")
}

/// What the router sends was seen when it came in, and each packet would be
/// copied to be looked at again.
fn ignore_outgoing(socket: RawFd) -> Result<()> {
    let on: c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on))?;
    let value = (&raw const on).cast();
    // SAFETY: the option takes an int, and pointer and length are those of one.
    let set = unsafe { libc::setsockopt(socket, libc::SOL_PACKET, IGNORE_OUTGOING, value, length) };
    Errno::result(set).context("setting PACKET_IGNORE_OUTGOING")?;
    Ok(())
}

/// Packets that the filter picked since the last call.
fn counted(socket: RawFd) -> Result<u32> {
    // `struct tpacket_stats`: all of them, and those among them that found no room.
    let mut counts = [0_u32; 2];
    let mut length = libc::socklen_t::try_from(size_of_val(&counts))?;
    let (value, length) = (counts.as_mut_ptr().cast(), &raw mut length);
    // SAFETY: the option fills in two u32, for which there is room, as the length says.
    let got = unsafe { libc::getsockopt(socket, libc::SOL_PACKET, STATISTICS, value, length) };
    Errno::result(got).context("asking for PACKET_STATISTICS")?;
    let [all, _] = counts;
    Ok(all)
}

/// Source, destination and kind of a packet of this EtherType.
fn read(ether_type: u16, packet: &[u8]) -> Option<(IpAddr, IpAddr, Kind)> {
    let v4 = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
    let v6 = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
    match ether_type {
        ARP => Some((v4(filter::ARP_SENDER)?, v4(filter::ARP_TARGET)?, Kind::Arp)),
        IPV4 => {
            let protocol = *packet.get(9)?;
            let destination = v4(filter::IPV4_DESTINATION)?;
            Some((v4(filter::IPV4_SOURCE)?, destination, Kind::Ip(protocol)))
        }
        IPV6 => {
            let protocol = *packet.get(6)?;
            let destination = v6(filter::IPV6_DESTINATION)?;
            Some((v6(filter::IPV6_SOURCE)?, destination, Kind::Ip(protocol)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
