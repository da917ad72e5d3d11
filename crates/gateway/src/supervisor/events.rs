//! What the negotiator reports, recorded at the tunnel concerned.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vgw_crypto::RandomError;
use vgw_ike::event::{Diagnostic, DownReason, Event, IkeDetails, SaId};
use vgw_ike::refusal::RefusalReason;
use vgw_sa::{ChildSa, Path, TunnelId};

use super::Supervisor;
use super::sas::Spi;
use super::tunnel::{ExtraAttempts, Tunnel};
use super::tunnel_state::{self, State};
use crate::command::Command;
use crate::domain::DpdAction;

/// After an SA ended, packets that were on the way are accepted for this long: those that
/// the peer sent before it knew of our DELETE, and those that its own DELETE overtook.
const DELETED_LINGER: Duration = Duration::from_secs(2);

impl Supervisor {
    pub(super) fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::IkeUp {
                peer,
                sa,
                details,
                replaces,
            } => self.on_ike_up(now, peer, sa, details, replaces),
            Event::IkeKeys {
                spi_i,
                spi_r,
                suite,
                keys,
                ..
            } => self.outbox.push(Command::LogIkeKeys {
                spi_i,
                spi_r,
                suite,
                keys,
            }),
            Event::IkeDown { peer, sa, reason } => self.on_ike_down(now, peer, sa, &reason),
            Event::InitiateFailed { peer, sa, reason } => {
                self.on_initiate_failed(now, peer, sa, &reason);
            }
            Event::ChildInbound {
                peer,
                sa,
                child,
                rekeys,
            } => self.on_child_inbound(now, peer, sa, child, rekeys),
            Event::ChildOutbound { peer, spi_in } => {
                self.on_child_outbound(now, peer, spi_in);
            }
            Event::ChildDown {
                peer,
                spi_in,
                reason,
            } => self.on_child_down(now, peer, spi_in, &reason),
            Event::PathChanged { peer, sa, path } => {
                self.on_path_changed(now, peer, sa, path);
            }
            Event::Alive {
                peer,
                sa,
                round_trip,
            } => {
                if let Some(tunnel) = self.touch(peer) {
                    tunnel.last_in = Some(now);
                    tunnel.one_way.note_alive();
                    if tunnel.sas.keeper() == Some(sa) {
                        tunnel.failure_detection.note_answer(now, round_trip);
                    }
                }
            }
            Event::Unanswered { peer, sa } => self.on_unanswered(now, peer, sa),
            Event::Repeated { peer, sa, times } => self.on_repeated(now, peer, sa, times),
            Event::UnknownSa { peer } => self.on_unknown_sa(now, peer),
            Event::Refused { peer, remote, why } => {
                self.on_refused(now, peer, remote, why);
            }
            Event::Dropped {
                peer,
                remote,
                reason,
            } => self.on_dropped(now, peer, remote, reason),
            Event::RekeyRefused { peer, remote, why } => {
                self.on_rekey_refused(now, peer, remote, why);
            }
            Event::NoRandomNumbers => {
                if let Some(line) = self.fault_lines.allow(now) {
                    let held_back = line.held_back;
                    tracing::error!(
                        held_back,
                        "{RandomError}: nothing that needs keys goes on{line}"
                    );
                }
            }
            Event::Diagnostic {
                peer,
                sa,
                diagnostic,
            } => self.on_diagnostic(now, peer, sa, diagnostic),
        }
    }

    /// The tunnel of an event, which [`Self::settle`] then looks at. None if it was
    /// removed meanwhile.
    pub(super) fn touch(&mut self, id: TunnelId) -> Option<&mut Tunnel> {
        let tunnel = self.tunnels.get_mut(&id)?;
        self.touched.insert(id);
        Some(tunnel)
    }

    fn on_ike_up(
        &mut self,
        now: Instant,
        id: TunnelId,
        sa: SaId,
        details: IkeDetails,
        replaces: Option<SaId>,
    ) {
        if replaces.is_none() {
            self.note_new_ike(now, id, sa, details.path);
        }
        let Some(tunnel) = self.touch(id) else {
            return;
        };
        let what = match replaces {
            Some(_) => "rekeyed",
            None => "up",
        };
        if replaces.is_some() {
            tunnel.failure_detection.note_rekey(now);
        }
        let (name, remote) = (&tunnel.name, details.path.remote);
        let (id, suite) = (&details.remote_id, details.suite);
        tracing::debug!(
            tunnel = %name,
            sa = sa.0,
            replaces = replaces.map(|old| old.0),
            %remote,
            %id,
            %suite,
            "{name}: IKE SA with {id} at {remote} {what}, {suite}"
        );
        tunnel.sas.ike_up(now, sa, details, replaces);
        tunnel.rekey_refused = None;
        tunnel.last_in = Some(now);
        if tunnel.attempt == Some(sa) {
            tunnel.attempt = None;
        }
        if tunnel.extra_attempts == ExtraAttempts::Once {
            tunnel.extra_attempts = ExtraAttempts::None;
        }
        tunnel.transition(now, tunnel_state::Event::IkeUp, "IKE SA up");
    }

    fn on_ike_down(&mut self, now: Instant, id: TunnelId, sa: SaId, reason: &DownReason) {
        let recovers = self.revision.own().initiate_to_recover;
        let Some(tunnel) = self.touch(id) else {
            return;
        };
        let lived = tunnel.sas.age(now, sa);
        let served = tunnel.sas.ike_down(sa);
        let why = reason.to_string();
        // The error that keeps the newer IKE SA without a CHILD SA explains more.
        let replaced = matches!(reason, DownReason::Superseded | DownReason::PeerDeleted);
        let goes_on = replaced && tunnel.sas.has_ike() && tunnel.last_error.is_some();
        if is_error(reason) && !goes_on {
            tunnel.note_error(now, why.clone());
        }
        tunnel.log_ike_sa_end(now, (sa, lived), reason, is_error(reason));
        if tunnel.sas.has_ike() {
            return;
        }
        let restart = tunnel.options.dpd_action == DpdAction::Restart;
        if *reason == DownReason::PeerDead {
            self.forget_udp(id);
        }
        let Some(tunnel) = self.touch(id) else {
            return;
        };
        if *reason == DownReason::PeerDead && restart {
            tunnel.extra_attempts = ExtraAttempts::UntilUp;
            tunnel.retry.due_at(now);
        }
        // The peer restarted and is there again (RFC 6290 section 3).
        if *reason == DownReason::PeerLostIt && (recovers || tunnel.keeps_initiating()) {
            tunnel.initiate_once(now);
        }
        if served && recovers && matches!(reason, DownReason::Refused(_)) {
            tunnel.initiate_until_up();
        }
        if tunnel.attempt.is_some() {
            return;
        }
        if tunnel.state == State::Connecting {
            tunnel.retry.failed();
            if is_error(reason) {
                tunnel.pending_lines.failed(reason);
            }
        }
        tunnel.transition(now, tunnel_state::Event::LastIkeDown, &why);
    }

    fn on_initiate_failed(&mut self, now: Instant, id: TunnelId, sa: SaId, reason: &DownReason) {
        if self.note_failed_attempt(now, id, sa, reason) {
            return;
        }
        let Some(tunnel) = self.touch(id) else {
            return;
        };
        if tunnel.attempt != Some(sa) {
            return;
        }
        tunnel.attempt = None;
        // The peer's own IKE SA came up first: ours did not fail.
        if *reason == DownReason::Superseded {
            return;
        }
        if !tunnel.keeps_initiating() {
            return waits_again(tunnel, now, reason);
        }
        tunnel.retry.failed();
        let why = reason.to_string();
        tunnel.pending_lines.failed(reason);
        tunnel.note_error(now, why.clone());
        if !tunnel.sas.has_ike() {
            tunnel.transition(now, tunnel_state::Event::LastIkeDown, &why);
        }
    }

    /// The peer seems to be there, with SAs that we do not have: so the next attempt is
    /// brought forward, and a tunnel that waits for its peer initiates once, as after a
    /// start. Anybody can forge such packets, so attempts keep their distance.
    fn on_unknown_sa(&mut self, now: Instant, id: TunnelId) {
        let recovers = self.revision.own().initiate_to_recover;
        let Some(tunnel) = self.touch(id) else {
            return;
        };
        if tunnel.state != State::Down {
            return;
        }
        if tunnel.keeps_initiating() {
            tunnel.retry.bring_forward(now);
        } else if recovers && tunnel.retry.may_initiate_unplanned(now) {
            tunnel.initiate_once(now);
        }
    }

    fn on_child_inbound(
        &mut self,
        now: Instant,
        id: TunnelId,
        sa: SaId,
        child: Box<ChildSa>,
        rekeys: Option<u32>,
    ) {
        let Some(tunnel) = self.touch(id) else {
            return;
        };
        let (name, suite) = (&tunnel.name, child.suite);
        let (spi_in, spi_out) = (Spi(child.spi_in), Spi(child.spi_out));
        tracing::debug!(
            tunnel = %name,
            sa = sa.0,
            %suite,
            %spi_in,
            %spi_out,
            rekeys = rekeys.map(|old| tracing::field::display(Spi(old))),
            "{name}: CHILD SA negotiated, {suite}, SPI in {spi_in}, out {spi_out}"
        );
        tunnel.sas.child_inbound(now, sa, &child, rekeys);
        let replay_window = tunnel.options.replay_window;
        self.spis.insert(child.spi_in, id);
        self.outbox.push(Command::InstallChild {
            tunnel: id,
            child,
            replay_window,
        });
    }

    fn on_child_outbound(&mut self, now: Instant, id: TunnelId, spi_in: u32) {
        let Some(tunnel) = self.touch(id) else {
            return;
        };
        let replaced = tunnel.sas.child_outbound(spi_in);
        tunnel.rekey_refused = None;
        if tunnel.sas.usable() {
            tunnel.extra_attempts = ExtraAttempts::None;
            tunnel.retry.cancel();
            tunnel.transition(now, tunnel_state::Event::ChildUp, "CHILD SA up");
            tunnel.compare_soon(now);
        }
        if let Some(replaced) = replaced {
            // It stops even if the new one's selectors do not cover all of the old one's.
            self.outbox.stop(id, replaced);
        }
    }

    fn on_child_down(&mut self, now: Instant, id: TunnelId, spi_in: u32, reason: &DownReason) {
        let Some(tunnel) = self.touch(id) else {
            return;
        };
        let Some(child) = tunnel.sas.child_down(now, spi_in) else {
            return;
        };
        let (name, spi) = (&tunnel.name, Spi(spi_in));
        tracing::debug!(
            tunnel = %name, spi_in = %spi, %reason,
            "{name}: CHILD SA {spi} ends: {reason}"
        );
        if !tunnel.sas.usable() {
            tunnel.transition(now, tunnel_state::Event::LastChildDown, &reason.to_string());
        }
        tunnel.compare_soon(now);
        self.spis.remove(&spi_in);
        if child.in_data_plane {
            let until = may_be_on_the_way(reason).then(|| now + DELETED_LINGER);
            self.outbox.remove(id, spi_in, until);
        }
    }

    fn on_path_changed(&mut self, now: Instant, id: TunnelId, sa: SaId, path: Path) {
        let Some(tunnel) = self.touch(id) else {
            return;
        };
        if let Some(line) = tunnel.lines.sas.allow(now) {
            let (tunnel, remote, held_back) = (&tunnel.name, path.remote, line.held_back);
            tracing::info!(
                %tunnel, sa = sa.0, %remote, held_back,
                "{tunnel}: the peer's address changed to {remote}{line}"
            );
        }
        tunnel.sas.path_changed(sa, path);
        // The path of a redundant IKE SA must not redirect the packets of the newer one.
        if tunnel.sas.keeper().is_none_or(|keeper| keeper == sa) {
            self.outbox.push(Command::SetPath { tunnel: id, path });
        }
    }

    fn on_refused(
        &mut self,
        now: Instant,
        id: Option<TunnelId>,
        remote: SocketAddr,
        why: RefusalReason,
    ) {
        // Text is made only when a line is written or status is asked for: most refusals
        // need none.
        if let Some(tunnel) = id.and_then(|id| self.tunnels.get_mut(&id)) {
            if tunnel.attempt.is_some() && !tunnel.keeps_initiating() {
                return;
            }
            self.touched.insert(tunnel.id);
            tunnel.pending_lines.refused(remote, why.clone());
            return tunnel.note_error_from(now, remote, why);
        }
        if let Some(line) = self.unknown_peer_lines.allow(now, remote.ip(), None) {
            let held_back = line.held_back;
            tracing::warn!(%remote, held_back, "refused {remote}, of no configured tunnel: {why}{line}");
        }
        self.unknown_peers.remember(now, remote, why);
    }

    fn on_rekey_refused(
        &mut self,
        now: Instant,
        id: TunnelId,
        remote: SocketAddr,
        why: RefusalReason,
    ) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.warn(now, Some(remote), || {
            format!("rekey with {} refused: {why}", remote.ip())
        });
        tunnel.note_error(now, why);
        tunnel.rekey_refused.clone_from(&tunnel.last_error);
    }

    fn on_diagnostic(&mut self, now: Instant, id: TunnelId, sa: SaId, diagnostic: Diagnostic) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        match diagnostic {
            Diagnostic::PeerErrors(_) => tunnel.warn(now, None, || diagnostic.to_string()),
            Diagnostic::AddressInDoubt { .. } | Diagnostic::OtherNat(_) => {
                tunnel.warn(now, None, || diagnostic.to_string());
                tunnel.note_error(now, diagnostic.to_string());
            }
            Diagnostic::GroupDemanded(_)
            | Diagnostic::GroupRequested(_)
            | Diagnostic::IkeRekeyCollision
            | Diagnostic::ChildRekeyCollision(_) => {
                let name = &tunnel.name;
                tracing::debug!(tunnel = %name, sa = sa.0, "{name}: {diagnostic}");
            }
        }
    }
}

/// The single attempt of a tunnel whose peer is to initiate failed. That is no error: the
/// tunnel goes on waiting.
fn waits_again(tunnel: &mut Tunnel, now: Instant, reason: &DownReason) {
    tunnel.extra_attempts = ExtraAttempts::None;
    tunnel.pending_lines.initiated_in_vain(reason);
    if !tunnel.sas.has_ike() {
        let why = format!("waiting for the peer; when asked once: {reason}");
        tunnel.transition(now, tunnel_state::Event::LastIkeDown, &why);
    }
}

/// Whether packets of an SA that ended may still be on the way.
const fn may_be_on_the_way(reason: &DownReason) -> bool {
    match reason {
        DownReason::Requested
        | DownReason::Superseded
        | DownReason::PeerDeleted
        | DownReason::PeerDead
        | DownReason::PeerLostIt
        | DownReason::IkeExpired
        | DownReason::AuthenticationFailed(_)
        | DownReason::Refused(_) => true,
        // After a rekey the negotiator kept it long enough; expired, it must not be used.
        DownReason::Rekeyed | DownReason::Expired => false,
    }
}

/// Whether an IKE SA's end is something an operator wants to hear of later.
const fn is_error(reason: &DownReason) -> bool {
    match reason {
        DownReason::Rekeyed | DownReason::Requested => false,
        DownReason::PeerDeleted
        | DownReason::PeerDead
        | DownReason::Expired
        | DownReason::IkeExpired
        | DownReason::Superseded
        | DownReason::PeerLostIt
        | DownReason::AuthenticationFailed(_)
        | DownReason::Refused(_) => true,
    }
}
