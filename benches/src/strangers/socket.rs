//! The attackers' socket: every address of a large prefix is theirs.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use vgw_harness::tools::run as tool;
use vgw_lab::Namespace;
use vgw_lab::topology::{BRANCH_OUTSIDE, GATEWAY_OUTSIDE};

use super::outcome::Outcome;

/// Of RFC 6598's range, which no other network of the lab is of.
const PREFIX: &str = "100.64.0.0/10";
const FIRST: u32 = Ipv4Addr::new(100, 64, 0, 0).to_bits();
/// Networks of 256 addresses in it.
const NETWORKS: u32 = 1 << 14;
/// A message for the gateway's first outside address.
const PORT: u16 = 500;

/// Leads the prefix to the namespace, all of whose addresses are then its own.
///
/// # Errors
/// When the kernel refuses.
pub fn own_prefix(internet: &Namespace, attackers: &Namespace) -> Result<()> {
    let router = BRANCH_OUTSIDE.to_string();
    tool(internet, "ip", &["route", "add", PREFIX, "via", &router])?;
    tool(
        attackers,
        "ip",
        &["route", "add", "local", PREFIX, "dev", "lo"],
    )?;
    Ok(())
}

/// The first host of such a network, of 16,384; the others follow when there are no more.
pub const fn host(network: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST + ((network % NETWORKS) << 8) + 1)
}

/// Sends from every address of the prefix to the gateway, and hears what it answers.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    gateway: SockaddrIn,
    sent: u64,
    opened: Instant,
}

impl Socket {
    /// # Errors
    /// When the port is taken.
    pub fn open(attackers: &Namespace) -> Result<Self> {
        let socket = attackers
            .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))?
            .context("binding the attackers' port")?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        let [IpAddr::V4(gateway), _] = GATEWAY_OUTSIDE else {
            bail!("the gateway's outside address is not of IPv4");
        };
        Ok(Self {
            socket,
            gateway: SocketAddrV4::new(gateway, PORT).into(),
            sent: 0,
            opened: Instant::now(),
        })
    }

    /// What was sent since it was opened.
    pub fn made(&self) -> Outcome {
        Outcome::since(self.opened, self.sent)
    }

    /// Sends a datagram; what the kernel has no room for is not sent.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn send(&mut self, from: Ipv4Addr, datagram: &[u8]) -> Result<()> {
        let source = in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: in_addr {
                s_addr: from.to_bits().to_be(),
            },
            ipi_addr: in_addr { s_addr: 0 },
        };
        let control = [ControlMessage::Ipv4PacketInfo(&source)];
        let outcome = sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(datagram)],
            &control,
            MsgFlags::empty(),
            Some(&self.gateway),
        );
        match outcome {
            Ok(_) => self.sent += 1,
            Err(Errno::ENOBUFS | Errno::EAGAIN) => {}
            Err(error) => return Err(error).with_context(|| format!("sending from {from}")),
        }
        Ok(())
    }

    /// What was answered, if there is something, and to which of our addresses.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<(Ipv4Addr, usize)>> {
        let mut space = nix::cmsg_space!(in_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let received = recvmsg::<SockaddrIn>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_DONTWAIT,
        );
        let received = match received {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error).context("hearing answers"),
        };
        let to = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr)))
            }
            _ => None,
        });
        let to = to.context("the kernel does not tell whom an answer was for")?;
        Ok(Some((to, received.bytes)))
    }

    /// The gateway, as an IKE endpoint names it.
    pub fn gateway() -> SocketAddr {
        let [gateway, _] = GATEWAY_OUTSIDE;
        SocketAddr::new(gateway, PORT)
    }
}

/// So many a second, evenly; what was late is made up for.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    rate: u32,
    given: u32,
}

impl Pace {
    pub fn new(rate: u32) -> Self {
        Self {
            began: Instant::now(),
            rate,
            given: 0,
        }
    }

    /// How many are due since this was asked last.
    pub fn due(&mut self) -> u32 {
        let all = self.began.elapsed().as_millis() * u128::from(self.rate) / 1_000;
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        let due = all - self.given;
        self.given = all;
        due
    }

    /// Lets others run for a moment.
    pub fn rest() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
