//! The TUN device and the outside sockets, and whole bursts in and out of them.

pub(crate) mod features;
mod filter;
pub(crate) mod icmp_filter;
pub(crate) mod kernel_drops;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod sockets;
pub(crate) mod spi_filter;
pub(crate) mod tun;
