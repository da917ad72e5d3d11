//! A changed configuration, applied as a difference.

use std::sync::Arc;
use std::time::Instant;

use vgw_sa::TunnelId;

use super::peer_config::peer_config;
use super::tunnel::Tunnel;
use super::{Change, ConnectionState, Supervisor, TunnelIndex};
use crate::changed_options::{connection_fields, tunnel_fields};
use crate::domain::{Connection, TunnelName};
use crate::line_limit::{LineLimit, STATES};
use crate::revision::ChangeSet;

impl Supervisor {
    /// Puts a configuration in force. This takes a time that depends on how much changed,
    /// not on how much there is, unless the change set was made against another
    /// configuration than the one in force: then both are compared again. What did not
    /// change causes no command and no message. A tunnel whose peer, algorithms,
    /// keys or selectors changed restarts, drained first if the other one can carry;
    /// if both do, the one that carries follows once the other is up, [`LONGEST_WAIT`]
    /// later at the latest. Everything else takes effect while the tunnel stays up (a
    /// replay window with the next CHILD SA).
    ///
    /// [`LONGEST_WAIT`]: super::LONGEST_WAIT
    pub fn apply(&mut self, now: Instant, changes: ChangeSet) -> Vec<Change> {
        let ChangeSet {
            next,
            fields,
            removed,
            upserts,
            ..
        } = changes.since(&self.revision);
        let before = std::mem::replace(&mut self.revision, next);
        let mut changes = Vec::new();
        if !fields.is_empty() {
            let tables = &mut self.outbox.tables;
            tables.set_gateway(before.own(), self.revision.own());
            changes.push(Change::Gateway(fields));
        }
        for connection in removed.iter().chain(&upserts) {
            if let Some(pair) = self.connections.get(&connection.id) {
                self.outbox.tables.remove(pair.routed(before.own()));
            }
        }
        // New tunnels get other numbers than those that are removed by the same change.
        let mut freed = Vec::new();
        for gone in removed {
            freed.extend(self.remove_connection(now, &gone.id).into_iter().flatten());
            changes.push(Change::ConnectionRemoved(gone.id.clone()));
        }
        for connection in upserts {
            let id = connection.id.clone();
            if self.connections.contains_key(&id) {
                self.change_connection(now, connection, &mut changes);
            } else {
                self.add_connection(now, connection);
                changes.push(Change::ConnectionAdded(id.clone()));
            }
            if let Some(pair) = self.connections.get(&id) {
                self.outbox.tables.add(pair.routed(self.revision.own()));
            }
        }
        for id in freed {
            self.tunnel_ids.give_back(id);
        }
        if changes.iter().any(|change| self.concerns_others(change)) {
            self.compare_all_soon(now);
        }
        self.settle(now);
        changes
    }

    fn add_connection(&mut self, now: Instant, connection: Arc<Connection>) {
        let gateway = self.revision.own().id;
        let tunnels = [(); 2].map(|()| self.tunnel_ids.take(gateway));
        for (which, id) in TunnelIndex::BOTH.into_iter().zip(tunnels) {
            let options = which.of(&connection.tunnels).clone();
            let name = TunnelName {
                connection: connection.id.clone(),
                number: which.number(),
            };
            let peer = peer_config(self.revision.own(), &connection, &options, &name);
            let traffic = self.retired.remove(&id).unwrap_or_default();
            let counters = self.endpoint.counters(id);
            let config = peer.clone();
            let mut tunnel = Tunnel::new(now, id, name, options, config, traffic, counters);
            tunnel.retry.due_at(now);
            self.tunnels.insert(id, tunnel);
            self.endpoint.set_peer(now, id, peer);
            self.touched.insert(id);
        }
        let id = connection.id.clone();
        let pair = ConnectionState {
            connection,
            tunnels,
            carrier: TunnelIndex::First,
            choose_again_at: None,
            lines: LineLimit::new(STATES),
            last_move: None,
        };
        self.connections.insert(id, pair);
    }

    /// Removes a connection and its SAs; returns the ids of its tunnels.
    fn remove_connection(&mut self, now: Instant, connection: &str) -> Option<[TunnelId; 2]> {
        let tunnels = self.connections.remove(connection)?.tunnels;
        for id in tunnels {
            self.endpoint.remove_peer(now, id);
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
            if let Some(due) = tunnel.armed_deadline {
                self.deadlines.remove(&(due, id));
            }
            self.retired.insert(id, tunnel.traffic);
        }
        Some(tunnels)
    }

    fn change_connection(
        &mut self,
        now: Instant,
        after: Arc<Connection>,
        changes: &mut Vec<Change>,
    ) {
        let Some(pair) = self.connections.get_mut(&after.id) else {
            return;
        };
        let before = std::mem::replace(&mut pair.connection, Arc::clone(&after));
        let own = connection_fields(&before, &after);
        if !own.is_empty() {
            changes.push(Change::Connection {
                id: after.id.clone(),
                fields: own.clone(),
            });
        }
        let ids = pair.tunnels;
        let carrier = pair.carrier;
        let restarting =
            TunnelIndex::BOTH.map(|which| self.change_peer(now, *which.of(&ids), &after, which));
        for which in TunnelIndex::BOTH {
            let options = which.of(&after.tunnels);
            if let Some(tunnel) = self.tunnels.get_mut(which.of(&ids)) {
                if tunnel.options != *options {
                    if tunnel.options.failure_detection != options.failure_detection
                        || tunnel.options.dpd_action != options.dpd_action
                    {
                        tunnel.failure_detection.begin_anew();
                    }
                    options.clone_into(&mut tunnel.options);
                }
                if tunnel.sas.usable() && tunnel.is_narrow() {
                    tunnel.compare_soon(now);
                    self.touched.insert(tunnel.id);
                }
            }
        }
        let standby = self.tunnels.get(carrier.other().of(&ids));
        // A tunnel that was down before the change is not worth waiting for.
        let take_turns =
            restarting == [true; 2] && standby.is_some_and(|tunnel| tunnel.state.carries());
        // The carrier restarts last.
        for which in [carrier.other(), carrier] {
            if *which.of(&restarting) {
                self.begin_anew(now, *which.of(&ids), take_turns);
            }
        }
        for which in TunnelIndex::BOTH {
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
                let waits = tunnel.restart_by.is_some();
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

    /// Updates what messages say of a tunnel's peer, which no SA depends on.
    pub(super) fn reword(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let Some(pair) = self.connections.get(&tunnel.name.connection) else {
            return;
        };
        let (own, connection) = (self.revision.own(), &pair.connection);
        let peer = peer_config(own, connection, &tunnel.options, &tunnel.name);
        if tunnel.peer != peer && tunnel.peer.differs_in_words(&peer) {
            self.endpoint.reword_peer(now, id, &peer);
            tunnel.peer = peer;
        }
    }

    /// Gives a tunnel its peer's changed configuration, and says whether it has to begin
    /// anew for it.
    fn change_peer(
        &mut self,
        now: Instant,
        id: TunnelId,
        connection: &Connection,
        which: TunnelIndex,
    ) -> bool {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return false;
        };
        let options = which.of(&connection.tunnels);
        let peer = peer_config(self.revision.own(), connection, options, &tunnel.name);
        if tunnel.peer == peer {
            return false;
        }
        if tunnel.peer.differs_in_words(&peer) {
            self.reword(now, id);
            return false;
        }
        self.forget_udp(id);
        let in_force = self.endpoint.retime_peer(now, id, &peer);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return false;
        };
        if in_force {
            // A restart that was waiting is no longer needed: the change was reverted.
            tunnel.restart_by = None;
        }
        // If not in force, the tunnel is down by hand or about to restart, and then uses it.
        let goes_on = in_force || tunnel.peer.negotiates_as(&peer);
        tunnel.peer = peer;
        !goes_on
    }
}
