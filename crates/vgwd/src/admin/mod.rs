//! The admin socket: JSON lines over a Unix socket, for `vgw status` and its siblings.
//!
//! What travels ([`wire`]) is converted at the edge, both ways, and never
//! reaches the domain.

pub mod client;
pub mod convert;
pub mod request;
pub mod server;
pub mod wire;
