//! The data plane without its devices and threads: its tables, the changes to
//! them, and the counters. The workers of a [`crate::DataPlane`], or a
//! simulation, look packets up here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use thiserror::Error;
use vgw_crypto::{DirectionKeys, EspSuite};
use vgw_esp::{InboundSa, KeyError, OutboundSa};
use vgw_sa::{
    Changes, ChildSa, ChildTraffic, GatewayId, Hint, HostService, Inside, InsideAddress, NextHop,
    Path, TunnelId, TunnelPolicy, TunnelTraffic,
};

use crate::links::outside_link::OutsideLink;
use crate::tables::counters::{Count, Traffic};
use crate::tables::lookup::Lookup;
use crate::tables::misplaced::Examples;
use crate::tables::sample::{Sample, UnknownSpi};
use crate::tables::seen_paths::{SeenPath, SeenPaths};
use crate::tables::sender_lease::SenderLease;
use crate::tables::traffic_selectors::Selectors;
use crate::tables::{
    Egress, GatewayTables, Inbound, Outbound, Policy, ResolvedPath, Slot, Tables, TunnelPath,
};

mod activity;
pub(crate) mod burst;
pub(crate) mod forward;
mod outside_mtus;
mod single_packet;
mod state;

use self::activity::Watch;

pub use outside_mtus::SmallMtuLink;
pub use single_packet::{Arrival, Dropped, EspPacket};
pub use state::ChildState;

/// Tunnel numbers are dense and index a table; this bounds it.
const MAX_TUNNELS: u32 = 1 << 16;

/// Why the data plane did not take a change.
#[derive(Debug, Error)]
pub enum ControlError {
    /// A path does not start at an outside address.
    #[error("path starts at {0}, which is no outside address of this data plane")]
    NoOutsideAddress(IpAddr),
    /// A path's two ends are of different families.
    #[error("path from {0} to {1} mixes address families")]
    FamiliesDiffer(IpAddr, IpAddr),
    /// Another SA has the slot of this inbound SPI.
    #[error("SPI {spi_in:#010x} has the slot of SPI {taken_by:#010x}, which is still installed")]
    SlotTaken {
        /// The SPI refused.
        spi_in: u32,
        /// The SPI that has the slot.
        taken_by: u32,
    },
    /// No CHILD SA has this inbound SPI.
    #[error("no CHILD SA with inbound SPI {0:#010x}")]
    UnknownChild(u32),
    /// The data plane has no TUN device of a gateway, so its packets could go nowhere.
    #[error("gateway number {0} has no TUN device")]
    NoDevice(u16),
    /// A tunnel number that is too large.
    #[error("tunnel number {0} is not below {MAX_TUNNELS}")]
    TunnelNumber(u32),
    /// Keys do not fit the suite.
    #[error("keys of SPI {spi:#010x}: {error}")]
    Keys {
        /// The SPI of the keys.
        spi: u32,
        /// What does not fit.
        error: KeyError,
    },
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A CHILD SA as the control side remembers it.
struct Child {
    tunnel: TunnelId,
    suite: EspSuite,
    keys: Box<Keys>,
    outbound: Arc<Outbound>,
    path: ResolvedPath,
    traffic: Arc<Traffic>,
}

/// Both directions' keys, for [`state`].
struct Keys {
    inbound: DirectionKeys,
    outbound: DirectionKeys,
}

/// What a tunnel keeps when its SAs go.
#[derive(Default)]
struct Tunnel {
    traffic: Arc<Traffic>,
    policy: Arc<Policy>,
    /// Shared by all its SAs, so that packets stay in order over a rekey.
    lease: Arc<SenderLease>,
    /// Inbound SPIs of its SAs.
    spis: Vec<u32>,
    watch: Watch,
}

#[derive(Default)]
struct Control {
    /// By inbound SPI.
    children: BTreeMap<u32, Child>,
    tunnels: BTreeMap<TunnelId, Tunnel>,
    /// The last child whose link was looked at; None starts from the first.
    looked_at: Option<u32>,
}

impl Control {
    fn spis(&self, tunnel: TunnelId) -> Vec<u32> {
        let of_tunnel = self.tunnels.get(&tunnel);
        of_tunnel.map_or_else(Vec::new, |tunnel| tunnel.spis.clone())
    }

    fn policy(&self, tunnel: TunnelId) -> Arc<Policy> {
        let of_tunnel = self.tunnels.get(&tunnel);
        of_tunnel
            .map(|tunnel| Arc::clone(&tunnel.policy))
            .unwrap_or_default()
    }
}

/// Tables, and what the control side must remember beside them.
///
/// Its methods may be called from any thread. A change counts for every look-up that
/// begins after the method has returned.
pub struct Engine {
    outside: Vec<IpAddr>,
    pub(crate) tables: ArcSwap<Tables>,
    /// Addresses of packets that came by other paths than their SAs'.
    pub(crate) paths: SeenPaths,
    /// Packets whose SPI no SA receives with.
    pub(crate) unknown_spis: Sample<UnknownSpi>,
    /// That packets outside may not arrive, as the kernel and others tell.
    pub(crate) hints: Sample<Hint>,
    /// Packets that were dropped because the ends' networks differ.
    pub(crate) misplaced: Examples,
    control: Mutex<Control>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("outside", &self.outside)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without tunnels. Paths start at one of `outside`, our outside addresses.
    #[must_use]
    pub fn new(outside: Vec<IpAddr>) -> Self {
        Self {
            outside,
            tables: ArcSwap::default(),
            paths: SeenPaths::default(),
            unknown_spis: Sample::default(),
            hints: Sample::default(),
            misplaced: Examples::default(),
            control: Mutex::default(),
        }
    }

    /// Receives with this CHILD SA from now on, and keeps its sending half for
    /// [`Self::use_outbound`]. `replay_window` is in packets. `link` is the one
    /// that its packets leave by, if known. AES-CBC makes its IVs of `iv_seed`,
    /// 32 secret octets.
    ///
    /// # Errors
    ///
    /// [`ControlError`]; then nothing has changed.
    pub fn install_child(
        &self,
        tunnel: TunnelId,
        child: ChildSa,
        replay_window: u32,
        link: Option<OutsideLink>,
        iv_seed: &[u8; 32],
    ) -> Result<(), ControlError> {
        let state = ChildState::new(tunnel, child, replay_window);
        self.install(state, link, iv_seed)
    }

    fn install(
        &self,
        state: ChildState,
        link: Option<OutsideLink>,
        iv_seed: &[u8; 32],
    ) -> Result<(), ControlError> {
        let ChildState {
            tunnel,
            sa,
            window,
            sequence,
            traffic,
            ..
        } = state;
        if tunnel.number >= MAX_TUNNELS {
            return Err(ControlError::TunnelNumber(tunnel.number));
        }
        let ChildSa {
            spi_in,
            spi_out,
            suite,
            keys_in,
            keys_out,
            local_selectors,
            remote_selectors,
            path,
        } = sa;
        let path = self.resolve(path, link)?;
        let keys = |spi| move |error| ControlError::Keys { spi, error };
        let receiving = InboundSa::after(spi_in, suite, &keys_in, window).map_err(keys(spi_in))?;
        let sending = OutboundSa::after(spi_out, suite, &keys_out, *iv_seed, sequence)
            .map_err(keys(spi_out))?;

        let mut control = self.control();
        let of_tunnel = control.tunnels.entry(tunnel).or_default();
        let tunnel_traffic = Arc::clone(&of_tunnel.traffic);
        let policy = Arc::clone(&of_tunnel.policy);
        let lease = Arc::clone(&of_tunnel.lease);
        let traffic = Arc::new(Traffic::from(traffic));
        let selectors = Arc::new(Selectors::new(local_selectors, remote_selectors));
        let inbound = Arc::new(Inbound {
            spi: spi_in,
            tunnel,
            newest: Count::from(receiving.sequence()),
            sa: receiving,
            selectors: Arc::clone(&selectors),
            child: Arc::clone(&traffic),
            tunnel_traffic: Arc::clone(&tunnel_traffic),
        });
        let outbound = Arc::new(Outbound {
            spi_in,
            tunnel,
            sa: sending,
            lease,
            selectors,
            child: Arc::clone(&traffic),
            tunnel_traffic,
        });
        let mut tables = self.tables();
        let layout = inbound.sa.layout();
        let slot = Slot {
            inbound,
            tunnel_path: TunnelPath::new(path.clone(), policy, layout),
        };
        tables
            .insert_inbound(slot)
            .map_err(|taken_by| ControlError::SlotTaken { spi_in, taken_by })?;
        let child = Child {
            tunnel,
            suite,
            keys: Box::new(Keys {
                inbound: keys_in,
                outbound: keys_out,
            }),
            outbound,
            path,
            traffic,
        };
        control.children.insert(spi_in, child);
        let of_tunnel = control.tunnels.entry(tunnel).or_default();
        of_tunnel.spis.push(spi_in);
        self.publish(tables);
        Ok(())
    }

    /// Sends this tunnel's packets with this CHILD SA from now on. Another one
    /// with the same selectors sends no more, but still receives.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownChild`] if it is not installed in this tunnel.
    pub fn use_outbound(&self, tunnel: TunnelId, spi_in: u32) -> Result<(), ControlError> {
        let control = self.control();
        let child = control
            .children
            .get(&spi_in)
            .filter(|child| child.tunnel == tunnel)
            .ok_or(ControlError::UnknownChild(spi_in))?;
        let policy = control.policy(tunnel);
        let mut tables = self.tables();
        let tunnel_path = TunnelPath::new(child.path.clone(), policy, child.outbound.sa.layout());
        let egress = Egress::new(Arc::clone(&child.outbound), tunnel_path);
        tables.use_outbound(egress);
        self.publish(tables);
        Ok(())
    }

    /// Sends no more with this CHILD SA, which still receives.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownChild`] if there is none.
    pub fn stop_outbound(&self, spi_in: u32) -> Result<(), ControlError> {
        let control = self.control();
        let child = control
            .children
            .get(&spi_in)
            .ok_or(ControlError::UnknownChild(spi_in))?;
        let mut tables = self.tables();
        tables.stop_outbound(child.tunnel, spi_in);
        self.publish(tables);
        Ok(())
    }

    /// Forgets both directions of a CHILD SA. What its tunnel counted stays.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownChild`] if there is none.
    pub fn remove_child(&self, spi_in: u32) -> Result<(), ControlError> {
        let mut control = self.control();
        let child = control
            .children
            .remove(&spi_in)
            .ok_or(ControlError::UnknownChild(spi_in))?;
        if let Some(of_tunnel) = control.tunnels.get_mut(&child.tunnel) {
            of_tunnel.spis.retain(|known| *known != spi_in);
        }
        let mut tables = self.tables();
        tables.remove_child(child.tunnel, spi_in);
        self.publish(tables);
        Ok(())
    }

    /// Sends every packet of this tunnel along `path` from now on, and expects
    /// the peer's from there.
    ///
    /// # Errors
    ///
    /// The path does not start at an outside address or mixes families.
    pub fn set_path(
        &self,
        tunnel: TunnelId,
        path: Path,
        link: Option<OutsideLink>,
    ) -> Result<(), ControlError> {
        let resolved = self.resolve(path, link)?;
        let mut control = self.control();
        let spis = control.spis(tunnel);
        for spi_in in &spis {
            if let Some(child) = control.children.get_mut(spi_in) {
                child.path = resolved.clone();
            }
        }
        let policy = control.policy(tunnel);
        let mut tables = self.tables();
        tables.set_path(tunnel, spis, Some(&resolved), &policy);
        self.publish(tables);
        Ok(())
    }

    /// Takes the addresses of packets that came by other paths than their SAs':
    /// of each SA that of the newest packet since the last call.
    #[must_use]
    pub fn take_paths(&self) -> Vec<SeenPath> {
        self.paths.take()
    }

    /// Applies this policy to the tunnel's packets. The tunnel may have no
    /// CHILD SA yet. Returns whether that is a change.
    pub fn set_policy(&self, tunnel: TunnelId, policy: TunnelPolicy) -> bool {
        let mut control = self.control();
        let of_tunnel = control.tunnels.entry(tunnel).or_default();
        if of_tunnel.policy.asked == policy {
            return false;
        }
        let policy = Arc::new(Policy::new(policy));
        of_tunnel.policy = Arc::clone(&policy);
        let spis = of_tunnel.spis.clone();
        let mut tables = self.tables();
        tables.set_path(tunnel, spis, None, &policy);
        self.publish(tables);
        true
    }

    /// Allows or forbids packets to go from one tunnel of the gateway into another.
    pub fn set_site_to_site(&self, gateway: GatewayId, allowed: bool) {
        self.change_gateway(gateway, |tables| tables.set_site_to_site(allowed));
    }

    /// The largest inner packet, in octets, that this tunnel carries without
    /// fragmenting the outer one. None while it has no CHILD SA to send with.
    pub(crate) fn tunnel_mtu(&self, tunnel: TunnelId) -> Option<usize> {
        self.tables.load().mtu(tunnel)
    }

    /// Replaces a gateway's forwarding table: by longest prefix, which of its tunnels
    /// carries packets to an inside destination and may bring packets from there.
    pub fn set_forwarding(&self, gateway: GatewayId, routes: Vec<(IpNet, NextHop)>) {
        self.change_gateway(gateway, |tables| tables.set_forwarding(routes));
    }

    /// Replaces the prefixes that the kernel delivers to the host itself in the gateway's
    /// VPC. Until they are known, every local destination is taken for the host's.
    pub fn set_host_addresses(&self, gateway: GatewayId, prefixes: Vec<IpNet>) {
        self.change_gateway(gateway, |tables| tables.set_host_addresses(prefixes));
    }

    /// Changes entries of forwarding tables; see [`Self::set_forwarding`].
    pub fn change_forwarding(&self, changes: Changes<Inside<IpNet>, NextHop>) {
        self.change_entries(changes, GatewayTables::set_route);
    }

    /// Replaces the services of the host that the gateway's tunnels may reach.
    pub(crate) fn set_host_services(&self, gateway: GatewayId, services: Vec<HostService>) {
        self.change_gateway(gateway, |tables| tables.set_host_services(services.into()));
    }

    /// Changes our inside addresses.
    pub(crate) fn change_inside_addresses(&self, changes: Changes<Inside<IpAddr>, InsideAddress>) {
        self.change_entries(changes, GatewayTables::set_inside_address);
    }

    /// Changes the prefixes that decrypted packets may go to.
    pub fn change_local_prefixes(&self, changes: Changes<Inside<IpNet>, ()>) {
        self.change_entries(changes, GatewayTables::set_local_prefix);
    }

    /// Replaces the prefixes that a gateway's decrypted packets may go to.
    pub fn set_local_prefixes(&self, gateway: GatewayId, prefixes: Vec<IpNet>) {
        self.change_gateway(gateway, |tables| tables.set_local_prefixes(prefixes));
    }

    /// What every tunnel counted.
    #[must_use]
    pub fn tunnel_traffic(&self) -> Vec<(TunnelId, TunnelTraffic)> {
        let control = self.control();
        let counted = control.tunnels.iter();
        counted
            .map(|(&id, tunnel)| (id, tunnel.traffic.total()))
            .collect()
    }

    /// What every installed CHILD SA counted, by inbound SPI.
    #[must_use]
    pub fn child_traffic(&self) -> Vec<ChildTraffic> {
        let control = self.control();
        let children = control.children.iter();
        children
            .map(|(&spi_in, child)| {
                let counted = child.traffic.total();
                ChildTraffic {
                    spi_in,
                    tunnel: child.tunnel,
                    packets_in: counted.packets_in,
                    bytes_in: counted.bytes_in,
                    packets_out: counted.packets_out,
                    bytes_out: counted.bytes_out,
                    sequence: child.outbound.sa.sequence(),
                }
            })
            .collect()
    }

    /// How a tunnel's packets are treated, if that was ever set.
    #[must_use]
    pub fn policy(&self, tunnel: TunnelId) -> Option<TunnelPolicy> {
        let control = self.control();
        let tunnel = control.tunnels.get(&tunnel)?;
        Some(tunnel.policy.asked)
    }

    /// A view of the tables that follows their changes.
    #[must_use]
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup::new(&self.tables)
    }

    /// Changes are made one after the other under this lock; carrying packets
    /// does not take it.
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_gateway(&self, gateway: GatewayId, change: impl FnOnce(&mut GatewayTables)) {
        self.change(|tables| tables.change_gateway(gateway, change));
    }

    fn change_entries<K, V>(
        &self,
        changes: Changes<Inside<K>, V>,
        set: impl Fn(&mut GatewayTables, K, Option<V>),
    ) {
        self.change(|tables| {
            for (Inside { gateway, at }, entry) in changes {
                tables.change_gateway(gateway, |tables| set(tables, at, entry));
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Tables)) {
        let _control = self.control();
        let mut tables = self.tables();
        change(&mut tables);
        self.publish(tables);
    }

    fn tables(&self) -> Tables {
        Tables::clone(&self.tables.load())
    }

    fn publish(&self, tables: Tables) {
        self.tables.store(Arc::new(tables));
    }

    fn resolve(&self, path: Path, link: Option<OutsideLink>) -> Result<ResolvedPath, ControlError> {
        let (local, remote) = (path.local.ip(), path.remote.ip());
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(ControlError::FamiliesDiffer(local, remote));
        }
        let mut outside = self.outside.iter();
        let outside = outside
            .position(|address| *address == local)
            .ok_or(ControlError::NoOutsideAddress(local))?;
        Ok(ResolvedPath::new(
            outside,
            path.remote,
            path.udp_encapsulation,
            link,
        ))
    }
}

#[cfg(test)]
mod tests;
