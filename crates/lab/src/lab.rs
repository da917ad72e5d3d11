//! Names that tell whose a namespace is, and the removal of what a crashed owner left.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::cgroup::{self, Cgroup};
use crate::namespace::{self, Namespace, forget};
use crate::scratch::{self, Scratch};

/// Every lab's names begin with this.
const MARK: &str = "vgw-";

/// Makes namespaces whose names say who owns them: `vgw-NAME-PID-ROLE`.
#[derive(Debug)]
pub struct Lab {
    name: String,
}

impl Lab {
    /// A lab of this name (`demo`), after removing what dead owners of any lab
    /// left behind. What cannot be removed is reported on standard error and
    /// stays: no other lab uses its names.
    ///
    /// # Errors
    /// When the leftovers cannot be listed.
    pub fn new(name: &str) -> Result<Self> {
        remove_leftovers()?;
        Ok(Self {
            name: name.to_owned(),
        })
    }

    /// A directory for this lab's files.
    ///
    /// # Errors
    /// When this lab has one already or the system refuses.
    pub fn scratch(&self) -> Result<Scratch> {
        Scratch::create(&self.full_name("files"))
    }

    /// A control group for this lab's processes.
    ///
    /// # Errors
    /// When this lab has one already or the system has no control groups.
    pub fn cgroup(&self) -> Result<Cgroup> {
        Cgroup::create(&self.full_name("processes"))
    }

    /// A new namespace for this role, a word without a dash.
    ///
    /// # Errors
    /// When the role has a dash, the name is taken or the system refuses.
    pub fn namespace(&self, role: &str) -> Result<Namespace> {
        ensure!(
            !role.contains('-'),
            "role {role} has a dash, which separates it from the owner"
        );
        Namespace::create(&self.full_name(role))
    }

    fn full_name(&self, role: &str) -> String {
        format!("{MARK}{}-{}-{role}", self.name, std::process::id())
    }
}

/// The owner that a namespace's name tells, if it is one of ours.
fn owner(name: &str) -> Option<Pid> {
    let (lab, _role) = name.strip_prefix(MARK)?.rsplit_once('-')?;
    let (_name, pid) = lab.rsplit_once('-')?;
    pid.parse().ok().map(Pid::from_raw)
}

/// Whether a process has ended, even if its parent has not asked how.
pub(crate) fn is_dead(pid: Pid) -> bool {
    if kill(pid, None) == Err(Errno::ESRCH) {
        return true;
    }
    // proc_pid_stat(5): the state follows the name, which is in parentheses.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            stat.rsplit_once(") ")
                .map(|(_, rest)| rest.starts_with('Z'))
        })
        .unwrap_or(false)
}

/// Removes what belongs to owners that no longer run.
fn remove_leftovers() -> Result<()> {
    for path in orphans(namespace::DIRECTORY)? {
        if let Err(error) = forget(&path) {
            left(&path, &error);
        }
    }
    for path in cgroup::directory().map_or(Ok(Vec::new()), orphans)? {
        if let Err(error) = cgroup::remove(&path) {
            left(&path, &error);
        }
    }
    for path in orphans(scratch::DIRECTORY)? {
        match std::fs::remove_dir_all(&path) {
            Ok(()) => {}
            // Another lab may be clearing up the same leftovers.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => left(&path, &error.into()),
        }
    }
    Ok(())
}

/// Reports that a leftover stays.
fn left(path: &Path, error: &anyhow::Error) {
    eprintln!(
        "cannot remove {}, which an earlier run left, and go on without: {error:#}",
        path.display()
    );
}

/// What lies in `directory` and belongs to an owner that no longer runs.
fn orphans(directory: &str) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let dead = entry
            .file_name()
            .to_str()
            .and_then(owner)
            .is_some_and(is_dead);
        if dead {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::with_private_run;

    #[test]
    fn a_name_tells_its_owner() {
        assert_eq!(owner("vgw-demo-1234-vpc"), Some(Pid::from_raw(1234)));
        assert_eq!(owner("vgw-wrong-psk-77-peer"), Some(Pid::from_raw(77)));
    }

    #[test]
    fn names_of_others_have_no_owner() {
        assert_eq!(owner("blue"), None);
        assert_eq!(owner("vgw-demo"), None);
        assert_eq!(owner("vgw-demo-x-vpc"), None);
    }

    #[test]
    fn a_process_that_nobody_has_buried_is_dead() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        assert!(!is_dead(pid));
        kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        crate::wait_until("its end", std::time::Duration::from_secs(10), || {
            Ok(is_dead(pid).then_some(()))
        })
        .unwrap();
        child.wait().unwrap();
    }

    #[test]
    #[ignore = "needs root"]
    fn what_a_dead_owner_left_is_removed() {
        // Alive until everything stands: other labs may clear up at any moment.
        let mut owner = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = owner.id();
        let name = format!("vgw-crashed-{pid}-vpc");
        std::mem::forget(Namespace::create(&name).unwrap());
        let directory = Scratch::create(&format!("vgw-crashed-{pid}-files")).unwrap();
        let left = [
            Path::new(namespace::DIRECTORY).join(&name),
            directory.path().to_owned(),
        ];
        std::mem::forget(directory);
        let _lab = Lab::new("before").unwrap();
        assert!(left.iter().all(|path| path.exists()));
        owner.kill().unwrap();
        owner.wait().unwrap();
        let _lab = Lab::new("after").unwrap();
        assert!(!left.iter().any(|path| path.exists()));
    }

    #[test]
    #[ignore = "needs root"]
    fn a_leftover_that_cannot_be_removed_keeps_nobody_from_going_on() {
        let mut owner = std::process::Command::new("true").spawn().unwrap();
        owner.wait().unwrap();
        let pid = owner.id();
        with_private_run(move || {
            let entry = |role: &str| {
                let name = format!("vgw-crashed-{pid}-{role}");
                Path::new(namespace::DIRECTORY).join(name)
            };
            // Neither file nor mount, so it stays; another is before and one after it.
            let [before, stays, after] = ["a", "b", "c"].map(entry);
            std::fs::create_dir_all(&stays).unwrap();
            std::fs::write(&before, "").unwrap();
            std::fs::write(&after, "").unwrap();
            let lab = Lab::new("next").unwrap();
            assert_eq!(
                [before, stays, after].map(|path| path.exists()),
                [false, true, false]
            );
            drop(lab.namespace("a").unwrap());
        });
    }
}
