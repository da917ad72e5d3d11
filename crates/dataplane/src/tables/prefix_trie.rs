//! A table of prefixes whose changed copy shares with the original what did not change: a
//! change copies the nodes on the way from the root to it, and no other.

use std::sync::{Arc, OnceLock};

use ts_bart::table::SplitStackTable;
use ts_bart::{Node, Storage};

/// As [`ts_bart::Table`], but cheap to copy.
pub(super) type Table<T> = SplitStackTable<Node<T, Sharing>>;

/// Stores the nodes of a table so that copies share them.
pub(super) enum Sharing {}

/// A node, and how to copy it, which is set when it is shared.
struct Inner<T> {
    node: T,
    copy: OnceLock<fn(&T) -> T>,
}

impl<T> Inner<T> {
    const fn new(node: T) -> Self {
        Self {
            node,
            copy: OnceLock::new(),
        }
    }
}

/// A node that several tables may have. To be changed in one of them, it is copied.
pub(super) struct Shared<T>(Arc<Inner<T>>);

impl<T> Shared<T> {
    /// The node, copied first if another table has it too.
    fn own(&mut self) -> &mut T {
        if Arc::get_mut(&mut self.0).is_none()
            && let Some(copy) = self.0.copy.get()
        {
            self.0 = Arc::new(Inner::new(copy(&self.0.node)));
        }
        match Arc::get_mut(&mut self.0) {
            Some(inner) => &mut inner.node,
            None => unreachable!("a node was shared by nobody who can copy it"),
        }
    }
}

impl Storage for Sharing {
    type Container<T> = Shared<T>;

    fn new<T>(node: T) -> Shared<T> {
        Shared(Arc::new(Inner::new(node)))
    }

    fn into_inner<T>(mut container: Shared<T>) -> T {
        container.own();
        match Arc::into_inner(container.0) {
            Some(inner) => inner.node,
            None => unreachable!("a node that was just copied is shared"),
        }
    }

    fn as_ref<T>(container: &Shared<T>) -> &T {
        &container.0.node
    }

    fn as_mut<T>(container: &mut Shared<T>) -> &mut T {
        container.own()
    }

    fn clone<T: Clone>(container: &Shared<T>) -> Shared<T> {
        container.0.copy.get_or_init(|| T::clone);
        Shared(Arc::clone(&container.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use ipnet::IpNet;
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};
    use ts_bart::RoutingTable;

    use super::Table;

    #[test]
    fn a_changed_copy_has_the_nodes_that_did_not_change_in_common_with_the_original() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let mut original = Table::<u8>::default();
        for network in [
            "10.1.0.0/20",
            "10.1.16.0/20",
            "172.16.0.0/20",
            "172.16.16.0/20",
        ] {
            original.insert(net(network), 1);
        }
        let mut copy = original.clone();
        copy.insert(net("10.1.16.0/20"), 2);
        let is_shared = |host: &str| {
            let host = host.parse().unwrap();
            let found = [&original, &copy].map(|table| table.lookup(host).unwrap());
            std::ptr::eq(found[0], found[1])
        };
        assert!(is_shared("172.16.0.1"));
        assert!(!is_shared("10.1.0.1"));
    }

    /// One of a few prefixes of every length, of either family.
    fn prefix(v6: bool, address: u32, length: u8) -> IpNet {
        let address: IpAddr = if v6 {
            Ipv6Addr::from(u128::from(address) << 96).into()
        } else {
            Ipv4Addr::from(address).into()
        };
        IpNet::new(address, length % 33).unwrap().trunc()
    }

    type Known = BTreeMap<IpNet, u8>;

    /// The longest prefix that has the address.
    fn expected(known: &Known, address: IpAddr) -> Option<u8> {
        let mut having = known.iter().filter(|(net, _)| net.contains(&address));
        let first = having.next()?;
        let longest = having.fold(first, |longest, one| {
            if one.0.prefix_len() > longest.0.prefix_len() {
                one
            } else {
                longest
            }
        });
        Some(*longest.1)
    }

    proptest! {
        #[test]
        fn every_copy_keeps_what_it_had_whatever_becomes_of_the_others(
            changes in vec(
                (0..4_usize, any::<bool>(), any::<bool>(), 0..8_u32, 0..8_u32, 0..33_u8, any::<u8>()),
                0..80,
            ),
        ) {
            let mut copies = vec![(Table::<u8>::default(), Known::new())];
            for (of, copied, insert, high, low, length, value) in changes {
                let of = of % copies.len();
                if copied && copies.len() < 4 {
                    let copy = copies[of].clone();
                    copies.push(copy);
                }
                let net = prefix(value & 1 == 0, high << 29 | low << 9 | low, length);
                let (table, known) = &mut copies[of];
                if insert {
                    assert_eq!(table.insert(net, value), known.insert(net, value));
                } else {
                    assert_eq!(table.remove(net), known.remove(&net));
                }
            }
            for (table, known) in &copies {
                for (net, value) in known {
                    assert_eq!(table.lookup_prefix_exact(*net), Some(value));
                    let first = net.network();
                    assert_eq!(table.lookup(first).copied(), expected(known, first));
                    let last = net.broadcast();
                    assert_eq!(table.lookup(last).copied(), expected(known, last));
                }
                assert_eq!(table.size4() + table.size6(), known.len());
            }
        }
    }
}
