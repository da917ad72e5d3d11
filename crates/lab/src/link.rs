//! Links, addresses and routes of a namespace, by netlink.

use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{TryStreamExt, future};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags};
use netlink_packet_route::link::{InfoData, InfoVeth};
use netlink_packet_route::route::{RouteMessage, RouteType};
use netlink_packet_route::rule::RuleAction;
use rtnetlink::{Error, Handle, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};

use crate::{Namespace, wait_until};

/// Bounds the wait for a kernel thread.
const LOCAL_ROUTES: Duration = Duration::from_secs(10);

/// One end of a cable to be.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    /// Where this end is.
    pub namespace: &'a Namespace,
    /// Its name there, at most 15 characters.
    pub name: &'a str,
    /// Its addresses.
    pub addresses: &'a [IpNet],
}

impl Veth<'_> {
    /// Lays a cable between two namespaces, gives its ends their addresses and
    /// brings it up.
    ///
    /// # Errors
    /// When a name is taken or the kernel refuses.
    pub fn connect(self, other: Veth<'_>) -> Result<()> {
        let peer = LinkUnspec::new_with_name(other.name)
            .setns_by_fd(other.namespace.file().as_raw_fd())
            .build();
        let pair = LinkVeth::new(self.name, other.name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        self.namespace
            .netlink(async |handle| handle.link().add(pair).execute().await)
            .with_context(|| format!("making the veth pair {} and {}", self.name, other.name))?;
        for end in [self, other] {
            for address in end.addresses {
                end.namespace.add_address(end.name, *address)?;
            }
            end.namespace.set_up(end.name)?;
        }
        // Not before the other end is up as well.
        self.namespace.await_addresses(self.name)?;
        other.namespace.await_addresses(other.name)
    }
}

impl Namespace {
    /// Brings a link up, and waits until the kernel takes packets for its addresses.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn link_up(&self, link: &str) -> Result<()> {
        self.set_up(link)?;
        self.await_addresses(link)
    }

    fn set_up(&self, link: &str) -> Result<()> {
        self.netlink(async |handle| {
            let index = index_of(&handle, link).await?;
            let up = LinkUnspec::new_with_index(index).up();
            handle.link().set(up.build()).execute().await
        })
        .with_context(|| format!("{}: bringing {link} up", self.name()))
    }

    /// Waits until the kernel takes what comes for a link's IPv6 addresses. One that needs
    /// no duplicate address detection can be bound at once, but its local route is made by
    /// a kernel thread, which on a busy machine may be later than the first packet.
    fn await_addresses(&self, link: &str) -> Result<()> {
        wait_until("local routes", LOCAL_ROUTES, || {
            let taken = self.netlink(async |handle| takes_its_own(&handle, link).await)?;
            Ok(taken.then_some(()))
        })
        .with_context(|| format!("{}: {link}", self.name()))
    }

    /// Adds an address to a link. An IPv6 address needs no duplicate address detection.
    ///
    /// # Errors
    /// When there is no such link or it has the address already.
    pub fn add_address(&self, link: &str, address: IpNet) -> Result<()> {
        self.netlink(async |handle| {
            let index = index_of(&handle, link).await?;
            let mut request = handle
                .address()
                .add(index, address.addr(), address.prefix_len());
            if address.addr().is_ipv6() {
                request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            }
            request.execute().await
        })
        .with_context(|| format!("{}: adding {address} to {link}", self.name()))
    }

    /// Adds a route by a gateway to the main table.
    ///
    /// # Errors
    /// When the gateway is not on a link or there is such a route already.
    pub fn add_route(&self, destination: IpNet, gateway: IpAddr) -> Result<()> {
        self.add_route_for(None, destination, gateway)
    }

    /// Adds a route to what is behind a link without gateways, such as a TUN device.
    ///
    /// # Errors
    /// When there is no such link or there is such a route already.
    pub fn add_link_route(&self, destination: IpNet, link: &str) -> Result<()> {
        self.netlink(async |handle| {
            let index = index_of(&handle, link).await?;
            let route = RouteMessageBuilder::<IpAddr>::new()
                .output_interface(index)
                .destination_prefix(destination.addr(), destination.prefix_len())
                .map_err(|_| Error::RequestFailed)?;
            handle.route().add(route.build()).execute().await
        })
        .with_context(|| format!("{}: adding the route {destination} to {link}", self.name()))
    }

    /// Refuses packets to `destination` while no other route leads just there,
    /// so that they do not leave by a wider route, such as the default route.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn guard(&self, destination: IpNet) -> Result<()> {
        self.netlink(async |handle| {
            let route = RouteMessageBuilder::<IpAddr>::new()
                .kind(RouteType::Unreachable)
                .priority(u32::MAX)
                .destination_prefix(destination.addr(), destination.prefix_len())
                .map_err(|_| Error::RequestFailed)?;
            handle.route().add(route.build()).replace().execute().await
        })
        .with_context(|| format!("{}: guarding {destination}", self.name()))
    }

    /// Adds a default route by `gateway` for what is sent from `source` only, as a
    /// host with several Internet lines has: each address leaves by its own line.
    /// `table` is an unused routing table, 1 to 252.
    ///
    /// # Errors
    /// As [`Self::add_route`].
    pub fn add_line(&self, source: IpAddr, gateway: IpAddr, table: u8) -> Result<()> {
        let everything = match gateway {
            IpAddr::V4(_) => IpNet::from(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::from(Ipv6Net::default()),
        };
        self.add_route_for(Some(table), everything, gateway)?;
        self.netlink(async |handle| {
            let rule = handle
                .rule()
                .add()
                .table_id(u32::from(table))
                .action(RuleAction::ToTable);
            match source {
                IpAddr::V4(source) => rule.v4().source_prefix(source, 32).execute().await,
                IpAddr::V6(source) => rule.v6().source_prefix(source, 128).execute().await,
            }
        })
        .with_context(|| format!("{}: rule for what {source} sends", self.name()))
    }

    fn add_route_for(&self, table: Option<u8>, to: IpNet, gateway: IpAddr) -> Result<()> {
        let route = route(table, to, gateway)?;
        self.netlink(async |handle| handle.route().add(route).execute().await)
            .with_context(|| format!("{}: adding the route {to} via {gateway}", self.name()))
    }

    /// Talks netlink from inside the namespace.
    pub(crate) fn netlink<T: Send>(
        &self,
        talk: impl AsyncFnOnce(Handle) -> Result<T, Error> + Send,
    ) -> Result<T> {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?;
            runtime.block_on(async {
                let (connection, handle, _) = new_connection()?;
                tokio::spawn(connection);
                Ok(talk(handle).await?)
            })
        })?
    }
}

fn route(table: Option<u8>, to: IpNet, gateway: IpAddr) -> Result<RouteMessage> {
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to.addr(), to.prefix_len())?
        .gateway(gateway)?;
    if let Some(table) = table {
        builder = builder.table_id(u32::from(table));
    }
    Ok(builder.build())
}

/// Whether routes lead to this host for each IPv6 address that was given to a link.
async fn takes_its_own(handle: &Handle, link: &str) -> Result<bool, Error> {
    let index = index_of(handle, link).await?;
    let addresses = handle.address().get().set_link_index_filter(index);
    let given: Vec<_> = addresses
        .execute()
        .try_filter(|address| {
            future::ready(address.header.flags.contains(AddressHeaderFlags::Nodad))
        })
        .try_collect()
        .await?;
    let own = given.iter().flat_map(|address| &address.attributes);
    for attribute in own {
        let AddressAttribute::Address(own @ IpAddr::V6(_)) = attribute else {
            continue;
        };
        let question = RouteMessageBuilder::<IpAddr>::new().destination_prefix(*own, 128);
        let question = question.map_err(|_| Error::RequestFailed)?.build();
        let mut answer = handle.route().get(question).execute();
        match answer.try_next().await? {
            Some(route) if route.header.kind == RouteType::Local => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

async fn index_of(handle: &Handle, link: &str) -> Result<u32, Error> {
    let mut links = handle.link().get().match_name(link.to_owned()).execute();
    match links.try_next().await? {
        Some(found) => Ok(found.header.index),
        None => Err(Error::RequestFailed),
    }
}
