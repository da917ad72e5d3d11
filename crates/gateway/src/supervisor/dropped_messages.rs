//! Messages that were dropped: the first of a kind is logged, the negotiator counts all.

use std::net::SocketAddr;
use std::time::Instant;

use vgw_ike::drop_reason::DropReason;
use vgw_ike::refusal::RefusalReason;
use vgw_sa::TunnelId;

use super::Supervisor;

impl Supervisor {
    /// A datagram was dropped, and counted, before it became a message of
    /// [`Self::handle_datagram`]. Anybody can cause that, so it need not be called for
    /// every one.
    pub fn note_unread(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        denial: DropReason,
    ) {
        self.endpoint.note_unread(now, local, remote, denial);
        self.settle(now);
    }

    pub(super) fn on_dropped(
        &mut self,
        now: Instant,
        id: Option<TunnelId>,
        remote: SocketAddr,
        denial: DropReason,
    ) {
        let (why, reason) = (RefusalReason::Dropped(denial), denial.name());
        if let Some(tunnel) = id.and_then(|id| self.tunnels.get_mut(&id)) {
            if let Some(line) = tunnel.lines.drops.allow(now, denial) {
                let (tunnel, held_back) = (&tunnel.name, line.held_back);
                tracing::warn!(%tunnel, %remote, reason, held_back, "{tunnel}: from {remote}: {why}{line}");
            }
            return tunnel.note_drop(now, remote, why);
        }
        if let Some(line) = self
            .unknown_peer_lines
            .allow(now, remote.ip(), Some(denial))
        {
            let held_back = line.held_back;
            tracing::warn!(
                %remote, reason, held_back,
                "from {remote}, of no configured tunnel: {why}{line}"
            );
        }
        self.unknown_peers.remember(now, remote, why);
    }
}
