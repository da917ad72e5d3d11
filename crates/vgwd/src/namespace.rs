//! Work inside another network namespace.

use std::fs::File;
use std::io;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::config::NetworkNamespace;

/// Runs `work` in a network namespace; None is our own. What it opens there
/// stays there: a socket or TUN device belongs to the namespace that it was
/// opened in, whoever uses it later. Needs CAP_SYS_ADMIN for a namespace that
/// is not our own.
///
/// # Errors
/// When there is no such namespace or we may not enter it; or what `work` says.
pub fn run_in<T: Send>(
    namespace: Option<&NetworkNamespace>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    if namespace.is_none() {
        return work();
    }
    // A namespace is entered by a thread; ours must stay where it is.
    thread::scope(|scope| {
        scope
            .spawn(|| {
                enter(namespace)?;
                work()
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Puts the calling thread into a network namespace for good; None is our own.
///
/// # Errors
/// When there is no such namespace, or it is not our own and we have no
/// CAP_SYS_ADMIN.
pub fn enter(namespace: Option<&NetworkNamespace>) -> io::Result<()> {
    let Some(namespace) = namespace else {
        return Ok(());
    };
    let failed = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("network namespace {namespace}: {error}"),
        )
    };
    let file = File::open(namespace.path()).map_err(failed)?;
    setns(&file, CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))
}
