//! Pairs of real endpoints on a network in memory, in virtual time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests: a failure is a panic, and virtual time has to start somewhere"
)]

mod alike;
mod cloud;
mod collisions;
mod crash;
mod deletes;
mod drops;
mod handshake;
mod hostile;
mod jobs;
mod liveness;
mod moving;
mod nat;
mod probes;
mod progress;
mod quiet;
mod randomness;
mod rekey;
mod rig;
mod silence;
mod spis;
mod state;
mod strangers;
