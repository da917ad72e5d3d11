//! The daemon's end of the control socket.

pub mod server;
pub mod status;
