//! The configured other end of a tunnel: what both IKE versions share.

pub mod config;
pub mod identity;
pub(crate) mod peers;
pub mod selector;
