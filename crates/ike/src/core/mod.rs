//! What all state machines share: time, randomness, SPIs and deadlines, and the types of their
//! output, such as events and reasons.

pub mod bounded_text;
pub(crate) mod deadlines;
pub mod drop_reason;
pub(crate) mod env;
pub mod esp_spis;
pub mod event;
pub mod job;
pub mod progress;
