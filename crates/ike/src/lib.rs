//! The IKEv2 negotiator (RFC 7296): codecs and state machines without I/O.
//!
//! It takes bytes and time and gives bytes, deadlines and events; see
//! [`endpoint::Endpoint`] for the verbs and the order in which to drain them.

#![forbid(unsafe_code)]

mod admission;
mod allowance;
mod auth;
pub mod config;
mod crash_token;
pub mod denial;
pub mod endpoint;
mod env;
mod established;
pub mod event;
pub mod grammar;
pub mod identity;
mod initiator;
mod keys;
pub mod messages;
mod meter;
mod nat;
mod peers;
pub mod progress;
pub mod proposal;
mod responder;
mod screen;
mod sealed;
pub mod selector;
mod source;
pub mod spi;
mod timer;
#[cfg(test)]
mod vectors;
pub mod why;
mod window;
pub mod wire;
pub mod words;
