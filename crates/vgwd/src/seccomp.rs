//! Which system calls a thread may still make once it has started (seccomp(2)).
//!
//! Each kind of thread has a list of what it needs; so the threads that read what
//! comes from the network can open no file, no socket and no process. It is done
//! with and without systemd, whose SystemCallFilter= holds for the whole process and
//! so allows what only the start needs.
//!
//! What is not on the list fails with EPERM, as in vgwd.service, and does not kill: a
//! C library that tries another call than its last version must not end every
//! tunnel. No thread can make new executable memory or start a process.

use std::collections::BTreeMap;
use std::io;

use nix::libc::{self, c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// Kinds of threads, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadKind {
    /// The control loop, with control socket, metrics and configuration.
    Control,
    /// Netlink.
    Kernel,
    /// Packets in and out.
    Packets,
    /// Writing the log.
    Log,
    /// Telling the service manager.
    Notify,
}

/// All bits of an argument that is a small number.
const WHOLE: c_int = c_int::MAX;

/// What every thread needs: descriptors that are open, memory, time, waiting, and to
/// end in order or by a panic.
const COMMON: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_prlimit64,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Older calls, which newer architectures do not have.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

const PACKETS: &[c_long] = &[libc::SYS_recvmmsg, libc::SYS_sendmmsg];

/// Clients, and files for a reload: the configuration, keys that are read or made.
const CONTROL: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_openat,
    libc::SYS_getdents64,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_fchmod,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_umask,
    // Threads for what takes long; see `threads`.
    libc::SYS_clone3,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getcwd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// Confines the calling thread for good.
///
/// # Errors
/// When the kernel has no seccomp, or refuses: a service manager's filter must allow
/// seccomp(2).
pub fn confine(kind: ThreadKind) -> io::Result<()> {
    // In this order: no further filter can be added after the second.
    for program in [old_clone(), program(kind)] {
        let program = program.map_err(io::Error::other)?;
        seccompiler::apply_filter(&program).map_err(|error| {
            io::Error::other(format!("confining the thread by seccomp: {error}"))
        })?;
    }
    Ok(())
}

/// The flags of clone3(2) are in memory, where a filter cannot look: whoever wants a
/// thread is told to use clone(2).
fn old_clone() -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

fn program(kind: ThreadKind) -> Result<BpfProgram, BackendError> {
    let own: &[c_long] = match kind {
        ThreadKind::Control => CONTROL,
        ThreadKind::Packets => PACKETS,
        ThreadKind::Notify => &[libc::SYS_connect],
        ThreadKind::Kernel | ThreadKind::Log => &[],
    };
    let always = |call: &c_long| (*call, Vec::new());
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        COMMON.iter().chain(own).map(always).collect();
    let no_code = SeccompRule::new(vec![masked(2, libc::PROT_EXEC, 0)?])?;
    rules.insert(libc::SYS_mmap, vec![no_code.clone()]);
    rules.insert(libc::SYS_mprotect, vec![no_code]);
    let local = SeccompRule::new(vec![masked(0, WHOLE, libc::AF_UNIX)?])?;
    match kind {
        ThreadKind::Control => {
            rules.insert(libc::SYS_socket, [vec![local], udp()?].concat());
            rules.extend(threads()?);
        }
        ThreadKind::Notify => {
            rules.insert(libc::SYS_socket, vec![local]);
        }
        ThreadKind::Kernel | ThreadKind::Packets | ThreadKind::Log => {}
    }
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

/// UDP sockets; neither netlink nor raw ones.
fn udp() -> Result<Vec<SeccompRule>, BackendError> {
    // The rest of a socket's type are flags.
    const TYPE: c_int = 0xF;
    [libc::AF_INET, libc::AF_INET6]
        .map(|family| {
            SeccompRule::new(vec![
                masked(0, WHOLE, family)?,
                masked(1, TYPE, libc::SOCK_DGRAM)?,
            ])
        })
        .into_iter()
        .collect()
}

/// Threads of this process with a name, and no other process.
fn threads() -> Result<[(c_long, Vec<SeccompRule>); 2], BackendError> {
    let thread = masked(0, libc::CLONE_THREAD, libc::CLONE_THREAD)?;
    let name = masked(0, WHOLE, libc::PR_SET_NAME)?;
    Ok([
        (libc::SYS_clone, vec![SeccompRule::new(vec![thread])?]),
        (libc::SYS_prctl, vec![SeccompRule::new(vec![name])?]),
    ])
}

/// Whether these bits of an argument are as given.
fn masked(argument: u8, mask: c_int, value: c_int) -> Result<SeccompCondition, BackendError> {
    let mask = SeccompCmpOp::MaskedEq(u64::from(mask.unsigned_abs()));
    let value = u64::from(value.unsigned_abs());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, mask, value)
}
