//! The netlink sockets by which the kernel is asked and changed.

use std::io;

use rtnetlink::Handle;
use tokio::task::JoinHandle;

use super::change_socket::ChangeSocket;

/// Netlink sockets that are open in the VPC's namespace.
#[derive(Debug)]
pub struct Netlink {
    /// By which the kernel is asked, and the TUN link set.
    pub(super) handle: Handle,
    task: JoinHandle<()>,
    pub(super) changes: ChangeSocket,
}

impl Netlink {
    /// Opens them in the network namespace of the calling thread; they need
    /// no privilege to enter that namespace later. `runtime` drives them.
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
            changes: ChangeSocket::open()?,
        })
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
