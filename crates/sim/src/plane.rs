//! The real data plane without its devices: it carries out the commands of a
//! supervisor, and takes one packet at a time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use vgw_dataplane::{Arrival, DropReason, Dropped, Engine, EspPacket, SeenPath};
use vgw_gateway::command::Command;
use vgw_gateway::supervisor::SILENCE;
use vgw_sa::{
    Activity, ChildTraffic, GatewayId, NATT_PORT, NextHop, TunnelId, TunnelPolicy, TunnelTraffic,
};

use crate::network::{Load, Packet};

/// What became of an ESP packet that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The inner packet is for a host behind.
    Inside(Vec<u8>),
    /// It goes out again, to another site.
    Relayed(Packet),
}

/// The data plane of one gateway.
#[derive(Debug)]
pub struct Plane {
    gateway: GatewayId,
    engine: Engine,
    /// In ascending order.
    kernel_routes: Vec<IpNet>,
    drops: BTreeMap<DropReason, u64>,
    /// How many commands were carried out.
    pub commands: u64,
}

impl Plane {
    /// A data plane with these outside addresses.
    #[must_use]
    pub fn new(gateway: GatewayId, outside: Vec<IpAddr>) -> Self {
        let engine = Engine::new(outside);
        // Every local destination here is a host behind.
        engine.set_host_addresses(gateway, Vec::new());
        Self {
            gateway,
            engine,
            kernel_routes: Vec::new(),
            drops: BTreeMap::new(),
            commands: 0,
        }
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn execute(&mut self, command: Command, iv_seed: &[u8; 32]) -> Result<(), String> {
        self.commands += 1;
        let engine = &self.engine;
        let outcome = match command {
            Command::InstallChild {
                tunnel,
                child,
                replay_window,
            } => engine.install_child(tunnel, *child, replay_window, None, iv_seed),
            Command::UseOutbound { tunnel, spi_in } => engine.use_outbound(tunnel, spi_in),
            Command::StopOutbound { spi_in, .. } => engine.stop_outbound(spi_in),
            Command::RemoveChild { spi_in, .. } => engine.remove_child(spi_in),
            Command::SetPath { tunnel, path } => engine.set_path(tunnel, path, None),
            Command::SetPolicy { tunnel, policy } => {
                engine.set_policy(tunnel, policy);
                Ok(())
            }
            Command::SetCloudHub(gateway, allowed) => {
                engine.set_site_to_site(gateway, allowed);
                Ok(())
            }
            Command::ChangeForwarding(routes) => {
                engine.change_forwarding(routes);
                Ok(())
            }
            Command::ChangeLocalPrefixes(prefixes) => {
                engine.change_local_prefixes(prefixes);
                Ok(())
            }
            Command::ChangeKernelRoutes(routes) => {
                for (route, wanted) in routes {
                    let net = route.at;
                    match (self.kernel_routes.binary_search(&net), wanted) {
                        (Err(place), Some(())) => self.kernel_routes.insert(place, net),
                        (Ok(place), None) => drop(self.kernel_routes.remove(place)),
                        (Ok(_), Some(())) | (Err(_), None) => {}
                    }
                }
                Ok(())
            }
            Command::SetHostServices(..)
            | Command::ChangeInside(_)
            | Command::ChangeInsideAddresses(_)
            | Command::LogIkeKeys { .. } => Ok(()),
        };
        outcome.map_err(|error| error.to_string())
    }

    /// Takes every CHILD SA as plain data, and puts it back.
    ///
    /// # Errors
    /// What could not be put back.
    pub fn rebuild_children(
        &mut self,
        mut iv_seed: impl FnMut() -> [u8; 32],
    ) -> Result<(), String> {
        for child in self.engine.take_children() {
            let put = self.engine.put_child(child, &iv_seed());
            put.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Seals the inner packet `number`. `now` is the time since any fixed moment.
    ///
    /// # Errors
    /// Why it cannot be sent, and what its sender is told.
    pub fn send(
        &mut self,
        now: Duration,
        mut inner: Vec<u8>,
        number: u64,
    ) -> Result<Packet, Dropped<Vec<u8>>> {
        let sent = self.engine.send(self.gateway, now, &mut inner);
        self.count(sent.map(|esp| packet_of(esp, number)))
    }

    /// Opens an ESP packet that carries the inner packet `number`.
    ///
    /// # Errors
    /// Why it is not accepted, and what goes out to tell its sender.
    pub fn receive(
        &mut self,
        now: Duration,
        packet: &Packet,
        octets: &[u8],
        number: u64,
    ) -> Result<Accepted, Dropped<Packet>> {
        let received = self.engine.receive(
            now,
            EspPacket {
                local: packet.destination.ip(),
                remote: packet.source,
                udp_encapsulation: packet.source.port() != 0,
                traffic_class: 0,
                octets: octets.to_vec(),
            },
        );
        let accepted = match received {
            Ok(Arrival::Inside(inner)) => Ok(Accepted::Inside(inner)),
            Ok(Arrival::Relayed(esp)) => Ok(Accepted::Relayed(packet_of(esp, number))),
            Err(Dropped { reason, answer }) => Err(Dropped {
                reason,
                answer: answer.map(|esp| packet_of(esp, number)),
            }),
        };
        self.count(accepted)
    }

    fn count<T, A>(&mut self, outcome: Result<T, Dropped<A>>) -> Result<T, Dropped<A>> {
        outcome.inspect_err(|dropped| *self.drops.entry(dropped.reason).or_default() += 1)
    }

    /// Packets dropped for this reason.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops.get(&reason).copied().unwrap_or_default()
    }

    /// Addresses of packets that came by other paths than their SAs', since the last call.
    #[must_use]
    pub fn take_paths(&self) -> Vec<SeenPath> {
        self.engine.take_paths()
    }

    /// What the supervisor is to be told.
    #[must_use]
    pub fn counted(&self) -> (Vec<(TunnelId, TunnelTraffic)>, Vec<ChildTraffic>) {
        (self.engine.tunnel_traffic(), self.engine.child_traffic())
    }

    /// What is to be noticed of the tunnels' traffic.
    #[must_use]
    pub fn look_at_activity(&self, now: Instant) -> Vec<(TunnelId, Activity)> {
        self.engine.look_at_activity(now, SILENCE)
    }

    /// Inbound SPIs that are installed.
    pub fn spis(&self) -> impl Iterator<Item = u32> {
        let children = self.engine.child_traffic().into_iter();
        children.map(|child| child.spi_in)
    }

    /// The tunnel that a destination leads to.
    #[must_use]
    pub fn leads_to(&self, to: impl Into<IpAddr>) -> Option<TunnelId> {
        self.next_hop(to).map(|hop| hop.carrier)
    }

    /// What leads to a destination.
    #[must_use]
    pub fn next_hop(&self, to: impl Into<IpAddr>) -> Option<NextHop> {
        self.engine
            .lookup()
            .next_hop(self.gateway.inside(to.into()))
    }

    /// How a tunnel's packets are treated.
    #[must_use]
    pub fn policy(&self, tunnel: TunnelId) -> Option<TunnelPolicy> {
        self.engine.policy(tunnel)
    }

    /// Whether packets may go from one tunnel into another.
    #[must_use]
    pub fn cloudhub(&self) -> bool {
        self.engine.lookup().site_to_site(self.gateway)
    }

    /// Prefixes that the kernel leads to the tunnels.
    #[must_use]
    pub fn kernel_routes(&self) -> &[IpNet] {
        &self.kernel_routes
    }
}

/// The SPI of an ESP packet.
#[must_use]
pub fn spi_of(octets: &[u8]) -> Option<u32> {
    octets.first_chunk().copied().map(u32::from_be_bytes)
}

/// The packet as the network carries it.
fn packet_of(esp: EspPacket, number: u64) -> Packet {
    let port = if esp.udp_encapsulation { NATT_PORT } else { 0 };
    Packet {
        source: SocketAddr::new(esp.local, port),
        destination: esp.remote,
        load: Load::Esp(esp.octets, number),
    }
}
