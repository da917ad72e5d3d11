//! Packets as bytes: what their headers say, and what is changed in inner ones.

pub(crate) mod checksum;
pub(crate) mod ecn;
pub(crate) mod headers;
pub(crate) mod hop;
pub(crate) mod icmp;
pub(crate) mod icmp_error;
pub(crate) mod inner;
pub(crate) mod mss;
pub(crate) mod mtu;
pub(crate) mod vnet;
