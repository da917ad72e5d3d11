//! Data planes in network namespaces, over real sockets and TUN devices.
//! Root is needed, as for the daemon itself.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and real sockets need real time"
)]

mod carry;
mod change;
mod device;
mod differential;
mod failing;
mod features;
mod links;
mod order;
mod refuse;
mod relay;
mod rig;
