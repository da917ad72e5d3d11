//! What both worker threads share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::counters::{Count, Drops};
use crate::event::{DataPlaneEvent, EventSink};
use crate::sockets::OutsideSockets;
use crate::tables::Tables;
use crate::tun::Tun;

/// Devices, tables and counters; everything that the control side changes is
/// behind `tables`.
pub(crate) struct Shared {
    pub(crate) tun: Tun,
    pub(crate) outside: Vec<OutsideSockets>,
    pub(crate) tables: ArcSwap<Tables>,
    pub(crate) events: EventSink,
    pub(crate) inbound: Worker,
    pub(crate) outbound: Worker,
    /// NAT keepalives received (RFC 3948 section 2.3).
    pub(crate) keepalives: Count,
}

/// One worker's own: what it counts and how it is woken.
pub(crate) struct Worker {
    pub(crate) drops: Drops,
    pub(crate) wake: EventFd,
    stop: AtomicBool,
}

impl Worker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            drops: Drops::default(),
            wake: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            stop: AtomicBool::new(false),
        })
    }

    /// Makes the worker look at `stop` and at the tables, even if no packet
    /// comes: an SA taken out must not keep its keys in memory until one does.
    pub(crate) fn wake(&self) {
        // Fails only when the counter is at its limit, and then it is readable.
        let _ = self.wake.write(1);
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Makes [`Self::wake`] wake again.
    pub(crate) fn clear_wake(&self) {
        // EAGAIN: another event woke the worker.
        let _ = self.wake.read();
    }
}

/// Starts a worker's thread. Its error, or its panic, becomes
/// [`DataPlaneEvent::Failed`].
pub(crate) fn spawn(
    name: &'static str,
    shared: &Arc<Shared>,
    run: fn(&Shared) -> Result<(), String>,
) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _report = ReportPanic {
                name,
                shared: &shared,
            };
            if let Err(what) = run(&shared) {
                tracing::error!(worker = name, what, "data plane worker ends");
                report_failure(&shared, &what);
            }
        })
}

/// Tells of a failure until it is taken: unlike other news it comes only once,
/// and the worker has nothing else left to do.
fn report_failure(shared: &Shared, what: &str) {
    const RETRY: Duration = Duration::from_millis(20);
    loop {
        let what = what.to_owned();
        let taken = (shared.events)(DataPlaneEvent::Failed { what });
        if taken || shared.inbound.stopping() || shared.outbound.stopping() {
            return;
        }
        std::thread::sleep(RETRY);
    }
}

struct ReportPanic<'a> {
    name: &'static str,
    shared: &'a Shared,
}

impl Drop for ReportPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report_failure(self.shared, &format!("worker {} panicked", self.name));
        }
    }
}
