//! The control side of the data plane: starts and stops it, changes its
//! tables, reads its counters.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use ipnet::IpNet;
use thiserror::Error;
use vgw_crypto::{DirectionKeys, EspSuite};
use vgw_esp::{InboundSa, KeyError, OutboundSa};
use zeroize::Zeroizing;

use crate::counters::{ChildTraffic, Count, DropReason, Traffic, TunnelTraffic};
use crate::event::DataPlaneEvent;
use crate::features::Features;
use crate::lease::Lease;
use crate::lookup::Lookup;
use crate::paths::SeenPath;
use crate::selector::Selectors;
use crate::settings::TunnelSettings;
use crate::sockets::{NATT_PORT, OutsideSockets};
use crate::tables::{Egress, Inbound, Lane, NextHop, Outbound, Policy, Route, Slot, Tables, Uncut};
use crate::tun::Tun;
use crate::worker::{Direction, Shared, spawn};

mod links;

pub use links::NarrowLink;

/// Tunnel numbers are dense and index a table; this bounds it.
const MAX_TUNNELS: u32 = 1 << 16;

/// What a data plane works with.
#[derive(Debug)]
pub struct Config {
    /// The inside.
    pub tun: Tun,
    /// The outside addresses.
    pub outside: Vec<OutsideSockets>,
    /// Threads for each direction; the TUN device and the sockets were opened
    /// for as many.
    pub workers: usize,
}

/// The way of an SA's packets outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Our address, one of the outside addresses; the port does not count.
    pub local: SocketAddr,
    /// The peer's; the port counts with UDP encapsulation only.
    pub remote: SocketAddr,
    /// ESP in UDP from port 4500, or IP protocol 50.
    pub udp_encapsulation: bool,
}

/// Both directions of a CHILD SA.
#[derive(Debug, Clone)]
pub struct ChildSpec {
    /// SPI of packets that we receive; its low [`crate::SLOT_BITS`] bits are a slot.
    pub spi_in: u32,
    /// SPI of packets that we send.
    pub spi_out: u32,
    /// Algorithms.
    pub suite: EspSuite,
    /// Keys of what we receive.
    pub keys_in: DirectionKeys,
    /// Keys of what we send.
    pub keys_out: DirectionKeys,
    /// What may travel.
    pub selectors: Selectors,
    /// Anti-replay window, packets.
    pub replay_window: u32,
    /// Where its packets go and come from.
    pub path: Path,
}

/// Why the data plane did not take a change.
#[derive(Debug, Error)]
pub enum ControlError {
    /// A path does not start at an outside address.
    #[error("path starts at {0}, which is no outside address of this data plane")]
    NoOutsideAddress(IpAddr),
    /// A path's two ends are of different families.
    #[error("path from {0} to {1} mixes address families")]
    FamiliesDiffer(IpAddr, IpAddr),
    /// Two inbound SPIs with one slot.
    #[error("SPI {spi_in:#010x} has the slot of SPI {taken_by:#010x}, which is still installed")]
    SlotTaken {
        /// The SPI refused.
        spi_in: u32,
        /// The SPI that is there.
        taken_by: u32,
    },
    /// No CHILD SA has this inbound SPI.
    #[error("no CHILD SA with inbound SPI {0:#010x}")]
    UnknownChild(u32),
    /// A tunnel number that is not small.
    #[error("tunnel number {0} is not below {MAX_TUNNELS}")]
    TunnelNumber(u32),
    /// Keys do not fit the suite.
    #[error("keys of SPI {spi:#010x}: {error}")]
    Keys {
        /// Whose keys.
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
    tunnel: u32,
    outbound: Arc<Outbound>,
    route: Route,
    traffic: Arc<Traffic>,
}

/// What outlives a tunnel's SAs.
#[derive(Default)]
struct Tunnel {
    traffic: Arc<Traffic>,
    policy: Arc<Policy>,
    /// Shared by all its SAs, so that a rekey changes nothing of the order.
    lease: Arc<Lease>,
}

#[derive(Default)]
struct Control {
    /// By inbound SPI.
    children: BTreeMap<u32, Child>,
    tunnels: BTreeMap<u32, Tunnel>,
    /// The last child whose link was looked at; None begins anew.
    looked_at: Option<u32>,
}

impl Control {
    fn policy(&self, tunnel: u32) -> Arc<Policy> {
        let of_tunnel = self.tunnels.get(&tunnel);
        of_tunnel
            .map(|tunnel| Arc::clone(&tunnel.policy))
            .unwrap_or_default()
    }
}

/// A running data plane. Dropping it stops its threads and closes its sockets
/// and its TUN device.
///
/// Its methods may be called from any thread. A change is seen by every packet
/// that is read after the method returns.
pub struct DataPlane {
    shared: Arc<Shared>,
    control: Mutex<Control>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPlane")
            .field("tun", &self.shared.tun)
            .field("outside", &self.shared.outside)
            .finish_non_exhaustive()
    }
}

impl DataPlane {
    /// Starts the worker threads. `events` is called on them: it must not
    /// block, and says whether it took the event (false: a queue is full).
    ///
    /// # Errors
    ///
    /// Threads or event descriptors cannot be had.
    pub fn start(
        config: Config,
        events: Box<dyn Fn(DataPlaneEvent) -> bool + Send + Sync>,
    ) -> io::Result<Self> {
        Self::start_confined(config, events, || Ok(()))
    }

    /// As [`Self::start`], with what each thread does before anything else, to give
    /// up what it does not need. A thread of which it fails ends, and says so.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_confined(
        config: Config,
        events: Box<dyn Fn(DataPlaneEvent) -> bool + Send + Sync>,
        confine: fn() -> io::Result<()>,
    ) -> io::Result<Self> {
        let workers = config.workers.max(1);
        let shared = Shared::new(config.tun, config.outside, workers, events)?;
        let mut plane = Self {
            shared: Arc::new(shared),
            control: Mutex::default(),
            threads: Vec::with_capacity(2 * workers),
        };
        // Pushed one by one: if one cannot start, dropping stops those before it.
        let inbound = (0..plane.shared.inbound.len()).map(|number| (Direction::In, number));
        let outbound = (0..plane.shared.outbound.len()).map(|number| (Direction::Out, number));
        for (direction, number) in inbound.chain(outbound) {
            plane
                .threads
                .push(spawn(direction, number, &plane.shared, confine)?);
        }
        Ok(plane)
    }

    /// The TUN device.
    #[must_use]
    pub fn tun(&self) -> &Tun {
        &self.shared.tun
    }

    /// Receives with this CHILD SA from now on, and keeps its sending half for
    /// [`Self::use_outbound`].
    ///
    /// # Errors
    ///
    /// [`ControlError`]; then nothing has changed.
    pub fn install_child(&self, tunnel: u32, spec: ChildSpec) -> Result<(), ControlError> {
        if tunnel >= MAX_TUNNELS {
            return Err(ControlError::TunnelNumber(tunnel));
        }
        let route = self.route(spec.path)?;
        let mut iv_seed = Zeroizing::new([0; 32]);
        getrandom::fill(iv_seed.as_mut_slice()).map_err(ControlError::Random)?;
        let keys = |spi| move |error| ControlError::Keys { spi, error };
        let receiving = InboundSa::new(spec.spi_in, spec.suite, &spec.keys_in, spec.replay_window)
            .map_err(keys(spec.spi_in))?;
        let sending = OutboundSa::new(spec.spi_out, spec.suite, &spec.keys_out, *iv_seed)
            .map_err(keys(spec.spi_out))?;

        let mut control = self.control();
        let of_tunnel = control.tunnels.entry(tunnel).or_default();
        let tunnel_traffic = Arc::clone(&of_tunnel.traffic);
        let policy = Arc::clone(&of_tunnel.policy);
        let lease = Arc::clone(&of_tunnel.lease);
        let traffic = Arc::<Traffic>::default();
        let selectors = Arc::new(spec.selectors);
        let inbound = Arc::new(Inbound {
            spi: spec.spi_in,
            tunnel,
            sa: receiving,
            selectors: Arc::clone(&selectors),
            child: Arc::clone(&traffic),
            tunnel_traffic: Arc::clone(&tunnel_traffic),
            newest: Count::default(),
        });
        let outbound = Arc::new(Outbound {
            spi_in: spec.spi_in,
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
            lane: Lane::new(route.clone(), policy, layout),
        };
        tables
            .insert_inbound(slot)
            .map_err(|taken_by| ControlError::SlotTaken {
                spi_in: spec.spi_in,
                taken_by,
            })?;
        let child = Child {
            tunnel,
            outbound,
            route,
            traffic,
        };
        control.children.insert(spec.spi_in, child);
        self.publish(tables);
        Ok(())
    }

    /// Sends this tunnel's packets with this CHILD SA from now on. One that
    /// had the same selectors sends no more, but still receives.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownChild`] if it is not installed in this tunnel.
    pub fn use_outbound(&self, tunnel: u32, spi_in: u32) -> Result<(), ControlError> {
        let control = self.control();
        let child = control
            .children
            .get(&spi_in)
            .filter(|child| child.tunnel == tunnel)
            .ok_or(ControlError::UnknownChild(spi_in))?;
        let policy = control.policy(tunnel);
        let mut tables = self.tables();
        let egress = Egress {
            outbound: Arc::clone(&child.outbound),
            lane: Lane::new(child.route.clone(), policy, child.outbound.sa.layout()),
            uncut: Uncut::default(),
        };
        tables.use_outbound(tunnel, egress);
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
    pub fn set_path(&self, tunnel: u32, path: Path) -> Result<(), ControlError> {
        let route = self.route(path)?;
        let mut control = self.control();
        for child in control.children.values_mut() {
            if child.tunnel == tunnel {
                child.route = route.clone();
            }
        }
        let policy = control.policy(tunnel);
        let mut tables = self.tables();
        tables.set_lane(tunnel, Some(&route), &policy);
        self.publish(tables);
        Ok(())
    }

    /// Takes where packets came from that is not on their SAs' paths: of each SA
    /// the newest packet's address since this was last asked.
    #[must_use]
    pub fn take_paths(&self) -> Vec<SeenPath> {
        self.shared.paths.take()
    }

    /// Treats this tunnel's packets so from now on. It may have no CHILD SA yet.
    pub fn set_tunnel(&self, tunnel: u32, settings: TunnelSettings) {
        let mut control = self.control();
        let of_tunnel = control.tunnels.entry(tunnel).or_default();
        if of_tunnel.policy.settings == settings {
            return;
        }
        let policy = Arc::new(Policy::new(settings));
        of_tunnel.policy = Arc::clone(&policy);
        let mut tables = self.tables();
        tables.set_lane(tunnel, None, &policy);
        self.publish(tables);
    }

    /// Lets what came out of one tunnel into another, or not.
    pub fn set_site_to_site(&self, allowed: bool) {
        let _control = self.control();
        let mut tables = self.tables();
        tables.set_site_to_site(allowed);
        self.publish(tables);
    }

    /// The largest inner packet, in octets, that this tunnel carries without
    /// fragmenting the outer one. None while it has no CHILD SA to send with.
    #[must_use]
    pub fn tunnel_mtu(&self, tunnel: u32) -> Option<usize> {
        self.shared.tables.load().mtu(tunnel)
    }

    /// What the kernel does for us: of the sockets, what every outside address has.
    #[must_use]
    pub fn offloads(&self) -> Features {
        let tun = self.shared.tun.features();
        let outside = || self.shared.outside.iter().map(OutsideSockets::features);
        Features {
            udp_gso: outside().all(|features| features.udp_gso),
            udp_gro: outside().all(|features| features.udp_gro),
            ..tun
        }
    }

    /// Threads for each direction: in, out. There are fewer outwards where the
    /// TUN device has one queue only.
    #[must_use]
    pub fn workers(&self) -> (usize, usize) {
        (self.shared.inbound.len(), self.shared.outbound.len())
    }

    /// Replaces the forwarding table: which tunnel carries which inside
    /// destination, and so may have packets from there, by longest prefix.
    pub fn set_forwarding(&self, routes: Vec<(IpNet, NextHop)>) {
        let _control = self.control();
        let mut tables = self.tables();
        tables.set_forwarding(routes);
        self.publish(tables);
    }

    /// Replaces the prefixes that decrypted packets may go to.
    pub fn set_local_prefixes(&self, prefixes: Vec<IpNet>) {
        let _control = self.control();
        let mut tables = self.tables();
        tables.set_local_prefixes(prefixes);
        self.publish(tables);
    }

    /// Forgets a tunnel's counters, so that its number may be given again. Its
    /// CHILD SAs must have been removed.
    pub fn forget_tunnel(&self, tunnel: u32) {
        self.control().tunnels.remove(&tunnel);
    }

    /// Sends an IKE message from one of our outside addresses; from port 4500
    /// with the non-ESP marker.
    ///
    /// # Errors
    ///
    /// `local` is no outside address, or what the kernel says. A full queue
    /// (`WouldBlock`) is like a loss on the way: IKE sends again.
    pub fn send_ike(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        message: &[u8],
    ) -> io::Result<()> {
        const NON_ESP_MARKER: [u8; 4] = [0; 4];
        let outside = self.outside_of(local.ip())?;
        if local.port() == NATT_PORT {
            let parts = [IoSlice::new(&NON_ESP_MARKER), IoSlice::new(message)];
            outside.natt(0).send_to_vectored(&parts, &remote.into())?;
        } else {
            outside.ike().send_to(message, &remote.into())?;
        }
        Ok(())
    }

    /// Sends a NAT keepalive from port 4500 (RFC 3948 section 2.3).
    ///
    /// # Errors
    ///
    /// As [`Self::send_ike`].
    pub fn send_nat_keepalive(&self, local: SocketAddr, remote: SocketAddr) -> io::Result<()> {
        let outside = self.outside_of(local.ip())?;
        outside.natt(0).send_to(&[0xFF], &remote.into())?;
        Ok(())
    }

    /// What every tunnel counted, by tunnel number.
    #[must_use]
    pub fn tunnel_traffic(&self) -> Vec<(u32, TunnelTraffic)> {
        let control = self.control();
        let counted = control.tunnels.iter();
        counted
            .map(|(&number, tunnel)| (number, (&*tunnel.traffic).into()))
            .collect()
    }

    /// What every installed CHILD SA counted, by inbound SPI.
    #[must_use]
    pub fn child_traffic(&self) -> Vec<ChildTraffic> {
        let control = self.control();
        let children = control.children.iter();
        children
            .map(|(&spi_in, child)| {
                let counted = TunnelTraffic::from(&*child.traffic);
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

    /// The tables as they are now and will be.
    #[must_use]
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup::new(&self.shared.tables)
    }

    /// Packets dropped since the start, by reason. Those that the TUN device
    /// dropped are asked of the kernel.
    #[must_use]
    pub fn drops(&self) -> [(DropReason, u64); DropReason::ALL.len()] {
        DropReason::ALL.map(|reason| {
            if reason == DropReason::TunReadFull {
                return (reason, self.shared.tun.dropped());
            }
            let counts = self.shared.workers().map(|worker| worker.drops.get(reason));
            (reason, counts.sum())
        })
    }

    /// NAT keepalives received since the start.
    #[must_use]
    pub fn nat_keepalives(&self) -> u64 {
        self.shared.keepalives.get()
    }

    /// Changes are made one after the other under this lock; no worker takes it.
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables(&self) -> Tables {
        Tables::clone(&self.shared.tables.load())
    }

    fn publish(&self, tables: Tables) {
        self.shared.tables.store(Arc::new(tables));
        self.shared.wake();
    }

    fn outside_of(&self, address: IpAddr) -> io::Result<&OutsideSockets> {
        let mut outside = self.shared.outside.iter();
        outside
            .find(|outside| outside.address() == address)
            .ok_or_else(|| {
                let what = format!("{address} is no outside address of this data plane");
                io::Error::new(io::ErrorKind::AddrNotAvailable, what)
            })
    }

    fn route(&self, path: Path) -> Result<Route, ControlError> {
        let (local, remote) = (path.local.ip(), path.remote.ip());
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(ControlError::FamiliesDiffer(local, remote));
        }
        let mut outside = self.shared.outside.iter().enumerate();
        let (index, outside) = outside
            .find(|(_, outside)| outside.address() == local)
            .ok_or(ControlError::NoOutsideAddress(local))?;
        let link = outside.link_to(remote);
        Ok(Route::new(index, path.remote, path.udp_encapsulation, link))
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // A panic has been reported as an event already.
            let _ = thread.join();
        }
    }
}
