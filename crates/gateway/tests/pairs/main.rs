//! Real supervisors at both ends of real tunnels, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

mod failover;
mod lifecycle;
mod reload;
mod rig;
