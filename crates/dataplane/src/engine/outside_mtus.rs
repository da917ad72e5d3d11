//! What others may change in the kernel while we run: the links by which the peers are reached,
//! their MTUs, and those of the routes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use vgw_sa::TunnelId;

use super::{Control, Engine};
use crate::links::outside_link::OutsideLink;
use crate::tables::OutsideEnds;

/// Peers that one call looks at, which takes some milliseconds.
const AT_ONCE: usize = 256;

/// A link, or a route, whose MTU is smaller than the settings of some tunnels say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallMtuLink {
    /// The link, and its MTU.
    pub link: OutsideLink,
    /// The largest MTU in the settings of its tunnels, octets.
    pub settings_mtu: u16,
    /// The tunnels, in order; they keep to the link's MTU.
    pub tunnels: BTreeSet<TunnelId>,
}

impl Engine {
    /// Asks `link_to` for the links to the peers again; of many peers, for some
    /// at each call. Returns whether something has changed.
    pub(crate) fn look_outside(
        &self,
        link_to: impl Fn(OutsideEnds) -> Option<OutsideLink>,
    ) -> bool {
        let mut control = self.control();
        let changed = control.changed_links(link_to);
        if changed.is_empty() {
            return false;
        }
        for child in control.children.values_mut() {
            if let Some(link) = changed.get(&child.path.ends()) {
                child.path.link = Some(link.clone());
            }
        }
        let mut tables = self.tables();
        tables.set_links(&changed);
        self.publish(tables);
        true
    }

    /// The tunnels whose packets leave by the link of this name.
    pub(crate) fn tunnels_by(&self, name: &str) -> BTreeSet<TunnelId> {
        let control = self.control();
        let children = control.children.values();
        let by_it = children.filter(|child| {
            let link = child.path.link.as_ref();
            link.is_some_and(|link| &*link.name == name)
        });
        by_it.map(|child| child.tunnel).collect()
    }

    /// The links and routes whose MTU is smaller than the settings of some
    /// tunnels say, in order.
    pub(crate) fn small_mtu_links(&self) -> Vec<SmallMtuLink> {
        let control = self.control();
        let mut narrow: BTreeMap<&OutsideLink, SmallMtuLink> = BTreeMap::new();
        for child in control.children.values() {
            let settings_mtu = control.policy(child.tunnel).asked.outside_mtu;
            let Some(link) = &child.path.link else {
                continue;
            };
            if link.mtu < usize::from(settings_mtu) {
                let found = narrow.entry(link).or_insert_with(|| SmallMtuLink {
                    link: link.clone(),
                    settings_mtu,
                    tunnels: BTreeSet::new(),
                });
                found.settings_mtu = found.settings_mtu.max(settings_mtu);
                found.tunnels.insert(child.tunnel);
            }
        }
        narrow.into_values().collect()
    }

    /// The largest outer packet of this tunnel, in octets, that is not
    /// fragmented: the least that its settings, the link and the route allow.
    /// None while it has no CHILD SA to send with.
    pub(crate) fn outside_mtu(&self, tunnel: TunnelId) -> Option<usize> {
        self.tables.load().outside_mtu(tunnel)
    }
}

impl Control {
    /// Asks for the links of the next peers, and returns those that have
    /// changed. Without a route the last known link counts.
    fn changed_links(
        &mut self,
        link_to: impl Fn(OutsideEnds) -> Option<OutsideLink>,
    ) -> BTreeMap<OutsideEnds, OutsideLink> {
        let mut asked: BTreeMap<OutsideEnds, Option<OutsideLink>> = BTreeMap::new();
        let mut changed = BTreeMap::new();
        let after = self.looked_at.take();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = after;
        for (&spi_in, child) in self.children.range((from, Bound::Unbounded)) {
            let ends = child.path.ends();
            if !asked.contains_key(&ends) && asked.len() == AT_ONCE {
                self.looked_at = last;
                break;
            }
            let found = asked.entry(ends).or_insert_with(|| link_to(ends));
            if let Some(link) = found.as_ref().filter(|_| *found != child.path.link) {
                changed.insert(ends, link.clone());
            }
            last = Some(spi_in);
        }
        changed
    }
}
