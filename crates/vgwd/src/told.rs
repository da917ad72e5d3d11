//! Problems of which each is one line: in `vgw status` while there are, in the log when
//! they come and go.

use std::collections::BTreeSet;

/// Those that there are now.
#[derive(Debug, Default)]
pub struct Told(BTreeSet<String>);

impl Told {
    /// Takes the lines of now, and logs those that are new or gone.
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
