//! IKEv2 (RFC 7296).

pub(crate) mod channel;
pub(crate) mod established;
pub(crate) mod handshake;
pub mod messages;
pub mod proposal;
#[cfg(test)]
pub(crate) mod vectors;
pub mod why;
pub mod wire;
