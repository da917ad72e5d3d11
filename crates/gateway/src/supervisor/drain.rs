//! Draining: before the SAs of a tunnel that is up are deleted, traffic moves to the
//! connection's other tunnel: ours at once, and the peer's when it notices.

use std::time::{Duration, Instant};

use vgw_sa::TunnelId;

use super::Supervisor;
use super::tunnel_state::Event;

/// The SAs of a tunnel that is taken down are deleted this long after they are drained, at the
/// latest: a peer that knows of the move only by the deletion would go on using them.
pub const LONGEST_DRAIN: Duration = Duration::from_secs(3);

/// The peer's traffic has moved if it comes by the other tunnel, and by this one has not for so
/// long. The data plane tells of packets that keep coming a few times a second.
const MOVED: Duration = Duration::from_millis(500);

/// The peer sends nothing if nothing has come for so long.
const SILENT: Duration = Duration::from_secs(1);

/// Why a tunnel is down that the operator took down.
pub(super) const BY_HAND: &str = "taken down by hand";

/// Why a tunnel restarts.
pub(super) const CHANGED: &str = "configuration changed";

/// What follows once a tunnel is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterDrain {
    /// It stays down until the operator brings it up.
    AdminDown,
    /// It restarts with its changed configuration.
    Restart,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    /// The peer's traffic comes by the other tunnel.
    Moved,
    /// None came.
    Silent,
    /// It still came by this one when the time was over.
    StillSends,
    /// Its last SA went before.
    NothingLeft,
}

impl Drained {
    /// What was done to the tunnel, and what had become of the peer's traffic by then.
    fn words(self, what: &str) -> String {
        let how = match self {
            Self::Moved => ", after the peer's traffic had moved",
            Self::Silent => ", with no traffic of the peer",
            Self::StillSends => ", though the peer still sent by it",
            Self::NothingLeft => "",
        };
        format!("{what}{how}")
    }
}

/// A drain under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    /// Since when, or since the peer's last packet.
    heard: Instant,
    until: Instant,
    /// The peer's packets come by the other tunnel.
    comes_by_other: bool,
    pub(super) then: AfterDrain,
    /// The negotiator still has the old configuration.
    pub(super) outdated: bool,
}

impl Drain {
    /// Of a tunnel whose traffic moves to the other one.
    pub(super) fn new(now: Instant, then: AfterDrain, outdated: bool) -> Self {
        Self {
            heard: now,
            until: now + LONGEST_DRAIN,
            comes_by_other: false,
            then,
            outdated,
        }
    }

    /// When to look again.
    pub(super) fn due(&self) -> Instant {
        let quiet = if self.comes_by_other { MOVED } else { SILENT };
        self.until.min(self.heard + quiet)
    }

    fn ended(&self, now: Instant) -> Option<Drained> {
        if now < self.due() {
            return None;
        }
        Some(match self.comes_by_other {
            _ if now >= self.until => Drained::StillSends,
            true => Drained::Moved,
            false => Drained::Silent,
        })
    }
}

impl Supervisor {
    /// Packets came by this tunnel.
    pub(super) fn note_for_drain(&mut self, now: Instant, id: TunnelId) {
        let other = self.sibling(id).map(|other| other.id);
        if let Some(drain) = self.drain_of(id) {
            drain.heard = now;
        }
        if let Some(drain) = other.and_then(|other| self.drain_of(other)) {
            drain.comes_by_other = true;
        }
    }

    /// The drain of a tunnel, to be changed.
    fn drain_of(&mut self, id: TunnelId) -> Option<&mut Drain> {
        let drain = self.tunnels.get_mut(&id)?.drain.as_mut()?;
        self.touched.insert(id);
        Some(drain)
    }

    /// Ends a drain when the peer's traffic has moved, its time is over, or the tunnel can carry
    /// no more.
    pub(super) fn end_drain(&mut self, now: Instant, id: TunnelId) {
        let other_carries = self.sibling(id).is_some_and(|other| other.can_take_over());
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let Some(drain) = tunnel.drain else {
            return;
        };
        let usable = tunnel.sas.usable();
        let Some(drained) = drain
            .ended(now)
            .or((!usable).then_some(Drained::NothingLeft))
        else {
            return;
        };
        tunnel.drain = None;
        match drain.then {
            AfterDrain::AdminDown => self.shut(now, id, &drained.words(BY_HAND)),
            // It still carries: the other one failed meanwhile, and is to come back first.
            AfterDrain::Restart if usable && !other_carries => {
                tunnel.transition(now, Event::BringUp, CHANGED);
                self.begin_anew(now, id, true);
            }
            AfterDrain::Restart => self.restart(now, id, &drained.words(CHANGED)),
        }
    }

    /// Deletes a tunnel's SAs and no longer answers its peer.
    pub(super) fn shut(&mut self, now: Instant, id: TunnelId, why: &str) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.attempt = None;
        tunnel.retry.cancel();
        tunnel.forget_return_traffic();
        tunnel.transition(now, Event::Drained, why);
        self.endpoint.silence_peer(now, id, &tunnel.peer);
        self.touched.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{AfterDrain, Drain, Drained};
    use crate::test_time::epoch;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// When a drain ends, and how, by which packets come every 100 ms until this one and from
    /// that one on by the other tunnel.
    fn ends(until: u64, by_other_from: u64) -> (Duration, Drained) {
        let start = epoch();
        let mut drain = Drain::new(start, AfterDrain::AdminDown, false);
        for at in (0..).step_by(100) {
            let now: Instant = start + ms(at);
            if let Some(drained) = drain.ended(now) {
                return (now - start, drained);
            }
            if at <= until {
                drain.heard = now;
            }
            drain.comes_by_other |= at >= by_other_from;
        }
        unreachable!("the range has no end")
    }

    #[test]
    fn a_drain_ends_when_the_peer_has_moved_or_is_silent_or_its_time_is_over() {
        assert_eq!(ends(400, 400), (ms(900), Drained::Moved));
        assert_eq!(ends(0, 1_000_000), (ms(1000), Drained::Silent));
        assert_eq!(ends(1200, 1_000_000), (ms(2200), Drained::Silent));
        assert_eq!(ends(1_000_000, 1_000_000), (ms(3000), Drained::StillSends));
        // One that uses both.
        assert_eq!(ends(1_000_000, 0), (ms(3000), Drained::StillSends));
    }
}
