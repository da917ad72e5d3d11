//! Draining: before the SAs of a tunnel that is up are deleted, traffic moves to the
//! connection's other tunnel.

use std::time::{Duration, Instant};

use vgw_sa::TunnelId;

use super::Supervisor;
use super::tunnel_state::Event;

/// Traffic is given this long to move to the other tunnel before the SAs of a
/// tunnel that is taken down are deleted: what is on the way, in either
/// direction, arrives, and the peer's own sending is not cut in mid-burst.
pub const DRAIN_TIME: Duration = Duration::from_secs(1);

/// What follows once a tunnel is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterDrain {
    /// It stays down until the operator brings it up.
    AdminDown,
    /// It restarts with its changed configuration.
    Restart,
}

/// A drain under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    pub(super) until: Instant,
    pub(super) then: AfterDrain,
    /// The negotiator still has the old configuration.
    pub(super) outdated: bool,
}

impl Supervisor {
    /// Ends a drain when its time is over or the tunnel can carry no more.
    pub(super) fn end_drain(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let Some(drain) = tunnel.drain else {
            return;
        };
        if now < drain.until && tunnel.sas.usable() {
            return;
        }
        tunnel.drain = None;
        match drain.then {
            AfterDrain::AdminDown => self.shut(now, id),
            AfterDrain::Restart => self.restart(now, id),
        }
    }

    /// Deletes a tunnel's SAs and no longer answers its peer.
    pub(super) fn shut(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.attempt = None;
        tunnel.retry.cancel();
        tunnel.forget_return_traffic();
        tunnel.transition(now, Event::Drained, "taken down by hand");
        self.endpoint.silence_peer(now, id, &tunnel.peer);
        self.touched.insert(id);
    }
}
