//! The IKEv2 negotiator (RFC 7296): codecs and state machines without I/O.
//!
//! It takes bytes and time and gives bytes, deadlines and events; see
//! [`endpoint::Endpoint`] for the verbs and the order in which to drain them.

#![forbid(unsafe_code)]

mod core;
mod dos_protection;
pub mod endpoint;
mod peer;
mod v2;

pub use crate::core::{bounded_text, drop_reason, esp_spis, event, job, progress};
pub use peer::{config, identity, selector};
pub use v2::messages::grammar;
pub use v2::{messages, proposal, refusal, wire};
