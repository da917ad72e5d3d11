//! A netlink socket by which the kernel is asked and changed.

use std::cell::Cell;
use std::io;

use rtnetlink::Handle;
use tokio::task::JoinHandle;

/// A netlink socket that is open in the VPC's namespace.
#[derive(Debug)]
pub struct Netlink {
    pub(super) handle: Handle,
    task: JoinHandle<()>,
    /// Changes made by it.
    changes: Cell<u64>,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread; it needs
    /// no privilege to enter that namespace later. `runtime` drives it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(runtime: &tokio::runtime::Handle) -> io::Result<Self> {
        let _entered = runtime.enter();
        // The kernel filters dumps only for those who ask strictly.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        let task = runtime.spawn(connection);
        Ok(Self {
            handle,
            task,
            changes: Cell::new(0),
        })
    }

    /// How many changes were made so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// Counts a change if it was made.
    pub(super) fn count<E>(&self, outcome: Result<(), E>) -> Result<(), E> {
        if outcome.is_ok() {
            self.changes.set(self.changes.get().wrapping_add(1));
        }
        outcome
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One thing the kernel would not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {error}")]
pub struct KernelError {
    doing: String,
    error: String,
}

/// Says what was being done when the kernel refused.
pub(super) fn failed<E: std::fmt::Display>(
    doing: impl Into<String>,
) -> impl FnOnce(E) -> KernelError {
    let doing = doing.into();
    move |error| KernelError {
        doing,
        error: error.to_string(),
    }
}
