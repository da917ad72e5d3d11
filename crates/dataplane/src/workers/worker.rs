//! What all worker threads share.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use vgw_sa::{GatewayId, Hint};

use crate::engine::Engine;
use crate::event::{DataPlaneEvent, EventSink};
use crate::io::sockets::OutsideSockets;
use crate::io::tun::Tun;
use crate::tables::counters::{Count, Drops, RefusedBatches};
use crate::tables::rate;
use crate::workers::mailbox::Mailbox;

/// Devices, tables and counters; everything that the control side changes is
/// in the tables of `engine`.
pub(crate) struct Shared {
    /// Whose TUN device it is.
    pub(crate) gateway: GatewayId,
    pub(crate) tun: Tun,
    pub(crate) outside: Vec<OutsideSockets>,
    pub(crate) engine: Engine,
    pub(crate) events: EventSink,
    /// From outside to inside, by number.
    pub(crate) inbound: Vec<Worker>,
    /// From inside to outside, by number.
    pub(crate) outbound: Vec<Worker>,
    /// NAT keepalives received (RFC 3948 section 2.3).
    pub(crate) keepalives: Count,
    stop: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        gateway: GatewayId,
        tun: Tun,
        outside: Vec<OutsideSockets>,
        workers: usize,
        events: EventSink,
    ) -> io::Result<Self> {
        let all = workers + tun.queues();
        let worker = |id| Worker::new(id, all);
        Ok(Self {
            inbound: (0..workers).map(worker).collect::<io::Result<_>>()?,
            outbound: (workers..all).map(worker).collect::<io::Result<_>>()?,
            gateway,
            tun,
            engine: Engine::new(outside.iter().map(OutsideSockets::address).collect()),
            outside,
            events,
            keepalives: Count::default(),
            stop: AtomicBool::new(false),
        })
    }

    /// Tells the control side of something that concerns packets to this address.
    pub(crate) fn hint(&self, remote: IpAddr, hint: impl FnOnce() -> Hint) {
        if self.engine.hints.note(rate::now(), remote, hint) {
            (self.events)(DataPlaneEvent::HintsSeen);
        }
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.inbound.iter().chain(&self.outbound)
    }

    /// A worker of either direction, by [`Worker::id`].
    pub(crate) fn worker(&self, id: usize) -> Option<&Worker> {
        let outbound = || self.outbound.get(id.checked_sub(self.inbound.len())?);
        self.inbound.get(id).or_else(outbound)
    }

    /// Makes every worker look at the tables, even if no packet comes: an SA
    /// taken out must not keep its keys in memory until one does.
    pub(crate) fn wake(&self) {
        for worker in self.workers() {
            worker.wake();
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// One worker's own: what it counts, how it is woken, what others have for it.
pub(crate) struct Worker {
    /// Its number among those of both directions.
    pub(crate) id: usize,
    pub(crate) mailbox: Mailbox,
    pub(crate) drops: Drops,
    pub(crate) refused: RefusedBatches,
    /// The error number of the last packet that the kernel would not send; 0 once it was
    /// asked for.
    pub(crate) send_errno: AtomicI32,
    pub(crate) wake: EventFd,
}

impl Worker {
    /// The worker `id`, one of `workers` of both directions.
    pub(crate) fn new(id: usize, workers: usize) -> io::Result<Self> {
        Ok(Self {
            id,
            mailbox: Mailbox::new(id, workers),
            drops: Drops::default(),
            refused: RefusedBatches::default(),
            send_errno: AtomicI32::new(0),
            wake: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
        })
    }

    pub(crate) fn wake(&self) {
        // Fails only when the counter is at its limit, and then it is readable.
        let _ = self.wake.write(1);
    }

    /// Waits to be woken, so long at most.
    pub(crate) fn sleep(&self, limit: Duration) {
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        // If it fails the worker looks again, as if it had been woken.
        let _ = poll(&mut fds, limit);
        self.clear_wake();
    }

    /// Makes a wake-up wake again.
    pub(crate) fn clear_wake(&self) {
        // EAGAIN: another event woke the worker.
        let _ = self.wake.read();
    }
}
