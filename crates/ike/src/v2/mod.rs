//! IKEv2 (RFC 7296).

pub(crate) mod channel;
pub(crate) mod established;
pub(crate) mod handshake;
pub mod messages;
pub mod proposal;
pub mod refusal;
#[cfg(test)]
pub(crate) mod vectors;
pub mod wire;
