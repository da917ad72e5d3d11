//! Who sends for a tunnel: one worker at a time.
//!
//! A receiver may have an anti-replay window of 32 packets only (RFC 4303
//! section 3.4.3), so the packets of an SA must leave in the order of their
//! numbers. But any worker may get some to send: the kernel spreads flows over
//! the queues of the TUN device, and relayed packets come in by any socket.
//! Numbering and sending under a lock is not enough: the kernel queues what a
//! thread sends for the CPU that the thread runs on, so packets of two threads
//! can overtake each other after both calls have returned.
//!
//! So a tunnel has an owner, which alone reserves numbers and sends. A worker joins
//! the lease for each run of packets that it lays out, and learns who owns it: either
//! itself, or the worker that it hands the run over to. The owner changes only when
//! nothing is pending and nothing was sent for [`HOLD`], when the kernel's queues
//! have drained. While a run is pending the owner cannot change, so
//!
//! - numbers are reserved by one thread at a time, in the order in which it sends;
//! - packets of a flow, which one worker lays out, go to one owner in that order.
//!
//! The lease is the tunnel's and not the SA's, so that a flow stays in order also
//! over a rekey.

use std::sync::atomic::{AtomicU64, Ordering};

/// How long a tunnel stays with its owner after its last packet, milliseconds.
/// The kernel works its per-CPU queues off within one or two of its ticks.
const HOLD: u32 = 10;

/// Stands for no owner.
const NOBODY: u16 = 0;

/// The owner, the runs that wait for it, and when it was last used, in one word.
/// On a cache line of its own, as many workers may write to it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct SenderLease(AtomicU64);

#[derive(Clone, Copy)]
struct State {
    /// The worker's number plus one.
    owner: u16,
    /// Runs that were laid out and are neither sent nor dropped yet.
    pending: u16,
    /// When a run was last finished, milliseconds.
    last: u32,
}

impl State {
    fn unpack(word: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = word.to_be_bytes();
        Self {
            owner: u16::from_be_bytes([a, b]),
            pending: u16::from_be_bytes([c, d]),
            last: u32::from_be_bytes([e, f, g, h]),
        }
    }

    fn pack(self) -> u64 {
        let [a, b] = self.owner.to_be_bytes();
        let [c, d] = self.pending.to_be_bytes();
        let [e, f, g, h] = self.last.to_be_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Whether another may become the owner.
    fn is_free(self, now: u32) -> bool {
        // `now` may have been read before `last`, by another thread: the
        // difference is then more than half the clock's range, and no rest.
        let idle = now.wrapping_sub(self.last);
        self.owner == NOBODY || self.pending == 0 && idle > HOLD && idle < u32::MAX / 2
    }
}

impl SenderLease {
    /// Announces a run that `worker` lays out, at `now`, and returns which
    /// worker is to send it. [`Self::finish`] must follow, by the worker that
    /// sends or drops it. None, and nothing announced, if too many are pending.
    pub(crate) fn join(&self, worker: usize, now: u32) -> Option<usize> {
        let candidate = u16::try_from(worker.checked_add(1)?).ok()?;
        let mut owner = candidate;
        // Acquire: a new owner must see the numbers that the one before reserved.
        let joined = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                let mut state = State::unpack(word);
                if state.is_free(now) {
                    state.owner = candidate;
                }
                owner = state.owner;
                state.pending = state.pending.checked_add(1)?;
                Some(state.pack())
            });
        joined.ok()?;
        usize::from(owner).checked_sub(1)
    }

    /// Takes back what [`Self::join`] announced: a run was sent at `now`, or dropped.
    pub(crate) fn finish(&self, now: u32) {
        let after = |word| {
            let mut state = State::unpack(word);
            state.pending = state.pending.saturating_sub(1);
            state.last = now;
            Some(state.pack())
        };
        // Release: the counterpart of the Acquire in `join`. The update cannot fail.
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, after);
    }
}

#[cfg(test)]
mod tests;
