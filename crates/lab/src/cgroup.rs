//! A control group for processes that must not outlive the lab, whatever they start.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Namespace, wait_until};

/// Where version 2 of cgroups(7) is: alone, or beside version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// How long the kernel may take to remove processes that it has killed.
const END: Duration = Duration::from_secs(10);

/// A group that is removed with all its processes and groups when this is dropped.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

/// Where groups are made; None where version 2 is not mounted.
pub(crate) fn directory() -> Option<&'static str> {
    let version_2 = |mount: &&str| Path::new(mount).join("cgroup.controllers").exists();
    MOUNTS.into_iter().find(version_2)
}

impl Cgroup {
    pub(crate) fn create(name: &str) -> Result<Self> {
        let directory = directory().context("cgroups of version 2 are not mounted")?;
        let path = Path::new(directory).join(name);
        std::fs::create_dir(&path)
            .with_context(|| format!("making the control group {}", path.display()))?;
        Ok(Self(path))
    }

    /// A command that will run in this group and in a network namespace.
    #[must_use]
    pub fn command(&self, namespace: &Namespace, program: impl AsRef<OsStr>) -> Command {
        let mut command = namespace.command("sh");
        command
            .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
            .arg(self.0.join("cgroup.procs"))
            .arg(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("cannot remove the control group: {error:#}");
        }
    }
}

/// Kills all that is in the group and those below it, and removes them.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = kill_all(path).and_then(|()| remove_empty(path));
    match removed {
        // Another lab may be clearing up the same leftovers.
        Err(_) if !path.exists() => Ok(()),
        removed => removed.with_context(|| format!("removing {}", path.display())),
    }
}

fn kill_all(path: &Path) -> Result<()> {
    std::fs::write(path.join("cgroup.kill"), "1")?;
    wait_until("the end of its processes", END, || {
        let events = std::fs::read_to_string(path.join("cgroup.events"))?;
        Ok(events.contains("populated 0").then_some(()))
    })
}

fn remove_empty(path: &Path) -> Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => Ok(removed?),
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::Pid;

    use crate::Lab;
    use crate::lab::is_dead;

    #[test]
    #[ignore = "needs root"]
    fn a_group_takes_everything_that_was_started_in_it_along() {
        let lab = Lab::new("cgroup").unwrap();
        let namespace = lab.namespace("a").unwrap();
        let group = lab.cgroup().unwrap();
        let path = group.0.clone();
        // The shell ends at once and leaves its child, which has no parent among our processes.
        let script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!";
        let mut shell = group.command(&namespace, "sh");
        let output = shell.args(["-c", script]).output().unwrap();
        let child = String::from_utf8(output.stdout).unwrap();
        let child = Pid::from_raw(child.trim().parse().unwrap());
        assert!(!is_dead(child));
        drop(group);
        assert!(!path.exists());
        assert!(is_dead(child));
    }
}
