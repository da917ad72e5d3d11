//! Why we may not open a file, and what to do about it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, absolute};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

/// What follows "cannot be opened" for this error of opening the file.
pub(super) fn explained(path: &Path, error: &io::Error) -> String {
    let why = (error.kind() == io::ErrorKind::PermissionDenied).then(|| obstacle(path));
    match why.flatten() {
        Some(why) => format!("{error}: {why}"),
        None => error.to_string(),
    }
}

/// The first thing on the way to a file that keeps us from reading it.
fn obstacle(path: &Path) -> Option<String> {
    let path = absolute(path).ok()?;
    let us = user(geteuid().as_raw());
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.reverse();
    let closed = folders
        .into_iter()
        .find(|folder| access(*folder, AccessFlags::X_OK) == Err(Errno::EACCES));
    if let Some(folder) = closed {
        let shown = folder.display();
        return Some(format!(
            "user {us} may not enter {shown}, which {} (chmod a+x {shown})",
            standing(folder)?
        ));
    }
    let shown = path.display();
    Some(format!(
        "user {us} may not read it, as it {} (chown {us}: {shown}; chmod 600 {shown})",
        standing(&path)?
    ))
}

/// Why a file that is not there could not be made by us, if its folder is there.
pub(super) fn cannot_make(path: &Path) -> Option<String> {
    let path = absolute(path).ok()?;
    let folder = path.parent()?;
    let may_write = access(folder, AccessFlags::W_OK | AccessFlags::X_OK);
    if may_write != Err(Errno::EACCES) {
        return None;
    }
    let (us, shown) = (user(geteuid().as_raw()), folder.display());
    Some(format!(
        "user {us} may not write to {shown}, which {} (chown {us}: {shown})",
        standing(folder)?
    ))
}

/// Who we are, as chown(1) takes it.
pub(super) fn us() -> String {
    user(geteuid().as_raw())
}

fn standing(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let (owner, mode) = (user(metadata.uid()), metadata.mode() & 0o7777);
    Some(format!("belongs to {owner} and has mode {mode:04o}"))
}

/// A user's name, or the number of one who is not in the machine's own list. The C
/// library would ask others, for which a confined thread has no calls.
fn user(id: u32) -> String {
    let list = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| id.to_string())
}
