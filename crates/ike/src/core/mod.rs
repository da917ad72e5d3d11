//! What every state machine has: time and randomness, SPIs and deadlines, and what it
//! gives, events and reasons among them.

pub(crate) mod deadlines;
pub mod denial;
pub(crate) mod env;
pub mod event;
pub mod progress;
pub mod spi;
pub mod words;
