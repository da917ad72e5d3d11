//! Nodes, the network between them, and the time they share.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use vgw_dataplane::{DropReason, SeenPath};
use vgw_gateway::domain::Gateway;
use vgw_gateway::status::{Status, TunnelStatus};
use vgw_gateway::supervisor::Supervisor;

use crate::network::{Load, Network, Packet};
use crate::node::Node;
use crate::plane::{Accepted, spi_of};

/// Packets from the host behind one node to the host behind another, at a
/// steady pace.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// The sender, by its place among the nodes.
    pub from: usize,
    /// The receiver.
    pub to: usize,
    /// The receiving host.
    pub host: Ipv4Addr,
    /// Time from one packet to the next.
    pub every: Duration,
    next: Instant,
    /// What became of its packets.
    pub tally: Tally,
    /// When a packet of it was last delivered.
    pub last_delivered: Option<Instant>,
    /// Longest time between two deliveries so far.
    pub longest_gap: Duration,
}

/// What became of packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Handed to a data plane.
    pub offered: u64,
    /// Accepted at the other end.
    pub delivered: u64,
    /// Not sent: no tunnel was up.
    pub not_sent: u64,
    /// Lost by the network, a NAT on it, or a machine that was off.
    pub lost: u64,
    /// Sent with an SA that the receiver no longer, or not yet, had.
    pub stale: u64,
}

/// A packet of a flow that is on its way.
#[derive(Debug, Clone, Copy)]
struct Sent {
    flow: usize,
    copies: u32,
    delivered: bool,
    /// Whether the receiver had the SA when it was sent, and in which life.
    live: bool,
    starts: u64,
}

/// Everything there is.
pub struct World {
    /// The time.
    pub now: Instant,
    epoch: Instant,
    /// The Internet.
    pub network: Network,
    /// The machines.
    pub nodes: Vec<Node>,
    /// Traffic.
    pub flows: Vec<Flow>,
    sent: BTreeMap<u64, Sent>,
    numbers: u64,
    /// What must not happen but did.
    pub violations: Vec<String>,
    seed: u64,
}

impl World {
    /// A world without machines.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let epoch = epoch();
        Self {
            now: epoch,
            epoch,
            network: Network::new(seed),
            nodes: Vec::new(),
            flows: Vec::new(),
            sent: BTreeMap::new(),
            numbers: 0,
            violations: Vec::new(),
            seed,
        }
    }

    /// Adds a machine, which is off.
    pub fn add(&mut self, name: &str, config: Gateway, host: Ipv4Addr) -> usize {
        let place = self.nodes.len();
        let number = u64::try_from(place).unwrap_or(0);
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(number);
        self.nodes
            .push(Node::new(name, config, host, seed, self.now));
        place
    }

    /// Starts every machine that is off.
    pub fn start_all(&mut self) {
        for place in 0..self.nodes.len() {
            if self
                .nodes
                .get(place)
                .is_some_and(|n| n.supervisor.is_none())
            {
                self.start(place);
            }
        }
    }

    /// Starts a machine.
    pub fn start(&mut self, place: usize) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(place) {
            node.start(now);
        }
        self.drain(place);
    }

    /// Does something to the supervisor of a machine that is on.
    pub fn operate<T>(
        &mut self,
        place: usize,
        operation: impl FnOnce(&mut Supervisor, Instant) -> T,
    ) -> Option<T> {
        let now = self.now;
        let supervisor = self.nodes.get_mut(place)?.supervisor.as_mut()?;
        let outcome = operation(supervisor, now);
        self.drain(place);
        Some(outcome)
    }

    /// What a machine that is on shows.
    #[must_use]
    pub fn status(&self, place: usize) -> Option<Status> {
        let supervisor = self.nodes.get(place)?.supervisor.as_ref()?;
        Some(supervisor.status(self.now))
    }

    /// One tunnel of what a machine shows; `number` is 1 or 2.
    #[must_use]
    pub fn tunnel(&self, place: usize, connection: &str, number: u8) -> Option<TunnelStatus> {
        let connections = self.status(place)?.connections;
        let connection = connections.into_iter().find(|c| c.id == connection)?;
        let mut tunnels = connection.tunnels.into_iter();
        tunnels.find(|tunnel| tunnel.name.number == number)
    }

    /// Sends packets at a steady pace from the host behind one machine to the
    /// one behind another.
    pub fn flow(&mut self, from: usize, to: usize, every: Duration) -> usize {
        let host = self.nodes.get(to).map_or(Ipv4Addr::UNSPECIFIED, |n| n.host);
        self.flows.push(Flow {
            from,
            to,
            host,
            every,
            next: self.now,
            tally: Tally::default(),
            last_delivered: None,
            longest_gap: Duration::ZERO,
        });
        self.flows.len() - 1
    }

    /// Changes the pace of a flow, from now on.
    pub fn set_pace(&mut self, flow: usize, every: Duration) {
        if let Some(flow) = self.flows.get_mut(flow) {
            flow.every = every;
            flow.next = self.now + every;
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(next) = self.next_event().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = until;
    }

    /// Lets time pass until something is so, or `limit` is over. Looks once a
    /// tenth of a second. True if it came to be so.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + limit;
        while !done(self) {
            if self.now >= until {
                return false;
            }
            self.run(Duration::from_millis(100));
        }
        true
    }

    fn next_event(&self) -> Option<Instant> {
        let timeouts = self.nodes.iter().filter_map(Node::next_timeout);
        let flows = self.flows.iter().map(|flow| flow.next);
        let arrival = self.network.next_arrival();
        timeouts.chain(flows).chain(arrival).min()
    }

    fn step(&mut self) {
        while let Some((packet, to)) = self.network.arrive(self.now) {
            self.arrive(&packet, to);
        }
        for place in 0..self.nodes.len() {
            let now = self.now;
            let Some(node) = self.nodes.get_mut(place) else {
                continue;
            };
            if node.next_timeout().is_some_and(|due| due <= now) {
                node.handle_timeout(now);
                self.drain(place);
            }
        }
        for flow in 0..self.flows.len() {
            self.offer(flow);
        }
    }

    fn drain(&mut self, place: usize) {
        let Some(node) = self.nodes.get_mut(place) else {
            return;
        };
        for packet in node.drain(self.now) {
            self.network.send(self.now, packet);
        }
        self.violations.append(&mut node.faults);
    }

    fn owner(&self, address: IpAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.owns(address))
    }

    /// Sends the next packet of a flow if it is time.
    fn offer(&mut self, index: usize) {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(index).filter(|flow| flow.next <= now) else {
            return;
        };
        flow.next = now + flow.every;
        flow.tally.offered += 1;
        let (from, to, host) = (flow.from, flow.to, flow.host);
        let number = self.numbers;
        self.numbers += 1;
        let packet = match self.nodes.get_mut(from) {
            Some(node) if node.supervisor.is_some() => {
                let since = now - self.epoch;
                node.plane.send(since, node.host, host, number)
            }
            _ => Err(DropReason::NoRoute),
        };
        let packet = match packet {
            Ok(packet) => packet,
            Err(reason) => {
                flow.tally.not_sent += 1;
                if is_blame(reason) {
                    let text = format!("packet {number} of {flow:?} was not sent: {reason:?}");
                    self.violations.push(text);
                }
                return;
            }
        };
        let (live, starts) = self.is_live(to, &packet);
        let copies = self.network.send(now, packet).copies;
        if copies == 0 {
            if let Some(flow) = self.flows.get_mut(index) {
                flow.tally.lost += 1;
            }
            return;
        }
        let sent = Sent {
            flow: index,
            copies,
            delivered: false,
            live,
            starts,
        };
        self.sent.insert(number, sent);
    }

    /// Whether the receiver has the SA of a packet, and in which of its lives.
    fn is_live(&self, to: usize, packet: &Packet) -> (bool, u64) {
        let Some(node) = self.nodes.get(to) else {
            return (false, 0);
        };
        let Load::Esp(octets, _) = &packet.load else {
            return (false, 0);
        };
        let supervisor = node.supervisor.as_ref();
        let live = spi_of(octets)
            .is_some_and(|spi| supervisor.is_some_and(|supervisor| supervisor.has_child(spi)));
        (live, node.starts)
    }

    fn arrive(&mut self, packet: &Packet, to: Option<std::net::SocketAddr>) {
        let place = to.and_then(|to| self.owner(to.ip()));
        let number = match &packet.load {
            Load::Esp(_, number) => Some(*number),
            Load::Ike(_) | Load::Keepalive => None,
        };
        let (Some(to), Some(place)) = (to, place) else {
            if let Some(number) = number {
                self.copy_ended(number, None);
            }
            return;
        };
        match &packet.load {
            Load::Keepalive => {}
            Load::Ike(message) => {
                let now = self.now;
                if let Some(node) = self.nodes.get_mut(place) {
                    node.handle_ike(now, to, packet.source, message);
                }
                self.drain(place);
            }
            Load::Esp(octets, number) => {
                let Some(node) = self.nodes.get_mut(place) else {
                    return;
                };
                let since = self.now - self.epoch;
                let outcome = node.plane.receive(since, packet, octets, *number);
                if let (Err(DropReason::UnknownSpi), Some(spi)) = (&outcome, spi_of(octets)) {
                    let from = packet.source;
                    self.operate(place, |s, now| s.note_unknown_spi(now, to, from, spi));
                }
                let Some(node) = self.nodes.get_mut(place) else {
                    return;
                };
                for SeenPath { spi_in, remote } in node.plane.take_paths() {
                    self.operate(place, |s, now| s.note_path(now, spi_in, remote));
                }
                match outcome {
                    Ok(Accepted::Relayed(onward)) => self.relay(*number, onward),
                    Ok(Accepted::Inside(inner)) => {
                        self.copy_ended(*number, Some((place, Ok(inner))));
                    }
                    Err(reason) => self.copy_ended(*number, Some((place, Err(reason)))),
                }
            }
        }
    }

    /// Sends a copy of a packet on, which has arrived between its ends.
    fn relay(&mut self, number: u64, onward: Packet) {
        let copies = self.network.send(self.now, onward).copies;
        if let Some(sent) = self.sent.get_mut(&number) {
            sent.copies += copies;
        }
        self.copy_ended(number, None);
    }

    /// Enters what became of one copy of a packet.
    fn copy_ended(&mut self, number: u64, outcome: Option<(usize, Result<u64, DropReason>)>) {
        let now = self.now;
        let Some(sent) = self.sent.get_mut(&number) else {
            return;
        };
        let Some(flow) = self.flows.get_mut(sent.flow) else {
            return;
        };
        sent.copies -= 1;
        match outcome {
            Some((place, Ok(accepted))) => {
                if sent.delivered || accepted != number || place != flow.to {
                    let text = format!("packet {number} of {flow:?} arrived twice or wrongly");
                    self.violations.push(text);
                }
                sent.delivered = true;
                flow.tally.delivered += 1;
                if let Some(last) = flow.last_delivered {
                    flow.longest_gap = flow.longest_gap.max(now - last);
                }
                flow.last_delivered = Some(now);
            }
            Some((_, Err(reason))) if is_blame(reason) => {
                let text = format!("packet {number} of {flow:?} is honest, but {reason:?}");
                self.violations.push(text);
            }
            Some((_, Err(DropReason::Replayed))) if sent.delivered => {}
            Some((place, Err(reason))) if !sent.delivered && sent.copies == 0 => {
                let same_life = self
                    .nodes
                    .get(place)
                    .is_some_and(|n| n.starts == sent.starts && n.supervisor.is_some());
                if sent.live && same_life {
                    self.violations.push(format!(
                        "packet {number} was sent through a live tunnel and refused: {reason:?}, {flow:?}"
                    ));
                } else if same_life {
                    flow.tally.stale += 1;
                } else {
                    flow.tally.lost += 1;
                }
            }
            Some((_, Err(_))) => {}
            None if !sent.delivered && sent.copies == 0 => flow.tally.lost += 1,
            None => {}
        }
        if sent.copies == 0 {
            self.sent.remove(&number);
        }
    }
}

/// Whether a data plane drops a packet for this because its sender may not send it: no
/// packet of a flow is one, whatever happens to the tunnels.
const fn is_blame(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::OutsideSelectors | DropReason::SourceNotAllowed | DropReason::SourceNotRouted
    )
}

#[allow(
    clippy::disallowed_methods,
    reason = "a point to count virtual time from; nothing depends on its value"
)]
fn epoch() -> Instant {
    Instant::now()
}
