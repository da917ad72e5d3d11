//! Pre-shared keys that the configuration asks us to make.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use vgw_crypto::Secret;
use vgw_gateway::rules::GENERATED_PSK_LENGTH;
use vgw_ike::config::Psk;
use zeroize::Zeroizing;

/// The alphabet of a pre-shared key; 64 characters, so that six random bits
/// choose one without bias.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";

/// Keys whose files are not there yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewKeys(Vec<(PathBuf, Psk)>);

impl NewKeys {
    /// The key of a file that is not there, the same for all who name it; and whether it
    /// was asked for just now.
    pub(super) fn draw(&mut self, path: &Path) -> Result<(Secret, bool), getrandom::Error> {
        if let Some((_, known)) = self.0.iter().find(|(other, _)| other == path) {
            return Ok((known.0.clone(), false));
        }
        let key = Secret::from(random_key()?.as_slice());
        self.0.push((path.to_owned(), Psk(key.clone())));
        Ok((key, true))
    }

    /// Makes the files, all of them or none.
    ///
    /// # Errors
    /// Which one cannot be made, and why.
    pub fn write(&self) -> Result<(), String> {
        for (made, (path, key)) in self.0.iter().enumerate() {
            let Err(error) = write_key(path, key.0.expose()) else {
                continue;
            };
            for (path, _) in self.0.iter().take(made) {
                if let Err(error) = fs::remove_file(path) {
                    let path = path.display();
                    tracing::warn!(%path, %error, "{path} cannot be removed again: {error}");
                }
            }
            return Err(format!("{} cannot be made: {error}", path.display()));
        }
        Ok(())
    }
}

/// Makes the file, and its directory if that is missing, for the owner only.
fn write_key(path: &Path, key: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file
        .write_all(key)
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key would be taken for a wrong one.
        let _ = fs::remove_file(path);
    }
    written
}

fn random_key() -> Result<Zeroizing<Vec<u8>>, getrandom::Error> {
    let mut key = Zeroizing::new(Vec::with_capacity(GENERATED_PSK_LENGTH));
    while key.len() < GENERATED_PSK_LENGTH {
        let mut octet = Zeroizing::new([0_u8]);
        getrandom::fill(octet.as_mut_slice())?;
        let [bits] = *octet;
        let Some(character) = ALPHABET.get(usize::from(bits & 0x3f)) else {
            continue;
        };
        // AWS refuses a leading 0; drawing again keeps the rest unbiased.
        if !(key.is_empty() && *character == b'0') {
            key.push(*character);
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use vgw_gateway::rules;

    use super::{NewKeys, random_key};

    #[test]
    fn a_generated_key_is_one_that_the_rules_allow() {
        for _ in 0..200 {
            assert_eq!(rules::psk(&random_key().unwrap()), Ok(()));
        }
    }

    #[test]
    fn one_file_has_one_key_and_its_owner_alone_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/office");
        let mut keys = NewKeys::default();
        let (first, new) = keys.draw(&path).unwrap();
        assert!(new);
        let (again, new) = keys.draw(&path).unwrap();
        assert!(!new && again.expose() == first.expose());
        assert!(!path.exists());
        keys.write().unwrap();
        let text = fs::read(&path).unwrap();
        assert_eq!(text.strip_suffix(b"\n"), Some(first.expose()));
        let made = fs::metadata(&path).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn if_one_file_cannot_be_made_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
        let mut keys = NewKeys::default();
        keys.draw(&good).unwrap();
        keys.draw(&bad).unwrap();
        fs::write(&bad, "somebody's").unwrap();
        let why = keys.write().unwrap_err();
        assert!(why.contains("bad cannot be made"), "{why}");
        assert!(!good.exists());
        assert_eq!(fs::read(&bad).unwrap(), b"somebody's");
    }
}
