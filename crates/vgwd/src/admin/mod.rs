//! The daemon's end of the control socket.

pub mod convert;
pub mod server;
