//! Metrics for Prometheus, over HTTP. `series` lists every one, `every_series.txt` shows them.
//!
//! A sample of everything is taken once a second at most, however many scrape, and made
//! into text on another thread. Per tunnel AWS's three, TunnelState, TunnelDataIn and
//! TunnelDataOut, and what the negotiator counts; for the whole gateway the dropped packets
//! by reason; and for the process what is usual. Every configured tunnel is a series, up or
//! not, so that an alert on it can be written before it first fails.

mod content_type;
mod http;
mod process;
mod series;

pub use content_type::{MetricsFormat, plain};
pub use http::{SampleRequest, serve};
pub use process::Process;
pub use series::{LastReload, Sample, TunnelSample, text};
