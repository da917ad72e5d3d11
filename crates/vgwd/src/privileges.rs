//! What the daemon may do after it has started: as little as possible.
//!
//! Sockets and the TUN device are open by then, so that of everything root may
//! do only the changing of links, addresses and routes is still needed. Capabilities
//! are a thread's own: one thread keeps [`NETLINK`], and those that read what comes
//! from the network have none. The same is done with and without systemd.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

/// What the thread needs that changes links, addresses and routes by netlink.
pub const NETLINK: [Capability; 1] = [Capability::CAP_NET_ADMIN];

/// What a start cannot do without: the TUN device and the routes, and the sockets of
/// ESP. Ports below 1024 may be open to everyone.
const START: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];

/// Why privileges could not be dropped, or are too few.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The daemon was started by somebody who may not.
    #[error("this takes {}: start it as root, or by systemctl start vgwd", listed(.0))]
    Lacking(Vec<Capability>),
    /// A capability set could not be read or changed.
    #[error("reading or dropping capabilities: {0}")]
    Capabilities(#[from] CapsError),
    /// A limit of the process could not be set.
    #[error("{what}: {errno}")]
    Limit {
        /// What was to be set.
        what: &'static str,
        /// What the kernel says.
        errno: Errno,
    },
}

fn listed(capabilities: &[Capability]) -> String {
    let names: Vec<_> = capabilities.iter().map(ToString::to_string).collect();
    names.join(" and ")
}

/// Sees that the calling thread may do what the daemon's start takes.
///
/// # Errors
/// With the capabilities that it lacks.
pub fn check_start() -> Result<(), PrivilegeError> {
    let effective = caps::read(None, CapSet::Effective)?;
    let lacking: Vec<_> = START
        .into_iter()
        .filter(|it| !effective.contains(it))
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(PrivilegeError::Lacking(lacking))
}

/// Drops everything but `kept` from the calling thread and those that it will start,
/// for good. Threads that there are already keep what they have.
///
/// # Errors
/// When the kernel refuses; the process should then not go on.
pub fn drop_privileges(kept: &[Capability]) -> Result<(), PrivilegeError> {
    let limit = |what| move |errno| PrivilegeError::Limit { what, errno };
    // Keys are in memory: no core dump, and no debugger of the same user.
    prctl::set_dumpable(false).map_err(limit("PR_SET_DUMPABLE"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(limit("RLIMIT_CORE"))?;
    prctl::set_no_new_privs().map_err(limit("PR_SET_NO_NEW_PRIVS"))?;

    let kept: CapsHashSet = kept.iter().copied().collect();
    let permitted = caps::read(None, CapSet::Permitted)?;
    if permitted.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::all().difference(&kept) {
            // The kernel may be older than the list of capabilities.
            if caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(false) {
                caps::drop(None, CapSet::Bounding, *capability)?;
            }
        }
    }
    let remaining: CapsHashSet = permitted.intersection(&kept).copied().collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &remaining)?;
    caps::set(None, CapSet::Permitted, &remaining)?;
    caps::clear(None, CapSet::Inheritable)?;
    Ok(())
}
