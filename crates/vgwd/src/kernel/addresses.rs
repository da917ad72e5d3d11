//! The addresses of all links of the VPC's namespace, kept current by what the kernel tells.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::LocalAddress;
use super::prefixes::cover;
use super::routes::Sources;
use super::watch::Change;

/// The least network of all.
const LEAST: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));

/// The addresses, by link.
#[derive(Debug, Default)]
pub(super) struct Addresses(BTreeMap<(u32, IpNet), LocalAddress>);

impl Addresses {
    /// These were found.
    pub(super) fn new(found: impl Iterator<Item = LocalAddress>) -> Self {
        Self(found.map(|a| ((a.index, a.net), a)).collect())
    }

    /// Takes over a change.
    pub(super) fn note(&mut self, change: &Change) {
        match change {
            Change::Address(address) => {
                let key = (address.index, address.net);
                self.0.insert(key, address.clone());
            }
            Change::AddressGone(address) => {
                self.0.remove(&(address.index, address.net));
            }
            _ => {}
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &LocalAddress> {
        self.0.values()
    }

    /// Whether a link has an address of IPv4.
    pub(super) fn has_ipv4(&self, link: u32) -> bool {
        // IPv4 comes first in the order.
        let first = self.0.range((link, LEAST)..).next();
        first.is_some_and(|((index, net), _)| *index == link && net.addr().is_ipv4())
    }

    /// What the kernel takes for the machine's own.
    pub(super) fn destinations(&self) -> BTreeSet<IpAddr> {
        self.iter().flat_map(LocalAddress::destinations).collect()
    }

    /// What routes to the link `tun` name as their source, if these are the networks behind us:
    /// the least address of each family that another link has there.
    pub(super) fn sources(&self, tun: u32, cidrs: &BTreeSet<IpNet>) -> Sources {
        let mut sources = Sources::default();
        let others = self.0.range(..(tun, LEAST));
        let others = others.chain(self.0.range((tun.saturating_add(1), LEAST)..));
        for (_, address) in others.filter(|(_, address)| address.settled) {
            let address = address.net.addr();
            if cover(cidrs, address) {
                match address {
                    IpAddr::V4(v4) => least(&mut sources.v4, v4),
                    IpAddr::V6(v6) => least(&mut sources.v6, v6),
                }
            }
        }
        sources
    }
}

fn least<A: Ord + Copy>(known: &mut Option<A>, address: A) {
    *known = Some(known.map_or(address, |known| known.min(address)));
}
