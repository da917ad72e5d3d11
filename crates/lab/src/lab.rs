//! Whose namespaces are whose: names, and what a crashed owner left.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::namespace::{DIRECTORY, Namespace, forget};

/// Every lab's names begin with this.
const MARK: &str = "vgw-";

/// Makes namespaces whose names say who owns them: `vgw-NAME-PID-ROLE`.
#[derive(Debug)]
pub struct Lab {
    name: String,
}

impl Lab {
    /// A lab of this name (`demo`), after removing what dead owners of any lab
    /// left behind.
    ///
    /// # Errors
    /// When leftovers cannot be removed, which needs root.
    pub fn new(name: &str) -> Result<Self> {
        remove_leftovers()?;
        Ok(Self {
            name: name.to_owned(),
        })
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
        let name = format!("{MARK}{}-{}-{role}", self.name, std::process::id());
        Namespace::create(&name)
    }
}

/// The owner that a namespace's name tells, if it is one of ours.
fn owner(name: &str) -> Option<Pid> {
    let (lab, _role) = name.strip_prefix(MARK)?.rsplit_once('-')?;
    let (_name, pid) = lab.rsplit_once('-')?;
    pid.parse().ok().map(Pid::from_raw)
}

/// Removes the namespaces whose owner no longer runs.
fn remove_leftovers() -> Result<()> {
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let dead = entry
            .file_name()
            .to_str()
            .and_then(owner)
            .is_some_and(|pid| kill(pid, None) == Err(Errno::ESRCH));
        if dead {
            let path = entry.path();
            forget(Path::new(&path))
                .with_context(|| format!("removing the leftover {}", path.display()))?;
            tracing::info!(path = %path.display(), "removed a namespace whose owner is gone");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_a_dead_owner_left_is_removed() {
        let dead = std::process::Command::new("true").spawn().unwrap();
        let pid = dead.id();
        dead.wait_with_output().unwrap();
        let name = format!("vgw-crashed-{pid}-vpc");
        std::mem::forget(Namespace::create(&name).unwrap());
        let path = Path::new(DIRECTORY).join(&name);
        assert!(path.exists());
        let _lab = Lab::new("after").unwrap();
        assert!(!path.exists());
    }
}
