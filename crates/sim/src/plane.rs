//! A data plane in memory: the commands of a supervisor carried out on real
//! ESP SAs, one packet at a time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use vgw_esp::{InboundSa, NEXT_HEADER_IPV4, OutboundSa};
use vgw_gateway::command::{ChildTraffic, Command, NextHop, Treatment, TunnelId, TunnelTraffic};
use vgw_ike::event::{ChildSa, Path};
use vgw_ike::spi::SLOT_BITS;

use crate::network::{Load, Packet};

/// Octets of an inner packet: an IPv4 header and a number.
const INNER_LEN: usize = 28;

/// A CHILD SA that is installed.
struct Child {
    tunnel: TunnelId,
    inbound: InboundSa,
    outbound: OutboundSa,
    path: Path,
    traffic: ChildTraffic,
    newest: u64,
}

/// Why an inner packet was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// Nothing leads to its destination.
    NoRoute,
    /// The tunnel has no SA to send with.
    NoSa,
    /// The SA's sequence numbers are used up.
    Exhausted,
}

/// Why an ESP packet was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// No SA has this SPI.
    NoSa,
    /// It was seen before, or is too old to tell.
    Replayed,
    /// It is not what the peer sealed.
    NotAuthentic,
    /// Its inner destination is not behind us.
    NotLocal,
}

/// An ESP packet that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The number of the inner packet.
    pub number: u64,
    /// The CHILD SA.
    pub spi_in: u32,
    /// Where it came from, if it is the newest and that is not where we send to.
    pub elsewhere: Option<SocketAddr>,
}

/// A data plane.
#[derive(Default)]
pub struct Plane {
    children: BTreeMap<u32, Child>,
    sending: BTreeMap<TunnelId, u32>,
    traffic: BTreeMap<TunnelId, TunnelTraffic>,
    forwarding: Vec<(IpNet, NextHop)>,
    local: Vec<IpNet>,
    kernel_routes: Vec<IpNet>,
    treatments: BTreeMap<TunnelId, Treatment>,
    cloudhub: bool,
    /// So many commands were carried out.
    pub commands: u64,
    /// Highest slot of an SPI so far.
    pub highest_slot: u32,
}

impl Plane {
    /// Carries out a command.
    ///
    /// # Errors
    /// What is wrong with it: a data plane would refuse it or misbehave.
    pub fn execute(&mut self, command: Command, iv_seed: [u8; 32]) -> Result<(), String> {
        self.commands += 1;
        match command {
            Command::InstallChild {
                tunnel,
                child,
                replay_window,
            } => self.install(tunnel, &child, replay_window, iv_seed),
            Command::UseOutbound { tunnel, spi_in } => {
                if self
                    .children
                    .get(&spi_in)
                    .is_none_or(|c| c.tunnel != tunnel)
                {
                    return Err(format!(
                        "told to send with {spi_in:08x}, which is not installed"
                    ));
                }
                self.sending.insert(tunnel, spi_in);
                Ok(())
            }
            Command::RemoveChild { tunnel, spi_in } => {
                if self.sending.get(&tunnel) == Some(&spi_in) {
                    self.sending.remove(&tunnel);
                }
                let gone = self.children.remove(&spi_in);
                gone.map(|_| ())
                    .ok_or_else(|| format!("told to remove {spi_in:08x}, which is not installed"))
            }
            Command::SetPath { tunnel, path } => {
                let of_tunnel = self.children.values_mut().filter(|c| c.tunnel == tunnel);
                of_tunnel.for_each(|child| child.path = path);
                Ok(())
            }
            Command::SetTreatment { tunnel, treatment } => {
                self.treatments.insert(tunnel, treatment);
                Ok(())
            }
            Command::SetCloudHub(allowed) => {
                self.cloudhub = allowed;
                Ok(())
            }
            Command::SetForwarding(forwarding) => {
                self.forwarding = forwarding;
                self.forwarding
                    .sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
                Ok(())
            }
            Command::SetLocalPrefixes(local) => {
                self.local = local;
                Ok(())
            }
            Command::SetKernelRoutes(routes) => {
                self.kernel_routes = routes;
                Ok(())
            }
            Command::SetInsideAddresses(_) | Command::LogIkeKeys { .. } => Ok(()),
        }
    }

    fn install(
        &mut self,
        tunnel: TunnelId,
        child: &ChildSa,
        replay_window: u32,
        iv_seed: [u8; 32],
    ) -> Result<(), String> {
        let slot = slot_of(child.spi_in);
        if let Some(taken) = self.children.keys().find(|spi| slot_of(**spi) == slot) {
            return Err(format!(
                "the slot of {:08x} is still {taken:08x}'s",
                child.spi_in
            ));
        }
        self.highest_slot = self.highest_slot.max(slot);
        let key_error = |error: vgw_esp::KeyError| error.to_string();
        let (suite, spi_in) = (child.suite, child.spi_in);
        let inbound = InboundSa::new(spi_in, suite, &child.keys_in, replay_window);
        let outbound = OutboundSa::new(child.spi_out, suite, &child.keys_out, iv_seed);
        let installed = Child {
            tunnel,
            inbound: inbound.map_err(key_error)?,
            outbound: outbound.map_err(key_error)?,
            path: child.path,
            traffic: ChildTraffic {
                spi_in,
                ..ChildTraffic::default()
            },
            newest: 0,
        };
        self.children.insert(spi_in, installed);
        Ok(())
    }

    /// Seals an inner packet. Its number comes back in [`Accepted`].
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn send(&mut self, source: Ipv4Addr, to: Ipv4Addr, number: u64) -> Result<Packet, NotSent> {
        let tunnel = self.leads_to(to).ok_or(NotSent::NoRoute)?;
        let spi_in = self.sending.get(&tunnel).ok_or(NotSent::NoSa)?;
        let child = self.children.get_mut(spi_in).ok_or(NotSent::NoSa)?;
        let sequence = child.outbound.reserve(1).map_err(|_| NotSent::Exhausted)?;
        let mut octets = vec![0; child.outbound.sealed_len(INNER_LEN)];
        let start = child.outbound.layout().header_len;
        if let Some(inner) = octets.get_mut(start..start + INNER_LEN) {
            inner.copy_from_slice(&inner_packet(source, to, number));
        }
        child
            .outbound
            .seal(sequence, &mut octets, INNER_LEN, NEXT_HEADER_IPV4)
            .map_err(|_| NotSent::Exhausted)?;
        let len = u64::try_from(INNER_LEN).unwrap_or(0);
        child.traffic.packets_out += 1;
        child.traffic.bytes_out += len;
        child.traffic.sequence = sequence;
        let total = self.traffic.entry(tunnel).or_default();
        total.packets_out += 1;
        total.bytes_out += len;
        let path = child.path;
        let port = |address: SocketAddr| match path.udp_encapsulation {
            true => address,
            false => SocketAddr::new(address.ip(), 0),
        };
        Ok(Packet {
            source: port(path.local),
            destination: port(path.remote),
            load: Load::Esp(octets, number),
        })
    }

    /// Opens an ESP packet.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn receive(&mut self, source: SocketAddr, octets: &[u8]) -> Result<Accepted, Rejected> {
        let spi = spi_of(octets).ok_or(Rejected::NoSa)?;
        let child = self.children.get_mut(&spi).ok_or(Rejected::NoSa)?;
        let mut octets = octets.to_vec();
        let opened = child
            .inbound
            .opener()
            .open(&mut octets)
            .map_err(|reason| match reason {
                vgw_esp::Drop::Replayed => Rejected::Replayed,
                _ => Rejected::NotAuthentic,
            })?;
        let inner = octets.get(opened.inner).ok_or(Rejected::NotAuthentic)?;
        let (to, number) = read_inner(inner).ok_or(Rejected::NotAuthentic)?;
        let len = u64::try_from(inner.len()).unwrap_or(0);
        child.traffic.packets_in += 1;
        child.traffic.bytes_in += len;
        let total = self.traffic.entry(child.tunnel).or_default();
        total.packets_in += 1;
        total.bytes_in += len;
        let newest = opened.sequence > child.newest;
        child.newest = child.newest.max(opened.sequence);
        let moved = child.path.udp_encapsulation && child.path.remote != source;
        if !self.local.iter().any(|net| net.contains(&IpAddr::V4(to))) {
            return Err(Rejected::NotLocal);
        }
        Ok(Accepted {
            number,
            spi_in: spi,
            elsewhere: (newest && moved).then_some(source),
        })
    }

    /// What the supervisor is to be told.
    #[must_use]
    pub fn counted(&self) -> (Vec<(TunnelId, TunnelTraffic)>, Vec<ChildTraffic>) {
        let tunnels = self.traffic.iter().map(|(id, traffic)| (*id, *traffic));
        let children = self.children.values().map(|child| child.traffic);
        (tunnels.collect(), children.collect())
    }

    /// Inbound SPIs that are installed.
    pub fn spis(&self) -> impl Iterator<Item = u32> {
        self.children.keys().copied()
    }

    /// The tunnel that a destination leads to.
    #[must_use]
    pub fn leads_to(&self, to: Ipv4Addr) -> Option<TunnelId> {
        self.next_hop(to).map(|hop| hop.carrier)
    }

    /// What leads to a destination.
    #[must_use]
    pub fn next_hop(&self, to: Ipv4Addr) -> Option<NextHop> {
        let leads = |(net, _): &&(IpNet, NextHop)| net.contains(&IpAddr::V4(to));
        let found = self.forwarding.iter().find(leads);
        found.map(|(_, hop)| *hop)
    }

    /// How a tunnel's packets are treated.
    #[must_use]
    pub fn treatment(&self, tunnel: TunnelId) -> Option<Treatment> {
        self.treatments.get(&tunnel).copied()
    }

    /// Whether what comes out of one tunnel may go into another.
    #[must_use]
    pub const fn cloudhub(&self) -> bool {
        self.cloudhub
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

const fn slot_of(spi: u32) -> u32 {
    spi & ((1 << SLOT_BITS) - 1)
}

fn inner_packet(source: Ipv4Addr, to: Ipv4Addr, number: u64) -> [u8; INNER_LEN] {
    let mut packet = [0; INNER_LEN];
    let parts: [&[u8]; 4] = [
        // Version and header length; TOS; total length; id; flags; TTL; UDP; checksum.
        &[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0],
        &source.octets(),
        &to.octets(),
        &number.to_be_bytes(),
    ];
    for (octet, value) in packet.iter_mut().zip(parts.into_iter().flatten()) {
        *octet = *value;
    }
    packet
}

fn read_inner(inner: &[u8]) -> Option<(Ipv4Addr, u64)> {
    let to: [u8; 4] = inner.get(16..20)?.try_into().ok()?;
    let number: [u8; 8] = inner.get(20..28)?.try_into().ok()?;
    Some((Ipv4Addr::from(to), u64::from_be_bytes(number)))
}
