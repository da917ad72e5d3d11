//! Receiving a burst of datagrams with one system call.

use std::ffi::c_int;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Datagrams, or datagrams that the kernel joined, of one call.
pub(crate) const MESSAGES: usize = 16;
/// Octets of the largest datagram, or of several that the kernel joined.
const LARGEST: usize = 1 << 16;
/// Distance of two messages in the buffer. Not a power of two: else the starts
/// of all messages, most of them short, would compete for the same cache lines.
const STRIDE: usize = LARGEST + 1088;
/// Room for the control messages asked for, in units that align them.
const CONTROL_WORDS: usize = 12;

/// A received datagram, or several of one sender, joined.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram {
    /// Where in the buffer it starts.
    pub(crate) at: usize,
    pub(crate) len: usize,
    /// Octets of each of the joined datagrams but the last, which may be
    /// shorter; `len` of one that came alone.
    pub(crate) segment: usize,
    /// It was larger than its room.
    pub(crate) truncated: bool,
    /// DSCP and ECN of the outer header.
    pub(crate) traffic_class: u8,
    pub(crate) remote: SocketAddr,
    /// Datagrams that the socket has had to drop so far, modulo 2^32, because
    /// its queue was full.
    pub(crate) overflows: u32,
}

/// Room for a burst, and what the last call brought.
pub(crate) struct Receiver {
    /// Pages that are never written are not resident.
    pub(crate) buffer: Box<[u8]>,
    pub(crate) datagrams: Vec<Datagram>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<[u64; CONTROL_WORDS]>,
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

impl Receiver {
    #[allow(unsafe_code, reason = "libc offers no safe zero of its structs")]
    pub(crate) fn new() -> Self {
        // SAFETY: a `sockaddr_storage` of zeros is valid; it is plain data.
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        Self {
            buffer: vec![0; MESSAGES * STRIDE].into_boxed_slice(),
            datagrams: Vec::with_capacity(MESSAGES),
            names: vec![name; MESSAGES],
            controls: vec![[0; CONTROL_WORDS]; MESSAGES],
            vectors: Vec::with_capacity(MESSAGES),
            messages: Vec::with_capacity(MESSAGES),
        }
    }

    /// Takes what the socket has, up to a burst, into `datagrams`. EAGAIN says
    /// that there is nothing.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        self.datagrams.clear();
        let received = self.call(socket)?;
        let messages = self.messages.iter().zip(&self.names).take(received);
        for (number, (message, name)) in messages.enumerate() {
            let Some(remote) = socket_addr(name) else {
                continue;
            };
            let len = usize::try_from(message.msg_len).unwrap_or_default();
            let control = Control::of(&message.msg_hdr);
            self.datagrams.push(Datagram {
                at: number * STRIDE,
                len,
                segment: control
                    .segment
                    .filter(|&segment| segment > 0)
                    .unwrap_or(len),
                truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                traffic_class: control.traffic_class,
                remote,
                overflows: control.overflows,
            });
        }
        Ok(())
    }

    /// Calls recvmmsg and returns how many messages it filled.
    #[allow(
        unsafe_code,
        reason = "nix neither restores the lengths that the kernel shortens nor knows IP_TOS"
    )]
    fn call(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        self.vectors.clear();
        self.messages.clear();
        let rooms = self.buffer.chunks_exact_mut(STRIDE);
        self.vectors.extend(rooms.map(|room| libc::iovec {
            iov_base: room.as_mut_ptr().cast(),
            iov_len: LARGEST,
        }));
        let parts = self
            .vectors
            .iter_mut()
            .zip(&mut self.names)
            .zip(&mut self.controls);
        for ((vector, name), control) in parts {
            self.messages.push(libc::mmsghdr {
                msg_hdr: libc::msghdr {
                    msg_name: std::ptr::from_mut(name).cast(),
                    msg_namelen: socklen(size_of::<libc::sockaddr_storage>()),
                    msg_iov: vector,
                    msg_iovlen: 1,
                    msg_control: control.as_mut_ptr().cast(),
                    msg_controllen: size_of_val(control),
                    msg_flags: 0,
                },
                msg_len: 0,
            });
        }
        // SAFETY: `messages` holds MESSAGES headers. Each points to a name, an
        // iovec and a control buffer of its own, which live in `self` and are
        // not touched until the call returns, with their true sizes; each iovec
        // to LARGEST octets of its own room of STRIDE octets in `buffer`.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                libc::c_uint::try_from(self.messages.len()).unwrap_or_default(),
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(Errno::result(received)?).map_err(|_| Errno::EINVAL)
    }
}

fn socklen(len: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(len).unwrap_or_default()
}

/// What the control messages of a datagram say.
#[derive(Default)]
struct Control {
    segment: Option<usize>,
    traffic_class: u8,
    overflows: u32,
}

impl Control {
    #[allow(
        unsafe_code,
        reason = "libc's walk over control messages is by pointers"
    )]
    fn of(header: &libc::msghdr) -> Self {
        let mut told = Self::default();
        // SAFETY: the kernel has filled the header's control buffer, which
        // lives as long as the header is borrowed, and set its length; the
        // macros stay within that length. A payload is read only where its
        // message says that it is long enough, without regard to alignment.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(header);
            while let Some(found) = message.as_ref() {
                let data = libc::CMSG_DATA(message);
                let len = found
                    .cmsg_len
                    .saturating_sub(data.offset_from_unsigned(message.cast()));
                let int =
                    || (len >= size_of::<c_int>()).then(|| data.cast::<c_int>().read_unaligned());
                match (found.cmsg_level, found.cmsg_type) {
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        told.segment = int().and_then(|size| usize::try_from(size).ok());
                    }
                    (libc::IPPROTO_IP, libc::IP_TOS) if len >= 1 => {
                        told.traffic_class = data.read();
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                        told.traffic_class = int()
                            .and_then(|class| u8::try_from(class).ok())
                            .unwrap_or_default();
                    }
                    // Comes with the first drop.
                    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                        told.overflows = int().map_or(0, c_int::cast_unsigned);
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(header, message);
            }
        }
        told
    }
}

/// The address in a name. The negotiator's addresses of peers have no flow
/// label and no scope.
#[allow(unsafe_code, reason = "the kernel's address is a union by its family")]
fn socket_addr(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let name: *const libc::sockaddr_storage = name;
    // SAFETY: `sockaddr_storage` is large enough and aligned for either struct,
    // both are plain data, and the family says which one the kernel wrote.
    unsafe {
        match c_int::from((*name).ss_family) {
            libc::AF_INET => {
                let v4 = &*name.cast::<libc::sockaddr_in>();
                let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::from((address, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                let v6 = &*name.cast::<libc::sockaddr_in6>();
                let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddr::from((address, u16::from_be(v6.sin6_port))))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use socket2::SockRef;

    use super::Receiver;
    use crate::io::sockets::tell_overflows;

    #[test]
    fn what_found_the_queue_full_is_told() {
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        tell_overflows(&to).unwrap();
        SockRef::from(&to).set_recv_buffer_size(1).unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = to.local_addr().unwrap();
        // The kernel gives at least a few packets' room.
        let sent = 100;
        for _ in 0..sent {
            from.send_to(&[0; 1000], address).unwrap();
        }
        let mut receiver = Receiver::new();
        let mut arrived = 0;
        while receiver.receive(to.as_fd()).is_ok() {
            arrived += receiver.datagrams.len();
        }
        from.send_to(&[0], address).unwrap();
        receiver.receive(to.as_fd()).unwrap();
        let overflows = usize::try_from(receiver.datagrams[0].overflows).unwrap();
        assert_eq!(arrived + overflows, sent);
        assert!(overflows > 0);
    }
}
