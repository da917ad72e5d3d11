//! Two endpoints, the network between them, and a judge of what they agree on.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use vgw_crypto::{Encryption, Group, Integrity, Prf, RandomSources, Secret};
use vgw_ike::config::{
    Encapsulation, EspAlgorithms, IkeAlgorithms, KeyLog, Lifetime, Limits, Liveness, PeerConfig,
    Psk,
};
use vgw_ike::drop_reason::DropReason;
use vgw_ike::endpoint::Endpoint;
use vgw_ike::event::{Content, Diagnostic, DownReason, Event, IkeDetails, IkeKeyLog, SaId};
use vgw_ike::identity::Identity;
use vgw_ike::job::{Job, JobId};
use vgw_ike::wire::{ExchangeType, Header, decode_header};
use vgw_sa::{ChildSa, GatewayId, TunnelId};

pub const PEER: TunnelId = GatewayId(0).tunnel(7);
pub const A: usize = 0;
pub const B: usize = 1;

/// One way of the network, by default.
pub const DELAY: Duration = Duration::from_millis(20);
/// What a late job takes.
const LATE: Duration = Duration::from_millis(5);

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn address(side: usize) -> IpAddr {
    ["192.0.2.1", "198.51.100.1"][side].parse().unwrap()
}

/// The configuration of one side; the other's is its mirror image.
pub fn config(side: usize) -> PeerConfig {
    let nets = ["10.1.0.0/16", "10.2.0.0/16"].map(|net| vec![net.parse().unwrap()]);
    let ids = ["a.example", "b.example"].map(|name| Identity::Fqdn(name.to_owned()));
    let [local_selectors, remote_selectors] = [nets[side].clone(), nets[1 - side].clone()];
    PeerConfig {
        name: format!("vpn-test/{}", ["a", "b"][side]),
        local: address(side),
        public: None,
        remote: Some(address(1 - side)),
        local_id: ids[side].clone(),
        remote_id: ids[1 - side].clone(),
        psk: Psk(Secret::new(b"a pre-shared key".to_vec())),
        mistakable: Vec::new(),
        network_advice: "set others at the peer".to_owned(),
        ike: IkeAlgorithms {
            encryption: vec![Encryption::AesGcm128],
            integrity: vec![Integrity::HmacSha256_128],
            prf: vec![Prf::HmacSha256],
            groups: vec![Group::Curve25519],
        },
        esp: EspAlgorithms {
            encryption: vec![Encryption::AesGcm128],
            integrity: vec![Integrity::HmacSha256_128],
            groups: vec![Group::Curve25519],
            esn: vec![true, false],
        },
        local_selectors,
        remote_selectors,
        encapsulation: Encapsulation::Auto,
        ike_lifetime: lifetime(28_800),
        child_lifetime: lifetime(3_600),
        liveness: Some(Liveness {
            idle: seconds(10),
            timeout: seconds(30),
        }),
    }
}

pub fn lifetime(time: u64) -> Lifetime {
    Lifetime {
        time: seconds(time),
        margin: seconds(time / 7),
        fuzz_percent: 100,
    }
}

/// Random sources that two seeds decide.
pub fn sources(secret: u64, public: u64) -> RandomSources {
    let [secret, public] = [secret, public].map(ChaCha8Rng::seed_from_u64);
    RandomSources::new(secret, public)
}

/// When the jobs of both sides are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// Also for tests that compare moments.
    AtOnce,
    Late,
    OutOfOrder,
    /// By [`Pair::run_jobs`].
    Held,
}

impl Jobs {
    /// The seed decides; `VGW_JOBS=late` or `VGW_JOBS=out-of-order` overrules it.
    fn of(seed: u64) -> Self {
        match (std::env::var("VGW_JOBS").as_deref(), seed % 3) {
            (Ok("late"), _) | (Err(_), 1) => Self::Late,
            (Ok("out-of-order"), _) | (Err(_), 2) => Self::OutOfOrder,
            _ => Self::AtOnce,
        }
    }

    fn lateness(self, random: &mut ChaCha8Rng) -> Duration {
        match self {
            Self::AtOnce => Duration::ZERO,
            Self::Late => LATE,
            Self::OutOfOrder => Duration::from_millis(random.next_u64() % 25),
            Self::Held => seconds(1_000_000),
        }
    }
}

/// Whatever the group, a key exchange is a job.
pub fn limits() -> Limits {
    Limits {
        job_from: Duration::ZERO,
        ..Limits::default()
    }
}

/// One endpoint and what its events say is so.
pub struct Side {
    pub endpoint: Endpoint,
    jobs: Vec<(Instant, JobId, Job)>,
    pub ikes: BTreeMap<SaId, IkeDetails>,
    /// Of every IKE SA that came up.
    pub keys: BTreeMap<SaId, IkeKeyLog>,
    pub children: BTreeMap<u32, ChildSa>,
    pub outbound: Option<u32>,
    pub refusals: Vec<String>,
    /// Of what is said as well as counted.
    pub dropped: Vec<DropReason>,
    pub diagnostics: Vec<Diagnostic>,
    pub faults: usize,
    pub ends: Vec<DownReason>,
    pub child_ends: Vec<DownReason>,
    pub failures: Vec<DownReason>,
    pub alive: usize,
    /// Probes that failed.
    pub unanswered: usize,
    /// How often the peer repeated one request.
    pub repeated: u32,
    /// As last measured.
    pub round_trip: Option<Duration>,
    pub unknown_sas: usize,
    pub path_changes: usize,
    pub keepalives: usize,
}

impl Side {
    fn new(seed: u64, limits: Limits) -> Self {
        let mut endpoint = Endpoint::new(limits, sources(seed, !seed));
        endpoint.set_key_log(KeyLog::On);
        Self {
            endpoint,
            jobs: Vec::new(),
            keys: BTreeMap::new(),
            ikes: BTreeMap::new(),
            children: BTreeMap::new(),
            outbound: None,
            refusals: Vec::new(),
            dropped: Vec::new(),
            diagnostics: Vec::new(),
            faults: 0,
            ends: Vec::new(),
            child_ends: Vec::new(),
            failures: Vec::new(),
            alive: 0,
            unanswered: 0,
            repeated: 0,
            round_trip: None,
            unknown_sas: 0,
            path_changes: 0,
            keepalives: 0,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::IkeUp {
                sa,
                details,
                replaces,
                ..
            } => {
                if let Some(old) = replaces {
                    assert!(self.ikes.contains_key(&old), "replaces an unknown IKE SA");
                }
                assert!(self.ikes.insert(sa, details).is_none());
            }
            Event::IkeKeys { sa, keys, .. } => {
                assert!(self.keys.insert(sa, keys).is_none());
            }
            Event::IkeDown { sa, reason, .. } => {
                assert!(self.ikes.remove(&sa).is_some(), "unknown IKE SA ends");
                self.ends.push(reason);
            }
            Event::InitiateFailed { reason, .. } => self.failures.push(reason),
            Event::ChildInbound { child, rekeys, .. } => {
                if let Some(old) = rekeys {
                    assert!(
                        self.children.contains_key(&old),
                        "rekeys an unknown CHILD SA"
                    );
                }
                let slot = child.spi_in & 0x3ffff;
                let free = self.children.keys().all(|spi| spi & 0x3ffff != slot);
                assert!(free, "the SPI's slot is in use");
                self.children.insert(child.spi_in, *child);
            }
            Event::ChildOutbound { spi_in, .. } => {
                assert!(
                    self.children.contains_key(&spi_in),
                    "sends with an unknown CHILD SA"
                );
                self.outbound = Some(spi_in);
            }
            Event::ChildDown { spi_in, reason, .. } => {
                assert!(
                    self.children.remove(&spi_in).is_some(),
                    "unknown CHILD SA ends"
                );
                if self.outbound == Some(spi_in) {
                    self.outbound = None;
                }
                self.child_ends.push(reason);
            }
            Event::PathChanged { path, .. } => {
                self.path_changes += 1;
                self.children
                    .values_mut()
                    .for_each(|child| child.path = path);
            }
            Event::Alive { round_trip, .. } => {
                self.alive += 1;
                self.round_trip = round_trip;
            }
            Event::Unanswered { .. } => self.unanswered += 1,
            Event::Repeated { times, .. } => self.repeated = self.repeated.max(times),
            Event::UnknownSa { .. } => self.unknown_sas += 1,
            Event::Refused { why, .. } | Event::RekeyRefused { why, .. } => {
                self.refusals.push(why.to_string());
            }
            Event::Dropped { reason, .. } => self.dropped.push(reason),
            Event::NoRandomNumbers => self.faults += 1,
            Event::Diagnostic { diagnostic, .. } => self.diagnostics.push(diagnostic),
        }
    }

    /// The only CHILD SA.
    pub fn child(&self) -> &ChildSa {
        assert_eq!(self.children.len(), 1, "CHILD SAs");
        self.children.values().next().unwrap()
    }

    /// The only IKE SA.
    pub fn ike(&self) -> (SaId, &IkeDetails) {
        assert_eq!(self.ikes.len(), 1, "IKE SAs");
        let (id, details) = self.ikes.iter().next().unwrap();
        (*id, details)
    }

    /// Forgets everything, as after a crash.
    pub fn restart(&mut self, seed: u64) {
        *self = Self::new(seed, limits());
    }
}

/// What the network carries.
#[derive(Clone)]
pub enum Load {
    Ike(Vec<u8>),
    Esp { spi: u32, key: Vec<u8> },
}

/// An IKE message or an ESP packet on its way.
#[derive(Clone)]
pub struct Datagram {
    pub from: usize,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub load: Load,
}

impl Datagram {
    pub fn header(&self) -> Option<Header> {
        match &self.load {
            Load::Ike(message) => decode_header(message).ok(),
            Load::Esp { .. } => None,
        }
    }

    pub fn is(&self, from: usize, exchange: ExchangeType, response: bool) -> bool {
        self.header().is_some_and(|header| {
            self.from == from && header.exchange == exchange && header.response == response
        })
    }
}

/// What the network does to a datagram: a delivery after each of these.
pub type Fate = Vec<Duration>;
pub type Weather = Box<dyn FnMut(&Datagram) -> Fate>;

pub fn fair() -> Weather {
    Box::new(|_| vec![DELAY])
}

/// A NAT before one side.
pub struct Nat {
    pub public: IpAddr,
    /// Added to the inside port.
    pub shift: u16,
}

pub struct Pair {
    pub now: Instant,
    pub sides: [Side; 2],
    pub weather: Weather,
    pub nats: [Option<Nat>; 2],
    /// Every IKE message ever sent, before the network had it.
    pub log: Vec<Datagram>,
    /// ESP packets that arrived where no CHILD SA took them.
    pub lost: usize,
    pub delivered: usize,
    /// A pause between the ESP packets that each side sends.
    pub traffic: Option<Duration>,
    /// Whether arrivals of ESP are noted.
    pub noted: bool,
    /// Whether every IKE SA is taken as plain data and built again after whatever happens.
    pub rebuilds: bool,
    next_traffic: Instant,
    on_the_way: VecDeque<(Instant, u64, Datagram)>,
    sent: u64,
    pub jobs: Jobs,
    random: ChaCha8Rng,
}

impl Pair {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, |_, _| {})
    }

    /// A pair whose configurations are changed first.
    pub fn with(seed: u64, change: impl Fn(usize, &mut PeerConfig)) -> Self {
        let start = Instant::now();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut pair = Self {
            now: start,
            sides: [0, 1].map(|_| Side::new(random.next_u64(), limits())),
            weather: fair(),
            nats: [None, None],
            log: Vec::new(),
            lost: 0,
            delivered: 0,
            traffic: None,
            noted: true,
            // What one half of the seeds finds is found as well where SAs are rebuilt.
            rebuilds: seed % 2 == 1,
            next_traffic: start,
            on_the_way: VecDeque::new(),
            sent: 0,
            jobs: Jobs::of(seed),
            random,
        };
        for side in [A, B] {
            let mut config = config(side);
            change(side, &mut config);
            pair.sides[side].endpoint.set_peer(start, PEER, config);
        }
        pair
    }

    /// A pair with an IKE and a CHILD SA, begun by A.
    pub fn up(seed: u64) -> Self {
        let mut pair = Self::new(seed);
        pair.establish(A);
        pair
    }

    pub fn establish(&mut self, initiator: usize) {
        self.initiate(initiator);
        self.run(seconds(2));
        self.assert_agreement(1);
    }

    pub fn initiate(&mut self, side: usize) -> SaId {
        let sa = self.call(side, |endpoint, now| endpoint.initiate(now, PEER).unwrap());
        // Until its key pair is made and the first message sent.
        while self.jobs != Jobs::Held
            && let Some((due, _, _)) = self.sides[side].jobs.first()
        {
            self.run(*due - self.now);
        }
        sa
    }

    /// Jobs of a side that are not run yet.
    pub fn held_jobs(&self, side: usize) -> usize {
        self.sides[side].jobs.len()
    }

    /// Runs the jobs of a side, the newest first.
    pub fn run_jobs(&mut self, side: usize) {
        while let Some((_, id, job)) = self.sides[side].jobs.pop() {
            let output = job.run();
            self.call(side, |endpoint, now| endpoint.handle_job(now, id, output));
        }
    }

    /// Loses the jobs of a side. Its IKE SAs are taken as plain data and built again.
    pub fn rebuild_without_jobs(&mut self, side: usize) {
        self.sides[side].jobs.clear();
        let endpoint = &mut self.sides[side].endpoint;
        let sas = endpoint.take_ike_sas();
        endpoint.put_ike_sas(sas).unwrap();
        self.drain(side);
    }

    pub fn call<T>(&mut self, side: usize, act: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        let endpoint = &mut self.sides[side].endpoint;
        let result = act(endpoint, self.now);
        if self.rebuilds {
            let sas = endpoint.take_ike_sas();
            endpoint.put_ike_sas(sas).unwrap();
        }
        self.drain(side);
        result
    }

    pub fn rekey_child(&mut self, side: usize) {
        let spi = self.sides[side].outbound.unwrap();
        self.call(side, |endpoint, now| endpoint.rekey_child(now, spi));
    }

    pub fn rekey_ike(&mut self, side: usize) {
        // The newest, where an older one waits for its DELETE.
        let sa = *self.sides[side].ikes.keys().next_back().unwrap();
        self.call(side, |endpoint, now| endpoint.rekey_ike(now, sa));
    }

    fn drain(&mut self, side: usize) {
        while let Some((id, job)) = self.sides[side].endpoint.poll_job() {
            // An IKE SA that was built again hands its jobs out again.
            if self.sides[side].jobs.iter().any(|(_, held, _)| *held == id) {
                continue;
            }
            let lateness = self.jobs.lateness(&mut self.random);
            if lateness.is_zero() {
                let endpoint = &mut self.sides[side].endpoint;
                endpoint.handle_job(self.now, id, job.run());
            } else {
                self.sides[side].jobs.push((self.now + lateness, id, job));
            }
        }
        while let Some(event) = self.sides[side].endpoint.poll_event() {
            self.sides[side].apply(event);
        }
        while let Some(transmit) = self.sides[side].endpoint.poll_transmit() {
            let load = match transmit.content {
                Content::Ike(message) => Load::Ike(message),
                Content::NatKeepalive => {
                    self.sides[side].keepalives += 1;
                    continue;
                }
            };
            self.send(side, transmit.local, transmit.remote, load);
        }
    }

    fn send(&mut self, from: usize, source: SocketAddr, destination: SocketAddr, load: Load) {
        let source = match &self.nats[from] {
            Some(nat) => SocketAddr::new(nat.public, source.port() + nat.shift),
            None => source,
        };
        let datagram = Datagram {
            from,
            source,
            destination,
            load,
        };
        if matches!(datagram.load, Load::Ike(_)) {
            self.log.push(datagram.clone());
        }
        for delay in (self.weather)(&datagram) {
            self.put_on_the_way(self.now + delay, datagram.clone());
        }
    }

    /// Lets an IKE message of this side arrive at the other now.
    pub fn inject(&mut self, from: usize, message: Vec<u8>) {
        let datagram = Datagram {
            from,
            source: (address(from), 500).into(),
            destination: (address(1 - from), 500).into(),
            load: Load::Ike(message),
        };
        self.put_on_the_way(self.now, datagram);
        self.run(Duration::ZERO);
    }

    /// Lets a datagram arrive at a time.
    pub fn put_on_the_way(&mut self, at: Instant, datagram: Datagram) {
        self.sent += 1;
        let entry = (at, self.sent, datagram);
        let place = self
            .on_the_way
            .partition_point(|(other, n, _)| (*other, *n) <= (entry.0, entry.1));
        self.on_the_way.insert(place, entry);
    }

    fn arrive(&mut self, datagram: Datagram) {
        let to = 1 - datagram.from;
        let local = match &self.nats[to] {
            Some(nat) => {
                if datagram.destination.ip() != nat.public {
                    return;
                }
                let Some(port) = datagram.destination.port().checked_sub(nat.shift) else {
                    return;
                };
                if port != 500 && port != 4500 {
                    return;
                }
                SocketAddr::new(address(to), port)
            }
            None => datagram.destination,
        };
        if local.ip() != address(to) {
            return;
        }
        match datagram.load {
            Load::Ike(message) => self.call(to, |endpoint, now| {
                endpoint.handle_datagram(now, local, datagram.source, &message);
            }),
            Load::Esp { spi, key } => self.receive_esp(to, (local, datagram.source), spi, &key),
        }
    }

    fn receive_esp(
        &mut self,
        to: usize,
        (local, source): (SocketAddr, SocketAddr),
        spi: u32,
        key: &[u8],
    ) {
        let taken = self.sides[to]
            .children
            .get(&spi)
            .is_some_and(|child| child.keys_in.encryption.expose() == key);
        if !taken {
            self.lost += 1;
            return self.call(to, |endpoint, now| {
                endpoint.note_unknown_spi(now, local, source, spi);
            });
        }
        self.delivered += 1;
        if self.noted {
            self.call(to, |endpoint, now| endpoint.note_traffic(now, spi));
            let elsewhere = self.sides[to].children[&spi].path.remote != source;
            if elsewhere {
                self.call(to, |endpoint, now| endpoint.note_path(now, spi, source));
            }
        }
    }

    fn send_esp(&mut self, from: usize) {
        let Some(spi_in) = self.sides[from].outbound else {
            return;
        };
        let child = self.sides[from].children[&spi_in].clone();
        let load = Load::Esp {
            spi: child.spi_out,
            key: child.keys_out.encryption.expose().to_vec(),
        };
        self.send(from, child.path.local, child.path.remote, load);
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timeouts = self
                .sides
                .iter()
                .filter_map(|side| side.endpoint.poll_timeout());
            let arrival = self.on_the_way.front().map(|(at, _, _)| *at);
            let traffic = self.traffic.map(|_| self.next_traffic);
            let jobs = self.sides.iter().flat_map(|side| &side.jobs);
            let jobs = jobs.map(|(at, _, _)| *at);
            let next = timeouts.chain(arrival).chain(traffic).chain(jobs).min();
            let Some(next) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        if let Some((at, _, _)) = self.on_the_way.front()
            && *at <= self.now
        {
            let (_, _, datagram) = self.on_the_way.pop_front().unwrap();
            return self.arrive(datagram);
        }
        if let Some(pause) = self.traffic
            && self.next_traffic <= self.now
        {
            self.next_traffic = self.now + pause;
            self.send_esp(A);
            self.send_esp(B);
        }
        for side in [A, B] {
            let jobs = &mut self.sides[side].jobs;
            if let Some(due) = jobs.iter().position(|(at, _, _)| *at <= self.now) {
                let (_, id, job) = jobs.remove(due);
                let output = job.run();
                self.call(side, |endpoint, now| endpoint.handle_job(now, id, output));
            }
            let due = self.sides[side].endpoint.poll_timeout();
            if due.is_some_and(|at| at <= self.now) {
                self.call(side, |endpoint, now| endpoint.handle_timeout(now));
                let again = self.sides[side].endpoint.poll_timeout();
                assert!(
                    again.is_none_or(|at| at > self.now),
                    "a deadline does not pass"
                );
            }
        }
    }

    /// Starts a flow of ESP both ways, a packet each five milliseconds.
    pub fn flow(&mut self) {
        self.next_traffic = self.now;
        self.traffic = Some(Duration::from_millis(5));
    }

    /// Both sides hold one IKE SA, the same; as many CHILD SAs, the same, with
    /// the same keys; and send with one of them.
    pub fn assert_agreement(&self, children: usize) {
        let [a, b] = &self.sides;
        let (_, ike_a) = a.ike();
        let (_, ike_b) = b.ike();
        assert_eq!((ike_a.spi_i, ike_a.spi_r), (ike_b.spi_i, ike_b.spi_r));
        assert_eq!(ike_a.suite, ike_b.suite);
        assert_ne!(ike_a.role, ike_b.role);
        assert_eq!(a.children.len(), children, "CHILD SAs of A");
        assert_eq!(b.children.len(), children, "CHILD SAs of B");
        for ours in a.children.values() {
            let theirs = &b.children[&ours.spi_out];
            assert_eq!(theirs.spi_out, ours.spi_in);
            assert_eq!(theirs.suite, ours.suite);
            for (one, other) in [
                (&ours.keys_in, &theirs.keys_out),
                (&ours.keys_out, &theirs.keys_in),
            ] {
                assert_eq!(one.encryption.expose(), other.encryption.expose());
                assert_eq!(one.integrity.expose(), other.integrity.expose());
            }
            assert_ne!(
                ours.keys_in.encryption.expose(),
                ours.keys_out.encryption.expose()
            );
            assert_eq!(ours.local_selectors, theirs.remote_selectors);
            assert_eq!(ours.remote_selectors, theirs.local_selectors);
            assert_eq!(ours.path.udp_encapsulation, theirs.path.udp_encapsulation);
        }
        if children > 0 {
            assert!(a.outbound.is_some() && b.outbound.is_some(), "nobody sends");
        }
    }

    /// The IKE messages of one kind, sent since `from` in the log.
    pub fn count(&self, side: usize, exchange: ExchangeType, response: bool) -> usize {
        let kind = |datagram: &&Datagram| datagram.is(side, exchange, response);
        self.log.iter().filter(kind).count()
    }
}
