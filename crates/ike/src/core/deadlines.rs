//! The deadlines of all SAs, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::core::event::SaId;

/// One deadline for each SA, and the order of all deadlines.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    order: BTreeSet<(Instant, SaId)>,
    of: BTreeMap<SaId, Instant>,
}

impl Deadlines {
    /// Sets the deadline of an SA, or removes it.
    pub(crate) fn set(&mut self, sa: SaId, deadline: Option<Instant>) {
        if let Some(before) = self.of.remove(&sa) {
            self.order.remove(&(before, sa));
        }
        if let Some(at) = deadline {
            self.of.insert(sa, at);
            self.order.insert((at, sa));
        }
    }

    /// The next deadline.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The SAs that are due, in order.
    pub(crate) fn due(&self, now: Instant) -> Vec<SaId> {
        self.order
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, sa)| *sa)
            .collect()
    }
}
