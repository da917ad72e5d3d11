//! Metrics for Prometheus, over HTTP.
//!
//! A sample of everything is taken once a second at most, however many scrape, and made
//! into text on another thread. Per tunnel AWS's three, TunnelState, TunnelDataIn and
//! TunnelDataOut, and what the negotiator counts; for the whole gateway the dropped packets
//! by reason; and for the process what is usual. Every configured tunnel is a series, up or
//! not, so that an alert on it can be written before it first fails.

mod collector;
mod format;
mod http;
mod process;

pub use collector::{Reloaded, Sample, TunnelSample, text};
pub use format::{Format, plain};
pub use http::{Asked, serve};
pub use process::Process;
