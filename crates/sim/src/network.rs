//! The Internet between the gateways.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::dice::Dice;

/// What an IP packet carries. ESP as protocol 50 has port 0 at both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    /// An IKE message, without the non-ESP marker.
    Ike(Vec<u8>),
    /// A NAT keepalive.
    Keepalive,
    /// An ESP packet, from the SPI on, and the number of the inner packet.
    Esp(Vec<u8>, u64),
}

/// A packet on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// From where, as the receiver sees it.
    pub source: SocketAddr,
    /// To where, as the sender wrote it.
    pub destination: SocketAddr,
    /// What it carries.
    pub load: Load,
}

/// What the network does to packets.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// How many of a thousand are lost.
    pub loss: u32,
    /// How many of a thousand arrive twice.
    pub duplication: u32,
    /// Every packet takes this long at least.
    pub delay: Duration,
    /// And up to this much longer, each by itself, which reorders them.
    pub jitter: Duration,
}

impl Faults {
    /// A path without faults.
    pub const NONE: Self = Self {
        loss: 0,
        duplication: 0,
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
    };
}

/// How many of a thousand packets are lost on one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// IKE messages.
    pub ike: u32,
    /// ESP packets.
    pub esp: u32,
}

/// A NAT before one node: its own address, and the ports that it maps.
#[derive(Debug)]
struct Nat {
    outside: IpAddr,
    inside: IpAddr,
    /// Outside port by inside port.
    mapped: BTreeMap<u16, u16>,
    next_port: u16,
}

/// The Internet.
#[derive(Debug)]
pub struct Network {
    dice: Dice,
    /// In force for every path.
    pub faults: Faults,
    on_the_way: BTreeMap<(Instant, u64), Packet>,
    sent: u64,
    /// Pairs of outside addresses between which nothing passes, either way.
    cut: BTreeSet<(IpAddr, IpAddr)>,
    /// From where to where ESP as protocol 50 does not pass.
    blocked: BTreeSet<(IpAddr, IpAddr)>,
    /// What is lost from one address to another, besides.
    losses: BTreeMap<(IpAddr, IpAddr), Losses>,
    nats: Vec<Nat>,
    /// Packets to drop besides, as a firewall or a wrong route does. They are
    /// judged as sent, before any NAT.
    pub drops: Option<fn(&Packet) -> bool>,
}

/// What became of a packet that was handed to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// How many copies are on the way.
    pub copies: u32,
}

impl Network {
    /// A network without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            faults: Faults::NONE,
            on_the_way: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            blocked: BTreeSet::new(),
            losses: BTreeMap::new(),
            nats: Vec::new(),
            drops: None,
        }
    }

    /// Puts a node behind a NAT. ESP as protocol 50 does not pass it.
    pub fn add_nat(&mut self, inside: IpAddr, outside: IpAddr) {
        self.nats.push(Nat {
            outside,
            inside,
            mapped: BTreeMap::new(),
            next_port: 20_000,
        });
    }

    /// The NAT before this address forgets its mappings; the next packet from
    /// inside gets another port. True if there is such a NAT.
    pub fn rebind(&mut self, inside: IpAddr) -> bool {
        let nat = self.nats.iter_mut().find(|nat| nat.inside == inside);
        nat.map(|nat| nat.mapped.clear()).is_some()
    }

    /// Cuts the path between two addresses, as the Internet sees them.
    pub fn cut(&mut self, a: IpAddr, b: IpAddr) {
        self.cut.insert((a.min(b), a.max(b)));
    }

    /// Restores it.
    pub fn restore(&mut self, a: IpAddr, b: IpAddr) {
        self.cut.remove(&(a.min(b), a.max(b)));
    }

    /// Drops what goes from one address to the other as ESP of protocol 50, as a firewall
    /// does that only knows the UDP ports.
    pub fn block_native_esp(&mut self, from: IpAddr, to: IpAddr) {
        self.blocked.insert((from, to));
    }

    /// Lets it pass again.
    pub fn pass_native_esp(&mut self, from: IpAddr, to: IpAddr) {
        self.blocked.remove(&(from, to));
    }

    /// Loses so many of the packets that one address sends to the other, as the Internet sees
    /// them.
    pub fn lose(&mut self, from: IpAddr, to: IpAddr, losses: Losses) {
        self.losses.insert((from, to), losses);
    }

    /// Restores every path.
    pub fn restore_all(&mut self) {
        self.cut.clear();
        self.blocked.clear();
        self.losses.clear();
    }

    /// How the Internet sees an address: its NAT's, if it is behind one.
    #[must_use]
    pub fn seen_as(&self, address: IpAddr) -> IpAddr {
        let nat = self.nats.iter().find(|nat| nat.inside == address);
        nat.map_or(address, |nat| nat.outside)
    }

    /// Takes a packet from its sender.
    pub fn send(&mut self, now: Instant, mut packet: Packet) -> Fate {
        if self.drops.is_some_and(|drops| drops(&packet)) {
            return Fate { copies: 0 };
        }
        if let Some(nat) = self
            .nats
            .iter_mut()
            .find(|nat| nat.inside == packet.source.ip())
        {
            if packet.source.port() == 0 {
                return Fate { copies: 0 };
            }
            packet.source = nat.translate(packet.source.port());
        }
        let lost =
            self.is_cut(&packet) || self.dice.per_mille(self.faults.loss) || self.is_lost(&packet);
        let copies = match (lost, self.dice.per_mille(self.faults.duplication)) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        for _ in 0..copies {
            let jitter = self.dice.between(Duration::ZERO, self.faults.jitter);
            let at = now + self.faults.delay + jitter;
            self.sent += 1;
            self.on_the_way.insert((at, self.sent), packet.clone());
        }
        Fate { copies }
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.on_the_way.keys().next().map(|(at, _)| *at)
    }

    /// A packet that has arrived by now and the address of the node it is for;
    /// None for the address if a NAT or a cut kept it back.
    pub fn arrive(&mut self, now: Instant) -> Option<(Packet, Option<SocketAddr>)> {
        let ((at, number), packet) = self.on_the_way.pop_first()?;
        if at > now {
            self.on_the_way.insert((at, number), packet);
            return None;
        }
        let to = self.deliver_to(&packet);
        Some((packet, to))
    }

    fn deliver_to(&self, packet: &Packet) -> Option<SocketAddr> {
        if self.is_cut(packet) {
            return None;
        }
        let destination = packet.destination;
        let nat = self.nats.iter().find(|nat| nat.outside == destination.ip());
        match nat {
            Some(nat) => nat.untranslate(destination.port()),
            None => Some(destination),
        }
    }

    fn is_lost(&mut self, packet: &Packet) -> bool {
        let way = (packet.source.ip(), packet.destination.ip());
        let losses = self.losses.get(&way);
        losses.is_some_and(|losses| {
            self.dice.per_mille(match packet.load {
                Load::Esp(..) => losses.esp,
                Load::Ike(_) | Load::Keepalive => losses.ike,
            })
        })
    }

    fn is_cut(&self, packet: &Packet) -> bool {
        let (a, b) = (packet.source.ip(), packet.destination.ip());
        let native = packet.source.port() == 0;
        self.cut.contains(&(a.min(b), a.max(b))) || native && self.blocked.contains(&(a, b))
    }
}

impl Nat {
    fn translate(&mut self, inside: u16) -> SocketAddr {
        let port = *self.mapped.entry(inside).or_insert_with(|| {
            self.next_port = self.next_port.checked_add(1).unwrap_or(20_000);
            self.next_port
        });
        SocketAddr::new(self.outside, port)
    }

    fn untranslate(&self, outside: u16) -> Option<SocketAddr> {
        let mut mapped = self.mapped.iter();
        let (inside, _) = mapped.find(|(_, mapped)| **mapped == outside)?;
        Some(SocketAddr::new(self.inside, *inside))
    }
}
