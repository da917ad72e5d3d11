//! Metrics for Prometheus, over HTTP.
//!
//! Per tunnel AWS's three, TunnelState, TunnelDataIn and TunnelDataOut, and
//! what the negotiator counts; for the whole gateway the dropped packets by
//! reason. Every configured tunnel is a series, up or not, so that an alert
//! on it can be written before it first fails.

mod collector;
mod http;

pub use collector::{Sample, TunnelSample, text};
pub use http::{Asked, serve};
