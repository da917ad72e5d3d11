//! The kernel's side of the VPC: the TUN link, its inside addresses, the routes
//! that lead to it, and the guard routes behind those, by netlink.
//!
//! What should be is compared with what is, and only the difference is done,
//! so that a route that stays is never gone for a moment. Our routes carry
//! [`ROUTE_PROTOCOL`], which tells them from everybody else's; those that a
//! former run left are found by it, and removed if nobody wants them any more.
//! All of it is done by one thread, [`Keeper`], which hears of every change by
//! others and undoes it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};
use rtnetlink::{Handle, LinkUnspec};
use tokio::task::JoinHandle;
use vgw_dataplane::address_of;
use vgw_gateway::domain::Gateway;

use crate::config::settings::Settings;

mod difference;
mod forwarding;
mod guard;
mod keeper;
mod local;
mod pace;
mod placed;
mod routes;
mod rules;
mod surroundings;
pub mod watch;

use difference::Difference;

pub use guard::Guard;
pub use keeper::{Keeper, Kernel};
pub use local::LocalAddress;
pub use placed::{OwnTraffic, Placed};
pub use routes::ROUTE_PROTOCOL;

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

/// What a configuration says of the machine around the gateway. A copy costs nothing, and
/// is known to be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    own_traffic: Option<Arc<OwnTraffic>>,
    any_source: bool,
}

impl Surroundings {
    /// Of this one.
    #[must_use]
    pub fn of(gateway: &Gateway, settings: &Settings) -> Self {
        Self {
            own_traffic: own_traffic(gateway, settings),
            any_source: any_source(gateway),
        }
    }
}

impl Desired {
    /// What a gateway needs that serves this VPC.
    #[must_use]
    pub fn of(gateway: &Gateway, settings: &Settings) -> Self {
        Self {
            routes: gateway.tunnelled_prefixes().into_iter().collect(),
            addresses: gateway.own_inside_addresses().into_iter().collect(),
            cidrs: gateway.cidrs.iter().copied().collect(),
            own_traffic: own_traffic(gateway, settings),
            any_source: any_source(gateway),
        }
    }

    /// Takes over what a changed configuration says of the machine around the gateway;
    /// whether that is news.
    pub fn set_surroundings(&mut self, now: Surroundings) -> bool {
        let before = Surroundings {
            own_traffic: std::mem::replace(&mut self.own_traffic, now.own_traffic.clone()),
            any_source: std::mem::replace(&mut self.any_source, now.any_source),
        };
        before != now
    }

    /// Leaves out what is not of these prefixes.
    pub(crate) fn retain(&mut self, kept: impl Fn(&IpNet) -> bool) {
        self.routes.retain(&kept);
        let net = |(address, length): &(IpAddr, u8)| IpNet::new(*address, *length);
        self.addresses
            .retain(|address| net(address).is_ok_and(|net| kept(&net.trunc())));
    }

    /// The prefixes that lead to the TUN device, each in its table.
    pub(super) fn placed(&self) -> impl Iterator<Item = Placed> {
        self.routes.iter().map(|prefix| self.place(*prefix))
    }

    fn place(&self, prefix: IpNet) -> Placed {
        let own = self.own_traffic.as_deref();
        let apart = own.is_some_and(|own| own.would_take(prefix));
        let table = if apart { placed::APART } else { placed::MAIN };
        Placed { prefix, table }
    }

    /// Everything whose packets must not leave but through a tunnel: what leads to
    /// the TUN device, by our routes or by those that its addresses bring.
    #[must_use]
    pub fn guarded(&self) -> BTreeSet<Placed> {
        let inside = self.addresses.iter();
        let inside = inside.filter_map(|(address, length)| IpNet::new(*address, *length).ok());
        let inside = inside.map(|net| Placed {
            prefix: net.trunc(),
            table: placed::MAIN,
        });
        self.placed().chain(inside).collect()
    }
}

/// Whether sites may send from where no route leads.
fn any_source(gateway: &Gateway) -> bool {
    let mut connections = gateway.connections.iter();
    connections.any(|connection| !connection.source_check)
}

/// The ends of the packets that this gateway sends outside, where the VPC has no
/// namespace of its own.
fn own_traffic(gateway: &Gateway, settings: &Settings) -> Option<Arc<OwnTraffic>> {
    if settings.network_namespace.is_some() {
        return None;
    }
    let tunnels = gateway.connections.iter().flat_map(|connection| {
        let peer = |tunnel| gateway.remote_address(connection, tunnel);
        connection.tunnels.iter().filter_map(peer)
    });
    let ours = gateway.outside_addresses.iter();
    Some(Arc::new(OwnTraffic {
        from: ours.map(|ours| ours.address).collect(),
        to: tunnels.collect(),
    }))
}

/// One thing the kernel would not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {error}")]
pub struct KernelError {
    doing: String,
    error: String,
}

fn failed<E: std::fmt::Display>(doing: impl Into<String>) -> impl FnOnce(E) -> KernelError {
    let doing = doing.into();
    move |error| KernelError {
        doing,
        error: error.to_string(),
    }
}

/// A netlink socket that is open in the VPC's namespace.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    task: JoinHandle<()>,
    /// Changes made by it.
    changes: Cell<u64>,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread; it needs
    /// no privilege to enter that namespace later. `runtime` drives it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(runtime: &tokio::runtime::Handle) -> io::Result<Self> {
        let _entered = runtime.enter();
        // The kernel filters dumps only for those who ask strictly.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        let task = runtime.spawn(connection);
        Ok(Self {
            handle,
            task,
            changes: Cell::new(0),
        })
    }

    /// Counts a change if it was made.
    fn count<E>(&self, outcome: Result<(), E>) -> Result<(), E> {
        if outcome.is_ok() {
            self.changes.set(self.changes.get().wrapping_add(1));
        }
        outcome
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The TUN link as the kernel sees it.
#[derive(Debug)]
pub struct Link {
    netlink: Netlink,
    index: u32,
    mtu: u16,
    guard: Guard,
}

impl Link {
    /// The link `index` in the namespace of `netlink`, to have this MTU and
    /// these guard routes.
    #[must_use]
    pub fn new(netlink: Netlink, index: u32, mtu: u16, guard: Guard) -> Self {
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
        self.netlink.changes.get()
    }

    /// Makes the kernel have what is desired. Everything is tried, whatever
    /// fails before it; gives what failed. A prefix has its guard before it has
    /// its route, and loses it after.
    pub async fn reconcile(&self, desired: &Desired) -> Vec<KernelError> {
        let guarded = desired.guarded();
        let routes = desired.placed().collect();
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
        routes: &BTreeSet<Placed>,
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
    async fn all_addresses(&self) -> Result<BTreeSet<LocalAddress>, KernelError> {
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
    let guard = Guard::of(tun_name);
    let removed = guard.remove_all_but(netlink, &BTreeSet::new()).await?;
    netlink.remove_rules(&Desired::default()).await?;
    Ok(removed)
}

fn shown(address: Option<(IpAddr, u8)>) -> String {
    address.map_or_else(String::new, |(a, length)| format!("{a}/{length}"))
}
