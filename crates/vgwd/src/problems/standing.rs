//! Problems that are one line each: in `vgw status` while they last, in the log when they come
//! and go.

use std::collections::BTreeSet;

/// The problems that there are now.
#[derive(Debug, Default)]
pub struct StandingProblems(BTreeSet<String>);

impl StandingProblems {
    /// Takes the problems that there are now, and logs those that are new or gone.
    pub fn update(&mut self, now: BTreeSet<String>) {
        for line in now.difference(&self.0) {
            tracing::warn!("{line}");
        }
        for line in self.0.difference(&now) {
            tracing::info!("no more: {line}");
        }
        self.0 = now;
    }

    /// All lines.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }
}
