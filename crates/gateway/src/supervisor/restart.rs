//! Tunnels that begin anew with a changed configuration: one after the other, so that
//! one of them carries all the time.

use std::time::{Duration, Instant};

use vgw_sa::TunnelId;

use super::Supervisor;
use super::lifecycle::{Event, State};
use super::tunnel::{AfterDrain, DRAIN_TIME, Drain, Tunnel};

/// A tunnel that carries and is to begin anew waits at most this long for the other one,
/// which began anew first: the peer may have the old configuration, or not come back, and
/// what was changed may be a key that somebody else knows.
pub const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// What the other tunnel is to one that is to begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refuge {
    /// It carries while this one is down.
    Up,
    /// It is beginning anew itself.
    Coming,
    /// Waiting for it would be in vain.
    None,
}

impl Supervisor {
    /// Has a tunnel, which knows its changed configuration already, begin anew. To
    /// `take_turns` is to wait for the other tunnel of the connection, which was up and
    /// begins anew by the same change; whichever is to carry meanwhile comes last.
    pub(super) fn begin_anew(&mut self, now: Instant, id: TunnelId, take_turns: bool) {
        let refuge = self.refuge(id, take_turns);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        match (tunnel.state, refuge) {
            (State::Up, Refuge::Up) => drain(now, tunnel),
            (State::Up, Refuge::Coming) => {
                tunnel.turn.get_or_insert(now + LONGEST_WAIT);
            }
            (State::Up, Refuge::None) | (State::Down | State::Connecting, _) => {
                self.restart(now, id);
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

    fn refuge(&self, id: TunnelId, take_turns: bool) -> Refuge {
        let waits = self.tunnels.get(&id).is_some_and(|t| t.turn.is_some());
        let Some(other) = self.sibling(id) else {
            return Refuge::None;
        };
        match (other.state, other.drain.map(|drain| drain.then)) {
            (State::Up, _) => Refuge::Up,
            (State::Draining, Some(AfterDrain::Restart)) => Refuge::Coming,
            (State::Down | State::Connecting, _) if take_turns || waits => Refuge::Coming,
            (State::Draining | State::Down | State::Connecting | State::AdminDown, _) => {
                Refuge::None
            }
        }
    }

    /// Has a tunnel begin anew that waited for the other one, if that is up, will not be
    /// soon, or if there is nothing to lose any more.
    pub(super) fn take_turn(&mut self, now: Instant, id: TunnelId) {
        let other = self.sibling(id).map(|other| other.state);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let Some(until) = tunnel.turn else {
            return;
        };
        match (tunnel.state, other) {
            (State::Up, Some(State::Up)) => drain(now, tunnel),
            (State::Up, Some(State::Down | State::Connecting | State::Draining)) if now < until => {
                return;
            }
            (State::Up, _) => {
                let tunnel = &tunnel.name;
                tracing::warn!(
                    %tunnel,
                    "{tunnel}: begins anew although the connection's other tunnel is not up with \
                     the changed configuration: traffic is interrupted"
                );
                self.restart(now, id);
            }
            (State::Down | State::Connecting | State::Draining | State::AdminDown, _) => {
                self.restart(now, id);
            }
        }
        if let Some(tunnel) = self.tunnels.get_mut(&id) {
            tunnel.turn = None;
        }
    }

    /// Looks again at a tunnel that waits for this one.
    pub(super) fn touch_waiting(&mut self, id: TunnelId) {
        let waiting = self.sibling(id).filter(|other| other.turn.is_some());
        if let Some(waiting) = waiting.map(|other| other.id) {
            self.touched.insert(waiting);
        }
    }
}

/// Moves traffic to the other tunnel before this one begins anew.
fn drain(now: Instant, tunnel: &mut Tunnel) {
    tunnel.transition(now, Event::TakeDown, "configuration changed");
    tunnel.drain = Some(Drain {
        until: now + DRAIN_TIME,
        then: AfterDrain::Restart,
        outdated: true,
    });
}
