//! A netlink socket by which the kernel is changed: many requests in one send, and an answer
//! to each.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recv, send, socket,
};

/// Requests that are sent at once: the answers must have room in the socket's buffer, 208 KiB
/// of which the kernel takes 1.3 for one.
pub(super) const AT_ONCE: usize = 64;
/// An answer has a header, a number, and the request if it is an error.
const ANSWER: usize = 4096;
/// linux/netlink.h
const NLMSG_ERROR: u16 = 2;

/// One change.
pub(super) struct Request {
    /// What is to change.
    pub(super) message: RouteNetlinkMessage,
    /// How, beside the flags of every request.
    pub(super) flags: u16,
}

/// A socket whose changes are made in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct ChangeSocket {
    socket: OwnedFd,
    port: u32,
    buffers: RefCell<Buffers>,
}

#[derive(Debug)]
struct Buffers {
    /// The sequence number of the request after the last.
    next: u32,
    requests: Vec<u8>,
    answer: Vec<u8>,
}

impl ChangeSocket {
    /// Opens it in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        // The kernel has answered when sending returns.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        let bound: NetlinkAddr = getsockname(socket.as_raw_fd())?;
        Ok(Self {
            socket,
            port: bound.pid(),
            buffers: RefCell::new(Buffers {
                next: 0,
                requests: Vec::new(),
                answer: vec![0; ANSWER],
            }),
        })
    }

    /// What the kernel calls this socket where it tells of a change made by it.
    pub(super) const fn port(&self) -> u32 {
        self.port
    }

    /// Sends these requests, [`AT_ONCE`] at most, which the kernel carries out in their order,
    /// whatever becomes of those before. Gives what became of each.
    pub(super) fn send(&self, requests: Vec<Request>) -> Vec<Result<(), Errno>> {
        let mut buffers = self.buffers.borrow_mut();
        let Buffers {
            next,
            requests: bytes,
            answer,
        } = &mut *buffers;
        let first = *next;
        bytes.clear();
        let mut outcomes = Vec::with_capacity(requests.len());
        for Request { message, flags } in requests {
            append(bytes, message, flags, *next);
            *next = next.wrapping_add(1);
            // Unless it is answered: the answer found no room.
            outcomes.push(Err(Errno::ENOBUFS));
        }
        let socket = self.socket.as_raw_fd();
        if let Err(errno) = send(socket, bytes, MsgFlags::empty()) {
            outcomes.fill(Err(errno));
            return outcomes;
        }
        let mut awaited = outcomes.len();
        while awaited > 0 {
            match recv(socket, answer, MsgFlags::empty()) {
                Ok(length) => {
                    let answer = answer.get(..length).and_then(read);
                    let answered = answer.and_then(|(sequence, outcome)| {
                        let place = usize::try_from(sequence.wrapping_sub(first)).ok()?;
                        Some((outcomes.get_mut(place)?, outcome))
                    });
                    if let Some((place, outcome)) = answered {
                        *place = outcome;
                        awaited -= 1;
                    }
                }
                Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(_) => break,
            }
        }
        outcomes
    }
}

fn append(bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16, sequence: u32) {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags | NLM_F_REQUEST | NLM_F_ACK;
    message.header.sequence_number = sequence;
    message.finalize();
    let (start, length) = (bytes.len(), message.buffer_len());
    bytes.resize(start + length.next_multiple_of(4), 0);
    if let Some(room) = bytes.get_mut(start..start + length) {
        message.serialize(room);
    }
}

/// The sequence number of the request that is answered, and the answer.
fn read(answer: &[u8]) -> Option<(u32, Result<(), Errno>)> {
    let kind = answer.get(4..)?.first_chunk()?;
    let sequence = answer.get(8..)?.first_chunk()?;
    let code = answer.get(16..)?.first_chunk()?;
    if u16::from_ne_bytes(*kind) != NLMSG_ERROR {
        return None;
    }
    let outcome = match i32::from_ne_bytes(*code) {
        0 => Ok(()),
        code => Err(Errno::from_raw(code.wrapping_neg())),
    };
    Some((u32::from_ne_bytes(*sequence), outcome))
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::read;

    fn answer(kind: u16, code: i32) -> Vec<u8> {
        let (length, flags) = (36_u32.to_ne_bytes(), 0_u16.to_ne_bytes());
        let (sequence, port) = (7_u32.to_ne_bytes(), 9_u32.to_ne_bytes());
        let kind = kind.to_ne_bytes();
        [
            &length[..],
            &kind,
            &flags,
            &sequence,
            &port,
            &code.to_ne_bytes(),
            &[0; 16],
        ]
        .concat()
    }

    #[test]
    fn an_answer_says_what_became_of_which_request() {
        assert_eq!(read(&answer(2, 0)), Some((7, Ok(()))));
        assert_eq!(read(&answer(2, -17)), Some((7, Err(Errno::EEXIST))));
        assert_eq!(read(&answer(24, 0)), None);
        assert_eq!(read(&answer(2, 0)[..19]), None);
        assert_eq!(read(&[]), None);
    }
}
