//! Numbers of the headers that packets begin with, as their RFCs give them.

/// Octets of an IPv4 header without options (RFC 791 section 3.1).
pub(crate) const IPV4_HEADER: usize = 20;
/// Octets of an IPv6 header (RFC 8200 section 3).
pub(crate) const IPV6_HEADER: usize = 40;

/// Protocol number of ICMP (RFC 792).
pub(crate) const ICMP: u8 = 1;
/// Protocol number of TCP (RFC 9293).
pub(crate) const TCP: u8 = 6;
/// Protocol number of UDP (RFC 768).
pub(crate) const UDP: u8 = 17;
/// Protocol number of ICMPv6 (RFC 4443).
pub(crate) const ICMPV6: u8 = 58;

/// Octets of a TCP header without options (RFC 9293 section 3.1).
pub(crate) const TCP_HEADER: usize = 20;
/// Where in it the checksum lies.
pub(crate) const TCP_CHECKSUM: usize = 16;
/// Octets of a UDP header (RFC 768).
pub(crate) const UDP_HEADER: usize = 8;
/// Where in it the checksum lies.
pub(crate) const UDP_CHECKSUM: usize = 6;
