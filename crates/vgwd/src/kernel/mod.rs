//! The kernel's side of the VPC: the TUN link, its inside addresses, and the
//! routes that lead to it, by netlink.
//!
//! What should be is compared with what is, and only the difference is done,
//! so that a route that stays is never gone for a moment. Our routes carry
//! [`ROUTE_PROTOCOL`], which tells them from everybody else's; those that a
//! former run left on a persistent device are found by it and removed.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use vgw_dataplane::SUPER_PACKET;

mod difference;

use difference::Difference;

/// The number that marks our routes in the kernel's table (`ip route` shows
/// `proto 203`); no routing daemon in Debian's `rt_protos` has it.
pub const ROUTE_PROTOCOL: u8 = 203;

/// The kernel is looked at this often even when nothing changed, because
/// others change it: a link set down loses its routes.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What the kernel should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Prefixes that lead to the TUN device.
    pub routes: BTreeSet<IpNet>,
    /// Addresses of the TUN device, each with its prefix length.
    pub addresses: BTreeSet<(IpAddr, u8)>,
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
        Ok(Self { handle, task })
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
}

impl Link {
    /// The link `index` in the namespace of `netlink`, to have this MTU.
    #[must_use]
    pub fn new(netlink: Netlink, index: u32, mtu: u16) -> Self {
        Self {
            netlink,
            index,
            mtu,
        }
    }

    /// Makes the kernel have what is desired. Everything is tried, whatever
    /// fails before it.
    ///
    /// # Errors
    /// The first thing that failed.
    pub async fn reconcile(&self, desired: &Desired) -> Result<(), KernelError> {
        let results = [
            self.set_up().await,
            self.reconcile_addresses(&desired.addresses).await,
            self.reconcile_routes(&desired.routes).await,
        ];
        results.into_iter().collect()
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
            tracing::debug!(%error, "the TUN link keeps its link-local address");
        }
    }

    /// Keeps super-packets so small that each, sealed, is one message: what is
    /// beyond it would be a message of its own, with hardly a packet in it. A
    /// kernel that refuses has the rest of the data plane all the same.
    pub async fn with_super_packets_of_one_message(&self) {
        let link = LinkUnspec::new_with_index(self.index)
            .append_extra_attribute(LinkAttribute::GsoMaxSize(SUPER_PACKET));
        let request = self.netlink.handle.link().set(link.build());
        if let Err(error) = request.execute().await {
            tracing::debug!(%error, "the TUN link keeps its size of super-packets");
        }
    }

    async fn set_up(&self) -> Result<(), KernelError> {
        let up = LinkUnspec::new_with_index(self.index)
            .mtu(u32::from(self.mtu))
            .up();
        let request = self.netlink.handle.link().set(up.build());
        request
            .execute()
            .await
            .map_err(failed("bringing the TUN link up"))
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
                result = result.and(request.execute().await.map_err(failed(doing)));
            }
        }
        for (address, length) in difference.missing {
            let request = self
                .netlink
                .handle
                .address()
                .add(self.index, address, length);
            let doing = format!("adding the address {address}/{length}");
            result = result.and(request.execute().await.map_err(failed(doing)));
        }
        result
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

    async fn reconcile_routes(&self, wanted: &BTreeSet<IpNet>) -> Result<(), KernelError> {
        let mut found = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            found.append(&mut self.routes(family).await?);
        }
        let difference = Difference::between(&found, wanted);
        let mut result = Ok(());
        for prefix in difference.surplus {
            let request = self.netlink.handle.route().del(self.route_to(prefix)?);
            let doing = format!("removing the route to {prefix}");
            result = result.and(request.execute().await.map_err(failed(doing)));
        }
        for prefix in difference.missing {
            let request = self.netlink.handle.route().add(self.route_to(prefix)?);
            let doing = format!("adding the route to {prefix}");
            result = result.and(request.execute().await.map_err(failed(doing)));
        }
        result
    }

    /// Our routes that lead to the link.
    async fn routes(&self, family: AddressFamily) -> Result<BTreeSet<IpNet>, KernelError> {
        let mut ours = RouteMessage::default();
        ours.header.address_family = family;
        ours.header.table = RouteHeader::RT_TABLE_MAIN;
        ours.header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
        ours.attributes.push(RouteAttribute::Oif(self.index));
        let mut answers = std::pin::pin!(self.netlink.handle.route().get(ours).execute());
        let mut found = BTreeSet::new();
        while let Some(answer) = answers.next().await {
            let route = answer.map_err(failed("reading the routes"))?;
            if self.is_ours(&route) {
                found.extend(destination_of(&route));
            }
        }
        Ok(found)
    }

    /// The kernel filters already, where it is new enough.
    fn is_ours(&self, route: &RouteMessage) -> bool {
        route.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL)
            && route.header.table == RouteHeader::RT_TABLE_MAIN
            && route.attributes.contains(&RouteAttribute::Oif(self.index))
    }

    fn route_to(&self, prefix: IpNet) -> Result<RouteMessage, KernelError> {
        // RFC 4291 knows no link scope for IPv6 routes; the kernel ignores it there.
        let scope = match prefix {
            IpNet::V4(_) => RouteScope::Link,
            IpNet::V6(_) => RouteScope::Universe,
        };
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.network(), prefix.prefix_len())
            .map_err(failed(format!("the route to {prefix}")))?
            .output_interface(self.index)
            .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
            .scope(scope);
        Ok(route.build())
    }
}

/// Keeps the kernel as `desired` says, for good. What fails is logged once,
/// told to `problem` until it is well, and tried again.
pub async fn keep(
    link: Link,
    mut desired: watch::Receiver<Desired>,
    problem: watch::Sender<Option<String>>,
) {
    link.without_link_local_address().await;
    link.with_super_packets_of_one_message().await;
    loop {
        let wanted = desired.borrow_and_update().clone();
        let outcome = link.reconcile(&wanted).await.err().map(|e| e.to_string());
        let news = problem.send_if_modified(|known| {
            let changed = *known != outcome;
            known.clone_from(&outcome);
            changed
        });
        match outcome {
            Some(error) if news => {
                tracing::error!(error, "the VPC's kernel is not as it should be; retrying")
            }
            None if news => tracing::info!("the VPC's kernel is as it should be again"),
            _ => {}
        }
        tokio::select! {
            changed = desired.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

fn address_of(message: &AddressMessage) -> Option<(IpAddr, u8)> {
    // Of a point-to-point link, Local is ours and Address the peer's.
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let plain = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    Some((local.or(plain)?, message.header.prefix_len))
}

fn shown(address: Option<(IpAddr, u8)>) -> String {
    address.map_or_else(String::new, |(a, length)| format!("{a}/{length}"))
}

/// Where a route leads; a default route has no destination attribute.
fn destination_of(route: &RouteMessage) -> Option<IpNet> {
    let named = route.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(RouteAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        RouteAttribute::Destination(RouteAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    });
    let address = named.or(match route.header.address_family {
        AddressFamily::Inet => Some(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    })?;
    IpNet::new(address, route.header.destination_prefix_length).ok()
}
