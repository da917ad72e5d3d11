//! Whether anything returns of what is sent into a tunnel: the doubt of [`super::one_way`],
//! asked about once a second, and what follows from it.

use std::time::Instant;

use vgw_sa::TunnelId;

use super::Supervisor;
use super::one_way::Verdict;
use super::tunnel::Tunnel;
use super::tunnel_state::State;
use super::udp_fallback::UdpFallback;

impl Supervisor {
    /// Looks whether anything returns of what is sent into a tunnel, and does what follows.
    pub(super) fn watch_return_traffic(&mut self, now: Instant, id: TunnelId) {
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
            (Some(Verdict::AskPeer), Some(sa)) => self.endpoint.check_liveness(now, sa),
            (Some(Verdict::NothingReturns), _) => {
                if let Some(words) = tunnel.one_way_words() {
                    tunnel.warn(now, None, || format!("nothing comes back: {words}"));
                    tunnel.note_error(now, words);
                }
                self.touched.insert(id);
            }
            (Some(Verdict::Returns), _) => {
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

    /// How many packets came by the connection's other tunnel, if this one carries.
    fn came_by_other(&self, id: TunnelId) -> Option<u64> {
        let pair = self
            .connections
            .get(&self.tunnels.get(&id)?.name.connection)?;
        let carries = *pair.carrier.of(&pair.tunnels) == id;
        let other = carries.then_some(pair.carrier.other().of(&pair.tunnels))?;
        Some(self.tunnels.get(other)?.traffic.packets_in)
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

    /// Forgets all doubt, and ESP in UDP with it: the tunnel restarts as configured.
    pub(super) fn forget_return_traffic(&mut self) {
        self.one_way.begin_anew();
        self.failure_detection.begin_anew();
        self.udp_fallback = UdpFallback::default();
    }
}
