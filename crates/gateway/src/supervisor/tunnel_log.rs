//! The log's lines about a tunnel: one for each event that an operator cares about,
//! written once it is clear what follows from it. What becomes of single SAs is for
//! level debug: ten thousand tunnels are rekeyed several times a second.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vgw_ike::event::{DownReason, Role, SaId};
use vgw_ike::refusal::RefusalReason;

use super::pending_lines::{FailedAttempt, LoggedState, WentDown};
use super::retry::PROVEN;
use super::sas::Spi;
use super::status::waits_for_in_words;
use super::tunnel::Tunnel;
use crate::span::span;

impl Tunnel {
    /// Writes the lines that waited, now that it is clear what follows.
    pub(super) fn write_pending_lines(&mut self, now: Instant) {
        let failure = self.pending_lines.failure.take();
        let went_down = self.pending_lines.went_down.take();
        for (remote, why) in std::mem::take(&mut self.pending_lines.refused) {
            let said_below = |failure: &FailedAttempt| failure.why.contains(&why.to_string());
            if !failure.as_ref().is_some_and(said_below) {
                self.log_refusal(now, remote, &why);
            }
        }
        let after = LoggedState::from(self.state);
        let before = std::mem::replace(&mut self.pending_lines.logged_state, after);
        match (before, after) {
            (LoggedState::Down | LoggedState::AdminDown, LoggedState::Up) => self.log_up(now),
            (LoggedState::Up, LoggedState::Down) | (_, LoggedState::AdminDown)
                if before != after =>
            {
                if let Some(went_down) = went_down {
                    self.log_down(now, &went_down);
                }
            }
            (LoggedState::AdminDown, LoggedState::Down) => self.log_brought_up(now),
            _ => {
                if let Some(failure) = failure {
                    self.log_failed_attempt(now, &failure);
                }
            }
        }
    }

    /// Writes a warning, if the same was not written lately.
    pub(super) fn warn(
        &mut self,
        now: Instant,
        remote: Option<SocketAddr>,
        words: impl FnOnce() -> String,
    ) {
        let Some((words, line)) = self.lines.refusals.allow(now, words) else {
            return;
        };
        let (tunnel, held_back) = (&self.name, line.held_back);
        let remote = remote.map(tracing::field::display);
        tracing::warn!(%tunnel, remote, held_back, "{tunnel}: {words}{line}");
    }

    fn log_refusal(&mut self, now: Instant, remote: SocketAddr, why: &RefusalReason) {
        // Without the port: behind a NAT it may be another each time, and each a new line.
        let from = remote.ip().to_string();
        self.warn(now, Some(remote), || match why.to_string() {
            words if words.starts_with(&from) => format!("refused {words}"),
            words => format!("{} {from}: {words}", why.verb()),
        });
    }

    fn log_up(&mut self, now: Instant) {
        // The next error is logged even if the same was logged before.
        self.lines.refusals.forget();
        let Some((spi_in, child)) = self.sas.sender() else {
            return;
        };
        let Some(ike) = self.sas.details(child.sa) else {
            return;
        };
        let Some(line) = self.lines.states.allow(now) else {
            return;
        };
        let (tunnel, remote, id) = (&self.name, ike.path.remote, &ike.remote_id);
        let (ike_suite, child_suite) = (ike.suite, child.suite);
        let esp = match ike.path.udp_encapsulation {
            true => "ESP in UDP",
            false => "ESP as protocol 50",
        };
        let (took, initiator) = match (ike.role, self.pending_lines.took) {
            (Role::Initiator, Some(took)) => (format!(" in {}", Span(took)), "we"),
            (Role::Initiator, None) => (String::new(), "we"),
            (Role::Responder, _) => (String::new(), "the peer"),
        };
        tracing::info!(
            %tunnel,
            %remote,
            %id,
            sa = child.sa.0,
            %ike_suite,
            %child_suite,
            role = ?ike.role,
            spi_in = %Spi(spi_in),
            spi_out = %Spi(child.spi_out),
            nat_local = ike.nat.local,
            nat_remote = ike.nat.remote,
            held_back = line.held_back,
            "{tunnel}: up{took}, {initiator} initiated: IKE SA with {id} at {remote}, {ike_suite}; \
             CHILD SA {child_suite}, {esp}{line}"
        );
    }

    fn log_down(&mut self, now: Instant, WentDown { why, wanted }: &WentDown) {
        let up_since = self.pending_lines.up_since.take();
        let Some(line) = self.lines.states.allow(now) else {
            return;
        };
        let (tunnel, held_back) = (&self.name, line.held_back);
        let up = up_since.map(|since| Span(now.saturating_duration_since(since)));
        let after = up.map_or_else(String::new, |up| format!(" after {up}"));
        let waits = self.waiting(now);
        if *wanted {
            tracing::info!(%tunnel, held_back, "{tunnel}: down{after}: {why}{waits}{line}");
        } else {
            tracing::warn!(%tunnel, held_back, "{tunnel}: down{after}: {why}{waits}{line}");
        }
    }

    fn log_brought_up(&mut self, now: Instant) {
        if let Some(line) = self.lines.states.allow(now) {
            let (tunnel, held_back) = (&self.name, line.held_back);
            let waits = self.waiting(now);
            tracing::info!(%tunnel, held_back, "{tunnel}: brought up by hand{waits}{line}");
        }
    }

    fn log_failed_attempt(&mut self, now: Instant, failure: &FailedAttempt) {
        let FailedAttempt { why, advice, trial } = failure;
        let allowed = self.lines.refusals.allow(now, || why.clone());
        let Some((why, line)) = allowed else {
            return;
        };
        let (tunnel, held_back) = (&self.name, line.held_back);
        let (attempt, waits) = (self.retry.failures(), self.waiting(now));
        if *trial {
            tracing::info!(
                %tunnel, held_back,
                "{tunnel}: asked the peer once, in vain: {why}{advice}{waits}{line}"
            );
        } else {
            tracing::warn!(
                %tunnel, attempt, held_back,
                "{tunnel}: not up, attempt {attempt} failed: {why}{advice}{waits}{line}"
            );
        }
    }

    /// Logs that an IKE SA ended. At level info only where no other line says it: mostly
    /// the tunnel goes down with it, or both ends had initiated and one IKE SA was
    /// redundant.
    pub(super) fn log_ike_sa_end(
        &mut self,
        now: Instant,
        (sa, lived): (SaId, Duration),
        reason: &DownReason,
        is_error: bool,
    ) {
        let (tunnel, sa) = (&self.name, sa.0);
        if !is_error || lived < PROVEN || !self.sas.usable() {
            tracing::debug!(%tunnel, sa, %reason, "{tunnel}: IKE SA ends: {reason}");
        } else if let Some(line) = self.lines.sas.allow(now) {
            let held_back = line.held_back;
            tracing::info!(
                %tunnel, sa, %reason, held_back,
                "{tunnel}: stays up with a newer IKE SA, an older one ends: {reason}{line}"
            );
        }
    }

    fn waiting(&self, now: Instant) -> String {
        waits_for_in_words(now, self)
            .map_or_else(String::new, |awaited| format!("; waits for {awaited}"))
    }
}

/// A time span, also one of less than a second.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{}ms", self.0.as_millis()),
            _ => f.write_str(&span(self.0)),
        }
    }
}
