//! What the kernel should have for a gateway.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use vgw_gateway::domain::Gateway;

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

/// The part of [`Desired`] that follows from the configuration alone; the supervisor's commands
/// say the rest. It is cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredByConfig {
    own_traffic: Option<Arc<OwnTraffic>>,
    any_source: bool,
}

impl DesiredByConfig {
    /// Of this configuration.
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

    /// Takes over what follows from a changed configuration; says whether that changes
    /// something.
    pub fn set_by_config(&mut self, now: DesiredByConfig) -> bool {
        let before = DesiredByConfig {
            own_traffic: std::mem::replace(&mut self.own_traffic, now.own_traffic.clone()),
            any_source: std::mem::replace(&mut self.any_source, now.any_source),
        };
        before != now
    }

    /// Keeps only what is of these prefixes.
    pub(crate) fn retain(&mut self, kept: impl Fn(&IpNet) -> bool) {
        self.routes.retain(&kept);
        let net = |(address, length): &(IpAddr, u8)| IpNet::new(*address, *length);
        self.addresses
            .retain(|address| net(address).is_ok_and(|net| kept(&net.trunc())));
    }

    /// The prefixes that lead to the TUN device, each in its table.
    pub(super) fn tun_prefixes(&self) -> impl Iterator<Item = PrefixInTable> {
        self.routes.iter().map(|prefix| self.in_its_table(*prefix))
    }

    fn in_its_table(&self, prefix: IpNet) -> PrefixInTable {
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
        let inside = inside.filter_map(|(address, length)| IpNet::new(*address, *length).ok());
        let inside = inside.map(|net| PrefixInTable {
            net: net.trunc(),
            table: MAIN_TABLE,
        });
        self.tun_prefixes().chain(inside).collect()
    }
}

/// Whether sites may send from where no route leads.
fn any_source(gateway: &Gateway) -> bool {
    let mut connections = gateway.connections.iter();
    connections.any(|connection| !connection.source_check)
}

/// The ends of the packets that this gateway sends outside. None where the VPC has a namespace
/// of its own: its routes do not lead them.
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
