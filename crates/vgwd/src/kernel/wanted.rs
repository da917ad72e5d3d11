//! The entries that the kernel should have, which follow from what is desired.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::Desired;
use super::desired::Touched;
use super::entry::Entry;
use super::ip_rules::rules_to;
use super::route_table::PrefixInTable;
use super::routes::{Sources, TunRoute};

impl Desired {
    /// All of them.
    pub(super) fn entries(&self, sources: &Sources) -> BTreeSet<Entry> {
        let addresses = self.addresses.iter();
        let addresses = addresses.map(|(address, length)| Entry::Address(*address, *length));
        let led = self.routes.iter();
        let led = led.flat_map(|prefix| self.entries_to(*prefix, sources));
        let guards = self.guarded().into_iter().map(Entry::Guard);
        guards.chain(addresses).chain(led).collect()
    }

    /// Those that have to do with what was touched.
    pub(super) fn entries_of(&self, touched: &Touched, sources: &Sources) -> BTreeSet<Entry> {
        let addresses = touched.addresses.iter().flat_map(|address| {
            let with_length = self.addresses.range((*address, 0)..=(*address, u8::MAX));
            with_length.map(|(address, length)| Entry::Address(*address, *length))
        });
        let led = touched.prefixes.iter();
        let led = led.filter(|prefix| self.routes.contains(prefix));
        let led = led.flat_map(|prefix| self.entries_to(*prefix, sources));
        let inside = touched.prefixes.iter();
        let inside = inside.filter(|prefix| self.has_inside(**prefix));
        let guards = inside.map(|prefix| Entry::Guard(PrefixInTable::of_main(*prefix)));
        guards.chain(addresses).chain(led).collect()
    }

    /// What has packets to this prefix led to the TUN device, and nowhere else.
    fn entries_to(&self, prefix: IpNet, sources: &Sources) -> Vec<Entry> {
        let at = self.in_its_table(prefix);
        let route = [Entry::Guard(at), Entry::Route(TunRoute::to(at, sources))];
        let rules = rules_to(at, self.own_traffic.as_deref());
        route
            .into_iter()
            .chain(rules.into_iter().map(Entry::Rule))
            .collect()
    }
}
