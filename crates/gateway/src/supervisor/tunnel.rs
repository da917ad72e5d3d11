//! What the supervisor remembers of one tunnel.

use std::net::SocketAddr;
use std::time::Instant;

use vgw_ike::config::PeerConfig;
use vgw_ike::event::{PeerCounters, SaId};
use vgw_ike::refusal::RefusalReason;
use vgw_sa::{TunnelId, TunnelTraffic};

use super::drain::Drain;
use super::failure_detection::FailureDetection;
use super::last_error::{LastError, says_more};
use super::one_way::OneWay;
use super::pending_lines::PendingLines;
use super::retry::Retry;
use super::sas::Sas;
use super::tunnel_state::{Event, State, next};
use super::udp_fallback::UdpFallback;
use crate::domain::{self, StartupAction, TunnelName};
use crate::line_limit::TunnelLines;

/// Whether we initiate, beyond what StartupAction says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExtraAttempts {
    /// Not beyond that.
    None,
    /// One attempt, because we took the tunnel down or lost it in a restart: the peer may
    /// not know of it, or not come back by itself.
    Once,
    /// Until the tunnel is up: the peer was found dead (DPDTimeoutAction restart), or we
    /// ended its SA, because a CHILD SA could not be replaced or not be installed.
    UntilUp,
}

/// One tunnel at run time.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) id: TunnelId,
    pub(super) name: TunnelName,
    pub(super) options: domain::Tunnel,
    pub(super) peer: PeerConfig,
    pub(super) state: State,
    pub(super) since: Instant,
    /// Why it is in this state.
    pub(super) why: String,
    /// The last thing that went wrong.
    pub(super) last_error: Option<LastError>,
    /// Why the last rekey was refused, until an SA comes up.
    pub(super) rekey_refused: Option<LastError>,
    pub(super) sas: Sas,
    /// Inbound SPIs of the CHILD SAs that the data plane sends with, in the order in which
    /// it tries them.
    pub(super) outbound_spis: Vec<u32>,
    /// Our attempt to initiate, until an IKE SA is up.
    pub(super) attempt: Option<SaId>,
    pub(super) retry: Retry,
    pub(super) extra_attempts: ExtraAttempts,
    pub(super) drain: Option<Drain>,
    /// It is to restart with its changed configuration once the other tunnel is up, by this
    /// time at the latest; until then the negotiator has the old one.
    pub(super) restart_by: Option<Instant>,
    pub(super) last_in: Option<Instant>,
    /// Whether its peer answers, now that it is doubtful.
    pub(super) failure_detection: FailureDetection,
    /// Whether anything returns of what is sent.
    pub(super) one_way: OneWay,
    /// ESP in UDP, if nothing returns by IP protocol 50.
    pub(super) udp_fallback: UdpFallback,
    /// How often its connection's traffic moved to it.
    pub(super) takeovers: u64,
    /// How many commands the data plane refused.
    pub(super) changes_refused: u64,
    /// What the data plane counted, also for earlier tunnels of this id.
    pub(super) traffic: TunnelTraffic,
    /// What it had counted for those.
    pub(super) traffic_before: TunnelTraffic,
    /// The negotiator's counters of earlier tunnels of this id.
    pub(super) counters_before: PeerCounters,
    /// The deadline that is entered in [`super::Supervisor::deadlines`].
    pub(super) armed_deadline: Option<Instant>,
    /// When its traffic selectors are to be compared with the configured networks.
    pub(super) compare_at: Option<Instant>,
    /// What was found at the last comparison.
    pub(super) mismatches: Vec<String>,
    /// How much is written about it, whatever its peer does.
    pub(super) lines: TunnelLines,
    /// What is to be written about it once it is clear what follows.
    pub(super) pending_lines: PendingLines,
}

impl Tunnel {
    pub(super) fn new(
        now: Instant,
        id: TunnelId,
        name: TunnelName,
        options: domain::Tunnel,
        peer: PeerConfig,
        traffic_before: TunnelTraffic,
        counters_before: PeerCounters,
    ) -> Self {
        Self {
            id,
            name,
            options,
            peer,
            state: State::Down,
            since: now,
            why: "configured".to_owned(),
            last_error: None,
            rekey_refused: None,
            sas: Sas::default(),
            outbound_spis: Vec::new(),
            attempt: None,
            retry: Retry::default(),
            extra_attempts: ExtraAttempts::None,
            drain: None,
            restart_by: None,
            last_in: None,
            failure_detection: FailureDetection::default(),
            one_way: OneWay::default(),
            udp_fallback: UdpFallback::default(),
            takeovers: 0,
            changes_refused: 0,
            traffic: traffic_before,
            traffic_before,
            counters_before,
            armed_deadline: None,
            compare_at: None,
            mismatches: Vec::new(),
            lines: TunnelLines::default(),
            pending_lines: PendingLines::default(),
        }
    }

    /// The one place where a tunnel's state changes.
    pub(super) fn transition(&mut self, now: Instant, event: Event, reason: &str) {
        let before = self.state;
        let after = next(before, event);
        if before == after {
            return;
        }
        if before == State::Up {
            self.retry
                .was_up_for(now.saturating_duration_since(self.since));
        }
        let tunnel = &self.name;
        tracing::debug!(%tunnel, "{tunnel}: {before} -> {after} ({reason})");
        self.pending_lines
            .note(now, (before, self.since), (event, reason), after);
        // Coming back from a drain, the tunnel has been up all the time; but a
        // fresh start lets failback wait as for any other return.
        self.since = now;
        self.state = after;
        reason.clone_into(&mut self.why);
    }

    /// Begins to drain it: from now on it carries only while the other tunnel cannot.
    pub(super) fn begin_drain(&mut self, now: Instant, drain: Drain, reason: &str) {
        self.transition(now, Event::TakeDown, reason);
        self.failure_detection.begin_anew();
        self.drain = Some(drain);
    }

    /// Updates the list of SAs that its packets leave by. Gives the SPIs to tell the data
    /// plane, in order: it tries each before all that it was told earlier.
    pub(super) fn update_outbound_spis(&mut self) -> Vec<u32> {
        let outbound_spis = self.sas.outbound_spis();
        self.outbound_spis
            .retain(|before| outbound_spis.contains(before));
        let in_place = outbound_spis
            .iter()
            .rev()
            .zip(self.outbound_spis.iter().rev());
        let in_place = in_place.take_while(|(after, before)| after == before);
        let in_place = in_place.count();
        let changed = outbound_spis.iter().rev().skip(in_place).copied().collect();
        self.outbound_spis = outbound_spis;
        changed
    }

    /// Whether we initiate while it is down. StartupAction start keeps it up,
    /// whatever took it down but the operator; DPDTimeoutAction decides for
    /// tunnels that the peer initiates.
    pub(super) const fn initiates(&self) -> bool {
        self.keeps_initiating() || matches!(self.extra_attempts, ExtraAttempts::Once)
    }

    /// Whether we go on initiating when an attempt has failed.
    pub(super) const fn keeps_initiating(&self) -> bool {
        matches!(self.options.startup_action, StartupAction::Start)
            || matches!(self.extra_attempts, ExtraAttempts::UntilUp)
    }

    /// Has us initiate at this time, once if we otherwise wait for the peer. Nothing
    /// comes of it where the peer's address is not known.
    pub(super) fn initiate_once(&mut self, at: Instant) {
        if self.peer.remote.is_none() {
            return;
        }
        if self.extra_attempts == ExtraAttempts::None {
            self.extra_attempts = ExtraAttempts::Once;
        }
        self.retry.due_at(at);
    }

    /// Initiates while it is down, until it is up, if the peer's address is known.
    pub(super) const fn initiate_until_up(&mut self) {
        if self.peer.remote.is_some() {
            self.extra_attempts = ExtraAttempts::UntilUp;
        }
    }

    /// The next time at which something is to be done though nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let drained = self.drain.as_ref().map(Drain::due);
        let due = [
            self.retry.at(),
            drained,
            self.restart_by,
            self.sas.deadline(),
            self.compare_at,
            self.failure_detection.deadline(),
        ];
        due.into_iter().flatten().min()
    }

    /// Remembers that something went wrong.
    pub(super) fn note_error(&mut self, now: Instant, why: impl Into<RefusalReason>) {
        self.last_error = Some(LastError {
            at: now,
            why: why.into(),
            of: None,
        });
    }

    /// Remembers that a message of the peer, or from its address, was dropped.
    pub(super) fn note_drop(&mut self, now: Instant, remote: SocketAddr, why: RefusalReason) {
        let before = self.last_error.as_ref();
        if !before.is_some_and(|said| says_more(now, (&said.why, said.at), &why)) {
            self.note_error_from(now, remote, why);
        }
    }

    /// Remembers that a datagram of the peer was refused. Where it may come from
    /// anywhere, that it says it is this peer proves nothing, so its address counts.
    pub(super) fn note_error_from(&mut self, now: Instant, remote: SocketAddr, why: RefusalReason) {
        self.last_error = Some(LastError {
            at: now,
            why,
            of: self.peer.remote.is_none().then_some(remote),
        });
    }
}
