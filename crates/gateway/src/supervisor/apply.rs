//! A changed configuration, applied as a difference.

use std::collections::BTreeSet;
use std::time::Instant;

use vgw_ike::config::PeerId;

use super::change::{connection_fields, gateway_fields, tunnel_fields};
use super::mapping::peer_config;
use super::tunnel::Tunnel;
use super::{Change, Pair, Supervisor, Which};
use crate::command::TunnelId;
use crate::domain::{Connection, Gateway, TunnelName};
use crate::line_limit::{LineLimit, STATES};

impl Supervisor {
    /// Puts a configuration in force. What did not change is not touched: no
    /// command and no message comes of it. A tunnel whose peer, algorithms,
    /// keys or selectors changed begins anew, drained first if the other one can carry;
    /// if both do, the one that carries follows once the other is up, [`LONGEST_WAIT`]
    /// later at the latest. Everything else takes effect while the tunnel stays up (a
    /// replay window with the next CHILD SA).
    ///
    /// [`LONGEST_WAIT`]: super::LONGEST_WAIT
    pub fn apply(&mut self, now: Instant, gateway: Gateway) -> Vec<Change> {
        let old = std::mem::replace(&mut self.gateway, gateway.clone());
        let mut changes = Vec::new();
        let fields = gateway_fields(&old, &gateway);
        if !fields.is_empty() {
            changes.push(Change::Gateway(fields));
        }
        // Numbers of removed tunnels stay taken until the new ones have theirs.
        let taken: BTreeSet<TunnelId> = self.tunnels.keys().copied().collect();
        for gone in removed(&old, &gateway) {
            self.remove_connection(now, gone);
            changes.push(Change::ConnectionRemoved(gone.id.clone()));
        }
        let mut free = (0..).map(TunnelId).filter(|id| !taken.contains(id));
        for connection in &gateway.connections {
            let before = old.connections.iter().find(|c| c.id == connection.id);
            if let Some(before) = before {
                self.change_connection(now, before, connection, &mut changes);
            } else {
                self.add_connection(now, connection, &mut free);
                changes.push(Change::ConnectionAdded(connection.id.clone()));
            }
        }
        if !changes.is_empty() {
            for tunnel in self.tunnels.values_mut().filter(|t| t.sas.usable()) {
                tunnel.compare_soon(now);
                self.touched.insert(tunnel.id);
            }
        }
        self.stale = true;
        self.settle(now);
        changes
    }

    fn add_connection(
        &mut self,
        now: Instant,
        connection: &Connection,
        free: &mut impl Iterator<Item = TunnelId>,
    ) {
        let (Some(first), Some(second)) = (free.next(), free.next()) else {
            return;
        };
        let tunnels = [first, second];
        for (which, id) in Which::BOTH.into_iter().zip(tunnels) {
            let options = which.of(&connection.tunnels).clone();
            let name = TunnelName {
                connection: connection.id.clone(),
                number: which.number(),
            };
            let peer = peer_config(&self.gateway, connection, &options, &name);
            let traffic = self.retired.remove(&id).unwrap_or_default();
            let counters = self.endpoint.counters(PeerId::from(id));
            let config = peer.clone();
            let mut tunnel = Tunnel::new(now, id, name, options, config, traffic, counters);
            tunnel.retry.due_at(now);
            self.tunnels.insert(id, tunnel);
            self.endpoint.set_peer(now, PeerId::from(id), peer);
            self.touched.insert(id);
        }
        let pair = Pair {
            tunnels,
            carrier: Which::First,
            failback: connection.failback,
            again: None,
            lines: LineLimit::new(STATES),
        };
        self.pairs.insert(connection.id.clone(), pair);
    }

    fn remove_connection(&mut self, now: Instant, connection: &Connection) {
        let Some(pair) = self.pairs.remove(&connection.id) else {
            return;
        };
        for id in pair.tunnels {
            self.endpoint.remove_peer(now, PeerId::from(id));
            while let Some(event) = self.endpoint.poll_event() {
                self.on_event(now, event);
            }
            self.touched.remove(&id);
            let Some(tunnel) = self.tunnels.remove(&id) else {
                continue;
            };
            for (spi_in, _) in tunnel.sas.children() {
                self.spis.remove(&spi_in);
                self.outbox.remove(id, spi_in, None);
            }
            if let Some(due) = tunnel.armed {
                self.deadlines.remove(&(due, id));
            }
            self.retired.insert(id, tunnel.traffic);
        }
    }

    fn change_connection(
        &mut self,
        now: Instant,
        before: &Connection,
        after: &Connection,
        changes: &mut Vec<Change>,
    ) {
        let own = connection_fields(before, after);
        if !own.is_empty() {
            changes.push(Change::Connection {
                id: after.id.clone(),
                fields: own.clone(),
            });
        }
        let Some(pair) = self.pairs.get_mut(&after.id) else {
            return;
        };
        pair.failback = after.failback;
        let ids = pair.tunnels;
        let carrier = pair.carrier;
        let restarting =
            Which::BOTH.map(|which| self.change_peer(now, *which.of(&ids), after, which));
        for which in Which::BOTH {
            let options = which.of(&after.tunnels);
            if let Some(tunnel) = self.tunnels.get_mut(which.of(&ids))
                && tunnel.options != *options
            {
                options.clone_into(&mut tunnel.options);
            }
        }
        let both = restarting == [true; 2];
        // Whichever carries comes last.
        for which in [carrier.other(), carrier] {
            if *which.of(&restarting) {
                self.begin_anew(now, *which.of(&ids), both);
            }
        }
        for which in Which::BOTH {
            let mut fields = tunnel_fields(which.of(&before.tunnels), which.of(&after.tunnels));
            let restarts = *which.of(&restarting);
            if fields.is_empty() && own.is_empty() && !restarts {
                continue;
            }
            let Some(tunnel) = self.touch(*which.of(&ids)) else {
                continue;
            };
            let name = tunnel.name.clone();
            if restarts {
                let waits = tunnel.turn.is_some();
                fields.extend(&own);
                if fields.is_empty() {
                    fields.push("outside_addresses");
                }
                changes.push(Change::TunnelRestarted {
                    tunnel: name,
                    fields,
                    waits,
                });
            } else if !fields.is_empty() {
                changes.push(Change::TunnelAdjusted {
                    tunnel: name,
                    fields,
                });
            }
        }
    }

    /// Gives a tunnel its peer's changed configuration, and says whether it has to begin
    /// anew for it.
    fn change_peer(
        &mut self,
        now: Instant,
        id: TunnelId,
        connection: &Connection,
        which: Which,
    ) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return false;
        };
        let options = which.of(&connection.tunnels);
        let peer = peer_config(&self.gateway, connection, options, &tunnel.name);
        if tunnel.peer == peer {
            return false;
        }
        let in_force = self.endpoint.retime_peer(now, PeerId::from(id), &peer);
        if in_force {
            // It may have waited to begin anew with something that was changed back.
            tunnel.turn = None;
        }
        // Else it is down by hand, or about to begin anew, with what it has now.
        let goes_on = in_force || tunnel.peer.negotiates_as(&peer);
        tunnel.peer = peer;
        !goes_on
    }
}

/// Connections that are no more.
fn removed<'a>(old: &'a Gateway, new: &'a Gateway) -> impl Iterator<Item = &'a Connection> {
    let stays = |id: &str| new.connections.iter().any(|c| c.id == id);
    old.connections.iter().filter(move |c| !stays(&c.id))
}
