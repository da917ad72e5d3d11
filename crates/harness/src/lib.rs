//! Real peers, hosts behind gateways and our own daemons in network namespaces, for
//! the scenarios and the benches.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real daemons are driven in real time"
)]

pub mod gateway;
pub mod iperf3;
pub mod nspawn;
pub mod our_pair;
pub mod qemu;
pub mod stage;
pub mod strongswan;
pub mod tools;
pub mod two_sites;
mod vici;
pub mod workspace;

pub use workspace::Workspace;
