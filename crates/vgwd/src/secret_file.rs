//! Whether a file may be trusted with a secret.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Bits of a file's mode that let its group or everyone in.
const GROUP_AND_OTHERS: u32 = 0o077;

/// Checks that nobody but its owner can read the file, which holds `what`, and that the
/// owner is root or whoever we run as.
///
/// # Errors
/// What is wrong, to be said after the file's name.
pub fn check(file: &File, what: &str) -> Result<(), String> {
    let metadata = file
        .metadata()
        .map_err(|error| format!("cannot be examined: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mode = metadata.permissions().mode();
    if mode & GROUP_AND_OTHERS != 0 {
        return Err(format!(
            "has mode {:04o}, expected 0600 or 0400: nobody else may read {what}",
            mode & 0o7777
        ));
    }
    check_owner(metadata.uid(), nix::unistd::geteuid().as_raw())
}

/// Any other owner could put a key of his own there.
fn check_owner(owner: u32, us: u32) -> Result<(), String> {
    if owner == us || owner == 0 {
        return Ok(());
    }
    Err(format!(
        "belongs to user {owner}, expected root or user {us}"
    ))
}

#[cfg(test)]
mod tests {
    use super::check_owner;

    #[test]
    fn a_key_file_of_another_user_is_refused() {
        assert_eq!(check_owner(0, 999), Ok(()));
        assert_eq!(check_owner(999, 999), Ok(()));
        assert!(check_owner(1_000, 999).is_err());
        assert!(check_owner(1_000, 0).is_err());
    }
}
