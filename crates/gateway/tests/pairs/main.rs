//! Real supervisors at both ends of real tunnels, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "an arbitrary start of virtual time"
)]

mod changes;
mod failover;
mod fast_failover;
mod groups;
mod hints;
mod initiate;
mod lifecycle;
mod lines;
mod noisy;
mod one_way;
mod reload;
mod rig;
mod selector_mismatch;
mod sweeps;
mod tables;
mod unknown_peers;
mod why_not_up;
