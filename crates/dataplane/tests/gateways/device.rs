//! A packet socket on a TUN device: gives it what the kernel's stack would, and
//! sees what the kernel's stack gets, super-packets and their headers included.

use std::ffi::c_int;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use vgw_dataplane::{VNET_HEADER_LEN, VnetHeader};
use vgw_lab::Namespace;

use crate::rig::PATIENCE;

/// linux/if_packet.h
const PACKET_VNET_HDR: c_int = 15;

pub struct Device(Socket);

impl Device {
    /// Opens the device, for packets of both families that arrive and of
    /// `ether_type` that are sent.
    pub fn open(namespace: &Namespace, name: &str, ether_type: c_int) -> Self {
        let socket = namespace.run(|| open(name, ether_type)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Queues this many octets of packets, as the kernel counts them.
    pub fn set_room(&self, octets: usize) {
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&self.0, octets).unwrap();
    }

    /// Has the kernel send this through the device.
    pub fn send(&self, header: VnetHeader, packet: &[u8]) {
        let octets = [&header.to_octets(), packet].concat();
        assert_eq!((&self.0).write(&octets).unwrap(), octets.len());
    }

    /// The next packet or super-packet that passes through the device.
    pub fn receive(&self) -> (VnetHeader, Vec<u8>) {
        let mut octets = vec![0; 70_000];
        let len = (&self.0).read(&mut octets).unwrap();
        octets.truncate(len);
        let packet = octets.split_off(VNET_HEADER_LEN);
        (VnetHeader::from_octets(octets.try_into().unwrap()), packet)
    }
}

#[allow(
    unsafe_code,
    reason = "no library sets PACKET_VNET_HDR or builds a link address"
)]
fn open(name: &str, ether_type: c_int) -> Socket {
    let protocol = u16::try_from(ether_type).unwrap().to_be();
    let socket = Socket::new(
        Domain::PACKET,
        Type::RAW,
        Some(Protocol::from(c_int::from(protocol))),
    )
    .unwrap();
    let on: c_int = 1;
    let len = libc::socklen_t::try_from(size_of::<c_int>()).unwrap();
    // SAFETY: the descriptor is open, and `on` is a c_int of this length that
    // lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_VNET_HDR,
            (&raw const on).cast(),
            len,
        )
    };
    assert_eq!(result, 0);
    let index = nix::net::if_::if_nametoindex(name).unwrap();
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of the addresses that the storage is for.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
    address.sll_protocol = protocol;
    address.sll_ifindex = c_int::try_from(index).unwrap();
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap();
    // SAFETY: the storage holds a whole `sockaddr_ll`.
    socket
        .bind(&unsafe { SockAddr::new(storage, len) })
        .unwrap();
    socket
}
