//! Buffers for a burst of packets, and the system calls that move one.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use socket2::SockAddr;

/// Packets that are moved at once.
pub(crate) const BURST: usize = 64;
/// Room before an inner packet for the ESP header: SPI, sequence number and an
/// IV of at most 16 octets, rounded up.
pub(crate) const HEADROOM: usize = 32;
/// Largest inner packet, octets: jumbo frames.
pub(crate) const MAX_INNER: usize = 9216;
/// Room after it for padding, trailer and ICV: at most 15 + 2 + 32 octets, rounded up.
const TAILROOM: usize = 64;
/// Octets of one frame; also the largest outer packet received.
pub(crate) const FRAME: usize = HEADROOM + MAX_INNER + TAILROOM;

/// [`BURST`] frames of [`FRAME`] octets. A page of it that no packet reaches
/// costs no memory.
pub(crate) struct Slab(Box<[u8]>);

impl Slab {
    pub(crate) fn new() -> Self {
        Self(vec![0; BURST * FRAME].into_boxed_slice())
    }

    /// A frame; empty if there is none of this number.
    pub(crate) fn frame(&self, frame: usize) -> &[u8] {
        let start = frame * FRAME;
        self.0.get(start..start + FRAME).unwrap_or_default()
    }

    /// A frame to write to; empty if there is none of this number.
    pub(crate) fn frame_mut(&mut self, frame: usize) -> &mut [u8] {
        let start = frame * FRAME;
        self.0.get_mut(start..start + FRAME).unwrap_or_default()
    }
}

/// A sealed packet within a frame.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) frame: usize,
    pub(crate) octets: Range<usize>,
    /// Octets of the inner packet, to count.
    pub(crate) inner_len: usize,
}

/// A received datagram; its octets start its frame.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) frame: usize,
    pub(crate) len: usize,
    /// The datagram was larger than a frame.
    pub(crate) truncated: bool,
    pub(crate) remote: SocketAddr,
}

/// Receives bursts of datagrams into a slab.
pub(crate) struct Receiver {
    pub(crate) slab: Slab,
    pub(crate) datagrams: Vec<Datagram>,
    /// For sockets of each family on their own: the kernel shortens the
    /// address length in a header to that of the address it wrote, and nix
    /// does not restore it.
    headers_v4: MultiHeaders<SockaddrStorage>,
    headers_v6: MultiHeaders<SockaddrStorage>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self {
            slab: Slab::new(),
            datagrams: Vec::with_capacity(BURST),
            headers_v4: MultiHeaders::preallocate(BURST, None),
            headers_v6: MultiHeaders::preallocate(BURST, None),
        }
    }

    /// Takes what the socket, which is bound to `local`, has, up to a burst,
    /// into `datagrams`. EAGAIN says that there is nothing.
    pub(crate) fn receive(&mut self, socket: RawFd, local: IpAddr) -> Result<(), Errno> {
        self.datagrams.clear();
        let headers = match local {
            IpAddr::V4(_) => &mut self.headers_v4,
            IpAddr::V6(_) => &mut self.headers_v6,
        };
        let mut frames = self.slab.0.chunks_exact_mut(FRAME);
        let mut slices: [_; BURST] =
            std::array::from_fn(|_| [IoSliceMut::new(frames.next().unwrap_or_default())]);
        let received = recvmmsg(
            socket,
            headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        for (frame, message) in received.enumerate() {
            if let Some(remote) = message.address.and_then(socket_addr) {
                self.datagrams.push(Datagram {
                    frame,
                    len: message.bytes,
                    truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
                    remote,
                });
            }
        }
        Ok(())
    }
}

fn socket_addr(address: SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    // Flow label and scope are no part of a peer's address as the negotiator knows it.
    let v6 = SocketAddrV6::from(*address.as_sockaddr_in6()?);
    Some(SocketAddr::from((*v6.ip(), v6.port())))
}

/// Sends bursts of datagrams to one address each.
pub(crate) struct Sender {
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self {
            vectors: Vec::with_capacity(BURST),
            messages: Vec::with_capacity(BURST),
        }
    }

    /// Sends the packets in order without waiting and returns how many went; an
    /// error is the first packet's.
    #[allow(
        unsafe_code,
        reason = "nix gives no sound way to learn how many messages sendmmsg sent"
    )]
    pub(crate) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        slab: &Slab,
        packets: &[Sealed],
        to: &SockAddr,
    ) -> Result<usize, Errno> {
        self.vectors.clear();
        self.messages.clear();
        let octets = packets.iter().map(|sealed| {
            let frame = slab.frame(sealed.frame);
            frame.get(sealed.octets.clone()).unwrap_or_default()
        });
        self.vectors.extend(octets.map(|octets| libc::iovec {
            iov_base: octets.as_ptr().cast_mut().cast(),
            iov_len: octets.len(),
        }));
        for vector in &mut self.vectors {
            self.messages.push(libc::mmsghdr {
                msg_hdr: libc::msghdr {
                    msg_name: to.as_ptr().cast_mut().cast(),
                    msg_namelen: to.len(),
                    msg_iov: vector,
                    msg_iovlen: 1,
                    msg_control: std::ptr::null_mut(),
                    msg_controllen: 0,
                    msg_flags: 0,
                },
                msg_len: 0,
            });
        }
        let count = libc::c_uint::try_from(self.messages.len()).map_err(|_| Errno::EINVAL)?;
        // SAFETY: `messages` holds `count` headers. Each points to one iovec in
        // `vectors`, which is not touched until the call returns, and that to
        // octets of `slab`, which is borrowed for the call. `to` is a valid
        // address of the length given. The kernel only reads through these
        // pointers; it writes nothing but each header's `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(Errno::result(sent)?).map_err(|_| Errno::EINVAL)
    }
}
