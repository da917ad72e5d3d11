//! A network namespace that lives as long as its owner.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;

/// Where `ip netns` looks for named namespaces, too.
pub(crate) const DIRECTORY: &str = "/run/netns";

/// A named network namespace, shared by its clones; the last one to go removes it.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    path: PathBuf,
    file: File,
}

impl Namespace {
    /// Makes a namespace and its entry in `/run/netns`, and brings its loopback up.
    ///
    /// # Errors
    /// When the name is taken or the caller is not root.
    pub fn create(name: &str) -> Result<Self> {
        prepare_directory().with_context(|| format!("making {DIRECTORY}"))?;
        let path = Path::new(DIRECTORY).join(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("making {}", path.display()))?;
        let file = match enter_new(&path) {
            Ok(file) => file,
            Err(error) => {
                // The error that matters is the first one.
                let _ = forget(&path);
                return Err(error).with_context(|| format!("making network namespace {name}"));
            }
        };
        let namespace = Self(Arc::new(Inner {
            name: name.to_owned(),
            path,
            file,
        }));
        // IPv6 addresses of links to come are usable at once: nobody here has the same.
        namespace.set_parameter("ipv6/conf/default/accept_dad", "0")?;
        namespace.link_up("lo")?;
        Ok(namespace)
    }

    /// Its name in `/run/netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its file, which `nsenter --net=` takes.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.0.file
    }

    /// Runs `work` on a thread of its own inside the namespace. A socket made there
    /// stays in the namespace, whichever thread uses it.
    ///
    /// # Errors
    /// When the thread cannot be started or cannot enter. A panic of `work` is passed on.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = std::thread::Builder::new().spawn_scoped(scope, || {
                setns(&self.0.file, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("entering network namespace {}", self.0.name))?;
                Ok(work())
            })?;
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A command that will run inside the namespace, in a process group of its own, so
    /// that ^C at the terminal reaches only us and we end it in order. It is killed
    /// should the thread that starts it end first.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let inner = Arc::clone(&self.0);
        let mut command = Command::new(program);
        command.process_group(0);
        let enter = move || {
            setns(inner.file.as_fd(), CloneFlags::CLONE_NEWNET)?;
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: between fork and exec this makes two system calls and allocates nothing.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Sets a kernel parameter under `/proc/sys/net`, by its path there
    /// (`ipv4/ip_forward`).
    ///
    /// # Errors
    /// When the parameter does not exist or refuses the value.
    pub fn set_parameter(&self, parameter: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(parameter);
        self.run(|| std::fs::write(&path, value))?
            .with_context(|| format!("{}: writing {value} to {}", self.name(), path.display()))
    }

    /// Makes the namespace a router for IPv4 and IPv6.
    ///
    /// # Errors
    /// As [`Self::set_parameter`].
    pub fn forward(&self) -> Result<()> {
        self.set_parameter("ipv4/ip_forward", "1")?;
        self.set_parameter("ipv6/conf/all/forwarding", "1")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = forget(&self.path) {
            eprintln!("cannot remove the namespace {}: {error:#}", self.name);
        }
    }
}

/// Makes the directory a shared mount of its own, as `ip netns` does. Otherwise
/// the first `ip netns add` after us would make it one, on top of the names
/// that we had bound there, which we could then not remove.
fn prepare_directory() -> Result<()> {
    std::fs::create_dir_all(DIRECTORY)?;
    // `ip netns` takes the same lock: two mounts would hide each other's names.
    let _turn = Flock::lock(File::open(DIRECTORY)?, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .context("locking it")?;
    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    let share = || mount(None::<&str>, DIRECTORY, None::<&str>, shared, None::<&str>);
    let outcome = share().or_else(|errno| {
        // EINVAL: it is not a mount yet.
        if errno != Errno::EINVAL {
            return Err(errno);
        }
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(DIRECTORY), DIRECTORY, None::<&str>, bind, None::<&str>)?;
        share()
    });
    outcome.context("making it a shared mount (root is needed)")
}

/// Makes a namespace on a thread of its own and binds it to `path`.
fn enter_new(path: &Path) -> Result<File> {
    std::thread::scope(|scope| {
        let inside = std::thread::Builder::new().spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare (root is needed)")?;
            mount(
                Some("/proc/thread-self/ns/net"),
                path,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )
            .context("binding it to its name")?;
            File::open(path).context("opening it")
        })?;
        match inside.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Removes a namespace's entry. The namespace itself goes with its last process and file.
pub(crate) fn forget(path: &Path) -> Result<()> {
    // It may not have been bound yet.
    let _ = umount2(path, MntFlags::MNT_DETACH);
    match std::fs::remove_file(path) {
        // Another lab may be clearing up the same leftovers.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.context("removing its name"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::Lab;
    use crate::process::with_private_run;

    #[test]
    #[ignore = "needs root"]
    fn a_namespace_goes_with_its_owner_also_when_it_panics() {
        let lab = Lab::new("panic").unwrap();
        let namespace = lab.namespace("a").unwrap();
        let path = namespace.path().to_owned();
        assert!(path.exists());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _owned = namespace;
            panic!("as a failing scenario would");
        }));
        assert!(outcome.is_err());
        assert!(!path.exists());
    }

    #[test]
    #[ignore = "needs root"]
    fn work_and_commands_run_inside() {
        let lab = Lab::new("inside").unwrap();
        let namespace = lab.namespace("a").unwrap();
        let link = |text: std::io::Result<std::path::PathBuf>| text.unwrap();
        let outside = link(std::fs::read_link("/proc/thread-self/ns/net"));
        let inside = link(
            namespace
                .run(|| std::fs::read_link("/proc/thread-self/ns/net"))
                .unwrap(),
        );
        assert_ne!(outside, inside);
        let output = namespace
            .command("readlink")
            .arg("/proc/self/ns/net")
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap().trim(),
            inside.to_str().unwrap()
        );
    }

    #[test]
    #[ignore = "needs root"]
    fn what_others_do_with_ip_netns_meanwhile_does_not_keep_a_namespace_from_going() {
        let ip_netns = |arguments: [&str; 2]| {
            let status = Command::new("ip").arg("netns").args(arguments).status();
            assert!(status.unwrap().success());
        };
        with_private_run(|| {
            let lab = Lab::new("neighbour").unwrap();
            let namespace = lab.namespace("a").unwrap();
            ip_netns(["add", "theirs"]);
            let second = lab.namespace("b").unwrap();
            let paths = [namespace.path().to_owned(), second.path().to_owned()];
            drop((namespace, second));
            assert!(!paths.iter().any(|path| path.exists()));
            ip_netns(["delete", "theirs"]);
        });
    }
}
