//! Starts the threads.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::event::DataPlaneEvent;
use crate::workers::worker::Shared;
use crate::workers::{inbound, outbound};

/// Which way a worker's packets go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    /// From outside to inside.
    In,
    /// From inside to outside.
    Out,
}

/// Starts the thread of a worker. Its error, or its panic, becomes
/// [`DataPlaneEvent::Failed`].
pub(crate) fn spawn(
    direction: Direction,
    number: usize,
    shared: &Arc<Shared>,
    confine: fn() -> io::Result<()>,
) -> io::Result<JoinHandle<()>> {
    let name = match direction {
        Direction::In => format!("vgw-in-{number}"),
        Direction::Out => format!("vgw-out-{number}"),
    };
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            let _report = ReportPanic {
                name: &name,
                shared: &shared,
            };
            if let Err(error) = confine() {
                return report_failure(&shared, &format!("worker {name}: {error}"));
            }
            let ended = match direction {
                Direction::In => shared
                    .inbound
                    .get(number)
                    .map(|worker| inbound::run(&shared, number, worker)),
                Direction::Out => shared
                    .outbound
                    .get(number)
                    .map(|worker| outbound::run(&shared, number, worker)),
            };
            if let Some(Err(what)) = ended {
                tracing::error!(worker = name, what, "data plane worker {name} ends: {what}");
                report_failure(&shared, &what);
            }
        })
}

/// Reports a failure until the event is taken: it comes only once, and the
/// worker has nothing else left to do.
fn report_failure(shared: &Shared, what: &str) {
    const RETRY: Duration = Duration::from_millis(20);
    loop {
        let what = what.to_owned();
        let taken = (shared.events)(DataPlaneEvent::Failed { what });
        if taken || shared.stopping() {
            return;
        }
        std::thread::sleep(RETRY);
    }
}

struct ReportPanic<'a> {
    name: &'a str,
    shared: &'a Shared,
}

impl Drop for ReportPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report_failure(self.shared, &format!("worker {} panicked", self.name));
        }
    }
}
