//! Where an SA's packets go outside.

use std::net::SocketAddr;

/// The outside addresses of an SA's packets, and their encapsulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Our address, one of the outside addresses; the port counts only with UDP
    /// encapsulation.
    pub local: SocketAddr,
    /// The peer's, as its packets show it; the port counts only with UDP encapsulation.
    pub remote: SocketAddr,
    /// ESP in UDP (RFC 3948), or IP protocol 50.
    pub udp_encapsulation: bool,
}
