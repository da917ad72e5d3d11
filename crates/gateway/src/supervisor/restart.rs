//! Restarting the tunnels of a connection whose configuration changed: one after the other,
//! so that one of them carries all the time.

use std::time::{Duration, Instant};

use vgw_sa::TunnelId;

use super::Supervisor;
use super::drain::{AfterDrain, CHANGED, Drain};
use super::retry::Retry;
use super::tunnel::Tunnel;
use super::tunnel_state::{Event, State};

/// A tunnel that carries and is to restart waits at most this long for the other one,
/// which restarted first: the peer may have the old configuration, or not come back, and
/// what was changed may be a key that somebody else knows.
pub const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// What a tunnel that is to restart can expect of the connection's other tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sibling {
    /// It is up and can carry meanwhile.
    Up,
    /// It is restarting itself and will be up.
    Coming,
    /// It will not be up soon.
    None,
}

impl Supervisor {
    /// Has a tunnel restart, which has its changed configuration already. With `take_turns`
    /// it waits for the connection's other tunnel, which was up and restarts by the same
    /// change; the one that carries meanwhile restarts last.
    pub(super) fn begin_anew(&mut self, now: Instant, id: TunnelId, take_turns: bool) {
        let sibling = self.sibling_of_restarting(id, take_turns);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        match (tunnel.state, sibling) {
            (State::Up, Sibling::Up) => drain(now, tunnel),
            (State::Up, Sibling::Coming) => {
                tunnel.restart_by.get_or_insert(now + LONGEST_WAIT);
            }
            (State::Up, Sibling::None) | (State::Down | State::Connecting, _) => {
                self.restart(now, id, CHANGED);
            }
            // The change takes effect at the end of the drain, or once it is
            // brought up.
            (State::Draining, _) => {
                if let Some(drain) = &mut tunnel.drain {
                    drain.outdated = true;
                }
            }
            (State::AdminDown, _) => {
                self.endpoint.silence_peer(now, id, &tunnel.peer);
            }
        }
    }

    fn sibling_of_restarting(&self, id: TunnelId, take_turns: bool) -> Sibling {
        let waits = self
            .tunnels
            .get(&id)
            .is_some_and(|t| t.restart_by.is_some());
        let Some(other) = self.sibling(id) else {
            return Sibling::None;
        };
        match (other.state, other.drain.map(|drain| drain.then)) {
            (State::Up, _) if other.can_take_over() => Sibling::Up,
            (State::Up, _) | (State::Draining, Some(AfterDrain::Restart)) => Sibling::Coming,
            (State::Down | State::Connecting, _) if take_turns || waits => Sibling::Coming,
            (State::Draining | State::Down | State::Connecting | State::AdminDown, _) => {
                Sibling::None
            }
        }
    }

    /// Restarts a tunnel that waited for the other one, if the other one is up or will not
    /// be soon, or if this one is down anyway.
    pub(super) fn restart_in_turn(&mut self, now: Instant, id: TunnelId) {
        let other = self.sibling(id);
        let other_carries = other.is_some_and(Tunnel::can_take_over);
        let other = other.map(|other| other.state);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let Some(until) = tunnel.restart_by else {
            return;
        };
        match (tunnel.state, other) {
            (State::Up, _) if other_carries => drain(now, tunnel),
            (State::Up, Some(State::Up | State::Down | State::Connecting | State::Draining))
                if now < until =>
            {
                return;
            }
            (State::Up, _) => {
                let tunnel = &tunnel.name;
                tracing::warn!(
                    %tunnel,
                    "{tunnel}: begins anew although the connection's other tunnel is not up with \
                     the changed configuration: traffic is interrupted"
                );
                self.restart(now, id, CHANGED);
            }
            (State::Down | State::Connecting | State::Draining | State::AdminDown, _) => {
                self.restart(now, id, CHANGED);
            }
        }
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.restart_by = None;
        }
    }

    /// Deletes a tunnel's SAs and restarts with its present options.
    pub(super) fn restart(&mut self, now: Instant, id: TunnelId, why: &str) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.attempt = None;
        tunnel.forget_return_traffic();
        tunnel.transition(now, Event::Restarted, why);
        tunnel.retry = Retry::default();
        tunnel.initiate_once(now);
        tunnel.last_error = None;
        tunnel.lines.refusals.forget();
        let peer = tunnel.peer.clone();
        // Needed even if the change was reverted before the restart.
        self.endpoint.remove_peer(now, id);
        self.endpoint.set_peer(now, id, peer);
        self.touched.insert(id);
    }

    /// Looks again at a tunnel that waits for this one.
    pub(super) fn touch_waiting_sibling(&mut self, id: TunnelId) {
        let waiting = self.sibling(id).filter(|other| other.restart_by.is_some());
        if let Some(waiting) = waiting.map(|other| other.id) {
            self.touched.insert(waiting);
        }
    }
}

/// Moves traffic to the other tunnel before this one restarts.
fn drain(now: Instant, tunnel: &mut Tunnel) {
    let drain = Drain::new(now, AfterDrain::Restart, true);
    tunnel.begin_drain(now, drain, CHANGED);
}
