//! What the kernel is known to have for a gateway.

use std::collections::BTreeSet;

use super::desired::Touched;
use super::entry::Entry;
use super::ip_rules::Rule;
use super::plan::Operation;
use super::route_table::PrefixInTable;
use super::routes::TunRoute;

/// What was found in the kernel, and what operations made of it since. A change by somebody
/// else makes it wrong until the kernel is read again.
#[derive(Debug, Default)]
pub(super) struct InForce(BTreeSet<Entry>);

impl InForce {
    /// This was found.
    pub(super) const fn new(found: BTreeSet<Entry>) -> Self {
        Self(found)
    }

    /// All of it.
    pub(super) const fn all(&self) -> &BTreeSet<Entry> {
        &self.0
    }

    /// The part that has to do with what was touched, or is wanted.
    pub(super) fn part(&self, touched: &Touched, wanted: &BTreeSet<Entry>) -> BTreeSet<Entry> {
        let to_prefixes = touched.prefixes.iter().flat_map(|prefix| {
            let routed = PrefixInTable::in_each_table(*prefix).flat_map(|at| {
                let guard = self.0.get(&Entry::Guard(at)).into_iter();
                guard.chain(self.routes_to(at))
            });
            let rules = Rule::of_prefix(*prefix).into_iter();
            routed.chain(rules.filter_map(|rule| self.0.get(&Entry::Rule(rule))))
        });
        let addresses = touched.addresses.iter().flat_map(|address| {
            self.0
                .range(Entry::Address(*address, 0)..=Entry::Address(*address, u8::MAX))
        });
        let wanted = wanted.intersection(&self.0);
        to_prefixes
            .chain(addresses)
            .chain(wanted)
            .copied()
            .collect()
    }

    fn routes_to(&self, at: PrefixInTable) -> impl Iterator<Item = &Entry> {
        let behind = self.0.range(Entry::Route(TunRoute::first_to(at))..);
        behind.take_while(move |entry| matches!(entry, Entry::Route(route) if route.prefix == at))
    }

    /// Whether there is a rule.
    pub(super) fn has_rules(&self) -> bool {
        matches!(self.0.last(), Some(Entry::Rule(_)))
    }

    /// An operation was done.
    pub(super) fn note(&mut self, done: &Operation) {
        match done {
            Operation::Add(entry) => {
                self.0.insert(*entry);
            }
            Operation::Remove(entry) => {
                self.0.remove(entry);
            }
            Operation::Replace(route) => {
                let entry = Entry::Route(*route);
                let before: Vec<Entry> = self
                    .routes_to(route.prefix)
                    .filter(|other| other.place() == entry.place())
                    .copied()
                    .collect();
                for other in before {
                    self.0.remove(&other);
                }
                self.0.insert(entry);
            }
        }
    }
}
