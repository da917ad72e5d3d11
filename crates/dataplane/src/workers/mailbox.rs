//! What workers hand each other: bursts to be sent, and their buffers back.
//!
//! It is locked once for a burst, for the time that it takes to move a few
//! words. A worker that finds nothing in it announces under the same lock that
//! it goes to sleep, and the one that puts something in sees that under the
//! lock and wakes it. So nothing can come unnoticed between look and sleep.
//!
//! It cannot overflow: a worker has [`POOL`] buffers to hand over, one other
//! worker has at most [`SHARE`] of them, and a worker without a buffer waits
//! for its own to come back or drops.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::burst::Burst;

/// Buffers that a worker hands over to others.
pub(crate) const POOL: usize = 8;
/// How many of them one other worker may have, so that one that is behind does
/// not hold them all.
pub(crate) const SHARE: usize = 4;

/// What other workers have put in for this one.
#[derive(Debug)]
pub(crate) struct Mailbox(Mutex<Contents>);

#[derive(Debug)]
struct Contents {
    /// To be sent, oldest first.
    bursts: VecDeque<Burst>,
    /// The worker's own, empty.
    returned: Vec<Burst>,
    sleep: Sleep,
}

/// Whether the worker must be woken, and for what.
#[derive(Debug, PartialEq, Eq)]
enum Sleep {
    /// It looks again before it sleeps.
    Awake,
    /// For something to send.
    ForBursts,
    /// For a buffer of its own, too.
    ForAnything,
}

impl Mailbox {
    /// The mailbox of the worker `id`, one of `workers`, with its buffers.
    pub(crate) fn new(id: usize, workers: usize) -> Self {
        Self(Mutex::new(Contents {
            bursts: VecDeque::with_capacity(workers * SHARE),
            returned: (0..POOL).map(|_| Burst::new(id)).collect(),
            sleep: Sleep::Awake,
        }))
    }

    /// Puts in what the worker is to send. Returns whether it must be woken.
    #[must_use]
    pub(crate) fn hand_over(&self, burst: Burst) -> bool {
        let mut contents = self.lock();
        contents.bursts.push_back(burst);
        std::mem::replace(&mut contents.sleep, Sleep::Awake) != Sleep::Awake
    }

    /// Puts in an empty buffer of the worker's own. Returns whether it must be woken.
    #[must_use]
    pub(crate) fn give_back(&self, burst: Burst) -> bool {
        let mut contents = self.lock();
        contents.returned.push(burst);
        let wake = contents.sleep == Sleep::ForAnything;
        if wake {
            contents.sleep = Sleep::Awake;
        }
        wake
    }

    /// Takes everything out, for the worker itself, which is awake.
    pub(crate) fn take(&self, bursts: &mut VecDeque<Burst>, returned: &mut Vec<Burst>) {
        let mut contents = self.lock();
        contents.sleep = Sleep::Awake;
        bursts.append(&mut contents.bursts);
        returned.append(&mut contents.returned);
    }

    /// Whether there is nothing for the worker, which then goes to sleep. It is
    /// woken when there is something to send and, with `for_returned`, also
    /// when a buffer comes back.
    #[must_use]
    pub(crate) fn may_sleep(&self, for_returned: bool) -> bool {
        let mut contents = self.lock();
        let no_buffer = !for_returned || contents.returned.is_empty();
        let nothing = no_buffer && contents.bursts.is_empty();
        if nothing {
            contents.sleep = if for_returned {
                Sleep::ForAnything
            } else {
                Sleep::ForBursts
            };
        }
        nothing
    }

    // The contents are whole even if a worker panicked: every change is one call.
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{Mailbox, POOL};
    use crate::engine::burst::Burst;

    #[test]
    fn a_worker_is_woken_once_and_only_if_it_sleeps() {
        let mailbox = Mailbox::new(0, 2);
        assert!(!mailbox.hand_over(Burst::new(1)));
        assert!(!mailbox.may_sleep(false), "there is something to send");
        mailbox.take(&mut VecDeque::new(), &mut Vec::new());
        assert!(mailbox.may_sleep(false));
        assert!(mailbox.hand_over(Burst::new(1)));
        assert!(!mailbox.hand_over(Burst::new(1)));
    }

    #[test]
    fn a_buffer_that_comes_back_wakes_who_waits_for_one() {
        let mailbox = Mailbox::new(0, 2);
        let mut returned = Vec::new();
        mailbox.take(&mut VecDeque::new(), &mut returned);
        assert_eq!(returned.len(), POOL);
        assert!(mailbox.may_sleep(false));
        assert!(!mailbox.give_back(Burst::new(0)));
        assert!(mailbox.may_sleep(false), "buffers are nothing to send");
        assert!(!mailbox.may_sleep(true));
        mailbox.take(&mut VecDeque::new(), &mut returned);
        assert_eq!(returned.len(), POOL + 1);
        assert!(mailbox.may_sleep(true));
        assert!(mailbox.give_back(Burst::new(0)));
    }

    #[test]
    fn what_is_handed_over_comes_out_in_that_order() {
        let mailbox = Mailbox::new(0, 2);
        for home in 1..=3 {
            let _ = mailbox.hand_over(Burst::new(home));
        }
        let mut bursts = VecDeque::new();
        mailbox.take(&mut bursts, &mut Vec::new());
        let homes: Vec<_> = bursts.iter().map(|burst| burst.home).collect();
        assert_eq!(homes, [1, 2, 3]);
    }
}
