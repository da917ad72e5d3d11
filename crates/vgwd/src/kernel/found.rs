//! Reads what the kernel has.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressMessage, AddressScope};
use vgw_dataplane::address_of;

use super::addresses::Addresses;
use super::carry_out::Owner;
use super::entry::Entry;
use super::guard_routes::guarded;
use super::netlink::failed;
use super::route_table::PrefixInTable;
use super::routes::{TunRoute, prefix_of};
use super::{KernelError, LocalAddress, Netlink};

/// What there is.
pub(super) struct Found {
    /// The routes and rules of a gateway; rules may be of others as well.
    own: BTreeSet<Entry>,
    /// Guard routes of other gateways in the namespace.
    guards_of_others: BTreeSet<PrefixInTable>,
    /// Where other gateways have routes in the tunnels' table.
    tunnel_table_of_others: BTreeSet<IpNet>,
}

impl Found {
    /// Reads routes and rules.
    pub(super) async fn read(netlink: &Netlink, owner: &Owner) -> Result<Self, KernelError> {
        let mut found = Self {
            own: BTreeSet::new(),
            guards_of_others: BTreeSet::new(),
            tunnel_table_of_others: BTreeSet::new(),
        };
        for route in netlink.our_routes().await? {
            let guard = guarded(&route);
            let led = owner.tun.and_then(|tun| TunRoute::of(&route, tun));
            match (guard, led) {
                (Some(prefix), _) if owner.guard.owns(&route) => {
                    found.own.insert(Entry::Guard(prefix));
                }
                (_, Some(route)) => {
                    found.own.insert(Entry::Route(route));
                }
                _ => {
                    found.guards_of_others.extend(guard);
                    let prefix = prefix_of(&route);
                    let prefix = prefix.filter(|prefix| prefix.is_in_tunnel_table());
                    found
                        .tunnel_table_of_others
                        .extend(prefix.map(PrefixInTable::net));
                }
            }
        }
        let rules = netlink.our_rules().await;
        found.own.extend(rules.into_iter().map(Entry::Rule));
        Ok(found)
    }

    /// What is in force of what is wanted, and what of it is surplus. Of what gateways share,
    /// others' counts where it is wanted, and is none of ours where it is not.
    pub(super) fn in_force(mut self, wanted: &BTreeSet<Entry>) -> BTreeSet<Entry> {
        let shared = self.guards_of_others.into_iter().map(Entry::Guard);
        self.own
            .extend(shared.filter(|guard| wanted.contains(guard)));
        self.own.retain(|entry| match entry {
            Entry::Rule(rule) => {
                wanted.contains(entry) || !rule.is_needed_by(&self.tunnel_table_of_others)
            }
            _ => true,
        });
        self.own
    }
}

impl Netlink {
    /// Every address in the namespace; and those of the link `tun`, but for those that the
    /// kernel makes for itself.
    pub(super) async fn addresses(
        &self,
        tun: u32,
    ) -> Result<(Addresses, BTreeSet<Entry>), KernelError> {
        let all = self.handle.address().get().execute();
        let all: Vec<AddressMessage> = all
            .try_collect()
            .await
            .map_err(failed("reading the addresses"))?;
        let of_tun = all.iter().filter(|message| {
            message.header.index == tun && message.header.scope != AddressScope::Link
        });
        let of_tun = of_tun.filter_map(address_of);
        let entries = of_tun.map(|(address, length)| Entry::Address(address, length));
        let entries = entries.collect();
        Ok((
            Addresses::new(all.iter().filter_map(LocalAddress::of)),
            entries,
        ))
    }
}
