//! The tunnel supervisor: keeps both tunnels of every connection up, decides
//! which one carries, and turns what the negotiator reports into commands.
//!
//! It does no I/O. After any call, carry out what [`Supervisor::poll_job`] and
//! [`Supervisor::poll_command`] give until None, then send what [`Supervisor::poll_transmit`] gives until
//! None, in this order, so that an SA is installed before the peer learns that
//! it may use it; then arm a timer at [`Supervisor::poll_timeout`].
//!
//! - what decides: [`tunnel_state`] is the table of a tunnel's states, [`selection`] the choice
//!   between two tunnels, [`retry`] the pauses between attempts, [`failure_detection`] the doubt
//!   whether the peer is there, with [`questions`] to it and the [`round_trip`], [`one_way`] the doubt whether anything comes back;
//! - what is remembered: [`tunnel`] of one tunnel, [`sas`] of its SAs, [`routes`] what leads
//!   where, [`last_error`] what went wrong last, [`unknown_peers`] who is not configured;
//! - what comes in: [`events`] of the negotiator, [`apply_revision`] a changed configuration,
//!   [`operator`] the operator's wishes, [`activity`] of the tunnels' traffic, [`hints`] from
//!   outside them, [`dataplane_errors`] and [`dropped_messages`];
//! - what follows: [`settle`] draws the conclusions, with [`restart`], [`drain`],
//!   [`return_traffic`] and [`udp_fallback`];
//! - what goes out: [`outbox`] commands, [`tunnel_log`] lines, [`status`] everything there is
//!   to see, [`selector_mismatch`] what a tunnel that is up does not carry.

mod activity;
mod apply_revision;
mod backoff;
mod dataplane_errors;
mod drain;
mod dropped_messages;
mod events;
mod failure_detection;
mod hints;
mod last_error;
mod lifetime_by_volume;
mod one_way;
mod operator;
mod outbox;
mod peer_config;
mod pending_lines;
mod questions;
mod reload_report;
mod restart;
mod retry;
mod return_traffic;
mod round_trip;
mod routes;
mod sas;
mod selection;
mod selector_mismatch;
mod settle;
mod status;
mod tracked_map;
mod tunnel;
mod tunnel_ids;
mod tunnel_log;
mod tunnel_state;
mod udp_fallback;
mod unknown_peers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vgw_crypto::{RandomSources, Secret};
use vgw_ike::config::{KeyLog, Limits};
use vgw_ike::endpoint::{BadState, Endpoint, SaClass};
use vgw_ike::event::Transmit;
use vgw_ike::job::{Job, JobId, Output};
use vgw_sa::{ChildTraffic, TunnelId, TunnelTraffic};

pub use drain::LONGEST_DRAIN;
pub use failure_detection::PATIENCE as SILENCE;
pub use lifetime_by_volume::{EXTENDED_SEQUENCE_LIMIT, SEQUENCE_LIMIT};
pub use one_way::PATIENCE;
pub use operator::{OperationError, RekeyTarget};
pub use peer_config::{DPD_IDLE, peer_config};
pub use reload_report::Change;
pub use restart::LONGEST_WAIT;
pub use retry::LONGEST_PAUSE;
pub use selection::{FAILBACK_HOLD, TunnelIndex};
pub use tunnel_state::State;

use self::outbox::Outbox;
use self::questions::Questions;
use self::retry::Jitter;
use self::routes::RoutedConnection;
use self::sas::Spi;
use self::selector_mismatch::ComparisonRound;
use self::settle::Move;
use self::tunnel::Tunnel;
use self::tunnel_ids::TunnelIds;
use self::unknown_peers::UnknownPeers;
use crate::command::Command;
use crate::domain::{Connection, Gateway, TunnelName};
use crate::line_limit::{LineLimit, UnknownPeerLines};
use crate::revision::{ChangeSet, Revision};

/// Lines a minute that say that this machine lacks something.
const FAULTS: u32 = 5;

/// After the start, tunnels initiate one after the other with this pause between:
/// thousands of key exchanges at once would keep everything else waiting.
const INITIATING_PACE: Duration = Duration::from_millis(5);

/// What the supervisor remembers of a connection.
struct ConnectionState {
    connection: Arc<Connection>,
    tunnels: [TunnelId; 2],
    carrier: TunnelIndex,
    /// When to choose the carrier again, though nothing happens.
    choose_again_at: Option<Instant>,
    /// Lines about which tunnel carries.
    lines: LineLimit,
    last_move: Option<Move>,
}

impl ConnectionState {
    /// The connection as the tables take it.
    fn routed<'a>(&'a self, gateway: &'a Gateway) -> RoutedConnection<'a> {
        RoutedConnection {
            gateway,
            connection: &self.connection,
            tunnels: self.tunnels,
            carrier: self.carrier,
        }
    }
}

/// See the [module](self).
pub struct Supervisor {
    revision: Arc<Revision>,
    endpoint: Endpoint,
    tunnels: BTreeMap<TunnelId, Tunnel>,
    /// By connection id.
    connections: BTreeMap<String, ConnectionState>,
    /// Which tunnel an inbound SPI belongs to.
    spis: BTreeMap<u32, TunnelId>,
    /// Tunnels that [`Self::settle`] has to look at.
    touched: BTreeSet<TunnelId>,
    deadlines: BTreeSet<(Instant, TunnelId)>,
    tunnel_ids: TunnelIds,
    outbox: Outbox,
    jitter: Jitter,
    questions: Questions,
    unknown_peer_lines: UnknownPeerLines,
    /// Lines about what this machine lacks.
    fault_lines: LineLimit,
    unknown_peers: UnknownPeers,
    /// The comparison of all tunnels' selectors that is under way.
    comparison_round: Option<ComparisonRound>,
    /// What the data plane had counted for removed tunnels. If an id is given out again,
    /// the data plane goes on counting from there.
    retired: BTreeMap<TunnelId, TunnelTraffic>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("side", &self.revision.own().side)
            .field("tunnels", &self.tunnels)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Begins with a configuration. Tunnels with StartupAction start initiate at once, the
    /// others once if `initiate_to_recover` is set. All randomness comes from `random`.
    #[must_use]
    pub fn new(now: Instant, revision: impl Into<Revision>, random: RandomSources) -> Self {
        Self::with_limits(now, revision, Limits::default(), KeyLog::Off, random)
    }

    /// As [`Self::new`], with limits on what peers that have not authenticated may
    /// cost, and [`Command::LogIkeKeys`] if keys are to be logged.
    #[must_use]
    pub fn with_limits(
        now: Instant,
        revision: impl Into<Revision>,
        limits: Limits,
        key_log: KeyLog,
        mut random: RandomSources,
    ) -> Self {
        // Not a secret: it only spreads the pauses between attempts.
        let jitter = Jitter::new(random.public.next_u64().unwrap_or_default());
        let mut endpoint = Endpoint::new(limits, random);
        endpoint.set_key_log(key_log);
        let revision = revision.into();
        let empty = Arc::new(revision.without_connections());
        let mut outbox = Outbox::default();
        outbox.tables.set_gateway(empty.own(), empty.own());
        let mut supervisor = Self {
            revision: Arc::clone(&empty),
            endpoint,
            tunnels: BTreeMap::new(),
            connections: BTreeMap::new(),
            spis: BTreeMap::new(),
            touched: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            tunnel_ids: TunnelIds::default(),
            outbox,
            jitter,
            questions: Questions::default(),
            unknown_peer_lines: UnknownPeerLines::default(),
            fault_lines: LineLimit::new(FAULTS),
            unknown_peers: UnknownPeers::default(),
            comparison_round: None,
            retired: BTreeMap::new(),
        };
        supervisor.apply(now, ChangeSet::between(&empty, revision));
        supervisor.initiate_all_once(now);
        supervisor
    }

    /// Has every tunnel that waits for its peer initiate once: the peer may have SAs from
    /// before our restart, and may take long to find out that they are lost.
    fn initiate_all_once(&mut self, now: Instant) {
        if !self.revision.own().initiate_to_recover {
            return;
        }
        let mut at = now;
        for tunnel in self.tunnels.values_mut().filter(|t| !t.initiates()) {
            tunnel.initiate_once(at);
            at += INITIATING_PACE;
            self.touched.insert(tunnel.id);
        }
        self.settle(now);
    }

    /// An outside address has come to this machine: the tunnels at it that are down need
    /// wait no longer, and their peers may have given up meanwhile.
    pub fn note_outside_address(&mut self, now: Instant, address: IpAddr) {
        let recovers = self.revision.own().initiate_to_recover;
        let waiting = self
            .tunnels
            .values_mut()
            .filter(|tunnel| tunnel.peer.local == address && tunnel.state == State::Down);
        let mut at = now;
        for tunnel in waiting {
            if tunnel.keeps_initiating() {
                tunnel.retry.bring_forward(now);
            } else if recovers {
                tunnel.initiate_once(at);
                at += INITIATING_PACE;
            }
            self.touched.insert(tunnel.id);
        }
        self.settle(now);
    }

    /// Other limits on what peers that have not authenticated may cost, from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.endpoint.set_limits(limits);
    }

    /// Whether [`Command::LogIkeKeys`] is given from now on, of SAs that come up.
    pub fn set_key_log(&mut self, key_log: KeyLog) {
        self.endpoint.set_key_log(key_log);
    }

    /// The key of the tokens that peers are given, by which we can later prove that we
    /// lost their IKE SAs (RFC 6290); see [`Endpoint::set_token_key`].
    pub fn set_token_key(&mut self, key: Option<Secret>) {
        self.endpoint.set_token_key(key);
    }

    /// Takes every IKE SA as plain data and builds it again from that
    /// ([`Endpoint::take_ike_sas`]), after which everything goes on as before.
    ///
    /// # Errors
    /// One cannot be built again.
    pub fn rebuild_ike_sas(&mut self) -> Result<(), BadState> {
        let sas = self.endpoint.take_ike_sas();
        self.endpoint.put_ike_sas(sas)
    }

    /// An IKE message arrived; the non-ESP marker is stripped.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        message: &[u8],
    ) {
        self.endpoint.handle_datagram(now, local, remote, message);
        self.settle(now);
    }

    /// A computation to carry out, here or on another thread; see [`Endpoint::poll_job`].
    pub fn poll_job(&mut self) -> Option<(JobId, Job)> {
        self.endpoint.poll_job()
    }

    /// What a job gave.
    pub fn handle_job(&mut self, now: Instant, id: JobId, output: Output) {
        self.endpoint.handle_job(now, id, output);
        self.settle(now);
    }

    /// The time of [`Self::poll_timeout`] has come. Harmless at any other time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.outbox.handle_timeout(now);
        self.continue_comparing(now);
        while let Some((due, id)) = self.deadlines.first().copied()
            && due <= now
        {
            self.deadlines.remove(&(due, id));
            self.touched.insert(id);
            if let Some(tunnel) = self.tunnels.get_mut(&id) {
                tunnel.armed_deadline = None;
            }
        }
        self.settle(now);
    }

    /// What the data plane counted since it began; to be given about once a
    /// second. Inbound packets of a CHILD SA are a sign of the peer's life.
    pub fn handle_traffic(
        &mut self,
        now: Instant,
        tunnels: &[(TunnelId, TunnelTraffic)],
        children: &[ChildTraffic],
    ) {
        for (id, counted) in tunnels {
            if let Some(tunnel) = self.tunnels.get_mut(id) {
                tunnel.traffic = *counted;
            }
        }
        for counted in children {
            self.note_child_traffic(now, counted);
        }
        for (id, _) in tunnels {
            self.watch_return_traffic(now, *id);
        }
        self.settle(now);
    }

    fn note_child_traffic(&mut self, now: Instant, counted: &ChildTraffic) {
        let spi_in = counted.spi_in;
        let Some(tunnel) = self
            .spis
            .get(&spi_in)
            .and_then(|id| self.tunnels.get_mut(id))
        else {
            return;
        };
        let replaced = tunnel.sas.is_replaced(spi_in);
        let Some(child) = tunnel.sas.child_mut(spi_in) else {
            return;
        };
        if counted.packets_in > child.traffic.packets_in {
            tunnel.last_in = Some(now);
            self.endpoint.note_traffic(now, spi_in);
        }
        child.traffic = *counted;
        let lately = |asked| now < asked + lifetime_by_volume::ASK_AGAIN;
        if replaced || child.rekey_asked.is_some_and(lately) {
            return;
        }
        let Some(why) = lifetime_by_volume::rekey_due(&tunnel.options.phase2, child.suite, counted)
        else {
            return;
        };
        child.rekey_asked = Some(now);
        let (tunnel, spi) = (&tunnel.name, Spi(spi_in));
        tracing::debug!(%tunnel, spi_in = %spi, "{tunnel}: rekeying CHILD SA {spi}: {why}");
        self.endpoint.rekey_child(now, spi_in);
    }

    /// A packet that authenticated came from elsewhere than expected: the
    /// peer's NAT gave it another address or port.
    pub fn note_path(&mut self, now: Instant, spi_in: u32, remote: SocketAddr) {
        self.endpoint.note_path(now, spi_in, remote);
        self.settle(now);
    }

    /// An ESP packet came with an SPI that the data plane does not know: a sender may
    /// have an SA that we lost. The port of `remote` is 0 if it came as protocol 50.
    pub fn note_unknown_spi(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        spi: u32,
    ) {
        self.endpoint.note_unknown_spi(now, local, remote, spi);
        self.settle(now);
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = self.deadlines.first().map(|(due, _)| *due);
        let round = self.comparison_round.as_ref().map(|round| round.due);
        let others = [
            self.endpoint.poll_timeout(),
            self.outbox.deadline(),
            self.questions.next_at(),
        ];
        [own, round].into_iter().chain(others).flatten().min()
    }

    /// A datagram to send, after all commands have been carried out.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.endpoint.poll_transmit()
    }

    /// The next command to carry out.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.outbox.pop()
    }

    /// What a tunnel of the configuration is called.
    #[must_use]
    pub fn tunnel_name(&self, tunnel: TunnelId) -> Option<&TunnelName> {
        self.tunnels.get(&tunnel).map(|tunnel| &tunnel.name)
    }

    /// Inbound SPIs of the CHILD SAs that are up. One that was deleted and is
    /// accepted a little longer for what is on the way is not among them.
    pub fn children(&self) -> impl Iterator<Item = u32> {
        self.spis.keys().copied()
    }

    /// Whether a CHILD SA with this inbound SPI is up.
    #[must_use]
    pub fn has_child(&self, spi_in: u32) -> bool {
        self.spis.contains_key(&spi_in)
    }

    /// The SPIs that messages may name our IKE SAs of this standing by, in ascending
    /// order.
    pub fn ike_spis(&self, sa_class: SaClass) -> impl Iterator<Item = u64> {
        self.endpoint.spis(sa_class)
    }

    /// Differs from an earlier one if [`Self::ike_spis`] has changed since.
    #[must_use]
    pub const fn ike_spis_revision(&self, sa_class: SaClass) -> u64 {
        self.endpoint.spis_revision(sa_class)
    }

    /// What changed of [`Self::ike_spis`] after a revision; see [`Endpoint::spi_changes`].
    pub fn ike_spi_changes(
        &self,
        sa_class: SaClass,
        since: u64,
    ) -> Option<impl Iterator<Item = (u64, bool)>> {
        self.endpoint.spi_changes(sa_class, since)
    }

    /// Whether every SA is gone, and every peer has answered that it knows.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.endpoint.is_quiet()
    }

    /// The configuration in force.
    #[must_use]
    pub const fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }
}
