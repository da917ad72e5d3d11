//! The tunnel supervisor and the domain: connections, tunnels, dead peers,
//! failover, routes. It turns events into commands and does no I/O.

#![forbid(unsafe_code)]

mod changed_options;
pub mod command;
pub mod domain;
pub mod line_limit;
pub mod revision;
pub mod rules;
pub mod span;
pub mod status;
pub mod supervisor;
#[cfg(test)]
mod test_time;
pub mod why_not_up;
