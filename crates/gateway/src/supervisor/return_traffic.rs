//! Looks whether what is sent into a tunnel finds an echo, and takes the tunnel to UDP
//! ([`super::udp_fallback`]) where that may be the remedy.

use std::time::Instant;

use vgw_ike::config::Encapsulation;
use vgw_ike::event::{DownReason, SaId};
use vgw_sa::{Path, TunnelId};

use super::Supervisor;
use super::lifecycle::State;
use super::one_way::Step;
use super::tunnel::Tunnel;
use super::udp_fallback::{UdpFallback, WORDS};

impl Supervisor {
    /// Looks whether what is sent into a tunnel finds an echo, and does what follows.
    pub(super) fn watch_echo(&mut self, now: Instant, id: TunnelId) {
        let by_other = self.came_by_other(id);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        // Without dead peer detection the peer is never asked: no answer would end the SA.
        if tunnel.state != State::Up || tunnel.peer.liveness.is_none() {
            return;
        }
        let step = tunnel.one_way.look(now, tunnel.traffic, by_other);
        match (step, tunnel.sas.keeper()) {
            (Some(Step::Ask), Some(sa)) => self.endpoint.check_liveness(now, sa),
            (Some(Step::Found), _) => {
                if let Some(words) = tunnel.one_way_words() {
                    tunnel.warn(now, None, || format!("nothing comes back: {words}"));
                    tunnel.blame(now, words);
                }
                self.touched.insert(id);
            }
            (Some(Step::Answered), _) => {
                if let Some(line) = tunnel.lines.states.allow(now) {
                    let (tunnel, held_back) = (&tunnel.name, line.held_back);
                    tracing::info!(%tunnel, held_back, "{tunnel}: packets come back again{line}");
                }
                self.touched.insert(id);
            }
            _ => {}
        }
        self.begin_in_udp(now, id);
    }

    /// What came by the other tunnel of a connection, if this one carries.
    fn came_by_other(&self, id: TunnelId) -> Option<u64> {
        let pair = self.pairs.get(&self.tunnels.get(&id)?.name.connection)?;
        let carries = *pair.carrier.of(&pair.tunnels) == id;
        let other = carries.then_some(pair.carrier.other().of(&pair.tunnels))?;
        Some(self.tunnels.get(other)?.traffic.packets_in)
    }

    /// Begins an IKE SA with ESP in UDP, if there is a reason to.
    fn begin_in_udp(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let fallback = &mut tunnel.udp_fallback;
        let wanted = tunnel.peer.encapsulation == Encapsulation::Auto
            && tunnel.one_way.found().is_some_and(|found| !found.left)
            && tunnel.attempt.is_none()
            && fallback.attempt.is_none()
            && fallback.rest.is_over(now);
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

    /// An IKE SA is up that is no rekey.
    pub(super) fn note_new_ike(&mut self, now: Instant, id: TunnelId, sa: SaId, path: Path) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.one_way.begin_anew();
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

    /// An attempt to initiate has failed. True if it was to go to UDP: then the tunnel
    /// goes on as it is.
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
        tunnel.udp_fallback.rest.begin(now);
        tunnel.warn(now, None, || format!("ESP in UDP was tried in vain: {why}"));
    }

    /// Has later IKE SAs begin as configured.
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

impl Tunnel {
    /// That nothing comes back through it, and what may be the reason, unless that is
    /// the peer's wish.
    pub(super) fn one_way_words(&self) -> Option<String> {
        let found = self.one_way.found().filter(|found| !found.left)?;
        let path = self.sas.keeper().and_then(|sa| self.sas.path(sa));
        Some(found.words(path.is_some_and(|path| path.udp_encapsulation)))
    }

    /// The tunnel begins anew, as it is configured.
    pub(super) fn forget_echo(&mut self) {
        self.one_way.begin_anew();
        self.udp_fallback = UdpFallback::default();
    }
}
