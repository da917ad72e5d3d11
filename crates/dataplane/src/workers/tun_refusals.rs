//! What becomes of decrypted packets that the TUN device does not take.

use nix::errno::Errno;

use crate::offload::coalesce::{Bundle, Kind, WriteOutcome};
use crate::tables::counters::{DropReason, Drops};

/// How many joined packets of one kind must be refused in a row before no more
/// are tried: a single odd one must not cost the others their speed.
const REFUSALS: u32 = 16;

/// Counts what is lost, and remembers what the device refuses.
#[derive(Debug, Default)]
pub(crate) struct TunRefusals {
    /// Refused in a row, of TCP and of UDP.
    refused: [u32; 2],
    gone: bool,
}

impl TunRefusals {
    /// Takes note of how the device took something.
    pub(crate) fn note(
        &mut self,
        joined: &Bundle<'_>,
        result: Result<(), Errno>,
        drops: &Drops,
    ) -> WriteOutcome {
        let lost = |reason| {
            drops.add(reason, joined.packets);
            WriteOutcome::Done
        };
        match (result, joined.kind) {
            (Ok(()), kind) => {
                if let Some(refused) = kind.map(|kind| self.refused_mut(kind)) {
                    *refused = 0;
                }
                WriteOutcome::Done
            }
            (Err(Errno::EBADFD), _) => {
                self.gone = true;
                lost(DropReason::TunWrite)
            }
            // The device is down.
            (Err(Errno::EIO), _) => lost(DropReason::TunWrite),
            (Err(Errno::EAGAIN | Errno::ENOBUFS), _) | (Err(Errno::ENOMEM), None) => {
                lost(DropReason::TunFull)
            }
            // There may be memory for less.
            (Err(Errno::ENOMEM), Some(_)) => WriteOutcome::Singly,
            (Err(_), Some(kind)) => {
                let refused = self.refused_mut(kind);
                *refused = refused.saturating_add(1);
                WriteOutcome::Singly
            }
            (Err(_), None) => lost(DropReason::TunWrite),
        }
    }

    /// Whether the device is gone.
    pub(crate) const fn gone(&self) -> bool {
        self.gone
    }

    /// A kind that the kernel does not take joined, once it is sure.
    pub(crate) fn given_up(&mut self) -> Option<Kind> {
        let sure = |kind: &Kind| *self.refused_mut(*kind) >= REFUSALS;
        let kind = [Kind::Tcp, Kind::Udp].into_iter().find(sure)?;
        *self.refused_mut(kind) = 0;
        Some(kind)
    }

    const fn refused_mut(&mut self, kind: Kind) -> &mut u32 {
        let [tcp, udp] = &mut self.refused;
        match kind {
            Kind::Tcp => tcp,
            Kind::Udp => udp,
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::{REFUSALS, TunRefusals};
    use crate::offload::coalesce::{Bundle, Kind, WriteOutcome};
    use crate::tables::counters::{DropReason, Drops};

    const SINGLE: Bundle<'_> = Bundle {
        parts: &[],
        packets: 1,
        kind: None,
    };

    fn joined(kind: Kind) -> Bundle<'static> {
        Bundle {
            parts: &[],
            packets: 64,
            kind: Some(kind),
        }
    }

    #[test]
    fn every_packet_of_a_joined_one_that_is_lost_is_counted() {
        for (errno, reason) in [
            (Errno::EIO, DropReason::TunWrite),
            (Errno::EBADFD, DropReason::TunWrite),
            (Errno::EAGAIN, DropReason::TunFull),
        ] {
            let (mut delivery, drops) = (TunRefusals::default(), Drops::default());
            let outcome = delivery.note(&joined(Kind::Udp), Err(errno), &drops);
            assert_eq!(
                (outcome, drops.get(reason)),
                (WriteOutcome::Done, 64),
                "{errno}"
            );
            delivery.note(&SINGLE, Err(errno), &drops);
            assert_eq!(drops.get(reason), 65);
            assert_eq!(delivery.gone(), errno == Errno::EBADFD);
        }
    }

    #[test]
    fn what_is_refused_joined_is_tried_singly_before_it_is_lost() {
        let (mut delivery, drops) = (TunRefusals::default(), Drops::default());
        for (errno, reason) in [
            (Errno::EINVAL, DropReason::TunWrite),
            (Errno::ENOMEM, DropReason::TunFull),
        ] {
            let outcome = delivery.note(&joined(Kind::Tcp), Err(errno), &drops);
            assert_eq!((outcome, drops.get(reason)), (WriteOutcome::Singly, 0));
            let outcome = delivery.note(&SINGLE, Err(errno), &drops);
            assert_eq!((outcome, drops.get(reason)), (WriteOutcome::Done, 1));
        }
    }

    #[test]
    fn a_kind_that_is_refused_time_after_time_is_given_up_alone_and_once() {
        let (mut delivery, drops) = (TunRefusals::default(), Drops::default());
        let refuse = |delivery: &mut TunRefusals, kind| {
            delivery.note(&joined(kind), Err(Errno::EINVAL), &drops);
            delivery.note(&SINGLE, Ok(()), &drops);
        };
        for _ in 1..REFUSALS {
            refuse(&mut delivery, Kind::Udp);
            refuse(&mut delivery, Kind::Tcp);
        }
        assert_eq!(delivery.given_up(), None);
        // One that is taken tells that the others were odd.
        let drops = Drops::default();
        delivery.note(&joined(Kind::Tcp), Ok(()), &drops);
        for kind in [Kind::Tcp, Kind::Udp] {
            delivery.note(&joined(kind), Err(Errno::EINVAL), &drops);
        }
        assert_eq!(delivery.given_up(), Some(Kind::Udp));
        assert_eq!(delivery.given_up(), None);
    }

    #[test]
    fn want_of_memory_is_no_refusal() {
        let (mut delivery, drops) = (TunRefusals::default(), Drops::default());
        for _ in 0..2 * REFUSALS {
            delivery.note(&joined(Kind::Udp), Err(Errno::ENOMEM), &drops);
        }
        assert_eq!(delivery.given_up(), None);
    }
}
