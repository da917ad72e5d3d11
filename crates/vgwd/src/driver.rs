//! Drives the supervisor: hands it what happens, carries out the commands that it gives, each
//! before the message that relies on it is sent, and tells it what the data plane counted.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use vgw_admin::wire;
use vgw_dataplane::{ControlError, DataPlane, SeenPath, UnknownSpi};
use vgw_gateway::command::Command;
use vgw_gateway::line_limit::LineLimit;
use vgw_gateway::revision::Revision;
use vgw_gateway::status::{ConnectionStatus, Telemetry, TunnelEnds, TunnelStatus};
use vgw_gateway::supervisor::{SILENCE, Supervisor};
use vgw_ike::event::{Content, Transmit};
use vgw_sa::{Changes, Concerned, Hint, Inside, Sign, TunnelId};

use crate::admin_server::status::{self, DaemonFacts, Mtus};
use crate::inbox::{KnownSenders, PeerAddresses, UnreadMessage};
use crate::kernel::{DesiredByConfig, DesiredSender, KernelHandle};
use crate::key_log::KeyLog;
use crate::logging::LostLines;
use crate::metrics::{Sample, TunnelSample};
use crate::mtu::MtuWarnings;
use crate::outside_watch::{OutsideNews, OutsideThing};
use crate::problems::{OutsideProblems, SmallMtuLink};

/// Refused commands that are logged in a minute: a peer can cause them by setting up SAs again
/// and again.
const FAILURES: u32 = 20;

/// The shortest time between two looks at the tunnels' traffic.
const SHORTEST_LOOK: Duration = Duration::from_millis(5);
/// The same for each connection.
const LOOK_PER_CONNECTION: Duration = Duration::from_micros(10);

/// The supervisor and what its commands are for.
#[derive(Debug)]
pub struct Driver {
    supervisor: Supervisor,
    plane: DataPlane,
    /// Changes what the kernel should have; None once nothing is to be changed any more.
    desired: Option<DesiredSender>,
    kernel_problems: watch::Receiver<Vec<String>>,
    known_senders: KnownSenders,
    key_log: KeyLog,
    mtu_warnings: MtuWarnings,
    failure_lines: LineLimit,
    problems: OutsideProblems,
    started: Instant,
}

impl Driver {
    /// Puts them together. `known_senders` knows the configured addresses already.
    pub fn new(
        now: Instant,
        supervisor: Supervisor,
        plane: DataPlane,
        kernel: KernelHandle,
        known_senders: KnownSenders,
        key_log: KeyLog,
        mtu_warnings: MtuWarnings,
    ) -> Self {
        let mut driver = Self {
            supervisor,
            plane,
            desired: Some(kernel.desired),
            kernel_problems: kernel.problems,
            known_senders,
            key_log,
            mtu_warnings,
            failure_lines: LineLimit::new(FAILURES),
            problems: OutsideProblems::default(),
            started: now,
        };
        driver.drain();
        driver
    }

    /// When [`Supervisor::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.supervisor.poll_timeout()
    }

    /// See [`Supervisor::is_quiet`].
    pub fn is_quiet(&self) -> bool {
        self.supervisor.is_quiet()
    }

    /// Leaves the kernel's routes as they are from now on, whatever the supervisor
    /// says: a gateway that ends takes its tunnels down and has no routes, but
    /// what it guards stays guarded.
    pub fn leave_kernel(&mut self) {
        self.desired = None;
    }

    /// Has the supervisor take something in, then does what it says.
    pub fn drive<T>(&mut self, input: impl FnOnce(&mut Supervisor) -> T) -> T {
        let result = input(&mut self.supervisor);
        self.drain();
        result
    }

    /// Keys of SAs that come up from now on go here.
    pub fn set_key_log(&mut self, key_log: KeyLog) {
        self.supervisor.set_key_log(key_log.wants_ike());
        self.key_log = key_log;
    }

    /// The configuration in force.
    pub const fn revision(&self) -> &Arc<Revision> {
        self.supervisor.revision()
    }

    /// Peers may come from these addresses.
    pub fn expect_from(&self, addresses: PeerAddresses) {
        self.known_senders.expect_from(addresses);
    }

    /// The kernel is to be as this configuration needs it, but for what commands say.
    pub fn set_desired_by_config(&self, by_config: DesiredByConfig) {
        self.tell_kernel(|desired| desired.set_by_config(by_config));
    }

    /// Tells the supervisor what the data plane counted.
    pub fn sample(&mut self, now: Instant) {
        let tunnels = self.plane.tunnel_traffic();
        let children = self.plane.child_traffic();
        self.drive(|supervisor| supervisor.handle_traffic(now, &tunnels, &children));
    }

    /// Tells the supervisor what is noticed of the tunnels' traffic.
    pub fn look_at_activity(&mut self, now: Instant) {
        let reports = self.plane.look_at_activity(now, SILENCE);
        if !reports.is_empty() {
            self.drive(|supervisor| supervisor.handle_activity(now, &reports));
        }
    }

    /// How often to call [`Self::look_at_activity`]: so often that it takes no more than some
    /// hundredths of a core's time, however many tunnels there are.
    pub fn activity_pace(&self) -> Duration {
        let connections = u32::try_from(self.revision().connections().len());
        SHORTEST_LOOK.max(LOOK_PER_CONNECTION * connections.unwrap_or(u32::MAX))
    }

    /// Tells the data plane which addresses are this machine's own.
    pub fn set_host_addresses(&self, addresses: &BTreeSet<IpAddr>) {
        let prefixes = addresses.iter().map(|address| (*address).into());
        let gateway = self.revision().own().id;
        self.plane.set_host_addresses(gateway, prefixes.collect());
    }

    /// Tells the supervisor of packets that came from elsewhere than their SAs' paths, of
    /// packets with unknown SPIs, and of hints that packets may not arrive.
    pub fn follow_paths(&mut self, now: Instant) {
        let seen = self.plane.take_paths();
        let unknown_spis = self.plane.take_unknown_spis();
        let hints = self.plane.take_hints();
        self.drive(|supervisor| {
            for UnknownSpi { local, remote, spi } in unknown_spis {
                supervisor.note_unknown_spi(now, local, remote, spi);
            }
            for SeenPath { spi_in, remote } in seen {
                supervisor.note_path(now, spi_in, remote);
            }
            supervisor.handle_hints(now, &hints);
        });
    }

    /// Tells the supervisor whose packets may not arrive any more, or may do so again.
    pub fn note_outside(&mut self, now: Instant, news: Vec<OutsideNews>) {
        let (mut hints, mut repaired) = (Vec::new(), Vec::new());
        for OutsideNews { of, there } in news {
            let (concerns, sign) = match of {
                OutsideThing::Link(name) => {
                    let tunnels = self.plane.tunnels_by(&name);
                    (Concerned::Tunnels(tunnels), Sign::LinkDown(name))
                }
                OutsideThing::Address(address) => {
                    (Concerned::Local(address), Sign::AddressGone(address))
                }
                OutsideThing::Route(to) => (Concerned::Remote(to), Sign::RouteGone(to)),
            };
            if there {
                repaired.push(concerns);
            } else {
                hints.push(Hint { concerns, sign });
            }
        }
        self.drive(|supervisor| {
            supervisor.handle_hints(now, &hints);
            supervisor.handle_repairs(now, &repaired);
        });
    }

    /// Tells the supervisor of IKE messages that were dropped unread.
    pub fn tell_unread(&mut self, now: Instant) {
        let unread = self.known_senders.take_unread();
        self.drive(|supervisor| {
            for UnreadMessage {
                local,
                remote,
                denial,
            } in unread
            {
                supervisor.note_unread(now, local, remote, denial);
            }
        });
    }

    /// Has the data plane look at the TUN device's MTU again.
    pub fn look_at_tun(&self) {
        self.plane.look_at_tun();
    }

    /// Looks at the outside addresses, at the links that their packets leave by and at the
    /// MTU of links and routes again, and tells of what is not as it should be.
    pub fn look_outside(&mut self, now: Instant) {
        let missing = self.plane.missing_addresses();
        for address in self.problems.missing_addresses.update(&missing) {
            self.drive(|supervisor| supervisor.note_outside_address(now, address));
        }
        self.plane.look_outside();
        let small: Vec<SmallMtuLink> = self
            .plane
            .small_mtu_links()
            .into_iter()
            .map(|narrow| SmallMtuLink {
                link: narrow.link,
                outside_mtu: narrow.settings_mtu,
                tunnels: narrow
                    .tunnels
                    .into_iter()
                    .filter_map(|tunnel| self.supervisor.tunnel_name(tunnel).cloned())
                    .collect(),
            })
            .collect();
        self.problems.small_mtu_links.update(&small);
        let ends: Vec<TunnelEnds> = self.supervisor.ends().collect();
        let foreign = |local, remote| self.plane.foreign_link(local, remote);
        self.problems.foreign_links.look(&ends, foreign);
        let refused = self.plane.take_send_error();
        self.problems
            .send_errors
            .update(now, refused.as_ref(), &missing);
    }

    /// The whole status, with traffic as of now.
    pub fn status(&mut self, now: Instant, log: LostLines) -> wire::Status {
        self.sample(now);
        let status = self.supervisor.status(now);
        let tunnels = status.connections.iter().flat_map(|c| &c.tunnels);
        let mtus = tunnels
            .filter_map(|tunnel| {
                let inside = self.plane.tunnel_mtu(tunnel.id)?;
                let outside = self.plane.outside_mtu(tunnel.id)?;
                Some((tunnel.id, Mtus { inside, outside }))
            })
            .collect();
        let kernel_problems = self.kernel_problems.borrow();
        let facts = DaemonFacts {
            mtus,
            tun_mtu: self.plane.tun_mtu(),
            workers: self.plane.workers(),
            offloads: self.plane.offloads(),
            uptime: now.saturating_duration_since(self.started),
            drops: self.drops(),
            misplaced: self.misplaced(),
            refused_batches: self.plane.refused_batches(),
            log,
            ike: self.known_senders.counted(),
            problems: kernel_problems
                .iter()
                .chain(self.problems.lines())
                .cloned()
                .collect(),
        };
        status::status(status, facts)
    }

    /// Everything that is measured, as of now.
    pub fn metrics(&mut self, now: Instant, log: LostLines) -> Sample {
        self.sample(now);
        let status = self.supervisor.status(now);
        Sample {
            tunnels: status
                .connections
                .iter()
                .flat_map(|connection| tunnel_samples(connection, &self.plane))
                .collect(),
            drops: self.drops(),
            refused_batches: self.plane.refused_batches(),
            log,
            ike: self.known_senders.counted(),
            half_open: status.half_open,
            denied: status.denied.iter().collect(),
            key_pairs: status.key_pairs,
            ..Sample::default()
        }
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        let drops = self.plane.drops();
        drops
            .into_iter()
            .map(|(reason, packets)| (reason.name(), packets))
            .collect()
    }

    /// Examples of packets that networks which differ lost, of tunnels that there still are.
    fn misplaced(&self) -> Vec<wire::Misplaced> {
        let named = self.plane.misplaced().into_iter().filter_map(|packet| {
            let tunnel = self.supervisor.tunnel_name(packet.tunnel)?;
            Some(wire::Misplaced {
                reason: packet.reason.name().to_owned(),
                tunnel: tunnel.to_string(),
                source: packet.source,
                destination: packet.destination,
            })
        });
        named.collect()
    }

    /// Commands first: an SA is installed before the peer learns that it may use it.
    fn drain(&mut self) {
        self.run_jobs();
        while let Some(command) = self.supervisor.poll_command() {
            let affected = tunnel_of_mtu(&command);
            let if_refused = command.if_refused();
            if let Err(error) = self.carry_out(command) {
                let now = Instant::now();
                if let Some(refused) = if_refused {
                    // It says so, by the tunnel's name.
                    let why = error.to_string();
                    self.supervisor.handle_refused_command(now, refused, &why);
                    self.run_jobs();
                } else if let Some(line) = self.failure_lines.allow(now) {
                    let held_back = line.held_back;
                    tracing::error!(%error, held_back, "the data plane did not take a change: {error}{line}");
                }
            }
            if let Some(tunnel) = affected {
                self.notice_mtu(tunnel);
            }
        }
        // So that the answer to what is sent now is seen to be no stranger's.
        self.known_senders.update(&self.supervisor);
        while let Some(transmit) = self.supervisor.poll_transmit() {
            let sent = self.send(&transmit);
            let Transmit { local, remote, .. } = transmit;
            let now = Instant::now();
            self.problems
                .send_errors
                .note_ike(now, local.ip(), remote.ip(), &sent);
            if let Err(error) = sent {
                // As if it had been lost on the way; IKE sends again.
                tracing::debug!(%local, %remote, %error, "a datagram was not sent from {local} to {remote}: {error}");
            }
        }
    }

    /// Computes what the supervisor waits for, here and at once.
    fn run_jobs(&mut self) {
        while let Some((id, job)) = self.supervisor.poll_job() {
            let output = job.run();
            self.supervisor.handle_job(Instant::now(), id, output);
        }
    }

    fn notice_mtu(&mut self, tunnel: TunnelId) {
        let mtu = self.plane.tunnel_mtu(tunnel);
        if let (Some(name), Some(mtu)) = (self.supervisor.tunnel_name(tunnel), mtu) {
            self.mtu_warnings.tell(name, mtu);
        }
    }

    fn carry_out(&mut self, command: Command) -> Result<(), ControlError> {
        match command {
            Command::InstallChild {
                tunnel,
                child,
                replay_window,
            } => {
                self.key_log.child(&child);
                self.plane.install_child(tunnel, *child, replay_window)
            }
            Command::UseOutbound { tunnel, spi_in } => self.plane.use_outbound(tunnel, spi_in),
            Command::StopOutbound { spi_in, .. } => self.plane.stop_outbound(spi_in),
            Command::RemoveChild { spi_in, .. } => self.plane.remove_child(spi_in),
            Command::SetPath { tunnel, path } => self.plane.set_path(tunnel, path),
            Command::SetPolicy { tunnel, policy } => {
                self.plane.set_policy(tunnel, policy);
                Ok(())
            }
            Command::SetHostServices(gateway, services) => {
                self.plane.set_host_services(gateway, services);
                Ok(())
            }
            Command::ChangeInside(changes) => {
                self.plane.change_inside_addresses(changes);
                Ok(())
            }
            Command::SetCloudHub(gateway, allowed) => {
                self.plane.set_site_to_site(gateway, allowed);
                Ok(())
            }
            Command::ChangeForwarding(changes) => {
                self.plane.change_forwarding(changes);
                Ok(())
            }
            Command::ChangeLocalPrefixes(changes) => {
                self.tell_kernel(|desired| desired.change_cidrs(&of_the_gateway(&changes)));
                self.plane.change_local_prefixes(changes);
                Ok(())
            }
            Command::ChangeKernelRoutes(changes) => {
                self.tell_kernel(|desired| desired.change_routes(&of_the_gateway(&changes)));
                Ok(())
            }
            Command::ChangeInsideAddresses(changes) => {
                self.tell_kernel(|desired| desired.change_addresses(&of_the_gateway(&changes)));
                Ok(())
            }
            Command::LogIkeKeys {
                spi_i,
                spi_r,
                suite,
                keys,
            } => {
                self.key_log.ike(spi_i, spi_r, suite, &keys);
                Ok(())
            }
        }
    }

    fn tell_kernel(&self, tell: impl FnOnce(&DesiredSender)) {
        if let Some(desired) = &self.desired {
            tell(desired);
        }
    }

    fn send(&self, transmit: &Transmit) -> io::Result<()> {
        let Transmit { local, remote, .. } = *transmit;
        match &transmit.content {
            Content::Ike(message) => self.plane.send_ike(local, remote, message),
            Content::NatKeepalive => self.plane.send_nat_keepalive(local, remote),
        }
    }
}

/// Changes as the kernel's thread takes them, which serves one gateway so far.
fn of_the_gateway<K: Copy>(changes: &Changes<Inside<K>, ()>) -> Changes<K, ()> {
    let changes = changes.iter();
    changes.map(|(entry, wanted)| (entry.at, *wanted)).collect()
}

/// The tunnel whose MTU this may change.
const fn tunnel_of_mtu(command: &Command) -> Option<TunnelId> {
    match command {
        Command::UseOutbound { tunnel, .. }
        | Command::SetPath { tunnel, .. }
        | Command::SetPolicy { tunnel, .. } => Some(*tunnel),
        _ => None,
    }
}

fn tunnel_samples(
    connection: &ConnectionStatus,
    plane: &DataPlane,
) -> impl Iterator<Item = TunnelSample> {
    let active = connection
        .active
        .map(vgw_gateway::status::TunnelIndex::number);
    connection
        .tunnels
        .iter()
        .map(move |tunnel: &TunnelStatus| TunnelSample {
            connection: tunnel.name.connection.clone(),
            number: tunnel.name.number,
            tunnel_ip_address: tunnel.outside_address,
            up: tunnel.telemetry() == Telemetry::Up,
            active: active == Some(tunnel.name.number),
            mtu: plane.tunnel_mtu(tunnel.id).unwrap_or_default(),
            traffic: tunnel.traffic,
            counters: tunnel.counters,
            changes_refused: tunnel.changes_refused,
            suspect: tunnel.suspect.is_some(),
            takeovers: tunnel.takeovers,
            one_way: tunnel.one_way.is_some(),
            udp_fallback: tunnel.udp_fallback.is_some(),
        })
}
