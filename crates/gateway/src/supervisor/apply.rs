//! A changed configuration, applied as a difference.

use std::collections::BTreeMap;
use std::sync::Arc;
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
    pub fn apply(&mut self, now: Instant, gateway: impl Into<Arc<Gateway>>) -> Vec<Change> {
        let new = gateway.into();
        let old = std::mem::replace(&mut self.gateway, Arc::clone(&new));
        let mut changes = Vec::new();
        let fields = gateway_fields(&old, &new);
        if !fields.is_empty() {
            self.outbox.tables.set_gateway(&old, &new);
            changes.push(Change::Gateway(fields));
        }
        let differences = Differences::between(&old, &new, changes.is_empty());
        let changed = differences.changed.iter().filter_map(|(before, _)| *before);
        for connection in changed.chain(differences.removed.iter().copied()) {
            if let Some(before) = self.carried(&old, connection) {
                self.outbox.tables.remove(before);
            }
        }
        // Numbers of removed tunnels stay taken until the new ones have theirs.
        let mut numbers = Vec::new();
        for gone in differences.removed {
            numbers.extend(self.remove_connection(now, gone).into_iter().flatten());
            changes.push(Change::ConnectionRemoved(gone.id.clone()));
        }
        for &(before, connection) in &differences.changed {
            if let Some(before) = before {
                self.change_connection(now, before, connection, &mut changes);
            } else {
                self.add_connection(now, connection);
                changes.push(Change::ConnectionAdded(connection.id.clone()));
            }
            if let Some(after) = self.carried(&new, connection) {
                self.outbox.tables.add(after);
            }
        }
        for number in numbers {
            self.numbers.give_back(number);
        }
        if !changes.is_empty() {
            self.note_places(&new);
            let compared = self.tunnels.values_mut();
            for tunnel in compared.filter(|t| t.sas.usable() && t.is_narrow()) {
                tunnel.compare_soon(now);
                self.touched.insert(tunnel.id);
            }
        }
        self.settle(now);
        changes
    }

    /// Remembers where in the configuration each connection is.
    fn note_places(&mut self, gateway: &Gateway) {
        for (place, connection) in gateway.connections.iter().enumerate() {
            if let Some(pair) = self.pairs.get_mut(&connection.id) {
                pair.place = place;
            }
        }
    }

    fn add_connection(&mut self, now: Instant, connection: &Connection) {
        let tunnels = [(); 2].map(|()| self.numbers.take());
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
            place: 0,
            prefixes: self.gateway.remote_prefixes(connection).to_vec(),
            failback: connection.failback,
            again: None,
            lines: LineLimit::new(STATES),
        };
        self.pairs.insert(connection.id.clone(), pair);
    }

    /// Gives the numbers that its tunnels had.
    fn remove_connection(
        &mut self,
        now: Instant,
        connection: &Connection,
    ) -> Option<[TunnelId; 2]> {
        let tunnels = self.pairs.remove(&connection.id)?.tunnels;
        for id in tunnels {
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
        Some(tunnels)
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
        pair.prefixes = self.gateway.remote_prefixes(after).to_vec();
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
        let standby = self.tunnels.get(carrier.other().of(&ids));
        // One that was not up before will hardly be soon.
        let take_turns =
            restarting == [true; 2] && standby.is_some_and(|tunnel| tunnel.state.carries());
        // Whichever carries comes last.
        for which in [carrier.other(), carrier] {
            if *which.of(&restarting) {
                self.begin_anew(now, *which.of(&ids), take_turns);
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
        self.forget_udp(id);
        let in_force = self.endpoint.retime_peer(now, PeerId::from(id), &peer);
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return false;
        };
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

/// How the connections of a configuration differ from those of the one before.
struct Differences<'a> {
    /// Connections that are no more.
    removed: Vec<&'a Connection>,
    /// New and changed ones in the order of the file, each with what it was.
    changed: Vec<(Option<&'a Connection>, &'a Connection)>,
}

impl<'a> Differences<'a> {
    /// Where the gateway itself is not the same, every connection may be another.
    fn between(old: &'a Gateway, new: &'a Gateway, same_gateway: bool) -> Self {
        let mut before: BTreeMap<&str, &Connection> = BTreeMap::new();
        before.extend(old.connections.iter().map(|c| (c.id.as_str(), c)));
        let after = new.connections.iter();
        let changed = after.filter_map(|connection| {
            let before = before.remove(connection.id.as_str());
            let same = same_gateway && before == Some(connection);
            (!same).then_some((before, connection))
        });
        let changed = changed.collect();
        let removed = old.connections.iter();
        Self {
            changed,
            removed: removed
                .filter(|c| before.contains_key(c.id.as_str()))
                .collect(),
        }
    }
}
