//! The sockets of one outside address.

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

/// IKE (RFC 7296 section 2).
pub const IKE_PORT: u16 = 500;
/// IKE and ESP in UDP (RFC 3948).
pub const NATT_PORT: u16 = 4500;
/// IP protocol number of ESP (RFC 4303).
const ESP_PROTOCOL: c_int = 50;
/// Room for bursts: at 1 Gbit/s about 30 ms. Beyond `net.core.[rw]mem_max`
/// only with CAP_NET_ADMIN.
const BUFFER: usize = 4 << 20;

/// UDP 500, UDP 4500 and a raw socket of protocol 50 on one outside address.
#[derive(Debug)]
pub struct OutsideSockets {
    pub(crate) address: IpAddr,
    pub(crate) ike: Socket,
    pub(crate) natt: Socket,
    pub(crate) esp: Socket,
}

impl OutsideSockets {
    /// Binds all three in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// What the kernel says, with the socket that it said it of: the address
    /// is not there (EADDRNOTAVAIL), a port is taken (EADDRINUSE), CAP_NET_RAW
    /// is missing (EPERM).
    pub fn bind(address: IpAddr) -> io::Result<Self> {
        Ok(Self {
            address,
            ike: udp(address, IKE_PORT)?,
            natt: udp(address, NATT_PORT)?,
            esp: raw_esp(address)?,
        })
    }

    /// The outside address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }
}

fn udp(address: IpAddr, port: u16) -> io::Result<Socket> {
    let at = SocketAddr::new(address, port);
    bound(at, Type::DGRAM, Protocol::UDP)
        .map_err(|error| io::Error::new(error.kind(), format!("UDP socket on {at}: {error}")))
}

fn raw_esp(address: IpAddr) -> io::Result<Socket> {
    bound(
        SocketAddr::new(address, 0),
        Type::RAW,
        Protocol::from(ESP_PROTOCOL),
    )
    .map_err(|error| {
        let what = format!("raw socket of protocol {ESP_PROTOCOL} on {address}: {error}");
        io::Error::new(error.kind(), what)
    })
}

fn bound(at: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind.cloexec(), Some(protocol))?;
    if at.is_ipv6() && kind == Type::DGRAM {
        socket.set_only_v6(true)?;
    }
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    if rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, BUFFER).is_err() {
        socket.set_send_buffer_size(BUFFER)?;
    }
    let_outer_packets_fragment(&socket, at.ip())?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

/// Leaves DF clear, so that a packet too large for the path is fragmented on
/// the way and not lost.
#[allow(
    unsafe_code,
    reason = "neither socket2, rustix nor nix sets IP_MTU_DISCOVER"
)]
fn let_outer_packets_fragment(socket: &Socket, address: IpAddr) -> io::Result<()> {
    let (level, option, value) = match address {
        IpAddr::V4(_) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_DONT,
        ),
        IpAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DONT,
        ),
    };
    let len = libc::socklen_t::try_from(size_of::<c_int>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, `value` is a c_int that lives through
    // the call, and `len` is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
