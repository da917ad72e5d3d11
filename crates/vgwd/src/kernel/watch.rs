//! What changes in a network namespace, told by the kernel as it happens
//! (rtnetlink(7)): links, addresses, routes, rules, and what is forwarded.
//!
//! Of routes and rules, what we change ourselves is not told: the kernel notes in each message
//! by which socket the change was made, and a filter drops those of our own before they take
//! room in the queue. So a burst of our own changes does not fill it, and whatever is told of
//! a route was done by somebody else. Links and addresses are told whoever changed them.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use ipnet::IpNet;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily as Domain, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv,
    socket,
};
use socket2::{SockFilter, SockRef};
use tokio::io::unix::AsyncFd;

use super::routes::{ROUTE_PROTOCOL, destination_of};
use super::{LocalAddress, Netlink};

/// Links, addresses, routes, rules and settings of both families.
const GROUPS: [libc::c_int; 9] = [
    libc::RTMGRP_LINK,
    libc::RTMGRP_IPV4_IFADDR,
    libc::RTMGRP_IPV6_IFADDR,
    libc::RTMGRP_IPV4_ROUTE,
    libc::RTMGRP_IPV6_ROUTE,
    group(libc::RTNLGRP_IPV4_RULE),
    group(libc::RTNLGRP_IPV6_RULE),
    group(libc::RTNLGRP_IPV4_NETCONF),
    group(libc::RTNLGRP_IPV6_NETCONF),
];

/// Links, addresses and routes of both families.
const OUTSIDE_GROUPS: [libc::c_int; 5] = [
    libc::RTMGRP_LINK,
    libc::RTMGRP_IPV4_IFADDR,
    libc::RTMGRP_IPV6_IFADDR,
    libc::RTMGRP_IPV4_ROUTE,
    libc::RTMGRP_IPV6_ROUTE,
];

/// What of a message is told: everything but routes and rules that were changed by the socket
/// with this port (linux/netlink.h, nlmsg_pid).
fn all_but_changes_by(port: u32) -> io::Result<Vec<SockFilter>> {
    use libc::{BPF_ABS, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    /// Where it is in `struct nlmsghdr`.
    const PORT: u32 = 12;
    Ok(vec![
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0, PORT)?,
        step(BPF_JMP | BPF_JEQ | BPF_K, 0, 5, port.to_be())?,
        step(BPF_LD | BPF_H | BPF_ABS, 0, 0, TYPE)?,
        is(libc::RTM_NEWROUTE, 4)?,
        is(libc::RTM_DELROUTE, 3)?,
        is(libc::RTM_NEWRULE, 2)?,
        is(libc::RTM_DELRULE, 1)?,
        step(BPF_RET | BPF_K, 0, 0, u32::MAX)?,
        step(BPF_RET | BPF_K, 0, 0, 0)?,
    ])
}

/// What of a message is told outside: everything but routes of ours, which lead to tunnels and
/// can be many.
fn all_but_our_routes() -> io::Result<Vec<SockFilter>> {
    use libc::{BPF_ABS, BPF_B, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET};
    /// Where it is behind `struct nlmsghdr` in `struct rtmsg`.
    const PROTOCOL: u32 = 16 + 5;
    let ours = u32::from(ROUTE_PROTOCOL);
    Ok(vec![
        step(BPF_LD | BPF_H | BPF_ABS, 0, 0, TYPE)?,
        is(libc::RTM_NEWROUTE, 2)?,
        is(libc::RTM_DELROUTE, 1)?,
        step(BPF_RET | BPF_K, 0, 0, u32::MAX)?,
        step(BPF_LD | BPF_B | BPF_ABS, 0, 0, PROTOCOL)?,
        step(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ours)?,
        step(BPF_RET | BPF_K, 0, 0, u32::MAX)?,
        step(BPF_RET | BPF_K, 0, 0, 0)?,
    ])
}

/// Where a message's type is in `struct nlmsghdr`.
const TYPE: u32 = 4;

/// A step of a filter.
fn step(code: u32, skip_if_equal: u8, skip_if_not: u8, value: u32) -> io::Result<SockFilter> {
    let code = u16::try_from(code).map_err(io::Error::other)?;
    Ok(SockFilter::new(code, skip_if_equal, skip_if_not, value))
}

/// Skips so many steps if the loaded type is this one. A filter loads in network byte order, the
/// message is in the machine's.
fn is(kind: u16, skip: u8) -> io::Result<SockFilter> {
    use libc::{BPF_JEQ, BPF_JMP, BPF_K};
    let kind = u32::from(kind.to_be());
    step(BPF_JMP | BPF_JEQ | BPF_K, skip, 0, kind)
}

/// The bit of a group that has no name for it.
const fn group(number: libc::c_uint) -> libc::c_int {
    1 << (number - 1)
}

/// linux/rtnetlink.h
const RTM_NEWNETCONF: u16 = 80;
const RTM_DELNETCONF: u16 = 81;
/// No message of the kernel is longer, bytes (NLMSG_GOODSIZE is at most 8 KiB).
const LONGEST: usize = 32 * 1024;
/// Datagrams that are taken before the others of the thread have their turn.
const AT_ONCE: usize = 64;

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A link appeared, or is not what it was.
    Link {
        /// Its index.
        index: u32,
        /// What it is now.
        now: LinkState,
    },
    /// A link is gone from the namespace.
    LinkGone {
        /// What its index was.
        index: u32,
    },
    /// An address appeared, or is not what it was.
    Address(LocalAddress),
    /// An address is gone.
    AddressGone(LocalAddress),
    /// A route to this prefix, of any table, appeared, changed or is gone, and not by us. The
    /// kernel does not tell of the IPv4 routes that go with a link, nor do we of those that
    /// it makes itself for an address.
    Route {
        /// Where it leads.
        prefix: IpNet,
        /// Whether it is gone.
        gone: bool,
    },
    /// A rule appeared or is gone, and not by us.
    Rule,
    /// Settings of a link, or of all, are not what they were: whether it forwards, and
    /// its reverse path filter.
    NetConf,
    /// The kernel had no room for all that it had to tell, or told what we do not
    /// understand: anything may have changed.
    Missed,
}

/// A link as the kernel tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkState {
    /// Its name.
    pub name: String,
    /// Whether it is up (IFF_UP).
    pub up: bool,
    /// Whether it carries packets as well (IFF_RUNNING): it has a carrier.
    pub running: bool,
    /// The largest packet that it carries, octets.
    pub mtu: u32,
}

/// A socket that hears of every change in the namespace where it was opened.
#[derive(Debug)]
pub struct Watch {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

impl Watch {
    /// Opens it in the network namespace of the calling thread, which must be one
    /// of a tokio runtime. It takes no privilege. Routes and rules that `own` changes are
    /// not told.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(own: &Netlink) -> io::Result<Self> {
        Self::hear(&GROUPS, &all_but_changes_by(own.changes.port())?)
    }

    /// As [`Self::open`], of links, addresses and routes that are not ours, whoever changes them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open_outside() -> io::Result<Self> {
        Self::hear(&OUTSIDE_GROUPS, &all_but_our_routes()?)
    }

    fn hear(groups: &[libc::c_int], filter: &[SockFilter]) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(Domain::Netlink, SockType::Raw, flags, protocol)?;
        let groups = groups.iter().fold(0, |all, group| all | group);
        let groups = u32::try_from(groups).map_err(io::Error::other)?;
        SockRef::from(&socket).attach_filter(filter)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self {
            socket: registered(socket)?,
            buffer: vec![0; LONGEST],
        })
    }

    /// Waits for changes; gives those that are there, in their order. Nothing is
    /// lost if it is not waited for to the end.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn next(&mut self) -> io::Result<Vec<Change>> {
        let mut changes = Vec::new();
        loop {
            let mut ready = self.socket.readable().await?;
            for _ in 0..AT_ONCE {
                let socket = ready.get_inner().as_raw_fd();
                // MSG_TRUNC: the length that it had, also if it did not fit.
                match recv(socket, &mut self.buffer, MsgFlags::MSG_TRUNC) {
                    Ok(len) => match self.buffer.get(..len) {
                        Some(messages) => read(messages, &mut changes),
                        None => changes.push(Change::Missed),
                    },
                    Err(Errno::ENOBUFS) => changes.push(Change::Missed),
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(errno) => return Err(errno.into()),
                }
            }
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }
}

#[allow(
    unsafe_code,
    reason = "tokio has no safe way to wait for a netlink socket"
)]
fn registered(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and names the same description until it is dropped,
    // which the AsyncFd does that owns it.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

/// Reads the messages of one datagram.
fn read(mut messages: &[u8], changes: &mut Vec<Change>) {
    /// `struct nlmsghdr`; messages are aligned to 4.
    const HEADER: usize = 16;
    while let Some(length) = messages.first_chunk() {
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
        let Some(message) = messages.get(..length).filter(|_| length >= HEADER) else {
            changes.push(Change::Missed);
            return;
        };
        match NetlinkMessage::deserialize(message) {
            _ if is_net_conf(message) => changes.push(Change::NetConf),
            Ok(message) => changes.extend(change(message)),
            Err(error) => {
                tracing::debug!(%error, "a message of the kernel is not understood: {error}");
                changes.push(Change::Missed);
            }
        }
        messages = messages
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
}

/// Whether a message is one of those that the library does not know.
fn is_net_conf(message: &[u8]) -> bool {
    let kind = message.get(4..).and_then(<[u8]>::first_chunk);
    let kind = kind.map(|kind| u16::from_ne_bytes(*kind));
    matches!(kind, Some(RTM_NEWNETCONF | RTM_DELNETCONF))
}

fn change(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Change> {
    let NetlinkMessage {
        header, payload, ..
    } = message;
    let NetlinkPayload::InnerMessage(message) = payload else {
        return matches!(payload, NetlinkPayload::Overrun(_)).then_some(Change::Missed);
    };
    Some(match message {
        // Of a bridge's or a family's part of a link there are messages of its own.
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
            if link.header.interface_family != AddressFamily::Unspec =>
        {
            return None;
        }
        RouteNetlinkMessage::NewLink(link) => Change::Link {
            index: link.header.index,
            now: state_of(&link),
        },
        RouteNetlinkMessage::DelLink(link) => Change::LinkGone {
            index: link.header.index,
        },
        RouteNetlinkMessage::NewAddress(address) => Change::Address(LocalAddress::of(&address)?),
        RouteNetlinkMessage::DelAddress(address) => {
            Change::AddressGone(LocalAddress::of(&address)?)
        }
        // They come and go with an address, which is told.
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)
            if header.port_number == 0 && route.header.protocol == RouteProtocol::Kernel =>
        {
            return None;
        }
        RouteNetlinkMessage::NewRoute(route) => Change::Route {
            prefix: destination_of(&route)?,
            gone: false,
        },
        RouteNetlinkMessage::DelRoute(route) => Change::Route {
            prefix: destination_of(&route)?,
            gone: true,
        },
        RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) => Change::Rule,
        _ => return None,
    })
}

pub(super) fn state_of(link: &LinkMessage) -> LinkState {
    let mut state = LinkState {
        name: String::new(),
        up: link.header.flags.contains(LinkFlags::Up),
        running: link.header.flags.contains(LinkFlags::Running),
        mtu: 0,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => state.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => state.mtu = *mtu,
            _ => {}
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Change, read};

    fn changes(messages: &[u8]) -> Vec<Change> {
        let mut changes = Vec::new();
        read(messages, &mut changes);
        changes
    }

    /// RTM_DELROUTE of 192.168.10.0/24 by 203, as `strace ip monitor route` shows it.
    fn route_gone() -> Vec<u8> {
        let mut message = Vec::new();
        message.extend(36_u32.to_ne_bytes());
        message.extend(25_u16.to_ne_bytes());
        message.extend([0; 10]);
        message.extend([2, 24, 0, 0, 254, 203, 253, 1, 0, 0, 0, 0]);
        message.extend(8_u16.to_ne_bytes());
        message.extend(1_u16.to_ne_bytes());
        message.extend([192, 168, 10, 0]);
        message
    }

    #[test]
    fn each_message_of_a_datagram_is_read() {
        let prefix = "192.168.10.0/24".parse().unwrap();
        let gone = true;
        let change = Change::Route { prefix, gone };
        let two = [route_gone(), route_gone()].concat();
        assert_eq!(changes(&two), [change.clone(), change]);
    }

    #[test]
    fn a_route_that_the_kernel_makes_for_an_address_is_not_told_beside_that() {
        /// RTPROT_KERNEL, where `struct rtmsg` has the protocol.
        const KERNEL: u8 = 2;
        let mut by_kernel = route_gone();
        by_kernel[16 + 5] = KERNEL;
        assert_eq!(changes(&by_kernel), []);
        let mut by_somebody = by_kernel;
        by_somebody[12] = 9;
        assert_eq!(changes(&by_somebody).len(), 1);
    }

    #[test]
    fn what_is_cut_off_may_have_told_of_anything() {
        let whole = route_gone();
        assert_eq!(changes(&whole[..20]), [Change::Missed]);
        assert_eq!(changes(&[0; 16]), [Change::Missed]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_changes_or_not(kind in 16_u16..30, rest in proptest::collection::vec(any::<u8>(), 0..120)) {
            let length = u32::try_from(16 + rest.len()).unwrap();
            let message = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &rest].concat();
            changes(&message);
            changes(&rest);
        }
    }
}
