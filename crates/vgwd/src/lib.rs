//! The virtual private gateway daemon.
//!
//! [`daemon`] is the loop that everything meets in: it feeds the pure
//! supervisor with datagrams, time and counters, and carries out what it says.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the daemon is the shell that reads the clock and does I/O; the bans are for the pure crates"
)]

pub mod admin_server;
mod clients;
pub mod command_line;
pub mod config;
mod crash_detection_key;
pub mod daemon;
mod driver;
pub mod failure;
pub mod inbox;
pub mod kernel;
pub mod key_log;
pub mod logging;
pub mod metrics;
mod mtu;
pub mod namespace;
mod outside_watch;
pub mod privileges;
mod problems;
pub mod seccomp;
mod secret_file;
mod service_manager;
