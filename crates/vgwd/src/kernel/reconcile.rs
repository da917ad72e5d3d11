//! Makes the kernel have what is desired: what is there is compared with what should be,
//! and only the difference is done.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};
use rtnetlink::LinkUnspec;
use vgw_dataplane::address_of;

use super::difference::Difference;
use super::netlink::failed;
use super::{Desired, GuardRoutes, KernelError, LocalAddress, Netlink, PrefixInTable, watch};

/// The TUN link as the kernel sees it.
#[derive(Debug)]
pub struct TunLink {
    pub(super) netlink: Netlink,
    index: u32,
    mtu: u16,
    guard: GuardRoutes,
}

impl TunLink {
    /// The link `index` in the namespace of `netlink`, to have this MTU and
    /// these guard routes.
    #[must_use]
    pub fn new(netlink: Netlink, index: u32, mtu: u16, guard: GuardRoutes) -> Self {
        Self {
            netlink,
            index,
            mtu,
            guard,
        }
    }

    /// Its index.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// How many changes were made so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.netlink.changes()
    }

    /// Makes the kernel have what is desired. Everything is tried, whatever
    /// fails before it; gives what failed. A prefix has its guard before it has
    /// its route, and loses it after.
    pub async fn reconcile(&self, desired: &Desired) -> Vec<KernelError> {
        let guarded = desired.guarded();
        let routes = desired.tun_prefixes().collect();
        let (netlink, index) = (&self.netlink, self.index);
        let results = [
            self.guard.add_missing(netlink, &guarded).await,
            self.set_up().await,
            self.reconcile_addresses(&desired.addresses).await,
            self.add_routes(desired, &routes).await,
            netlink.add_rules(desired).await,
            netlink.remove_tun_routes(index, &routes).await,
            self.guard.remove_all_but(netlink, &guarded).await.map(drop),
            netlink.remove_rules(desired).await,
        ];
        results.into_iter().filter_map(Result::err).collect()
    }

    /// Without a link-local address the kernel sends no router solicitations into
    /// the tunnels. A kernel without IPv6 refuses, and sends none either.
    pub async fn without_link_local_address(&self) {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let quiet = LinkUnspec::new_with_index(self.index).append_extra_attribute(
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]),
        );
        let request = self.netlink.handle.link().set(quiet.build());
        if let Err(error) = request.execute().await {
            tracing::debug!(%error, "the TUN link keeps its link-local address: {error}");
        }
    }

    /// Only if it is not, because a change is told to everybody, us too.
    async fn set_up(&self) -> Result<(), KernelError> {
        let found = self.netlink.handle.link().get().match_index(self.index);
        let found: Vec<_> = found
            .execute()
            .try_collect()
            .await
            .map_err(failed("reading the TUN link"))?;
        let state = found.first().map(watch::state_of);
        if state.is_some_and(|now| now.up && now.mtu == u32::from(self.mtu)) {
            return Ok(());
        }
        let up = LinkUnspec::new_with_index(self.index)
            .mtu(u32::from(self.mtu))
            .up();
        let request = self.netlink.handle.link().set(up.build());
        let outcome = self.netlink.count(request.execute().await);
        outcome.map_err(failed("bringing the TUN link up"))
    }

    async fn add_routes(
        &self,
        desired: &Desired,
        routes: &BTreeSet<PrefixInTable>,
    ) -> Result<(), KernelError> {
        let sources = self.sources(&desired.cidrs).await?;
        let adding = self.netlink.add_tun_routes(self.index, routes, &sources);
        adding.await
    }

    /// The addresses of this machine in the VPC. The peer knows them, where it would
    /// not know the TUN device's, from which the kernel would send otherwise.
    async fn sources(&self, cidrs: &BTreeSet<IpNet>) -> Result<BTreeSet<IpAddr>, KernelError> {
        let all = self.netlink.handle.address().get().execute();
        let all: Vec<AddressMessage> = all
            .try_collect()
            .await
            .map_err(failed("reading all addresses"))?;
        // The kernel takes no route from an address that it is still looking for.
        let settled = all.iter().filter(|message| {
            let flags = message.header.flags;
            !flags.intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed)
        });
        let addresses = settled.filter(|message| message.header.index != self.index);
        let addresses = addresses.filter_map(|message| Some(address_of(message)?.0));
        Ok(addresses
            .filter(|address| cidrs.iter().any(|cidr| cidr.contains(address)))
            .collect())
    }

    async fn reconcile_addresses(
        &self,
        wanted: &BTreeSet<(IpAddr, u8)>,
    ) -> Result<(), KernelError> {
        let found = self.addresses().await?;
        let known = found.iter().filter_map(address_of).collect();
        let difference = Difference::between(&known, wanted);
        let mut result = Ok(());
        for message in found {
            if address_of(&message).is_some_and(|a| difference.surplus.contains(&a)) {
                let doing = format!("removing the address {}", shown(address_of(&message)));
                let request = self.netlink.handle.address().del(message);
                let outcome = self.netlink.count(request.execute().await);
                result = result.and(outcome.map_err(failed(doing)));
            }
        }
        for (address, length) in difference.missing {
            let request = self
                .netlink
                .handle
                .address()
                .add(self.index, address, length);
            let doing = format!("adding the address {address}/{length}");
            let outcome = self.netlink.count(request.execute().await);
            result = result.and(outcome.map_err(failed(doing)));
        }
        result
    }

    /// Every address in the namespace.
    pub(super) async fn all_addresses(&self) -> Result<BTreeSet<LocalAddress>, KernelError> {
        let all = self.netlink.handle.address().get().execute();
        let all: Vec<AddressMessage> = all
            .try_collect()
            .await
            .map_err(failed("reading all addresses"))?;
        Ok(all.iter().filter_map(LocalAddress::of).collect())
    }

    /// Addresses of the link but those that the kernel makes for itself.
    async fn addresses(&self) -> Result<Vec<AddressMessage>, KernelError> {
        let all = self.netlink.handle.address().get();
        all.set_link_index_filter(self.index)
            .execute()
            .try_filter(|message| std::future::ready(message.header.scope != AddressScope::Link))
            .try_collect()
            .await
            .map_err(failed("reading the addresses"))
    }
}

/// Removes the routes that a daemon which is gone left: the guard routes, and on a
/// persistent device those that lead to it. Gives the prefixes.
///
/// # Errors
/// The first that could not be removed.
pub async fn flush(netlink: &Netlink, tun_name: &str) -> Result<Vec<IpNet>, KernelError> {
    // A device that is not there has no routes. It is looked for here, because
    // the calling thread may be in another namespace than the socket.
    let links = netlink.handle.link().get();
    let links = links.match_name(tun_name.to_owned()).execute();
    if let Ok(Some(link)) = std::pin::pin!(links).try_next().await {
        let none = BTreeSet::new();
        netlink.remove_tun_routes(link.header.index, &none).await?;
    }
    let guard = GuardRoutes::of(tun_name);
    let removed = guard.remove_all_but(netlink, &BTreeSet::new()).await?;
    netlink.remove_rules(&Desired::default()).await?;
    Ok(removed)
}

fn shown(address: Option<(IpAddr, u8)>) -> String {
    address.map_or_else(String::new, |(a, length)| format!("{a}/{length}"))
}
