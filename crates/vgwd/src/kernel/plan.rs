//! Which operations lead from what the kernel has to what it should have, and in which order.

use std::collections::BTreeSet;
use std::fmt;

use super::entry::{Entry, Place};
use super::route_table::PrefixInTable;
use super::routes::TunRoute;

/// One request to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Adds what is not there.
    Add(Entry),
    /// Puts a route in the place of another, which is never gone for a moment.
    Replace(TunRoute),
    /// Removes what is there.
    Remove(Entry),
}

/// Operations that may be under way together: their requests are sent in their order. The next
/// stage begins when this one's outcome is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Addresses make room for themselves with another prefix length.
    MakeRoom,
    /// Everything that is missing is added, or replaces what is not right.
    Add,
    /// Nothing leads to the TUN device any more that should not.
    RemoveRoutes,
    /// The guards of that follow.
    RemoveGuards,
    /// And the rules that led there.
    RemoveRules,
}

/// What leads from `in_force` to `wanted`, in order. What is as it should be is not touched.
pub(super) fn plan(
    in_force: &BTreeSet<Entry>,
    wanted: &BTreeSet<Entry>,
) -> Vec<(Stage, Operation)> {
    let surplus: Vec<&Entry> = in_force.difference(wanted).collect();
    let missing: Vec<&Entry> = wanted.difference(in_force).collect();
    let places = |entries: &[&Entry]| entries.iter().filter_map(|entry| entry.place()).collect();
    let (taken, claimed): (BTreeSet<Place>, BTreeSet<Place>) = (places(&surplus), places(&missing));
    let is_in = |places: &BTreeSet<Place>, entry: &Entry| {
        entry.place().is_some_and(|place| places.contains(&place))
    };
    let additions = missing.into_iter().map(|entry| match entry {
        Entry::Route(route) if is_in(&taken, entry) => (Stage::Add, Operation::Replace(*route)),
        entry => (Stage::Add, Operation::Add(*entry)),
    });
    // In the reverse order, which counts for rules.
    let removals = surplus.into_iter().rev().filter_map(|entry| {
        let stage = match entry {
            Entry::Route(_) if is_in(&claimed, entry) => return None,
            Entry::Address(..) if is_in(&claimed, entry) => Stage::MakeRoom,
            Entry::Route(_) | Entry::Address(..) => Stage::RemoveRoutes,
            Entry::Guard(_) => Stage::RemoveGuards,
            Entry::Rule(_) => Stage::RemoveRules,
        };
        Some((stage, Operation::Remove(*entry)))
    });
    let mut operations: Vec<_> = additions.chain(removals).collect();
    operations.sort_by_key(|(stage, _)| *stage);
    operations
}

/// What could not be removed, and so must keep what stands behind it.
#[derive(Debug, Default)]
pub(super) struct Stuck(BTreeSet<PrefixInTable>);

impl Stuck {
    /// An operation failed.
    pub(super) fn note(&mut self, failed: &Operation) {
        match failed {
            Operation::Remove(Entry::Route(route)) => self.0.extend([route.prefix]),
            Operation::Remove(Entry::Guard(prefix)) => self.0.extend([*prefix]),
            Operation::Remove(Entry::Address(address, length)) => {
                self.0.extend(PrefixInTable::inside(*address, *length));
            }
            Operation::Remove(Entry::Rule(_)) | Operation::Add(_) | Operation::Replace(_) => {}
        }
    }

    /// Whether an operation must not be done: a guard outlives what leads to the TUN device,
    /// and rules outlive both.
    pub(super) fn forbids(&self, operation: &Operation) -> bool {
        match operation {
            Operation::Remove(Entry::Guard(prefix)) => self.0.contains(prefix),
            Operation::Remove(Entry::Rule(_)) => !self.0.is_empty(),
            _ => false,
        }
    }
}

impl Operation {
    /// What it is done to.
    pub(super) const fn entry(&self) -> Entry {
        match self {
            Self::Add(entry) | Self::Remove(entry) => *entry,
            Self::Replace(route) => Entry::Route(*route),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(Entry::Guard(prefix)) => write!(f, "guarding {prefix}"),
            Self::Add(entry) => write!(f, "adding {entry}"),
            Self::Replace(route) => write!(f, "replacing the route to {}", route.prefix),
            Self::Remove(entry) => write!(f, "removing {entry}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use ipnet::{IpNet, Ipv4Net};
    use proptest::prelude::*;

    use super::{Stage, Stuck, plan};
    use crate::kernel::desired_changes::DesiredChanges;
    use crate::kernel::entry::Entry;
    use crate::kernel::in_force::InForce;
    use crate::kernel::routes::Sources;
    use crate::kernel::{Desired, DesiredByConfig, OwnTraffic};

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn address(text: &str) -> (IpAddr, u8) {
        let (address, length) = text.split_once('/').unwrap();
        (address.parse().unwrap(), length.parse().unwrap())
    }

    /// A kernel that has all that is desired.
    fn settled(desired: &Desired) -> InForce {
        InForce::new(desired.entries(&Sources::default()))
    }

    /// Has a kernel that refuses nothing carry out what a change leads to; gives that in words.
    fn change(
        desired: &mut Desired,
        in_force: &mut InForce,
        sources: &Sources,
        changes: DesiredChanges,
    ) -> Vec<String> {
        let touched = desired.apply(changes);
        let wanted = desired.entries_of(&touched, sources);
        let planned = plan(&in_force.part(&touched, &wanted), &wanted);
        for (_, operation) in &planned {
            in_force.note(operation);
        }
        let words = planned.iter().map(|(_, operation)| operation.to_string());
        words.collect()
    }

    fn routes<const N: usize>(changes: [(&str, bool); N]) -> DesiredChanges {
        DesiredChanges {
            routes: changes.map(|(prefix, wanted)| (net(prefix), wanted)).into(),
            ..DesiredChanges::default()
        }
    }

    fn peers(to: &[&str]) -> DesiredByConfig {
        DesiredByConfig {
            own_traffic: Some(Arc::new(OwnTraffic {
                from: ["203.0.113.1".parse().unwrap()].into(),
                to: to.iter().map(|peer| peer.parse().unwrap()).collect(),
            })),
            any_source: false,
        }
    }

    #[test]
    fn what_is_as_it_should_be_is_not_touched() {
        let [one, two, three] = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"].map(|text| {
            let led = Desired {
                routes: [net(text)].into(),
                ..Desired::default()
            };
            led.entries(&Sources::default())
        });
        let planned = plan(&(&one | &two), &(&two | &three));
        let words: Vec<_> = planned.iter().map(|(_, o)| o.to_string()).collect();
        let expected = [
            "guarding 10.3.0.0/16",
            "adding the route to 10.3.0.0/16",
            "removing the route to 10.1.0.0/16",
            "removing the guard of 10.1.0.0/16",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn a_changed_route_among_ten_thousand_takes_its_own_operations_and_no_others() {
        let prefix = |number: u32| Ipv4Net::new((0x0A00_0000 + (number << 8)).into(), 24).unwrap();
        let mut desired = Desired {
            routes: (0..10_000).map(|number| prefix(number).into()).collect(),
            ..Desired::default()
        };
        let mut in_force = settled(&desired);
        let mut change = |one| change(&mut desired, &mut in_force, &Sources::default(), one);
        assert_eq!(
            change(routes([("192.168.7.0/24", true)])),
            [
                "guarding 192.168.7.0/24",
                "adding the route to 192.168.7.0/24"
            ]
        );
        assert_eq!(change(routes([("192.168.7.0/24", true)])), [""; 0]);
        assert_eq!(
            change(routes([("10.0.7.0/24", false)])),
            [
                "removing the route to 10.0.7.0/24",
                "removing the guard of 10.0.7.0/24"
            ]
        );
    }

    #[test]
    fn a_prefix_that_a_new_peer_is_in_changes_its_table_and_is_never_without_route_or_guard() {
        let mut desired = Desired {
            routes: [net("198.51.100.0/24"), net("192.168.0.0/24")].into(),
            own_traffic: peers(&[]).own_traffic,
            ..Desired::default()
        };
        let mut in_force = settled(&desired);
        let by_config = Some(peers(&["198.51.100.7"]));
        let changes = DesiredChanges {
            by_config,
            ..DesiredChanges::default()
        };
        let words = change(&mut desired, &mut in_force, &Sources::default(), changes);
        let order = [
            "guarding 198.51.100.0/24",
            "adding the route to 198.51.100.0/24",
            "adding the rule SkipTarget { ipv6: false }",
            "adding the rule Own { from: 203.0.113.1, kind: Esp }",
            "adding the rule Own { from: 203.0.113.1, kind: Udp(500) }",
            "adding the rule Own { from: 203.0.113.1, kind: Udp(4500) }",
            "adding the rule LongerInMain(198.51.100.0/24)",
            "adding the rule TunnelTable(198.51.100.0/24)",
            "removing the route to 198.51.100.0/24",
            "removing the guard of 198.51.100.0/24",
        ];
        assert_eq!(words, order);
    }

    #[test]
    fn a_route_with_another_source_is_replaced_and_an_address_with_another_length_makes_room() {
        let mut desired = Desired {
            routes: [net("192.168.0.0/24")].into(),
            addresses: [address("169.254.10.1/30")].into(),
            ..Desired::default()
        };
        let mut in_force = settled(&desired);
        let sources = Sources {
            v4: Some(Ipv4Addr::new(10, 0, 0, 9)),
            v6: None,
        };
        let wanted = desired.entries(&sources);
        let replaced = plan(in_force.all(), &wanted);
        let words: Vec<_> = replaced.iter().map(|(_, o)| o.to_string()).collect();
        assert_eq!(words, ["replacing the route to 192.168.0.0/24"]);
        for (_, operation) in &replaced {
            in_force.note(operation);
        }
        assert_eq!(*in_force.all(), wanted);

        let changes = DesiredChanges {
            addresses: [
                (address("169.254.10.1/30"), false),
                (address("169.254.10.1/29"), true),
            ]
            .into(),
            ..DesiredChanges::default()
        };
        assert_eq!(
            change(&mut desired, &mut in_force, &sources, changes),
            [
                "removing the address 169.254.10.1/30",
                "guarding 169.254.10.0/29",
                "adding the address 169.254.10.1/29",
                "removing the guard of 169.254.10.0/30",
            ]
        );
    }

    #[test]
    fn what_could_not_be_removed_keeps_its_guard_and_the_rules() {
        let desired = Desired {
            routes: [net("0.0.0.0/0"), net("192.168.0.0/24")].into(),
            own_traffic: peers(&[]).own_traffic,
            ..Desired::default()
        };
        let planned = plan(settled(&desired).all(), &BTreeSet::new());
        let stages: Vec<Stage> = planned.iter().map(|(stage, _)| *stage).collect();
        assert!(stages.is_sorted());
        let mut stuck = Stuck::default();
        let default_route = planned
            .iter()
            .find(|(_, operation)| operation.to_string() == "removing the route to 0.0.0.0/0");
        stuck.note(&default_route.unwrap().1);
        for (stage, operation) in &planned {
            let is_default = operation.to_string().ends_with("0.0.0.0/0");
            let expected = match stage {
                Stage::RemoveGuards => is_default,
                Stage::RemoveRules => true,
                _ => false,
            };
            assert_eq!(stuck.forbids(operation), expected, "{operation}");
        }
    }

    fn any_net() -> impl Strategy<Value = IpNet> {
        let bits = (0_u32..4, prop_oneof![Just(0_u8), 6_u8..9]);
        bits.prop_map(|(number, length)| {
            let net = Ipv4Net::new((number << 24).into(), length).unwrap();
            net.trunc().into()
        })
    }

    fn any_changes() -> impl Strategy<Value = DesiredChanges> {
        let address = (0_u32..4, 29_u8..31);
        let address = address.prop_map(|(n, length)| (IpAddr::V4((n << 24 | 1).into()), length));
        let peers = proptest::collection::btree_set(0_u32..4, 0..3);
        let by_config = peers.prop_map(|peers| DesiredByConfig {
            own_traffic: Some(Arc::new(OwnTraffic {
                from: ["203.0.113.1".parse().unwrap()].into(),
                to: peers
                    .into_iter()
                    .map(|n| IpAddr::V4((n << 24 | 9).into()))
                    .collect(),
            })),
            any_source: false,
        });
        let routes = proptest::collection::btree_map(any_net(), any::<bool>(), 0..4);
        let addresses = proptest::collection::btree_map(address, any::<bool>(), 0..3);
        let by_config = proptest::option::of(by_config);
        (routes, addresses, by_config).prop_map(|(routes, addresses, by_config)| DesiredChanges {
            routes,
            addresses,
            by_config,
            ..DesiredChanges::default()
        })
    }

    proptest! {
        #[test]
        fn change_by_change_the_kernel_gets_what_it_would_get_by_comparing_everything(
            all in proptest::collection::vec(any_changes(), 1..12),
        ) {
            let mut desired = Desired {
                own_traffic: peers(&[]).own_traffic,
                ..Desired::default()
            };
            let mut in_force = settled(&desired);
            let sources = Sources::default();
            // What no prefix of this gateway needs any more, another may.
            let own = |entries: &BTreeSet<Entry>| -> BTreeSet<Entry> {
                let rules_apart = entries.iter().filter(|entry| !matches!(entry, Entry::Rule(_)));
                rules_apart.copied().collect()
            };
            for changes in all {
                change(&mut desired, &mut in_force, &sources, changes);
                let wanted = desired.entries(&sources);
                prop_assert_eq!(own(in_force.all()), own(&wanted));
                prop_assert!(wanted.is_subset(in_force.all()));
            }
        }
    }
}
