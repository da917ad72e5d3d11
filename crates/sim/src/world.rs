//! Nodes, the network between them, and the time they share.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use vgw_gateway::domain::Gateway;
use vgw_gateway::revision::ChangeSet;
use vgw_gateway::status::{Status, TunnelStatus};
use vgw_gateway::supervisor::{Change, Supervisor};

use crate::dice::Dice;
use crate::network::{Load, Network, Packet};
use crate::node::Node;
use crate::setup;

mod traffic;

use traffic::{End, Sent};
pub use traffic::{Flow, Tally};

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
    /// For what hosts send.
    dice: Dice,
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
            dice: Dice::new(!seed),
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

    /// Puts a changed configuration in force on a machine that is on, as a daemon does that
    /// has read its file again.
    pub fn reload(&mut self, place: usize, config: Gateway) -> Option<Vec<Change>> {
        let config = setup::checked(config);
        self.operate(place, |supervisor, now| {
            let changes = ChangeSet::between(supervisor.revision(), config);
            supervisor.apply(now, changes)
        })
    }

    /// The status of a machine that is on.
    #[must_use]
    pub fn status(&self, place: usize) -> Option<Status> {
        let supervisor = self.nodes.get(place)?.supervisor.as_ref()?;
        Some(supervisor.status(self.now))
    }

    /// The status of one tunnel of a machine; `number` is 1 or 2.
    #[must_use]
    pub fn tunnel(&self, place: usize, connection: &str, number: u8) -> Option<TunnelStatus> {
        let connections = self.status(place)?.connections;
        let connection = connections.into_iter().find(|c| c.id == connection)?;
        let mut tunnels = connection.tunnels.into_iter();
        tunnels.find(|tunnel| tunnel.name.number == number)
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

    fn arrive(&mut self, packet: &Packet, to: Option<SocketAddr>) {
        let arrived = to.and_then(|to| Some((self.owner(to.ip())?, to)));
        match (&packet.load, arrived) {
            (Load::Ike(message), Some((place, to))) => {
                let now = self.now;
                if let Some(node) = self.nodes.get_mut(place) {
                    node.handle_ike(now, to, packet.source, message);
                }
                self.drain(place);
            }
            (Load::Esp(octets, number), Some((place, to))) => {
                self.take_esp(place, to, packet, octets, *number);
            }
            (Load::Esp(_, number), None) => self.copy_ended(*number, End::Lost),
            (Load::Ike(_), None) | (Load::Keepalive, _) => {}
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a point to count virtual time from; nothing depends on its value"
)]
fn epoch() -> Instant {
    Instant::now()
}
