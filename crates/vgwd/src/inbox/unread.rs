//! Messages that are dropped on the workers' threads, kept for the loop, which says so.
//!
//! Anybody can send them, at any rate. So of each address one of a kind is kept from one
//! time that the loop takes them to the next, and of as many as there is room for here.
//! Configured addresses have room of their own: no flood of others keeps the word from
//! whoever looks for the peer that does not come up.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use vgw_ike::drop_reason::DropReason;

/// Messages that are kept, of configured addresses and of all others.
const ROOM: usize = 64;

/// A message that was dropped unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadMessage {
    /// The outside address and port that it came to.
    pub local: SocketAddr,
    /// Where it came from.
    pub remote: SocketAddr,
    /// Why it was dropped.
    pub denial: DropReason,
}

/// A sample of them that the loop has not taken yet.
#[derive(Debug, Default)]
pub(super) struct UnreadSample {
    peers: Mutex<Vec<UnreadMessage>>,
    strangers: Mutex<Vec<UnreadMessage>>,
}

impl UnreadSample {
    /// Keeps one, if there is room for it and nobody else is at it.
    pub(super) fn note(&self, unread: UnreadMessage, configured: bool) {
        let kept = if configured {
            &self.peers
        } else {
            &self.strangers
        };
        let mut kept = match kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let same = |other: &UnreadMessage| {
            other.remote.ip() == unread.remote.ip() && other.denial == unread.denial
        };
        if kept.len() < ROOM && !kept.iter().any(same) {
            kept.push(unread);
        }
    }

    /// Takes them, those of configured addresses first.
    pub(super) fn take(&self) -> Vec<UnreadMessage> {
        let lock = |kept| -> MutexGuard<'_, Vec<UnreadMessage>> {
            Mutex::lock(kept).unwrap_or_else(PoisonError::into_inner)
        };
        let mut unread = std::mem::take(&mut *lock(&self.peers));
        unread.append(&mut lock(&self.strangers));
        unread
    }
}
