//! Peers that are not configured and were refused. One of them may be a configured peer that
//! comes from another address than the configured one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use vgw_ike::progress::Repeats;
use vgw_ike::refusal::RefusalReason;

use super::Supervisor;
use super::last_error::says_more;
use crate::status::{AgedText, ConnectionStatus, UnknownPeerStatus};
use crate::why_not_up::{PossiblePeer, WhyNotUp};

/// How many are remembered for status.
const REMEMBERED: usize = 8;
/// Handshakes of somebody who was silent for this long are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Where more peers are awaited, nothing points to one of them.
const AWAITED: usize = 3;

/// A refused datagram of somebody who is no configured peer.
struct UnknownPeer {
    remote: SocketAddr,
    why: RefusalReason,
    at: Instant,
    /// The handshakes that it began, by our outside address.
    asked: BTreeMap<IpAddr, Repeats>,
}

/// The last [`REMEMBERED`] of them, one for each address.
#[derive(Default)]
pub(super) struct UnknownPeers(VecDeque<UnknownPeer>);

impl UnknownPeers {
    /// Keeps the latest reason of each address; but a refusal stays for a minute, as it
    /// explains more than that a message was dropped.
    pub(super) fn remember(&mut self, now: Instant, remote: SocketAddr, why: RefusalReason) {
        let known = self.0.iter().position(|s| s.remote.ip() == remote.ip());
        let of_it = known.and_then(|place| self.0.get(place));
        if of_it.is_some_and(|known| says_more(now, (&known.why, known.at), &why)) {
            return;
        }
        let known = known.and_then(|place| self.0.remove(place));
        let mut asked = known.map(|known| known.asked).unwrap_or_default();
        asked.retain(|_, row| now < row.last + FORGOTTEN);
        if let RefusalReason::NoPeer(local) = why {
            let mut row = asked.remove(&local);
            Repeats::add(&mut row, now);
            asked.extend(row.map(|row| (local, row)));
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(UnknownPeer {
            remote,
            why,
            at: now,
            asked,
        });
    }

    /// The newest first.
    pub(super) fn status(&self, now: Instant) -> impl Iterator<Item = UnknownPeerStatus> {
        self.0.iter().rev().map(move |stranger| UnknownPeerStatus {
            remote: stranger.remote,
            refused: AgedText {
                text: stranger.why.to_string(),
                age: now.saturating_duration_since(stranger.at),
            },
        })
    }

    /// Those that go on beginning handshakes, each with the address of ours.
    fn asking(&self, now: Instant) -> Vec<(IpAddr, PossiblePeer)> {
        let each = self.0.iter().flat_map(|stranger| {
            let remote = stranger.remote.ip();
            let asked = stranger.asked.iter();
            asked.map(move |(local, row)| (*local, PossiblePeer::new(now, remote, row)))
        });
        each.filter(|(_, unknown)| unknown.persists()).collect()
    }
}

impl Supervisor {
    /// Adds to the status of tunnels that are not up which unknown peer may be theirs, at
    /// another address than configured.
    pub(super) fn note_possible_peers(&self, now: Instant, connections: &mut [ConnectionStatus]) {
        for (local, unknown) in self.unknown_peers.asking(now) {
            let elsewhere = |peer: Option<IpAddr>| peer == Some(unknown.remote);
            if self.tunnels.values().any(|t| elsewhere(t.peer.remote)) {
                continue;
            }
            let tunnels = connections.iter_mut().flat_map(|c| &mut c.tunnels);
            let at_it = tunnels.filter(|tunnel| tunnel.outside_local == local);
            let awaited = at_it.filter_map(|tunnel| tunnel.why_not_up.as_mut());
            let fitting: Vec<&mut WhyNotUp> = awaited.filter(|a| a.may_be(&unknown)).collect();
            let peers: BTreeSet<_> = fitting.iter().map(|awaited| awaited.from).collect();
            if peers.len() > AWAITED {
                continue;
            }
            for awaited in fitting {
                awaited.possible_peer = Some(unknown);
            }
        }
    }
}
