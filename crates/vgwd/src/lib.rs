//! The virtual private gateway daemon and its command line.

pub mod config;
