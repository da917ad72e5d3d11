//! Scenarios in network namespaces against real peers.
//!
//! A scenario is a folder under `scenarios/`: the peer's configuration, ours, and
//! `mod.rs`, which says what is done and what must be seen. What is seen is read
//! from `vgw status --json`, from `swanctl` and from the probes of `vgw-lab`;
//! nothing is judged by waiting or by the text of a log.
//!
//! Hosts are behind the gateways, and every scenario fails if one address of theirs, or
//! of a tunnel's inside, is seen on the internet outside ESP: [`stage::leaks`].

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "scenarios drive real daemons in real time"
)]

pub mod gateway;
pub mod guest;
pub mod iperf3;
pub mod machine;
pub mod pair;
pub mod sites;
pub mod stage;
pub mod status;
pub mod strongswan;
pub mod tools;
mod vici;
pub mod workspace;

pub use workspace::Workspace;
