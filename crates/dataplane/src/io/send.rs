//! Sending a burst of datagrams with one system call.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use socket2::SockAddr;

/// Datagrams, or several to be cut, of one call.
pub(crate) const MESSAGES: usize = 64;
/// Datagrams that the kernel cuts from one message at most: UDP_MAX_SEGMENTS of
/// the oldest kernels that cut.
pub(crate) const MAX_SEGMENTS: usize = 64;
/// Octets of one message at most: what IPv4's length field leaves beside the
/// headers of IPv6, rounded down.
pub(crate) const MAX_MESSAGE: usize = 65_480;

/// One datagram, or several of one size that the kernel cuts.
pub(crate) struct Parcel<'a> {
    pub(crate) octets: &'a [u8],
    pub(crate) to: &'a SockAddr,
    /// Octets of each datagram but the last, which may be shorter.
    pub(crate) segment: Option<u16>,
    /// DSCP and ECN of the outer header.
    pub(crate) traffic_class: u8,
}

/// A control message with up to 4 octets, as `CMSG_SPACE(4)` lays it out.
#[repr(C)]
#[derive(Clone, Copy)]
struct ControlMessage {
    header: libc::cmsghdr,
    data: [u8; CONTROL_DATA],
}

const CONTROL_DATA: usize = align_of::<libc::cmsghdr>().next_multiple_of(size_of::<c_int>());

/// The control messages of one datagram: its traffic class and its segments.
type Controls = [ControlMessage; 2];

/// What one call needs, allocated once.
pub(crate) struct Sender {
    vectors: Vec<libc::iovec>,
    controls: Vec<Controls>,
    messages: Vec<libc::mmsghdr>,
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self {
            vectors: Vec::with_capacity(MESSAGES),
            controls: Vec::with_capacity(MESSAGES),
            messages: Vec::with_capacity(MESSAGES),
        }
    }

    /// Sends up to [`MESSAGES`] parcels in order without waiting and returns
    /// how many were sent; an error is the first parcel's.
    #[allow(
        unsafe_code,
        reason = "nix gives no sound way to learn how many messages sendmmsg sent"
    )]
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        parcels: impl Iterator<Item = Parcel<'a>>,
    ) -> Result<usize, Errno> {
        self.vectors.clear();
        self.controls.clear();
        self.messages.clear();
        for parcel in parcels.take(MESSAGES) {
            let (controls, used) = controls(&parcel);
            self.vectors.push(libc::iovec {
                iov_base: parcel.octets.as_ptr().cast_mut().cast(),
                iov_len: parcel.octets.len(),
            });
            self.controls.push(controls);
            self.messages.push(libc::mmsghdr {
                msg_hdr: libc::msghdr {
                    msg_name: parcel.to.as_ptr().cast_mut().cast(),
                    msg_namelen: parcel.to.len(),
                    msg_iov: std::ptr::null_mut(),
                    msg_iovlen: 1,
                    msg_control: std::ptr::null_mut(),
                    msg_controllen: used * size_of::<ControlMessage>(),
                    msg_flags: 0,
                },
                msg_len: 0,
            });
        }
        // Only now, when the vectors no longer move.
        let parts = self.vectors.iter_mut().zip(&mut self.controls);
        for (message, (vector, controls)) in self.messages.iter_mut().zip(parts) {
            message.msg_hdr.msg_iov = vector;
            if message.msg_hdr.msg_controllen > 0 {
                message.msg_hdr.msg_control = controls.as_mut_ptr().cast();
            }
        }
        let count = libc::c_uint::try_from(self.messages.len()).map_err(|_| Errno::EINVAL)?;
        // SAFETY: `messages` holds `count` headers. Each points to one iovec in
        // `vectors` and to the control messages of `controls`, with the length
        // that is filled; neither is touched until the call returns. The iovec
        // points to octets that are borrowed for the call, as is the address,
        // which has the length given. The kernel only reads through these
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

/// The control messages of a parcel, and how many of them it needs.
fn controls(parcel: &Parcel<'_>) -> (Controls, usize) {
    let class = c_int::from(parcel.traffic_class).to_ne_bytes();
    let class = if parcel.to.is_ipv6() {
        control(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class)
    } else {
        control(libc::IPPROTO_IP, libc::IP_TOS, &class)
    };
    let segment = parcel.segment.unwrap_or_default().to_ne_bytes();
    let segment = control(libc::SOL_UDP, libc::UDP_SEGMENT, &segment);
    match (parcel.segment, parcel.traffic_class) {
        (Some(_), 0) => ([segment, class], 1),
        (Some(_), _) => ([segment, class], 2),
        (None, 0) => ([class, segment], 0),
        (None, _) => ([class, segment], 1),
    }
}

fn control(level: c_int, kind: c_int, value: &[u8]) -> ControlMessage {
    let mut data = [0; CONTROL_DATA];
    for (to, from) in data.iter_mut().zip(value) {
        *to = *from;
    }
    ControlMessage {
        header: libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + value.len(),
            cmsg_level: level,
            cmsg_type: kind,
        },
        data,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::os::fd::AsFd;

    use super::{ControlMessage, Parcel, Sender};
    use crate::io::receive::Receiver;
    use crate::io::sockets::tell_traffic_class;

    #[test]
    #[allow(unsafe_code, reason = "CMSG_SPACE is marked unsafe, but only computes")]
    fn a_control_message_takes_the_space_that_the_kernel_expects() {
        // SAFETY: it touches no memory.
        let expected = unsafe { libc::CMSG_SPACE(4) };
        assert_eq!(
            size_of::<ControlMessage>(),
            usize::try_from(expected).unwrap()
        );
    }

    #[test]
    fn what_is_sent_in_segments_arrives_in_datagrams_with_its_traffic_class() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let at: SocketAddr = at.parse().unwrap();
            let from = UdpSocket::bind(at).unwrap();
            let to = UdpSocket::bind(at).unwrap();
            tell_traffic_class(&to, at.ip()).unwrap();
            let address = to.local_addr().unwrap().into();
            let octets: Vec<u8> = (0..250).collect();
            let parcels = [(Some(100), 0x2E << 2), (None, 1), (Some(200), 0)];
            let parcels = parcels.map(|(segment, traffic_class)| Parcel {
                octets: &octets,
                to: &address,
                segment,
                traffic_class,
            });
            assert_eq!(Sender::new().send(from.as_fd(), parcels.into_iter()), Ok(3));
            let mut receiver = Receiver::new();
            let mut arrived = Vec::new();
            while arrived.len() < 6 {
                receiver.receive(to.as_fd()).unwrap();
                for datagram in &receiver.datagrams {
                    assert_eq!(datagram.remote, from.local_addr().unwrap());
                    assert_eq!(datagram.segment, datagram.len);
                    let octets = &receiver.buffer[datagram.at..datagram.at + datagram.len];
                    arrived.push((octets[0], datagram.len, datagram.traffic_class));
                }
            }
            let expected = [
                (0, 100, 0xB8),
                (100, 100, 0xB8),
                (200, 50, 0xB8),
                (0, 250, 1),
                (0, 200, 0),
                (200, 50, 0),
            ];
            assert_eq!(arrived, expected);
        }
    }
}
