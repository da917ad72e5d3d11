//! The sockets of one outside address.

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Socket, Type};
use vgw_sa::{IKE_PORT, NATT_PORT};

use crate::io::features::Features;
use crate::io::icmp_filter::take_errors;
use crate::io::spi_filter::take_own_spis;
use crate::links::foreign_link::{ForeignLink, foreign_link};
use crate::links::netlink::Netlink;
use crate::links::outside_link::{OutsideLink, is_local, link_to};

/// IP protocol number of ESP (RFC 4303).
const ESP_PROTOCOL: c_int = 50;
/// Room for bursts: at 1 Gbit/s about 30 ms. Beyond `net.core.[rw]mem_max`
/// only with CAP_NET_ADMIN.
const BUFFER: usize = 4 << 20;
/// Room for ICMP errors: some dozens, as more say no more.
const ICMP_BUFFER: usize = 64 << 10;

/// UDP 500, UDP 4500 and raw sockets of protocol 50 and of ICMP on one outside address.
#[derive(Debug)]
pub struct OutsideSockets {
    address: IpAddr,
    ike: Socket,
    icmp_errors: Socket,
    first: WorkerSockets,
    others: Vec<WorkerSockets>,
    features: Features,
    /// Set when the device turned out not to support the kernel's segmentation.
    gso_refused: AtomicBool,
    /// For questions about links to peers; None where the kernel has no netlink.
    netlink: Option<Netlink>,
}

/// What each worker has of its own, so that it need not share.
#[derive(Debug)]
struct WorkerSockets {
    /// UDP 4500. The kernel spreads peers over those of all workers.
    natt: Socket,
    /// Protocol 50. SAs are spread by their SPIs.
    esp: Socket,
}

/// No two sets of sockets have the same address.
impl PartialEq for OutsideSockets {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl OutsideSockets {
    /// Binds the sockets in the network namespace of the calling thread: one on UDP 500,
    /// the others once for each of `workers`. Of `wanted` it takes what the kernel has.
    /// The address may come later: nothing is received or sent until then.
    ///
    /// # Errors
    ///
    /// The kernel's error, with the socket that it is about: a port is taken
    /// (EADDRINUSE), CAP_NET_RAW is missing (EPERM); before Linux 5.17, the
    /// address is not there (EADDRNOTAVAIL).
    pub fn bind(address: IpAddr, workers: usize, wanted: Features) -> io::Result<Self> {
        // Bound first, and without sharing its port: so a second daemon on this
        // address fails, although the sockets on 4500 would share theirs with it.
        let ike = udp(address, IKE_PORT, false)?;
        let first = WorkerSockets::bind(address, 0, workers)?;
        let mut features = wanted;
        features.udp_gso &= knows_segments(&first.natt);
        features.udp_gro &= join_received(&first.natt).is_ok();
        let mut others = Vec::new();
        for number in 1..workers {
            let sockets = WorkerSockets::bind(address, number, workers)?;
            if features.udp_gro {
                join_received(&sockets.natt)?;
            }
            others.push(sockets);
        }
        Ok(Self {
            address,
            ike,
            icmp_errors: icmp_errors(address)?,
            first,
            others,
            features,
            gso_refused: AtomicBool::new(false),
            netlink: Netlink::open()
                .inspect_err(|error| {
                    tracing::warn!(
                        %address,
                        %error,
                        "the MTU of links and routes from {address} is not known, so the \
                         configured one counts: {error}"
                    );
                })
                .ok(),
        })
    }

    /// The outside address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The features that were wanted, without those of the sockets that the
    /// kernel lacks.
    #[must_use]
    pub fn features(&self) -> Features {
        Features {
            udp_gso: self.features.udp_gso && !self.gso_refused.load(Ordering::Relaxed),
            ..self.features
        }
    }

    /// Sends datagrams one by one from now on.
    pub(crate) fn refuse_gso(&self) {
        self.gso_refused.store(true, Ordering::Relaxed);
    }

    /// Whether the address is this machine's now; true where the kernel does
    /// not tell.
    pub(crate) fn is_there(&self) -> bool {
        let netlink = self.netlink.as_ref();
        netlink.is_none_or(|netlink| is_local(netlink, self.address).unwrap_or(true))
    }

    /// The link by which a peer is reached from here, if there is a route.
    pub(crate) fn link_to(&self, remote: IpAddr) -> Option<OutsideLink> {
        link_to(self.netlink.as_ref()?, self.address, remote).ok()
    }

    /// See [`foreign_link`]. None where the kernel does not tell.
    pub(crate) fn foreign_link(&self, remote: IpAddr) -> Option<ForeignLink> {
        foreign_link(self.netlink.as_ref()?, self.address, remote).ok()?
    }

    pub(crate) const fn ike(&self) -> &Socket {
        &self.ike
    }

    /// Receives ICMP errors. Those that come for the other sockets are not taken there: they
    /// would fail the next send, to whomever.
    pub(crate) const fn icmp_errors(&self) -> &Socket {
        &self.icmp_errors
    }

    /// The socket of this worker on UDP 4500.
    pub(crate) fn natt(&self, worker: usize) -> &Socket {
        &self.worker(worker).natt
    }

    /// The socket of this worker for protocol 50.
    pub(crate) fn esp(&self, worker: usize) -> &Socket {
        &self.worker(worker).esp
    }

    fn worker(&self, number: usize) -> &WorkerSockets {
        number
            .checked_sub(1)
            .and_then(|other| self.others.get(other))
            .unwrap_or(&self.first)
    }
}

impl WorkerSockets {
    fn bind(address: IpAddr, number: usize, workers: usize) -> io::Result<Self> {
        Ok(Self {
            natt: udp(address, NATT_PORT, workers > 1)?,
            esp: raw_esp(address, number, workers)?,
        })
    }
}

fn udp(address: IpAddr, port: u16, shared: bool) -> io::Result<Socket> {
    let at = SocketAddr::new(address, port);
    let open = || {
        let socket = unbound(at, Type::DGRAM, Protocol::UDP)?;
        socket.set_reuse_port(shared)?;
        socket.bind(&at.into())?;
        Ok(socket)
    };
    open().map_err(|error: io::Error| {
        io::Error::new(error.kind(), format!("UDP socket on {at}: {error}"))
    })
}

fn raw_esp(address: IpAddr, number: usize, workers: usize) -> io::Result<Socket> {
    let open = || {
        let at = SocketAddr::new(address, 0);
        let socket = unbound(at, Type::RAW, Protocol::from(ESP_PROTOCOL))?;
        if workers > 1 {
            take_own_spis(&socket, address, number, workers)?;
        }
        socket.bind(&at.into())?;
        Ok(socket)
    };
    open().map_err(|error: io::Error| {
        let what = format!("raw socket of protocol {ESP_PROTOCOL} on {address}: {error}");
        io::Error::new(error.kind(), what)
    })
}

fn icmp_errors(address: IpAddr) -> io::Result<Socket> {
    let open = || {
        let at = SocketAddr::new(address, 0);
        let protocol = match address {
            IpAddr::V4(_) => Protocol::ICMPV4,
            IpAddr::V6(_) => Protocol::ICMPV6,
        };
        let socket = Socket::new(Domain::for_address(at), Type::RAW.cloexec(), Some(protocol))?;
        take_errors(&socket, address)?;
        socket.set_recv_buffer_size(ICMP_BUFFER)?;
        bind_to_absent_address(&socket, address)?;
        socket.set_nonblocking(true)?;
        socket.bind(&at.into())?;
        Ok(socket)
    };
    open().map_err(|error: io::Error| {
        let what = format!("raw socket of ICMP on {address}: {error}");
        io::Error::new(error.kind(), what)
    })
}

fn unbound(at: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
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
    bind_to_absent_address(&socket, at.ip())?;
    let_outer_packets_fragment(&socket, at.ip())?;
    tell_traffic_class(&socket, at.ip())?;
    tell_overflows(&socket)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Lets the socket be bound before the address is there: DHCP or a slow link
/// may bring it when the daemon no longer has the privilege to bind. IPv4 sends
/// nothing meanwhile.
fn bind_to_absent_address(socket: &Socket, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => socket.set_freebind_v4(true),
        IpAddr::V6(_) => socket.set_freebind_v6(true),
    }
}

/// Leaves DF clear, so that a packet too large for the path is fragmented and
/// not lost. Over IPv4 the kernel must ignore what ICMP says of the path:
/// forged ICMP could make us send everything in small fragments. Over IPv6 it
/// must believe ICMP, as only the sender may fragment.
fn let_outer_packets_fragment(socket: &Socket, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => set_option(
            socket,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_OMIT,
        ),
        IpAddr::V6(_) => set_option(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DONT,
        ),
    }
}

/// Asks for the outer header's ECN and DSCP with each packet received.
pub(crate) fn tell_traffic_class(socket: &impl AsRawFd, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1),
        IpAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1),
    }
}

/// Asks for the number of datagrams that found the socket's queue full.
pub(crate) fn tell_overflows(socket: &impl AsRawFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)
}

/// Asks for consecutive datagrams of one sender to be received as one.
fn join_received(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Whether the kernel cuts what is sent. Zero leaves a socket as it is.
fn knows_segments(socket: &Socket) -> bool {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

#[allow(
    unsafe_code,
    reason = "neither socket2, rustix nor nix sets all of these options"
)]
fn set_option(socket: &impl AsRawFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr, UdpSocket};
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use vgw_lab::Lab;
    use vgw_sa::{NATT_PORT, SentPacket};

    use super::icmp_errors;
    use crate::io::receive::Receiver;
    use crate::packet::icmp_error::IcmpError;

    #[test]
    #[ignore = "needs root"]
    fn the_kernel_hands_over_an_error_about_a_packet_of_ours() {
        let lab = Lab::new("icmp").unwrap();
        let host = lab.namespace("host").unwrap();
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let local = SocketAddr::new(address, NATT_PORT);
            let open = || (icmp_errors(address), UdpSocket::bind(local));
            let (errors, sender) = host.run(open).unwrap();
            let (errors, sender) = (errors.unwrap(), sender.unwrap());
            // Nobody is there.
            let remote = SocketAddr::new(address, 9);
            sender.send_to(&[1; 20], remote).unwrap();
            let mut ready = [PollFd::new(errors.as_fd(), PollFlags::POLLIN)];
            poll(&mut ready, PollTimeout::from(10_000_u16)).unwrap();
            let mut receiver = Receiver::new();
            receiver.receive(errors.as_fd()).unwrap();
            let [datagram] = receiver.datagrams[..] else {
                panic!("{:?}", receiver.datagrams)
            };
            assert_eq!(datagram.remote.ip(), address);
            let octets = &receiver.buffer[datagram.at..datagram.at + datagram.len];
            let error = match address {
                IpAddr::V4(_) => IcmpError::parse_v4(octets),
                IpAddr::V6(_) => IcmpError::parse_v6(octets),
            };
            let packet = SentPacket {
                local,
                remote,
                spi: Some(0x0101_0101),
            };
            let says = "port unreachable";
            assert_eq!(error, Some(IcmpError { says, packet }));
        }
    }
}
