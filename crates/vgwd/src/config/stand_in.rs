//! Addresses that stand for what could not be read (RFC 5737), so that the rest of the file is
//! still checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// Stands for an address.
pub(super) const ADDRESS: IpAddr = IpAddr::V4(of(255));
/// Stands for an address of a file that has IPv6 ones.
pub(super) const ADDRESS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// Stands for a prefix.
pub(super) const PREFIX: IpNet = IpNet::V4(Ipv4Net::new_assert(of(255), 32));

/// The stand-in of this number: another one for each.
pub(super) const fn of(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

/// Whether it may stand for a prefix that could not be read.
pub(super) fn is_stand_in(prefix: &IpNet) -> bool {
    let network = IpNet::V4(Ipv4Net::new_assert(of(0), 24));
    prefix.prefix_len() == 32 && network.contains(prefix)
}
