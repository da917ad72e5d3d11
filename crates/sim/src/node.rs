//! A gateway or customer gateway: a real supervisor and a data plane in memory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use vgw_crypto::Secret;
use vgw_gateway::command::RefusedCommand;
use vgw_gateway::domain::Gateway;
use vgw_gateway::supervisor::{SILENCE, Supervisor};
use vgw_ike::config::Limits;
use vgw_ike::event::Content;
use vgw_ike::job::{Job, JobId};

use crate::dice::Dice;
use crate::network::{Load, Packet};
use crate::plane::Plane;
use crate::setup;

/// How often the supervisor is told what the data plane counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How long after a packet has left or come it is noticed.
const LOOK: Duration = Duration::from_millis(5);
/// A computation takes up to this long, so that some overtake others.
const JOB: Duration = Duration::from_millis(20);

/// One machine.
pub struct Node {
    /// For messages.
    pub name: String,
    /// What it is configured to do after the next start.
    pub config: Gateway,
    /// An address behind it, for flows.
    pub host: Ipv4Addr,
    /// None while it is off.
    pub supervisor: Option<Supervisor>,
    /// Its data plane.
    pub plane: Plane,
    /// Grows with every start.
    pub starts: u64,
    /// The key of its tokens, which outlives it (RFC 6290).
    pub token_key: Option<Secret>,
    /// Computations that are carried out later, and when.
    jobs: Vec<(Instant, JobId, Job)>,
    next_count: Instant,
    looks: Looks,
    /// When the supervisor has something to do, as it said last.
    supervisor_due: Option<Instant>,
    dice: Dice,
    job_dice: Dice,
    /// IKE datagrams it sent.
    pub ike_sent: u64,
    /// How many of a thousand commands that a data plane may refuse are refused.
    pub refusals: u32,
    /// How many of a thousand computations are carried out later, and out of order.
    pub late_jobs: u32,
    /// Rekeys that were complete once the output of a late computation came.
    pub late_rekeys: u64,
    /// The next command for which this returns true is refused; it is called until then.
    pub refuse_next: Option<fn(RefusedCommand) -> bool>,
    /// Commands that were refused.
    pub refused: u64,
    /// What its data plane could not do, and what could not be built again.
    pub faults: Vec<String>,
    /// After how many of a thousand incidents all its IKE SAs and CHILD SAs are
    /// taken as plain data and built again.
    pub rebuilds: u32,
    // Separate from the other dice, so that rebuilds change nothing else.
    rebuild_dice: Dice,
}

impl Node {
    /// A machine that is off.
    #[must_use]
    pub fn new(name: &str, config: Gateway, host: Ipv4Addr, seed: u64, epoch: Instant) -> Self {
        Self {
            name: name.to_owned(),
            plane: Plane::new(config.id, Vec::new()),
            config,
            host,
            supervisor: None,
            starts: 0,
            token_key: Some(Secret::new(seed.to_be_bytes().repeat(4))),
            jobs: Vec::new(),
            next_count: epoch,
            looks: Looks::default(),
            supervisor_due: None,
            dice: Dice::new(seed),
            job_dice: Dice::new(!seed),
            ike_sent: 0,
            refusals: 0,
            late_jobs: 0,
            late_rekeys: 0,
            refuse_next: None,
            refused: 0,
            faults: Vec::new(),
            rebuilds: 0,
            rebuild_dice: Dice::new(seed.rotate_left(32)),
        }
    }

    /// Starts the daemon, which knows nothing of earlier SAs.
    pub fn start(&mut self, now: Instant) {
        self.starts += 1;
        let outside = self.config.outside_addresses.iter();
        let outside = outside.map(|ours| ours.address).collect();
        self.plane = Plane::new(self.config.id, outside);
        let random = self.dice.sources();
        let mut supervisor = Supervisor::new(now, setup::checked(self.config.clone()), random);
        supervisor.set_token_key(self.token_key.clone());
        supervisor.set_limits(Limits {
            job_from: Duration::ZERO,
            ..Limits::default()
        });
        self.jobs.clear();
        self.supervisor = Some(supervisor);
        self.next_count = now + COUNT_EVERY;
    }

    /// Stops it without telling any peer.
    pub fn crash(&mut self) {
        self.supervisor = None;
        self.plane = Plane::new(self.config.id, Vec::new());
    }

    /// Whether it owns this address.
    #[must_use]
    pub fn owns(&self, address: IpAddr) -> bool {
        let mut outside = self.config.outside_addresses.iter();
        outside.any(|ours| ours.address == address)
    }

    /// When it has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.supervisor.as_ref()?;
        let jobs = self.jobs.iter().map(|(at, _, _)| *at);
        jobs.chain(self.supervisor_due)
            .chain([self.next_count])
            .chain(self.looks.next())
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(supervisor) = &mut self.supervisor else {
            return;
        };
        if now >= self.next_count {
            let (tunnels, children) = self.plane.counted();
            supervisor.handle_traffic(now, &tunnels, &children);
            self.next_count = now + COUNT_EVERY;
        }
        if self.looks.take_due(now) {
            supervisor.handle_activity(now, &self.plane.look_at_activity(now));
        }
        for (_, id, job) in self.jobs.extract_if(.., |(at, _, _)| *at <= now) {
            let before = rekeys(now, supervisor);
            supervisor.handle_job(now, id, job.run());
            self.late_rekeys += rekeys(now, supervisor) - before;
        }
        if supervisor.poll_timeout().is_some_and(|due| due <= now) {
            supervisor.handle_timeout(now);
        }
    }

    /// A packet has left or come through a tunnel.
    pub fn note_packet(&mut self, now: Instant) {
        self.looks.first.get_or_insert(now + LOOK);
    }

    /// Carries out what the supervisor wants, or refuses to, and gives what it sends.
    pub fn drain(&mut self, now: Instant) -> Vec<Packet> {
        let Some(supervisor) = &mut self.supervisor else {
            return Vec::new();
        };
        if self.rebuild_dice.per_mille(self.rebuilds) {
            let ike_sas = supervisor.rebuild_ike_sas();
            let ike_sas = ike_sas.map_err(|error| error.to_string());
            let children = self.plane.rebuild_children(|| self.rebuild_dice.octets());
            for fault in [ike_sas, children].into_iter().filter_map(Result::err) {
                self.faults.push(format!("{}: {fault}", self.name));
            }
        }
        take_jobs(
            now,
            supervisor,
            &mut self.jobs,
            (&mut self.job_dice, self.late_jobs),
        );
        while let Some(command) = supervisor.poll_command() {
            if let Some(refused) = command.if_refused() {
                let asked_for = self.refuse_next.take_if(|which| which(refused)).is_some();
                if asked_for || self.dice.per_mille(self.refusals) {
                    self.refused += 1;
                    supervisor.handle_refused_command(
                        now,
                        refused,
                        "a refusal of the simulation's",
                    );
                    take_jobs(
                        now,
                        supervisor,
                        &mut self.jobs,
                        (&mut self.job_dice, self.late_jobs),
                    );
                    continue;
                }
            }
            if let Err(fault) = self.plane.execute(command, &self.dice.octets()) {
                self.faults.push(format!("{}: {fault}", self.name));
            }
        }
        let mut packets = Vec::new();
        while let Some(transmit) = supervisor.poll_transmit() {
            let load = match transmit.content {
                Content::Ike(message) => {
                    self.ike_sent += 1;
                    Load::Ike(message)
                }
                Content::NatKeepalive => Load::Keepalive,
            };
            packets.push(Packet {
                source: transmit.local,
                destination: transmit.remote,
                load,
            });
        }
        self.supervisor_due = supervisor.poll_timeout();
        packets
    }

    /// Takes an IKE message.
    pub fn handle_ike(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        message: &[u8],
    ) {
        if let Some(supervisor) = &mut self.supervisor {
            supervisor.handle_datagram(now, local, remote, message);
        }
    }
}

/// When to look at the tunnels' traffic. A daemon looks all the time; here it is enough to look
/// once there were packets, and again when an answer should have come.
#[derive(Default)]
struct Looks {
    first: Option<Instant>,
    second: Option<Instant>,
}

impl Looks {
    fn next(&self) -> Option<Instant> {
        [self.first, self.second].into_iter().flatten().min()
    }

    fn take_due(&mut self, now: Instant) -> bool {
        let due = |at: &mut Instant| *at <= now;
        let second = self.second.take_if(due).is_some();
        let first = self.first.take_if(due).is_some();
        if first {
            self.second.get_or_insert(now + SILENCE);
        }
        first || second
    }
}

/// Carries out what is to be computed, at once or later.
fn take_jobs(
    now: Instant,
    supervisor: &mut Supervisor,
    later: &mut Vec<(Instant, JobId, Job)>,
    (dice, late): (&mut Dice, u32),
) {
    while let Some((id, job)) = supervisor.poll_job() {
        // An IKE SA that was built again hands its jobs out again.
        if later.iter().any(|(_, waiting, _)| *waiting == id) {
            continue;
        }
        if dice.per_mille(late) {
            later.push((now + dice.between(Duration::ZERO, JOB), id, job));
        } else {
            supervisor.handle_job(now, id, job.run());
        }
    }
}

/// The rekeys that a machine has counted.
fn rekeys(now: Instant, supervisor: &Supervisor) -> u64 {
    let connections = supervisor.status(now).connections;
    let tunnels = connections
        .iter()
        .flat_map(|connection| &connection.tunnels);
    let counters = tunnels.map(|tunnel| tunnel.counters);
    counters.map(|c| c.child_rekeys + c.ike_rekeys).sum()
}
