//! How a rekeyed IKE SA hands its CHILD SAs to the one that replaces it.

use std::collections::BTreeMap;
use std::time::Instant;

use vgw_sa::Path;

use super::child::Child;
use super::tasks::{RequestInFlight, Task};
use super::{Established, Phase};
use crate::core::env::Env;
use crate::core::event::SaId;
use crate::v2::channel::round_trip::RoundTrip;

/// What a rekeyed IKE SA hands to the one that replaces it.
pub(crate) struct Inheritance {
    children: BTreeMap<u32, Child>,
    tasks: Vec<(Task, Instant)>,
    path: Path,
    next_keepalive: Option<Instant>,
    round_trip: Option<RoundTrip>,
}

impl Established {
    /// Takes out what the SA that replaces this one takes over.
    pub(crate) fn hand_over(&mut self) -> Inheritance {
        Inheritance {
            children: std::mem::take(&mut self.children),
            tasks: self.tasks.take_child_tasks(),
            path: self.path,
            next_keepalive: self.next_keepalive,
            round_trip: self.round_trip,
        }
    }

    /// Becomes the SA in use instead of `old`.
    pub(crate) fn take_over(&mut self, env: &mut Env<'_>, old: SaId, from: Inheritance) {
        self.phase = Phase::Up;
        self.path = from.path;
        self.next_keepalive = from.next_keepalive;
        self.round_trip = from.round_trip;
        for &spi_in in from.children.keys() {
            env.core.owner.insert(spi_in, self.id);
        }
        self.children.extend(from.children);
        for (task, at) in from.tasks {
            self.tasks.plan(task, at);
        }
        env.count(self.peer, |c| c.ike_rekeys += 1);
        self.announce(env, Some(old));
        self.give_token_later(env);
        self.advance(env);
    }

    /// Notes that the peer closed the SA that its rekey made, so ours survives the collision.
    pub(crate) fn undecided_gone(&mut self, gone: SaId) {
        if let Some(RequestInFlight::RekeyIke { collision, .. }) = &mut self.in_flight
            && collision.as_ref().is_some_and(|c| c.peers_sa == gone)
        {
            *collision = None;
        }
    }
}
