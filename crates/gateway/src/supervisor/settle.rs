//! What follows once something has happened to a tunnel: attempts, deletions, the choice of
//! the carrier, log lines.

use std::time::Instant;

use vgw_crypto::RandomError;
use vgw_ike::refusal::RefusalReason;
use vgw_sa::TunnelId;

use super::Supervisor;
use super::failure_detection::Standing;
use super::routes::next_hop;
use super::selection::{TunnelHealth, TunnelIndex, choose};
use super::tunnel::Tunnel;
use super::tunnel_state::{Event, State};
use crate::command::Command;

/// That a connection's traffic moved to the other tunnel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    pub(super) at: Instant,
    pub(super) from: TunnelIndex,
    /// What the matter was with the tunnel before.
    pub(super) why: &'static str,
}

/// What makes traffic leave a tunnel.
fn why_it_moves(before: &Tunnel) -> &'static str {
    match (before.failure_detection.standing(), before.one_way.found()) {
        _ if before.state != State::Up => before.state.name(),
        (Standing::Unanswering(_), _) => "its peer does not answer",
        (Standing::Moved(_), _) => "the peer has left it",
        (_, Some(found)) if found.left => "the peer has left it",
        (_, Some(_)) => "nothing comes back",
        (_, None) => "failback",
    }
}

impl Supervisor {
    /// Takes the negotiator's events and decides until nothing is left to decide. Every
    /// public method that may change something ends here.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            while let Some(event) = self.endpoint.poll_event() {
                self.on_event(now, event);
            }
            let Some(id) = self.touched.pop_first() else {
                if self.ask_next(now) {
                    continue;
                }
                break;
            };
            self.decide(now, id);
            self.choose_carrier(now, id);
            if let Some(tunnel) = self.tunnels.get_mut(&id) {
                tunnel.write_pending_lines(now);
            }
            self.compare(now, id);
            self.set_deadline(id);
        }
        self.outbox.publish();
    }

    fn decide(&mut self, now: Instant, id: TunnelId) {
        self.touch_waiting_sibling(id);
        self.restart_in_turn(now, id);
        self.measure_round_trip(now, id);
        self.ask_in_doubt(now, id);
        self.end_drain(now, id);
        let recovers = self.revision.own().initiate_to_recover;
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        for sa in tunnel.sas.take_redundant(now) {
            let name = &tunnel.name;
            tracing::debug!(
                tunnel = %name, sa = sa.0,
                "{name}: deleting an IKE SA that serves no purpose"
            );
            if recovers && tunnel.sas.lost_children(sa) && !tunnel.sas.usable() {
                tunnel.initiate_until_up();
            }
            self.endpoint.delete(now, sa);
        }
        for spi_in in tunnel.update_outbound_spis() {
            let tunnel = id;
            self.outbox.push(Command::UseOutbound { tunnel, spi_in });
        }
        self.attempt(now, id);
    }

    /// Initiates if it is time to, else schedules that.
    fn attempt(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        if tunnel.state != State::Down || !tunnel.initiates() {
            tunnel.retry.cancel();
            return;
        }
        if tunnel.attempt.is_some() {
            tunnel.transition(now, Event::Initiate, "initiating");
            return;
        }
        match tunnel.retry.at() {
            None => tunnel.retry.schedule(now, &mut self.jitter),
            Some(due) if due > now => {}
            Some(_) => {
                tunnel.retry.begin(now);
                tunnel.attempt = self.endpoint.initiate(now, id);
                if tunnel.attempt.is_some() {
                    tunnel.transition(now, Event::Initiate, "initiating");
                } else {
                    let why = match tunnel.peer.remote {
                        None => {
                            RefusalReason::Fixed("cannot initiate: the peer's address is not known")
                        }
                        Some(_) => RefusalReason::Text(format!("cannot initiate: {RandomError}")),
                    };
                    tunnel.note_error(now, why);
                    tunnel.retry.failed();
                    tunnel.retry.schedule(now, &mut self.jitter);
                }
            }
        }
    }

    /// Chooses the carrier of a tunnel's connection.
    fn choose_carrier(&mut self, now: Instant, id: TunnelId) {
        let Some(name) = self.tunnels.get(&id).map(|tunnel| &tunnel.name) else {
            return;
        };
        let Some(pair) = self.connections.get_mut(&name.connection) else {
            return;
        };
        let [first, second] = pair.tunnels.map(|id| self.tunnels.get(&id));
        let (Some(first), Some(second)) = (first, second) else {
            return;
        };
        let candidates = [first, second].map(|tunnel| TunnelHealth {
            state: tunnel.state,
            since: tunnel.since,
            standing: tunnel.failure_detection.standing(),
            one_way: tunnel.one_way.found().is_some(),
            backs_off_until: tunnel
                .one_way
                .backs_off_until()
                .max(tunnel.failure_detection.recovers_until()),
        });
        let choice = choose(now, pair.carrier, &candidates, pair.connection.failback);
        pair.choose_again_at = choice.again_at;
        if choice.carrier == pair.carrier {
            return;
        }
        let before = *pair.carrier.of(&[first, second]);
        let why = why_it_moves(before);
        pair.last_move = Some(Move {
            at: now,
            from: pair.carrier,
            why,
        });
        if let Some(line) = pair.lines.allow(now) {
            let (from, to) = (pair.carrier.number(), choice.carrier.number());
            let (connection, held_back) = (&name.connection, line.held_back);
            tracing::info!(
                connection,
                held_back,
                "{connection}: traffic moves from tunnel {from} ({why}) to tunnel {to}{line}"
            );
        }
        pair.carrier = choice.carrier;
        let hop = next_hop(pair.tunnels, pair.carrier);
        let prefixes = self.revision.own().remote_prefixes(&pair.connection);
        self.outbox.tables.lead(prefixes, hop);
        let carrier = *choice.carrier.of(&pair.tunnels);
        let Some(tunnel) = self.tunnels.get_mut(&carrier) else {
            return;
        };
        tunnel.takeovers += 1;
        let pause = tunnel.one_way.backs_off_until();
        if pause.is_some_and(|until| now >= until) {
            tunnel.one_way.try_again();
        }
    }

    /// Arms the next deadline of a tunnel and of its connection.
    fn set_deadline(&mut self, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let pair = self.connections.get(&tunnel.name.connection);
        let again = pair.and_then(|pair| pair.choose_again_at);
        let due = [tunnel.deadline(), again].into_iter().flatten().min();
        if due == tunnel.armed_deadline {
            return;
        }
        if let Some(before) = tunnel.armed_deadline {
            self.deadlines.remove(&(before, id));
        }
        tunnel.armed_deadline = due;
        self.deadlines.extend(due.map(|due| (due, id)));
    }

    /// The other tunnel of the same connection.
    pub(super) fn sibling(&self, id: TunnelId) -> Option<&Tunnel> {
        let name = &self.tunnels.get(&id)?.name;
        let pair = self.connections.get(&name.connection)?;
        let which = TunnelIndex::from_number(name.number)?;
        self.tunnels.get(which.other().of(&pair.tunnels))
    }
}
