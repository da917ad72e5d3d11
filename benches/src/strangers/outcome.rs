//! What attacks come to.

use std::time::{Duration, Instant};

/// What an attack came to.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Messages, or whatever it is made of.
    pub messages: u64,
    /// Those that were answered, where that is what the attacker wants.
    pub answered: u64,
    /// How long it went on.
    pub took: Duration,
}

impl Outcome {
    /// What went on since then.
    pub fn since(began: Instant, messages: u64) -> Self {
        Self {
            messages,
            answered: 0,
            took: began.elapsed(),
        }
    }

    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.a_second(self.messages)
    }

    /// Answers a second.
    pub fn answers(&self) -> f64 {
        self.a_second(self.answered)
    }

    fn a_second(&self, count: u64) -> f64 {
        let seconds = self.took.as_secs_f64();
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        if seconds > 0.0 { count / seconds } else { 0.0 }
    }
}
