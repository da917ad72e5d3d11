//! Where nothing is known yet, the NAT detection of the handshake decides (`vgw_ike`,
//! `v2/handshake/nat`). But with `encapsulation = "auto"`, a tunnel through which nothing returns by IP protocol 50 is
//! taken to ESP in UDP: a second IKE SA is made beside the first, pretending a NAT (RFC 7296
//! section 2.23). Nothing is lost if that was not the reason, or if it fails: the first IKE
//! SA goes on until traffic has moved.
//!
//! Later IKE SAs use UDP, too, as long as the peer answers from the same address. After that
//! the path may be another one, and UDP port 4500 closed on it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use vgw_ike::config::Encapsulation;
use vgw_ike::event::{DownReason, SaId};
use vgw_sa::{Path, TunnelId};

use super::Supervisor;
use super::backoff::Backoff;
use super::one_way::BACKOFF;

/// What a tunnel's status says while ESP is in UDP for this reason.
pub(super) const WORDS: &str = "ESP goes in UDP, as none came back by IP protocol 50: let that \
                                through on the way, or set encapsulation = \"udp\"";

/// Whether a tunnel's ESP is in UDP for this reason, or is about to be.
#[derive(Debug, Default)]
pub(super) struct UdpFallback {
    /// The IKE SA that is being made.
    pub(super) attempt: Option<SaId>,
    /// Since when ESP is in UDP, and where the peer was.
    pub(super) chosen: Option<(Instant, IpAddr)>,
    pub(super) backoff: Backoff,
}

impl UdpFallback {
    /// How long ESP has been in UDP for this reason.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let (since, _) = self.chosen?;
        Some(now.saturating_duration_since(since))
    }
}

impl Supervisor {
    /// Begins an IKE SA with ESP in UDP, if there is a reason to.
    pub(super) fn begin_in_udp(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let fallback = &mut tunnel.udp_fallback;
        let wanted = tunnel.peer.encapsulation == Encapsulation::Auto
            && tunnel.one_way.found().is_some_and(|found| !found.left)
            && tunnel.attempt.is_none()
            && fallback.attempt.is_none()
            && fallback.backoff.is_over(now);
        let path = tunnel.sas.keeper().and_then(|sa| tunnel.sas.path(sa));
        let native = path.filter(|path| !path.udp_encapsulation);
        let (true, Some(path)) = (wanted, native) else {
            return;
        };
        self.endpoint
            .set_encapsulation(id, Encapsulation::PreferUdp);
        fallback.attempt = self.endpoint.initiate_at(now, id, path.remote.ip());
        if fallback.attempt.is_none() {
            self.udp_failed(now, id, "it could not be begun");
        }
    }

    /// A new IKE SA is up, not by a rekey.
    pub(super) fn note_new_ike(&mut self, now: Instant, id: TunnelId, sa: SaId, path: Path) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.one_way.begin_anew();
        tunnel.failure_detection.begin_anew();
        let fallback = &mut tunnel.udp_fallback;
        if fallback.attempt == Some(sa) {
            if !path.udp_encapsulation {
                return self.udp_failed(now, id, "the peer takes no part in NAT detection");
            }
            fallback.attempt = None;
            fallback.chosen = Some((now, path.remote.ip()));
            tunnel.warn(now, None, || WORDS.to_owned());
        } else if fallback
            .chosen
            .is_some_and(|(_, at)| at != path.remote.ip())
        {
            self.forget_udp(id);
        }
    }

    /// An attempt to initiate has failed. Returns whether it was the one for ESP in UDP:
    /// then the tunnel goes on with the IKE SA that it has.
    pub(super) fn note_failed_attempt(
        &mut self,
        now: Instant,
        id: TunnelId,
        sa: SaId,
        reason: &DownReason,
    ) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return false;
        };
        let was_it = tunnel.udp_fallback.attempt == Some(sa);
        if was_it && *reason == DownReason::Superseded {
            // The peer came first with a new IKE SA.
            tunnel.udp_fallback.attempt = None;
        } else if was_it {
            self.udp_failed(now, id, &reason.to_string());
        } else if *reason != DownReason::Superseded {
            self.forget_udp(id);
        }
        was_it
    }

    fn udp_failed(&mut self, now: Instant, id: TunnelId, why: &str) {
        self.forget_udp(id);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.udp_fallback.backoff.begin(now, &BACKOFF);
        tunnel.warn(now, None, || format!("ESP in UDP was tried in vain: {why}"));
    }

    /// From now on, IKE SAs are negotiated with the configured encapsulation.
    pub(super) fn forget_udp(&mut self, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let UdpFallback {
            attempt, chosen, ..
        } = &mut tunnel.udp_fallback;
        if attempt.take().is_some() | chosen.take().is_some() {
            let configured = tunnel.peer.encapsulation;
            self.endpoint.set_encapsulation(id, configured);
        }
    }
}
