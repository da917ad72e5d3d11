//! The IKEv2 negotiator (RFC 7296): codecs and state machines without I/O.
//!
//! It takes bytes and time and gives bytes, deadlines and events; see
//! [`endpoint::Endpoint`] for the verbs and the order in which to drain them.

#![forbid(unsafe_code)]

pub mod config;
pub mod event;
pub mod grammar;
pub mod identity;
pub mod messages;
pub mod proposal;
pub mod selector;
pub mod spi;
pub mod wire;
#[cfg(test)]
mod vectors;
