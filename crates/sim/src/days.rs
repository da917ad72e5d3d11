//! Random days: many gateways and customer gateways, trouble and calm in turn. In
//! trouble, data planes refuse a command now and then. In calm, everything must come
//! to rest as [`judge::at_rest`] says, and then no packet may be lost.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use vgw_crypto::{Encryption, Group, Integrity};
use vgw_gateway::domain::{Connection, DpdAction, Gateway, Side, StartupAction, TunnelName};
use vgw_gateway::revision::ChangeSet;
use vgw_gateway::supervisor::RekeyTarget;
use vgw_ike::config::Encapsulation;
use vgw_ike::identity::Identity;
use vgw_sa::DfPolicy;

use crate::dice::Dice;
use crate::error_log::ErrorLog;
use crate::judge;
use crate::network::Faults;
use crate::setup;
use crate::world::{Tally, World};

/// Longest time from the end of trouble until everything is at rest: a peer
/// that died last is found dead (40 s), its tunnel waits for the next attempt
/// (30 s), a handshake that began in trouble gives up (20 s), and IKE SAs
/// without purpose are deleted (60 s).
const CALM: Duration = Duration::from_secs(180);

/// How many more seconds a rekey that happens to be going on may take.
const PATIENCE: u32 = 30;

/// Time between packets of a flow while something happens to one of its ends.
const HURRY: Duration = Duration::from_millis(20);

/// How long nothing at all may be lost, once at rest.
const PROOF: Duration = Duration::from_secs(60);

/// The most IKE datagrams that a node may send per tunnel and window of time: bounds
/// retransmissions and attempts together (40), and questions to a peer in doubt. Each end may
/// have five of these for either tunnel, asks them by both, sends each three times, and answers
/// as many.
const IKE_PER_TUNNEL: u64 = 40 + 2 * (2 * 5 * 3);
const WINDOW: Duration = Duration::from_secs(10);

/// How many of a thousand commands that a data plane may refuse are refused in trouble.
const REFUSALS: u32 = 10;
/// How many of a thousand key exchanges are computed with a delay.
const LATE_JOBS: u32 = 500;

/// How big a world and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Virtual private gateways, 1 to 9.
    pub gateways: u8,
    /// Customer gateways, 1 to 99.
    pub customers: u8,
    /// Simulated time.
    pub time: Duration,
    /// After how many of a thousand incidents all SAs of the node are taken as
    /// plain data and built again.
    pub rebuilds: u32,
}

impl Plan {
    /// The places among the customers of those that have the same first gateway as this
    /// one, from the next on.
    fn other_sites(&self, place: u8) -> Vec<u8> {
        let round = (place + 1..self.customers).chain(0..place);
        round
            .filter(|other| other % self.gateways == place % self.gateways)
            .collect()
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// All packets of all flows.
    pub packets: Tally,
    /// Incidents made.
    pub incidents: u64,
    /// Commands that data planes refused.
    pub refused: u64,
    /// CHILD SAs rekeyed, as both ends count.
    pub child_rekeys: u64,
    /// IKE SAs rekeyed, as both ends count.
    pub ike_rekeys: u64,
    /// Rekeys that waited for a late computation, at the end that completed them.
    pub late_rekeys: u64,
    /// Requests sent again.
    pub retransmissions: u64,
    /// Most IKE datagrams that a node sent per tunnel in one [`WINDOW`].
    pub busiest: u64,
}

/// What did not hold.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, after {after:?} of simulated time:\n  {}", wrong.join("\n  "))]
pub struct Failure {
    /// The seed that replays it.
    pub seed: u64,
    /// When it was found.
    pub after: Duration,
    /// What is wrong.
    pub wrong: Vec<String>,
}

/// Runs a world that the seed decides.
///
/// # Errors
/// What did not hold, and the seed.
pub fn run(seed: u64, plan: Plan, errors: &ErrorLog) -> Result<Summary, Failure> {
    let mut days = Days::new(seed, plan);
    let epoch = days.world.now;
    let outcome = days.live(epoch + plan.time, errors);
    outcome.map(|()| days.summary).map_err(|wrong| Failure {
        seed,
        after: days.world.now - epoch,
        wrong,
    })
}

/// Something that is put right later.
enum Repair {
    Restore(IpAddr, IpAddr),
    PassEsp(IpAddr, IpAddr),
    Start(usize),
    Up(usize, TunnelName),
}

struct Days {
    dice: Dice,
    world: World,
    repairs: Vec<(Instant, Repair)>,
    summary: Summary,
    ike_sent: Vec<u64>,
}

impl Days {
    fn new(seed: u64, plan: Plan) -> Self {
        let mut dice = Dice::new(seed);
        let mut world = World::new(seed);
        let mut gateways: Vec<Gateway> = (1..=plan.gateways).map(setup::gateway).collect();
        let mut customers: Vec<Gateway> = (1..=plan.customers).map(setup::customer).collect();
        for gateway in gateways.iter_mut().chain(&mut customers) {
            setup::add_ipv6(&mut gateway.cidrs);
            gateway.outside_mtu = outside_mtu(&mut dice);
        }
        for gateway in &mut gateways {
            gateway.cloudhub = dice.per_mille(500);
        }
        let mut flows = Vec::new();
        for (place, customer) in (0_u8..).zip(&mut customers) {
            let number = place + 1;
            let behind_nat = dice.per_mille(300);
            if behind_nat {
                let inside = setup::private_address(number);
                customer.outside_addresses = vec![inside.into()];
                let outside = setup::customer_address(number);
                world.network.add_nat(inside, outside);
            }
            let first = place % plan.gateways;
            let second = (place + 1) % plan.gateways;
            let both = second != first && dice.per_mille(300);
            for gateway in [Some(first), both.then_some(second)].into_iter().flatten() {
                let (ours, mut theirs) = pair(&mut dice, gateway + 1, number, behind_nat);
                let from = usize::from(plan.gateways) + usize::from(place);
                let hub = usize::from(gateway);
                flows.extend([(hub, from, None), (from, hub, None)]);
                if let Some(gateway) = gateways.get_mut(hub) {
                    if gateway.cloudhub && hub == usize::from(first) {
                        let others = plan.other_sites(place);
                        theirs.vpc_cidrs.extend(sites(&others));
                        let to = others.first().map(|to| usize::from(plan.gateways + to));
                        flows.extend(to.map(|to| (from, to, Some(hub))));
                    }
                    gateway.connections.push(ours);
                }
                customer.connections.push(theirs);
            }
        }
        for (number, gateway) in (1_u8..).zip(gateways) {
            let host = setup::vpc_host(number);
            world.add(&format!("gateway {number}"), gateway, host);
        }
        for (number, customer) in (1_u8..).zip(customers) {
            let host = setup::site_host(number);
            world.add(&format!("customer {number}"), customer, host);
        }
        for node in &mut world.nodes {
            node.late_jobs = LATE_JOBS;
            node.rebuilds = plan.rebuilds;
        }
        world.start_all();
        for (from, to, via) in flows {
            let pace = dice.between(Duration::from_millis(700), Duration::from_secs(9));
            world.mixed_flow(from, to, via, pace);
        }
        let ike_sent = vec![0; world.nodes.len()];
        Self {
            dice,
            world,
            repairs: Vec::new(),
            summary: Summary::default(),
            ike_sent,
        }
    }

    fn live(&mut self, end: Instant, errors: &ErrorLog) -> Result<(), Vec<String>> {
        while self.world.now < end {
            self.trouble(errors)?;
            self.calm(errors)?;
        }
        for place in 0..self.world.nodes.len() {
            self.count_tunnels(place);
        }
        let nodes = &self.world.nodes;
        self.summary.refused = nodes.iter().map(|node| node.refused).sum();
        self.summary.late_rekeys = nodes.iter().map(|node| node.late_rekeys).sum();
        for flow in &self.world.flows {
            add(&mut self.summary.packets, flow.tally);
        }
        Ok(())
    }

    fn count_tunnels(&mut self, place: usize) {
        let connections = self.world.status(place).map(|status| status.connections);
        for tunnel in connections.iter().flatten().flat_map(|c| &c.tunnels) {
            self.summary.child_rekeys += tunnel.counters.child_rekeys;
            self.summary.ike_rekeys += tunnel.counters.ike_rekeys;
            self.summary.retransmissions += tunnel.counters.retransmissions;
        }
    }

    /// A bad network and incidents, for a while.
    fn trouble(&mut self, errors: &ErrorLog) -> Result<(), Vec<String>> {
        let delay = self.dice.between(millis(1), millis(100));
        self.world.network.faults = Faults {
            loss: u32::try_from(self.dice.below(50)).unwrap_or(0),
            duplication: u32::try_from(self.dice.below(20)).unwrap_or(0),
            delay,
            jitter: self.dice.between(Duration::ZERO, millis(300)),
        };
        self.set_refusals(REFUSALS);
        let time = self.dice.between(seconds(300), seconds(5400));
        let until = self.world.now + time;
        let mut next = self.world.now;
        while self.world.now < until {
            let mut unhurried = Vec::new();
            if self.world.now >= next {
                unhurried = self.incident();
                self.summary.incidents += 1;
                next = self.world.now + self.dice.between(seconds(1), seconds(600));
            }
            self.pass(WINDOW, errors)?;
            for (flow, pace) in unhurried {
                self.world.set_pace(flow, pace);
            }
            self.repair(false);
        }
        Ok(())
    }

    /// A good network, in which everything comes to rest.
    fn calm(&mut self, errors: &ErrorLog) -> Result<(), Vec<String>> {
        self.repair(true);
        self.world.network.faults = Faults::NONE;
        self.set_refusals(0);
        let until = self.world.now + CALM;
        while self.world.now < until {
            self.pass(WINDOW, errors)?;
        }
        let mut wrong = judge::at_rest(&self.world);
        for _ in 0..PATIENCE {
            if wrong.is_empty() {
                break;
            }
            self.world.run(seconds(1));
            wrong = judge::at_rest(&self.world);
        }
        self.settle_window();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let before: Vec<Tally> = self.world.flows.iter().map(|flow| flow.tally).collect();
        let until = self.world.now + PROOF;
        while self.world.now < until {
            self.pass(WINDOW, errors)?;
        }
        let lossless = |(flow, before): (&crate::world::Flow, &Tally)| {
            let now = flow.tally;
            let gone = (now.not_sent, now.lost, now.stale);
            let well = gone == (before.not_sent, before.lost, before.stale)
                && now.delivered > before.delivered;
            (!well).then(|| format!("packets lost at rest: {before:?} became {flow:?}"))
        };
        let flows = self.world.flows.iter().zip(&before);
        let wrong: Vec<String> = flows.filter_map(lossless).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn set_refusals(&mut self, per_mille: u32) {
        for node in &mut self.world.nodes {
            node.refusals = per_mille;
        }
    }

    /// Lets time pass and judges.
    fn pass(&mut self, time: Duration, errors: &ErrorLog) -> Result<(), Vec<String>> {
        self.world.run(time);
        let mut wrong = std::mem::take(&mut self.world.violations);
        wrong.extend(
            errors
                .take()
                .into_iter()
                .map(|line| format!("ERROR logged: {line}")),
        );
        wrong.extend(judge::always(&self.world));
        wrong.extend(self.settle_window());
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Which nodes sent too much since this was last asked.
    fn settle_window(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (node, before) in self.world.nodes.iter().zip(&mut self.ike_sent) {
            let sent = node.ike_sent - std::mem::replace(before, node.ike_sent);
            let tunnels = u64::try_from(2 * node.config.connections.len()).unwrap_or(1);
            let per_tunnel = sent.div_ceil(tunnels.max(1));
            self.summary.busiest = self.summary.busiest.max(per_tunnel);
            if per_tunnel > IKE_PER_TUNNEL {
                wrong.push(format!(
                    "{} sent {sent} IKE datagrams in a short time",
                    node.name
                ));
            }
        }
        wrong
    }

    fn repair(&mut self, everything: bool) {
        let now = self.world.now;
        let due: Vec<Repair> = self
            .repairs
            .extract_if(.., |(at, _)| everything || *at <= now)
            .map(|(_, repair)| repair)
            .collect();
        for repair in due {
            match repair {
                Repair::Restore(a, b) => self.world.network.restore(a, b),
                Repair::PassEsp(a, b) => self.world.network.pass_native_esp(a, b),
                Repair::Start(place) => {
                    let off = self.world.nodes.get(place);
                    if off.is_some_and(|node| node.supervisor.is_none()) {
                        self.world.start(place);
                    }
                }
                Repair::Up(place, name) => {
                    self.world.operate(place, |s, now| s.tunnel_up(now, &name));
                }
            }
        }
    }

    fn later(&mut self, least: u64, most: u64, repair: Repair) {
        let after = self.dice.between(seconds(least), seconds(most));
        self.repairs.push((self.world.now + after, repair));
    }

    /// Something happens to a node while its flows are in a hurry, so that
    /// packets are on the way at every moment of it. Gives their usual paces.
    fn incident(&mut self) -> Vec<(usize, Duration)> {
        let places: Vec<usize> = (0..self.world.nodes.len()).collect();
        let Some(&place) = self.dice.pick(&places) else {
            return Vec::new();
        };
        let flows = self.world.flows.iter().enumerate();
        let usual: Vec<(usize, Duration)> = flows
            .filter(|(_, flow)| flow.from == place || flow.to == place)
            .map(|(index, flow)| (index, flow.every))
            .collect();
        for (flow, _) in &usual {
            self.world.set_pace(*flow, HURRY);
        }
        self.world.run(seconds(1));
        self.happen_to(place);
        usual
    }

    fn happen_to(&mut self, place: usize) {
        let Some(node) = self.world.nodes.get(place) else {
            return;
        };
        let addresses = node.config.outside_addresses.clone();
        let Some(connection) = self.dice.pick(&node.config.connections).cloned() else {
            return;
        };
        let number = if self.dice.per_mille(500) { 1 } else { 2 };
        let name = TunnelName {
            connection: connection.id.clone(),
            number,
        };
        match self.dice.below(9) {
            0 => {
                if let Some(node) = self.world.nodes.get_mut(place) {
                    node.crash();
                }
                self.later(1, 90, Repair::Start(place));
            }
            1 => {
                for address in addresses {
                    self.world.network.rebind(address.address);
                }
            }
            2 | 3 => {
                let [first, second] = &connection.tunnels;
                let tunnel = if number == 1 { first } else { second };
                let a = tunnel.outside_address;
                if let Some(b) = connection.customer_gateway.ip_address {
                    self.world.network.cut(a, b);
                    self.later(5, 300, Repair::Restore(a, b));
                }
            }
            4 => {
                self.world
                    .operate(place, |s, now| s.tunnel_down(now, &name));
                self.later(1, 300, Repair::Up(place, name));
            }
            5 => self.reload(place, &connection.id, number),
            6 => {
                // A firewall that drops IP protocol 50, one way or both.
                let [first, second] = &connection.tunnels;
                let tunnel = if number == 1 { first } else { second };
                let a = tunnel.outside_address;
                if let Some(b) = connection.customer_gateway.ip_address {
                    let ways = [(a, b), (b, a)];
                    let both = self.dice.per_mille(500);
                    let one = self.dice.pick(&ways).copied();
                    for (from, to) in ways.into_iter().filter(|way| both || Some(*way) == one) {
                        self.world.network.block_native_esp(from, to);
                        self.later(5, 900, Repair::PassEsp(from, to));
                    }
                }
            }
            7 => {
                self.world
                    .operate(place, |s, now| s.rekey(now, &name, RekeyTarget::Ike));
            }
            _ => {
                self.world
                    .operate(place, |s, now| s.rekey(now, &name, RekeyTarget::Child));
            }
        }
    }

    /// A changed file: an option that restarts the tunnel, or both of its connection, and
    /// some that do not.
    fn reload(&mut self, place: usize, id: &str, number: u8) {
        let Some(node) = self.world.nodes.get_mut(place) else {
            return;
        };
        let before = node.config.clone();
        node.config.outside_mtu = outside_mtu(&mut self.dice);
        let mut connections = node.config.connections.iter_mut();
        if let Some(connection) = connections.find(|c| c.id == id) {
            connection.failback = !connection.failback;
            let both = self.dice.per_mille(500);
            for (tunnel, of) in connection.tunnels.iter_mut().zip(1..) {
                if both || of == number {
                    tunnel.phase1.groups.rotate_left(1);
                }
            }
            let [first, second] = &mut connection.tunnels;
            let tunnel = if number == 1 { first } else { second };
            tunnel.copy_dscp = !tunnel.copy_dscp;
            tunnel.df_policy = df_policy(&mut self.dice);
            tunnel.dpd_timeout = if tunnel.dpd_timeout == seconds(30) {
                seconds(40)
            } else {
                seconds(30)
            };
        }
        let config = setup::checked(node.config.clone());
        self.world.operate(place, |supervisor, now| {
            let in_force = Arc::clone(supervisor.revision());
            let changes = ChangeSet::between(&in_force, config);
            if number == 1 {
                // Another one overtook it.
                let other = Gateway {
                    cloudhub: before.side == Side::VirtualPrivateGateway && !before.cloudhub,
                    ..before
                };
                let other = setup::checked(other);
                supervisor.apply(now, ChangeSet::between(&in_force, other));
            }
            supervisor.apply(now, changes)
        });
    }
}

/// The networks of customers, by their places.
fn sites(places: &[u8]) -> Vec<IpNet> {
    let mut sites = places.iter().map(|place| setup::site(place + 1)).collect();
    setup::add_ipv6(&mut sites);
    sites
}

fn outside_mtu(dice: &mut Dice) -> u16 {
    let mtus = [1280, 1400, 1500, 9000];
    dice.pick(&mtus).copied().unwrap_or(1500)
}

fn df_policy(dice: &mut Dice) -> DfPolicy {
    if dice.per_mille(300) {
        DfPolicy::Ignore
    } else {
        DfPolicy::Honor
    }
}

/// A connection with options at random, for either end.
fn pair(dice: &mut Dice, gateway: u8, customer: u8, behind_nat: bool) -> (Connection, Connection) {
    let mut ours = setup::connection(gateway, customer);
    ours.failback = dice.per_mille(500);
    setup::carry_ipv6(&mut ours);
    if behind_nat {
        let name = format!("cgw-{customer}.example");
        ours.customer_gateway.identity = Identity::Fqdn(name);
    }
    for tunnel in &mut ours.tunnels {
        let pick =
            |dice: &mut Dice, all: &[Encryption]| dice.pick(all).copied().into_iter().collect();
        tunnel.phase1.encryption = pick(dice, Encryption::ALL);
        tunnel.phase2.encryption = pick(dice, Encryption::ALL);
        tunnel.phase1.integrity = dice.pick(Integrity::ALL).copied().into_iter().collect();
        tunnel.phase2.integrity = dice.pick(Integrity::ALL).copied().into_iter().collect();
        let groups = [vec![Group::Curve25519], vec![Group::Ecp256], Vec::new()];
        tunnel.phase2.groups = dice.pick(&groups).cloned().unwrap_or_default();
        tunnel.phase2.esn = vec![dice.per_mille(700)];
        tunnel.phase1.lifetime = dice.between(seconds(1800), seconds(28_800));
        let longest = tunnel.phase1.lifetime.saturating_sub(seconds(60));
        tunnel.phase2.lifetime = dice.between(seconds(900), seconds(3600)).min(longest);
        tunnel.phase2.lifetime_packets = dice.per_mille(300).then_some(1_000);
        tunnel.dpd_timeout = dice.between(seconds(30), seconds(40));
        if dice.per_mille(300) {
            tunnel.encapsulation = Encapsulation::Udp;
        }
        if dice.per_mille(300) {
            tunnel.dpd_action = DpdAction::Restart;
        }
    }
    let mut theirs = setup::initiating(ours.clone());
    for tunnel in &mut theirs.tunnels {
        tunnel.df_policy = df_policy(dice);
    }
    for tunnel in &mut ours.tunnels {
        tunnel.df_policy = df_policy(dice);
        if dice.per_mille(200) {
            tunnel.dpd_action = DpdAction::None;
        }
        if !behind_nat && dice.per_mille(300) {
            tunnel.startup_action = StartupAction::Start;
        } else if behind_nat {
            tunnel.dpd_action = DpdAction::Clear;
        }
    }
    (ours, theirs)
}

fn add(sum: &mut Tally, tally: Tally) {
    sum.offered += tally.offered;
    sum.delivered += tally.delivered;
    sum.not_sent += tally.not_sent;
    sum.lost += tally.lost;
    sum.stale += tally.stale;
    sum.told += tally.told;
    sum.fragmented += tally.fragmented;
    sum.clamped += tally.clamped;
    sum.relayed += tally.relayed;
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
