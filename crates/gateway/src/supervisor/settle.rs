//! What follows from the tunnels' books: attempts, deletions, who carries.

use std::time::Instant;

use vgw_crypto::RandomError;
use vgw_ike::refusal::RefusalReason;
use vgw_sa::TunnelId;

use super::Supervisor;
use super::lifecycle::{Event, State};
use super::routes::next_hop;
use super::selection::{Candidate, TunnelIndex, choose};
use super::tunnel::{AfterDrain, Tunnel};
use crate::command::Command;

impl Supervisor {
    /// Takes in the negotiator's news and decides until nothing is left to
    /// decide. Every public verb that may change something ends here.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            while let Some(event) = self.endpoint.poll_event() {
                self.on_event(now, event);
            }
            let Some(id) = self.touched.pop_first() else {
                break;
            };
            self.decide(now, id);
            self.elect(now, id);
            if let Some(tunnel) = self.tunnels.get_mut(&id) {
                tunnel.tell(now);
            }
            self.compare(now, id);
            self.arm(id);
        }
        self.outbox.publish();
    }

    fn decide(&mut self, now: Instant, id: TunnelId) {
        self.touch_waiting(id);
        self.take_turn(now, id);
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
                tunnel.pursue();
            }
            self.endpoint.delete(now, sa);
        }
        for spi_in in tunnel.change_ways() {
            let tunnel = id;
            self.outbox.push(Command::UseOutbound { tunnel, spi_in });
        }
        self.attempt(now, id);
    }

    /// Initiates if it is time to, or sets the time.
    fn attempt(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        if tunnel.state != State::Down || !tunnel.wants_attempts() {
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
                    tunnel.blame(now, why);
                    tunnel.retry.failed();
                    tunnel.retry.schedule(now, &mut self.jitter);
                }
            }
        }
    }

    /// Ends a drain whose time has come, or that has nothing left to drain.
    fn end_drain(&mut self, now: Instant, id: TunnelId) {
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

    /// Deletes a tunnel's SAs and leaves its peer without an answer from now on.
    pub(super) fn shut(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.attempt = None;
        tunnel.retry.cancel();
        tunnel.forget_echo();
        tunnel.transition(now, Event::Drained, "taken down by hand");
        self.endpoint.silence_peer(now, id, &tunnel.peer);
        self.touched.insert(id);
    }

    /// Deletes a tunnel's SAs and begins anew with its present options.
    pub(super) fn restart(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.attempt = None;
        tunnel.forget_echo();
        tunnel.transition(now, Event::Restarted, "configuration changed");
        tunnel.retry = super::retry::Retry::default();
        tunnel.ask(now);
        tunnel.trouble = None;
        tunnel.lines.refusals.forget();
        let peer = tunnel.peer.clone();
        // Needed even if the change was reverted before the restart.
        self.endpoint.remove_peer(now, id);
        self.endpoint.set_peer(now, id, peer);
        self.touched.insert(id);
    }

    /// Chooses the carrier of a tunnel's connection.
    fn elect(&mut self, now: Instant, id: TunnelId) {
        let Some(name) = self.tunnels.get(&id).map(|tunnel| &tunnel.name) else {
            return;
        };
        let Some(pair) = self.pairs.get_mut(&name.connection) else {
            return;
        };
        let [first, second] = pair.tunnels.map(|id| self.tunnels.get(&id));
        let (Some(first), Some(second)) = (first, second) else {
            return;
        };
        let candidates = [first, second].map(|tunnel| Candidate {
            state: tunnel.state,
            since: tunnel.since,
            one_way: tunnel.one_way.found().is_some(),
            rests_until: tunnel.one_way.rests_until(),
        });
        let choice = choose(now, pair.carrier, &candidates, pair.connection.failback);
        pair.again = choice.again;
        if choice.carrier == pair.carrier {
            return;
        }
        if let Some(line) = pair.lines.allow(now) {
            let (from, to) = (pair.carrier.number(), choice.carrier.number());
            let (connection, held_back) = (&name.connection, line.held_back);
            let before = *pair.carrier.of(&[first, second]);
            let why = match before.one_way.found() {
                Some(found) if found.left => "the peer has left it",
                Some(_) => "nothing comes back",
                None => before.state.name(),
            };
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
        if let Some(tunnel) = self.tunnels.get_mut(&carrier)
            && tunnel
                .one_way
                .rests_until()
                .is_some_and(|until| now >= until)
        {
            tunnel.one_way.try_again();
        }
    }

    /// Enters the next deadline of a tunnel and of its connection.
    fn arm(&mut self, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let pair = self.pairs.get(&tunnel.name.connection);
        let again = pair.and_then(|pair| pair.again);
        let due = [tunnel.deadline(), again].into_iter().flatten().min();
        if due == tunnel.armed {
            return;
        }
        if let Some(before) = tunnel.armed {
            self.deadlines.remove(&(before, id));
        }
        tunnel.armed = due;
        self.deadlines.extend(due.map(|due| (due, id)));
    }

    /// The other tunnel of the same connection.
    pub(super) fn sibling(&self, id: TunnelId) -> Option<&Tunnel> {
        let name = &self.tunnels.get(&id)?.name;
        let pair = self.pairs.get(&name.connection)?;
        let which = TunnelIndex::from_number(name.number)?;
        self.tunnels.get(which.other().of(&pair.tunnels))
    }
}
