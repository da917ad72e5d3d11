//! The control socket: JSON lines over a Unix socket, for `vgw status` and its siblings.
//!
//! What travels ([`wire`]) is converted at the edge, both ways, and never
//! reaches the domain.

#![forbid(unsafe_code)]

pub mod client;
pub mod request;
pub mod wire;
