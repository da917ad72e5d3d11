//! The other end of a tunnel, as it is configured: what both IKE versions share.

pub mod config;
pub mod identity;
pub(crate) mod peers;
pub mod selector;
