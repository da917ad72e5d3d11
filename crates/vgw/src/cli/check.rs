//! `vgw check`: a configuration judged as the daemon would find it.

use std::ffi::CString;
use std::path::Path;

use anyhow::{Context, anyhow};
use nix::unistd::{User, getuid, initgroups, setgid, setuid};

use super::print;
use vgwd::config;
use vgwd::failure::Failure;

/// Whom vgwd.service runs the daemon as.
const DAEMON: &str = "vgw";

/// Checks as `user`: whoever runs the daemon must be able to read all of it, and root
/// can read what that user cannot.
pub(super) fn check(file: &Path, user: Option<&str>) -> Result<(), Failure> {
    let judged_as = become_user(user).map_err(Failure::Other)?;
    let warnings = config::check(file).map_err(Failure::Configuration)?;
    for warning in &warnings {
        print::line(&format!("warning: {warning}"));
    }
    let by = judged_as.map_or_else(String::new, |name| format!(" for user {name}"));
    print::line(&format!("{}: good{by}", file.display()));
    Ok(())
}

/// Becomes the user for good; by default, if we are root, the daemon's. Gives the name of
/// one that we were not.
fn become_user(wanted: Option<&str>) -> anyhow::Result<Option<String>> {
    let name = match wanted {
        None if !getuid().is_root() => return Ok(None),
        None => DAEMON,
        Some(name) => name,
    };
    let found = User::from_name(name).context("looking for the user")?;
    let Some(user) = found else {
        return match wanted {
            None => Ok(None),
            Some(name) => Err(anyhow!("found user {name:?}, expected one of this machine")),
        };
    };
    if user.uid == getuid() {
        return Ok(None);
    }
    let groups = CString::new(user.name.as_str())?;
    initgroups(&groups, user.gid)
        .and_then(|()| setgid(user.gid))
        .and_then(|()| setuid(user.uid))
        .with_context(|| format!("becoming user {name}, which only root may"))?;
    Ok(Some(user.name))
}
