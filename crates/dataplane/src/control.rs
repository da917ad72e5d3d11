//! The control side of the data plane: starts and stops it, changes its tables
//! ([`crate::engine`]), makes the workers see the change, and reads its counters.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use vgw_sa::{
    Activity, Changes, ChildSa, ChildTraffic, Concerned, GatewayId, Hint, HostService, Inside,
    InsideAddress, NATT_PORT, NextHop, Path, SentPacket, Sign, TunnelId, TunnelPolicy,
    TunnelTraffic,
};
use zeroize::Zeroizing;

use crate::engine::{ControlError, SmallMtuLink};
use crate::event::DataPlaneEvent;
use crate::io::features::Features;
use crate::io::sockets::OutsideSockets;
use crate::io::tun::Tun;
use crate::links::foreign_link::ForeignLink;
use crate::links::outside_link::OutsideLink;
use crate::tables::OutsideEnds;
use crate::tables::counters::{Count, DropReason, RefusedBatches};
use crate::tables::lookup::Lookup;
use crate::tables::misplaced::Misplaced;
use crate::tables::sample::UnknownSpi;
use crate::tables::seen_paths::SeenPath;
use crate::workers::spawn::{Direction, spawn};
use crate::workers::worker::Shared;

/// What a data plane works with.
#[derive(Debug)]
pub struct Config {
    /// The gateway whose VPC the TUN device leads to. No other gateway's packets come out
    /// of it or go into it.
    pub gateway: GatewayId,
    /// The inside.
    pub tun: Tun,
    /// The outside addresses.
    pub outside: Vec<OutsideSockets>,
    /// Threads for each direction; the TUN device and the sockets were opened
    /// for as many.
    pub workers: usize,
}

/// A running data plane. Dropping it stops its threads and closes its sockets
/// and its TUN device.
///
/// Its methods may be called from any thread. A change is seen by every packet
/// that is read after the method returns.
pub struct DataPlane {
    shared: Arc<Shared>,
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
    /// The system gives no thread or no event descriptor.
    pub fn start(
        config: Config,
        events: Box<dyn Fn(DataPlaneEvent) -> bool + Send + Sync>,
    ) -> io::Result<Self> {
        Self::start_confined(config, events, || Ok(()))
    }

    /// As [`Self::start`]; each thread first calls `confine`, to give up what
    /// it does not need. A thread whose call fails ends, and reports that.
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
        let shared = Shared::new(config.gateway, config.tun, config.outside, workers, events)?;
        let mut plane = Self {
            shared: Arc::new(shared),
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
    /// [`Self::use_outbound`]. `replay_window` is in packets.
    ///
    /// # Errors
    ///
    /// [`ControlError`]; then nothing has changed.
    pub fn install_child(
        &self,
        tunnel: TunnelId,
        child: ChildSa,
        replay_window: u32,
    ) -> Result<(), ControlError> {
        if tunnel.gateway != self.shared.gateway {
            return Err(ControlError::NoDevice(tunnel.gateway.0));
        }
        let mut iv_seed = Zeroizing::new([0; 32]);
        getrandom::fill(iv_seed.as_mut_slice()).map_err(ControlError::Random)?;
        let link = self.link_of(child.path);
        let engine = &self.shared.engine;
        engine.install_child(tunnel, child, replay_window, link, &iv_seed)?;
        self.shared.wake();
        Ok(())
    }

    /// Sends this tunnel's packets with this CHILD SA from now on. Another one
    /// with the same selectors sends no more, but still receives.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownChild`] if it is not installed in this tunnel.
    pub fn use_outbound(&self, tunnel: TunnelId, spi_in: u32) -> Result<(), ControlError> {
        self.shared.engine.use_outbound(tunnel, spi_in)?;
        self.shared.wake();
        Ok(())
    }

    /// Sends no more with this CHILD SA, which still receives.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownChild`] if there is none.
    pub fn stop_outbound(&self, spi_in: u32) -> Result<(), ControlError> {
        self.shared.engine.stop_outbound(spi_in)?;
        self.shared.wake();
        Ok(())
    }

    /// Forgets both directions of a CHILD SA. What its tunnel counted stays.
    ///
    /// # Errors
    ///
    /// [`ControlError::UnknownChild`] if there is none.
    pub fn remove_child(&self, spi_in: u32) -> Result<(), ControlError> {
        self.shared.engine.remove_child(spi_in)?;
        self.shared.wake();
        Ok(())
    }

    /// Sends every packet of this tunnel along `path` from now on, and expects
    /// the peer's from there.
    ///
    /// # Errors
    ///
    /// The path does not start at an outside address or mixes families.
    pub fn set_path(&self, tunnel: TunnelId, path: Path) -> Result<(), ControlError> {
        let link = self.link_of(path);
        self.shared.engine.set_path(tunnel, path, link)?;
        self.shared.wake();
        Ok(())
    }

    /// Takes the addresses of packets that came by other paths than their SAs':
    /// of each SA that of the newest packet since the last call.
    #[must_use]
    pub fn take_paths(&self) -> Vec<SeenPath> {
        self.shared.engine.take_paths()
    }

    /// Takes a sample of the packets whose SPI no SA receives with.
    #[must_use]
    pub fn take_unknown_spis(&self) -> Vec<UnknownSpi> {
        self.shared.engine.unknown_spis.take()
    }

    /// Takes a sample of what tells that packets outside may not arrive: ICMP errors that quote
    /// one, and that the kernel did not send one.
    #[must_use]
    pub fn take_hints(&self) -> Vec<Hint> {
        self.shared.engine.hints.take()
    }

    /// The tunnels whose packets leave by the link of this name, as far as is known.
    #[must_use]
    pub fn tunnels_by(&self, link: &str) -> BTreeSet<TunnelId> {
        self.shared.engine.tunnels_by(link)
    }

    /// The latest example of each kind of packet that was dropped because the
    /// networks of the two ends differ.
    #[must_use]
    pub fn misplaced(&self) -> Vec<Misplaced> {
        self.shared.engine.misplaced.latest()
    }

    /// Applies this policy to the tunnel's packets. The tunnel may have no CHILD SA yet.
    pub fn set_policy(&self, tunnel: TunnelId, policy: TunnelPolicy) {
        if self.shared.engine.set_policy(tunnel, policy) {
            self.shared.wake();
        }
    }

    /// Allows or forbids packets to go from one tunnel of the gateway into another.
    pub fn set_site_to_site(&self, gateway: GatewayId, allowed: bool) {
        self.shared.engine.set_site_to_site(gateway, allowed);
        self.shared.wake();
    }

    /// The largest inner packet, in octets, that this tunnel carries without
    /// fragmenting the outer one. None while it has no CHILD SA to send with.
    #[must_use]
    pub fn tunnel_mtu(&self, tunnel: TunnelId) -> Option<usize> {
        self.shared.engine.tunnel_mtu(tunnel)
    }

    /// What the kernel does for us; of the sockets, what every outside address has.
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

    /// Threads inbound and outbound. There are fewer outbound where the TUN
    /// device has only one queue.
    #[must_use]
    pub fn workers(&self) -> (usize, usize) {
        (self.shared.inbound.len(), self.shared.outbound.len())
    }

    /// Replaces a gateway's forwarding table: by longest prefix, which of its tunnels
    /// carries packets to an inside destination and may bring packets from there.
    pub fn set_forwarding(&self, gateway: GatewayId, routes: Vec<(IpNet, NextHop)>) {
        self.shared.engine.set_forwarding(gateway, routes);
        self.shared.wake();
    }

    /// Replaces the prefixes that the kernel delivers to the host itself in the gateway's
    /// VPC. Until they are known, every local destination is taken for the host's.
    pub fn set_host_addresses(&self, gateway: GatewayId, prefixes: Vec<IpNet>) {
        self.shared.engine.set_host_addresses(gateway, prefixes);
        self.shared.wake();
    }

    /// Changes entries of forwarding tables; see [`Self::set_forwarding`].
    pub fn change_forwarding(&self, changes: Changes<Inside<IpNet>, NextHop>) {
        self.shared.engine.change_forwarding(changes);
        self.shared.wake();
    }

    /// Replaces the services of the host that the gateway's tunnels may reach.
    pub fn set_host_services(&self, gateway: GatewayId, services: Vec<HostService>) {
        self.shared.engine.set_host_services(gateway, services);
        self.shared.wake();
    }

    /// Changes our inside addresses.
    pub fn change_inside_addresses(&self, changes: Changes<Inside<IpAddr>, InsideAddress>) {
        self.shared.engine.change_inside_addresses(changes);
        self.shared.wake();
    }

    /// Changes the prefixes that decrypted packets may go to.
    pub fn change_local_prefixes(&self, changes: Changes<Inside<IpNet>, ()>) {
        self.shared.engine.change_local_prefixes(changes);
        self.shared.wake();
    }

    /// Replaces the prefixes that a gateway's decrypted packets may go to.
    pub fn set_local_prefixes(&self, gateway: GatewayId, prefixes: Vec<IpNet>) {
        self.shared.engine.set_local_prefixes(gateway, prefixes);
        self.shared.wake();
    }

    /// Sends an IKE message from one of our outside addresses; from port 4500
    /// with the non-ESP marker.
    ///
    /// # Errors
    ///
    /// `local` is not an outside address, or the kernel's error. A full queue
    /// (`WouldBlock`) is like a loss on the path: IKE retransmits.
    pub fn send_ike(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        message: &[u8],
    ) -> io::Result<()> {
        const NON_ESP_MARKER: [u8; 4] = [0; 4];
        let outside = self.outside_of(local.ip())?;
        let sent = if local.port() == NATT_PORT {
            let parts = [IoSlice::new(&NON_ESP_MARKER), IoSlice::new(message)];
            outside.natt(0).send_to_vectored(&parts, &remote.into())
        } else {
            outside.ike().send_to(message, &remote.into())
        };
        sent.inspect_err(|error| self.hint_at_unsent(local, remote, error))?;
        Ok(())
    }

    fn hint_at_unsent(&self, local: SocketAddr, remote: SocketAddr, error: &io::Error) {
        let full = [libc::EAGAIN, libc::ENOBUFS, libc::EMSGSIZE].map(Some);
        if full.contains(&error.raw_os_error()) {
            return;
        }
        let spi = None;
        self.shared.hint(remote.ip(), || Hint {
            concerns: Concerned::Sender(SentPacket { local, remote, spi }),
            sign: Sign::NotSent(error.to_string().into()),
        });
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

    /// What every tunnel counted.
    #[must_use]
    pub fn tunnel_traffic(&self) -> Vec<(TunnelId, TunnelTraffic)> {
        self.shared.engine.tunnel_traffic()
    }

    /// What is to be noticed of the tunnels' traffic; see [`crate::Engine::look_at_activity`].
    #[must_use]
    pub fn look_at_activity(&self, now: Instant, patience: Duration) -> Vec<(TunnelId, Activity)> {
        self.shared.engine.look_at_activity(now, patience)
    }

    /// What every installed CHILD SA counted, by inbound SPI.
    #[must_use]
    pub fn child_traffic(&self) -> Vec<ChildTraffic> {
        self.shared.engine.child_traffic()
    }

    /// A view of the tables that follows their changes.
    #[must_use]
    pub fn lookup(&self) -> Lookup<'_> {
        self.shared.engine.lookup()
    }

    /// Packets dropped since the start, by reason. The kernel is asked for
    /// those that the TUN device dropped.
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

    /// Why the kernel would not send the last ESP packet that it refused, if it refused
    /// any since this was called last.
    #[must_use]
    pub fn take_send_error(&self) -> Option<io::Error> {
        let errnos = self.shared.workers();
        let errnos = errnos.map(|worker| worker.send_errno.swap(0, Ordering::Relaxed));
        let last = errnos.filter(|errno| *errno != 0).last();
        last.map(io::Error::from_raw_os_error)
    }

    /// Batches since the start that the kernel refused and whose packets then went one by
    /// one: of ESP packets to be sent, and of packets joined for the TUN device.
    #[must_use]
    pub fn refused_batches(&self) -> [(&'static str, u64); 2] {
        let sum = |count: fn(&RefusedBatches) -> &Count| {
            let counts = self.shared.workers();
            counts.map(|worker| count(&worker.refused).get()).sum()
        };
        [
            ("send", sum(|refused| &refused.sends)),
            ("tun_write", sum(|refused| &refused.tun_writes)),
        ]
    }

    /// Reads the MTU of the TUN device again. A change holds for every packet
    /// that is read after the method returns.
    pub fn look_at_tun(&self) {
        self.shared.tun.look_at_mtu();
    }

    /// Asks for the links and routes to the peers again; of many peers, for some at each
    /// call. A change holds for every packet that is read after the method returns.
    pub fn look_outside(&self) {
        let link_to =
            |(outside, remote): OutsideEnds| self.shared.outside.get(outside)?.link_to(remote);
        if self.shared.engine.look_outside(link_to) {
            self.shared.wake();
        }
    }

    /// The outside addresses that are not this machine's now.
    #[must_use]
    pub fn missing_addresses(&self) -> Vec<IpAddr> {
        let outside = self.shared.outside.iter();
        let missing = outside.filter(|outside| !outside.is_there());
        missing.map(OutsideSockets::address).collect()
    }

    /// The link by which packets from one of our outside addresses to a peer
    /// leave, if the address does not belong to it.
    #[must_use]
    pub fn foreign_link(&self, local: IpAddr, remote: IpAddr) -> Option<ForeignLink> {
        self.outside_of(local).ok()?.foreign_link(remote)
    }

    /// The links and routes whose MTU is smaller than the settings of some
    /// tunnels say, in order.
    #[must_use]
    pub fn small_mtu_links(&self) -> Vec<SmallMtuLink> {
        self.shared.engine.small_mtu_links()
    }

    /// The largest outer packet of this tunnel, in octets, that is not
    /// fragmented: the least that its settings, the link and the route allow.
    /// None while it has no CHILD SA to send with.
    #[must_use]
    pub fn outside_mtu(&self, tunnel: TunnelId) -> Option<usize> {
        self.shared.engine.outside_mtu(tunnel)
    }

    /// The TUN device's MTU, octets, as last read, or the intended one if that
    /// is less. None where neither is known.
    #[must_use]
    pub fn tun_mtu(&self) -> Option<usize> {
        Some(self.shared.tun.mtu()).filter(|mtu| *mtu < usize::MAX)
    }

    /// NAT keepalives received since the start.
    #[must_use]
    pub fn nat_keepalives(&self) -> u64 {
        self.shared.keepalives.get()
    }

    /// The link that packets on this path leave by, if the kernel tells.
    fn link_of(&self, path: Path) -> Option<OutsideLink> {
        let (local, remote) = (path.local.ip(), path.remote.ip());
        if local.is_ipv4() != remote.is_ipv4() {
            return None;
        }
        self.outside_of(local).ok()?.link_to(remote)
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
