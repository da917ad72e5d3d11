//! The key of the tokens by which peers see, after a crash of ours, that their SAs are
//! lost (RFC 6290). It is made once and kept in a file, for it must outlive us.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use vgw_crypto::Secret;
use zeroize::Zeroizing;

use crate::secret_file;

const NAME: &str = "crash-detection.key";
/// Octets of the key (RFC 6290 section 5.1).
const LENGTH: usize = 32;
/// Whoever reads it can end every IKE SA.
const MODE: u32 = 0o600;

/// The key in `directory`, made if there is none; by default in the one that systemd
/// provides (StateDirectory=). None, with a word in the log, if there is no place for it.
pub fn open(directory: Option<&Path>) -> Option<Secret> {
    let Some(directory) = directory.map(Path::to_owned).or_else(of_systemd) else {
        tracing::info!(
            "quick crash detection is off: there is no [state] directory to keep its key in"
        );
        return None;
    };
    open_in(&directory)
        .inspect_err(|error| tracing::warn!("quick crash detection is off: {error:#}"))
        .ok()
}

/// The first of what StateDirectory= names.
fn of_systemd() -> Option<PathBuf> {
    let all = std::env::var_os("STATE_DIRECTORY")?;
    std::env::split_paths(&all).next()
}

fn open_in(directory: &Path) -> Result<Secret> {
    let path = directory.join(NAME);
    match File::open(&path) {
        Ok(file) => read(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(directory, &path),
        Err(error) => Err(error.into()),
    }
    .with_context(|| format!("the key in {}", path.display()))
}

fn read(mut file: File) -> Result<Secret> {
    secret_file::check(&file, "the key of our tokens").map_err(anyhow::Error::msg)?;
    ensure!(
        file.metadata()?.len() == u64::try_from(LENGTH)?,
        "is not a file of {LENGTH} octets"
    );
    let mut key = Zeroizing::new([0; LENGTH]);
    file.read_exact(key.as_mut_slice())?;
    Ok(Secret::from(key.as_slice()))
}

/// Writes it whole or not at all.
fn make(directory: &Path, path: &Path) -> Result<Secret> {
    let mut key = Zeroizing::new([0; LENGTH]);
    getrandom::fill(key.as_mut_slice())?;
    let unfinished = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&unfinished)?;
    file.write_all(key.as_slice())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(directory)?.sync_all()?;
    Ok(Secret::from(key.as_slice()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::{LENGTH, MODE, NAME, open_in};

    #[test]
    fn the_key_is_made_once_for_our_eyes_only_and_then_kept() {
        let directory = tempfile::tempdir().unwrap();
        let first = open_in(directory.path()).unwrap();
        assert_eq!(first.len(), LENGTH);
        let again = open_in(directory.path()).unwrap();
        assert_eq!(first.expose(), again.expose());
        let made = fs::metadata(directory.path().join(NAME)).unwrap();
        assert_eq!(made.permissions().mode() & 0o7777, MODE);
        let other = open_in(tempfile::tempdir().unwrap().path()).unwrap();
        assert_ne!(first.expose(), other.expose());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_cut_short_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        open_in(directory.path()).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let why = format!("{:#}", open_in(directory.path()).unwrap_err());
        assert!(why.contains("mode 0640"), "{why}");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, [7; LENGTH - 1]).unwrap();
        assert!(open_in(directory.path()).is_err());
    }
}
