//! Deadlines of an IKE SA: requests, lifetimes, liveness checks, keepalives.

use std::time::{Duration, Instant};

use super::child::ChildPhase;
use super::tasks::{RequestInFlight, Task};
use super::{Established, Phase};
use crate::core::env::Env;
use crate::core::event::{Content, DownReason};
use crate::peer::config::{Limits, Liveness};

/// The limits of the pause before a refused rekey is tried again: a quarter of the time left.
const RETRY_LEAST: Duration = Duration::from_secs(5);
const RETRY_MOST: Duration = Duration::from_secs(60);

impl Established {
    /// Notes that an authentic packet of a CHILD SA arrived.
    pub(crate) fn note_traffic(&mut self, env: &mut Env<'_>, spi_in: u32) {
        self.last_heard = env.now;
        let Some(child) = self.children.get(&spi_in) else {
            return;
        };
        // The peer sends with the SA that its rekey made, so it has our answer. We may then send
        // with this SA too, before the DELETE of the old one arrives.
        if child.phase == ChildPhase::Live && !child.outbound && !self.is_colliding(spi_in) {
            self.use_outbound(env, spi_in);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let mut deadlines = vec![
            self.window.resend_at(),
            self.answer_deadline(limits),
            self.tasks.next_at().filter(|_| self.may_ask()),
        ];
        match self.phase {
            Phase::Up => {
                deadlines.push(self.rekey_at);
                deadlines.push(Some(self.expire_at));
                deadlines.push(self.ask_at());
                deadlines.push(self.next_keepalive);
                let probe_due = self.address_change.due(self.established_at);
                deadlines.push(probe_due.filter(|_| self.may_ask()));
                deadlines.extend(self.children.values().map(super::Child::deadline));
            }
            Phase::Undecided { until, .. } | Phase::Replaced { until } => {
                deadlines.push(Some(until));
            }
            Phase::Closing | Phase::Closed => {}
        }
        deadlines.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, env: &mut Env<'_>) {
        let limits = env.limits();
        if self
            .answer_deadline(&limits)
            .is_some_and(|at| at <= env.now)
        {
            return self.close(env, DownReason::PeerDead, false);
        }
        if let Some(message) = self.window.resend(env.now, &limits) {
            self.repeat(env, message);
            env.count(self.peer, |c| c.retransmissions += 1);
        }
        self.report_failed_probe(env);
        match self.phase {
            Phase::Up => self.age(env),
            Phase::Undecided { until, .. } | Phase::Replaced { until } if until <= env.now => {
                self.close(env, DownReason::Rekeyed, true);
            }
            Phase::Undecided { .. } | Phase::Replaced { .. } | Phase::Closing | Phase::Closed => {}
        }
        self.advance(env);
    }

    fn age(&mut self, env: &mut Env<'_>) {
        if self.expire_at <= env.now {
            return self.close(env, DownReason::Expired, true);
        }
        if self.rekey_at.is_some_and(|at| at <= env.now) {
            self.rekey_at = None;
            self.tasks.plan(Task::RekeyIke, env.now);
        }
        let due: Vec<u32> = self
            .children
            .values()
            .filter(|child| child.deadline().is_some_and(|at| at <= env.now))
            .map(|child| child.spi_in)
            .collect();
        for spi_in in due {
            self.age_child(env, spi_in);
        }
        if self.ask_at().is_some_and(|at| at <= env.now) {
            self.tasks.plan(Task::Liveness, env.now);
        }
        if self.next_keepalive.is_some_and(|at| at <= env.now) {
            env.transmit(self.way(), Content::NatKeepalive);
            self.next_keepalive = Some(env.now + env.limits().nat_keepalive);
        }
    }

    fn age_child(&mut self, env: &mut Env<'_>, spi_in: u32) {
        let Some(child) = self.children.get_mut(&spi_in) else {
            return;
        };
        match child.phase {
            ChildPhase::Live if child.expire_at <= env.now => {
                self.remove_child(env, spi_in, DownReason::Expired);
                self.tasks.plan(Task::DeleteChild(spi_in), env.now);
                self.restore_child(env, Duration::ZERO);
            }
            ChildPhase::Live => {
                child.rekey_at = None;
                self.tasks.plan(Task::RekeyChild(spi_in), env.now);
            }
            ChildPhase::Replaced { .. } => {
                self.remove_child(env, spi_in, DownReason::Rekeyed);
                self.tasks.plan(Task::DeleteChild(spi_in), env.now);
            }
            ChildPhase::Redundant { .. } => {
                child.phase = ChildPhase::Deleting;
                self.tasks.plan(Task::DeleteChild(spi_in), env.now);
            }
            ChildPhase::Lingering { .. } => self.remove_child(env, spi_in, DownReason::Rekeyed),
            ChildPhase::Deleting => {}
        }
    }

    /// The pause before a refused rekey of an SA that ends at `expire_at` is tried again.
    pub(super) fn retry_after(env: &Env<'_>, expire_at: Instant) -> Duration {
        (expire_at.saturating_duration_since(env.now) / 4).clamp(RETRY_LEAST, RETRY_MOST)
    }

    /// When to check liveness. None while a request is under way, because that is a check too.
    fn ask_at(&self) -> Option<Instant> {
        let liveness = self.config.liveness?;
        self.may_ask().then(|| self.last_heard + liveness.idle)
    }

    /// When a request without an answer means that the peer is dead. RFC 7296 section 2.4: other
    /// authentic packets show that the peer lives, so it may leave a liveness check unanswered for
    /// as long as they come. But what else is to be asked is not to wait forever.
    fn answer_deadline(&self, limits: &Limits) -> Option<Instant> {
        let asked_at = self.window.asked_at()?;
        let Some(Liveness { idle, timeout }) = self.config.liveness else {
            return Some(asked_at + limits.handshake_timeout);
        };
        // The peer has time to answer even if we sent the request late.
        let silent = (self.last_heard + timeout).max(asked_at + timeout.saturating_sub(idle));
        let needed_since = match self.in_flight {
            Some(RequestInFlight::Liveness) => self.tasks.waits_since().map(|at| at.max(asked_at)),
            _ => Some(asked_at),
        };
        let bound = needed_since.map(|since| since + limits.handshake_timeout.max(timeout));
        Some(bound.map_or(silent, |bound| silent.min(bound)))
    }
}
