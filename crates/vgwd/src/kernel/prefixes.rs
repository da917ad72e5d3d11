//! Look-ups in an ordered set of prefixes that take no longer where there are many.

use std::collections::BTreeSet;
use std::iter::successors;
use std::net::IpAddr;

use ipnet::IpNet;

/// The prefix and all shorter ones that contain it.
pub(super) fn supernets(prefix: IpNet) -> impl Iterator<Item = IpNet> {
    successors(Some(prefix.trunc()), IpNet::supernet)
}

/// Whether one of the prefixes contains the address.
pub(super) fn cover(prefixes: &BTreeSet<IpNet>, address: IpAddr) -> bool {
    supernets(address.into()).any(|prefix| prefixes.contains(&prefix))
}

/// Whether one of the prefixes contains this one or is contained in it.
pub(super) fn overlap(prefixes: &BTreeSet<IpNet>, prefix: IpNet) -> bool {
    // What a prefix contains comes right after it in the order.
    let mut behind = prefixes.range(prefix.trunc()..);
    behind.next().is_some_and(|next| prefix.contains(next))
        || supernets(prefix).any(|shorter| prefixes.contains(&shorter))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ipnet::IpNet;

    use super::{cover, overlap};

    fn prefixes(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_prefix_overlaps_what_contains_it_and_what_it_contains() {
        let known = prefixes(&["10.0.0.0/16", "10.2.3.0/24", "fd00::/48"]);
        for (prefix, expected) in [
            ("10.0.0.0/16", true),
            ("10.0.7.0/24", true),
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", true),
            ("10.2.0.0/15", true),
            ("10.1.0.0/16", false),
            ("10.2.2.0/24", false),
            ("11.0.0.0/8", false),
            ("fd00:0:0:7::/64", true),
            ("fd00:0:1::/48", false),
            ("::/0", true),
        ] {
            let prefix = prefix.parse().unwrap();
            assert_eq!(overlap(&known, prefix), expected, "{prefix}");
        }
        assert!(!overlap(
            &prefixes(&["10.0.0.0/16"]),
            "::/0".parse().unwrap()
        ));
    }

    #[test]
    fn an_address_is_covered_by_what_contains_it() {
        let known = prefixes(&["10.0.0.0/16", "169.254.10.1/32"]);
        for (address, expected) in [
            ("10.0.255.255", true),
            ("10.1.0.0", false),
            ("169.254.10.1", true),
            ("169.254.10.2", false),
            ("::", false),
        ] {
            assert_eq!(
                cover(&known, address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }
}
