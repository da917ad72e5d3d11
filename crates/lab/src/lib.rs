//! Network namespaces, veth pairs, probes and a watcher for leaks: for the demo, the
//! scenarios and the benches.
//!
//! Everything here is made by system calls and netlink, so that the demo needs no
//! package beyond the toolchain; everything made is removed when its owner is
//! dropped, and what a crashed owner left behind is removed by the next [`Lab`].
//! Root is needed for all of it.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this crate drives real networks in real time"
)]

mod cgroup;
pub mod interrupt;
mod lab;
mod link;
mod namespace;
mod path_cut;
pub mod probe;
mod process;
mod scratch;
pub mod topology;
mod wait;
mod watcher;

pub use cgroup::Cgroup;
pub use lab::Lab;
pub use link::Veth;
pub use namespace::Namespace;
pub use path_cut::Cut;
pub use process::{PrivateRun, Process};
pub use scratch::Scratch;
pub use wait::wait_until;
pub use watcher::{Kind, Leak, Watcher};
