//! What the kernel should have for a gateway.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use vgw_gateway::domain::Gateway;

use super::DesiredByConfig;
use super::desired_changes::DesiredChanges;
use super::prefixes::supernets;
use super::route_table::{MAIN_TABLE, OwnTraffic, PrefixInTable, TUNNEL_TABLE};
use crate::config::settings::Settings;

/// What the kernel should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Prefixes that lead to the TUN device.
    pub routes: BTreeSet<IpNet>,
    /// Addresses of the TUN device, each with its prefix length.
    pub addresses: BTreeSet<(IpAddr, u8)>,
    /// The private networks behind us, the VPC's.
    pub cidrs: BTreeSet<IpNet>,
    /// Our own packets outside, if they are routed by the same tables.
    pub own_traffic: Option<Arc<OwnTraffic>>,
    /// Sites may send from where no route leads: the kernel must not look at it.
    pub any_source: bool,
}

impl Desired {
    /// What a gateway needs that serves this VPC.
    #[must_use]
    pub fn of(gateway: &Gateway, settings: &Settings) -> Self {
        let by_config = DesiredByConfig::of(gateway, settings);
        Self {
            routes: gateway.tunnelled_prefixes().into_iter().collect(),
            addresses: gateway.own_inside_addresses().into_iter().collect(),
            cidrs: gateway.cidrs.iter().map(IpNet::trunc).collect(),
            own_traffic: by_config.own_traffic,
            any_source: by_config.any_source,
        }
    }

    /// Takes over changes; says what they may change in the kernel.
    pub(super) fn apply(&mut self, changes: DesiredChanges) -> Touched {
        let mut touched = Touched::default();
        for (prefix, wanted) in changes.routes {
            if set(&mut self.routes, prefix, wanted) {
                touched.prefixes.insert(prefix);
            }
        }
        for ((address, length), wanted) in changes.addresses {
            if set(&mut self.addresses, (address, length), wanted) {
                touched.addresses.insert(address);
                let inside = PrefixInTable::inside(address, length);
                touched.prefixes.extend(inside.map(PrefixInTable::net));
            }
        }
        for (cidr, wanted) in changes.cidrs {
            touched.cidrs |= set(&mut self.cidrs, cidr, wanted);
        }
        if let Some(now) = changes.by_config {
            touched.any_source = self.any_source != now.any_source;
            self.any_source = now.any_source;
            let before = std::mem::replace(&mut self.own_traffic, now.own_traffic);
            if before != self.own_traffic {
                self.touch_led(&before.unwrap_or_default(), &mut touched);
            }
        }
        touched
    }

    /// What leads our own packets, or did so before.
    fn touch_led(&self, before: &OwnTraffic, touched: &mut Touched) {
        let now = self.own_traffic.clone().unwrap_or_default();
        // Every route in the tunnels' table has rules for each outside address.
        touched.rules = before.from != now.from;
        for peer in before.to.symmetric_difference(&now.to) {
            let led = supernets((*peer).into()).filter(|prefix| self.routes.contains(prefix));
            touched.prefixes.extend(led);
        }
    }

    /// Keeps only what is of these prefixes.
    pub(crate) fn retain(&mut self, kept: impl Fn(&IpNet) -> bool) {
        self.routes.retain(&kept);
        let net = |(address, length): &(IpAddr, u8)| IpNet::new(*address, *length);
        self.addresses
            .retain(|address| net(address).is_ok_and(|net| kept(&net.trunc())));
    }

    /// The prefixes that lead to the TUN device, each in its table.
    fn tun_prefixes(&self) -> impl Iterator<Item = PrefixInTable> {
        self.routes.iter().map(|prefix| self.in_its_table(*prefix))
    }

    pub(super) fn in_its_table(&self, prefix: IpNet) -> PrefixInTable {
        let own = self.own_traffic.as_deref();
        let over_a_peer = own.is_some_and(|own| own.would_be_led_by(prefix));
        let table = if over_a_peer {
            TUNNEL_TABLE
        } else {
            MAIN_TABLE
        };
        PrefixInTable { net: prefix, table }
    }

    /// Everything whose packets must not leave but through a tunnel: what leads to
    /// the TUN device, by our routes or by those that its addresses bring.
    #[must_use]
    pub fn guarded(&self) -> BTreeSet<PrefixInTable> {
        let inside = self.addresses.iter();
        let inside =
            inside.filter_map(|(address, length)| PrefixInTable::inside(*address, *length));
        self.tun_prefixes().chain(inside).collect()
    }

    /// Whether packets to this prefix must not leave but through a tunnel.
    pub(super) fn guards(&self, prefix: IpNet) -> bool {
        self.routes.contains(&prefix) || self.has_inside(prefix)
    }

    /// Whether this is the network of an address of the TUN device.
    pub(super) fn has_inside(&self, prefix: IpNet) -> bool {
        let length = prefix.prefix_len();
        let (first, last) = ((prefix.network(), length), (prefix.broadcast(), length));
        let mut addresses = self.addresses.range(first..=last);
        addresses.any(|(_, of_length)| *of_length == length)
    }
}

/// What changes of [`Desired`] may change in the kernel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// The guards and routes of these prefixes, and their rules.
    pub(super) prefixes: BTreeSet<IpNet>,
    /// These addresses of the TUN device.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// The sources of all routes.
    pub(super) cidrs: bool,
    /// Rules of all prefixes.
    pub(super) rules: bool,
    /// What the kernel's reverse path filter must let pass.
    pub(super) any_source: bool,
}

/// Puts something into a set or takes it out; says whether that changed the set.
fn set<K: Ord>(set: &mut BTreeSet<K>, entry: K, wanted: bool) -> bool {
    if wanted {
        set.insert(entry)
    } else {
        set.remove(&entry)
    }
}
