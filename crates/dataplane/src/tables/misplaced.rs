//! Packets that were dropped because the networks of the two ends differ: one
//! example of each kind, to show where. A peer may send them at any rate, so
//! the first is kept until it is asked for, and the others cost a look.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use vgw_sa::TunnelId;

use crate::packet::inner::InnerPacket;
use crate::tables::counters::DropReason;

/// The kinds that there are an example of.
const KINDS: [DropReason; 2] = [DropReason::SourceNotRouted, DropReason::UnknownDestination];

/// A dropped packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misplaced {
    /// Why it was dropped.
    pub reason: DropReason,
    /// The tunnel that it came by.
    pub tunnel: TunnelId,
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
}

/// One example of each kind.
#[derive(Debug, Default)]
pub(crate) struct Examples([Example; KINDS.len()]);

#[derive(Debug, Default)]
struct Example {
    /// Whether there is one that has not been asked for yet.
    fresh: AtomicBool,
    kept: Mutex<Option<Misplaced>>,
}

impl Examples {
    /// Notes that a decrypted packet of this tunnel is dropped.
    pub(crate) fn note(&self, reason: DropReason, tunnel: TunnelId, octets: &[u8]) {
        let mut of_kinds = KINDS.iter().zip(&self.0);
        let Some((_, example)) = of_kinds.find(|(kind, _)| **kind == reason) else {
            return;
        };
        if example.fresh.load(Ordering::Relaxed) || example.fresh.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(packet) = InnerPacket::parse(octets) else {
            return;
        };
        let mut kept = example.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(Misplaced {
            reason,
            tunnel,
            source: packet.source(),
            destination: packet.destination(),
        });
    }

    /// The examples. Newer ones are kept from now on.
    pub(crate) fn latest(&self) -> Vec<Misplaced> {
        let latest = self.0.iter().filter_map(|example| {
            let kept = example.kept.lock().unwrap_or_else(PoisonError::into_inner);
            example.fresh.store(false, Ordering::Relaxed);
            *kept
        });
        latest.collect()
    }
}

#[cfg(test)]
mod tests {
    use vgw_sa::GatewayId;

    use super::{Examples, Misplaced};
    use crate::packet::inner::tests::ipv4;
    use crate::tables::counters::DropReason;

    #[test]
    fn the_first_of_a_kind_is_kept_until_somebody_asks_and_stays_until_there_is_a_newer_one() {
        let examples = Examples::default();
        let note = |reason, tunnel, last| {
            examples.note(
                reason,
                GatewayId(0).tunnel(tunnel),
                &ipv4([10, 2, 0, last], [10, 1, 0, 9], 17, &[]),
            );
        };
        let of = |reason, tunnel, last| Misplaced {
            reason,
            tunnel: GatewayId(0).tunnel(tunnel),
            source: [10, 2, 0, last].into(),
            destination: [10, 1, 0, 9].into(),
        };
        let (source, destination) = (DropReason::SourceNotRouted, DropReason::UnknownDestination);
        assert_eq!(examples.latest(), []);
        for last in 1..=9 {
            note(source, 7, last);
            note(DropReason::Replayed, 7, last);
        }
        assert_eq!(examples.latest(), [of(source, 7, 1)]);
        assert_eq!(examples.latest(), [of(source, 7, 1)]);
        note(destination, 8, 2);
        note(source, 9, 3);
        assert_eq!(examples.latest(), [of(source, 9, 3), of(destination, 8, 2)]);
    }
}
