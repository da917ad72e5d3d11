//! What every state machine has: time and randomness, SPIs and deadlines, and what it
//! gives, events and reasons among them.

pub mod bounded_text;
pub(crate) mod deadlines;
pub mod drop_reason;
pub(crate) mod env;
pub mod esp_spis;
pub mod event;
pub mod job;
pub mod progress;
