//! A network in memory with virtual time: real supervisors and real ESP on
//! many gateways, with loss, reordering, duplication, NAT and restarts between
//! them. A seed decides everything, so that a run that failed can be replayed.
//!
//! [`world::World`] is the rig, for scenarios written by hand; [`days`] drives
//! it at random and judges; [`judge`] says what must hold.

#![forbid(unsafe_code)]

pub mod days;
pub mod dice;
pub mod error_log;
pub mod host;
pub mod judge;
pub mod network;
pub mod node;
pub mod plane;
pub mod setup;
pub mod world;
