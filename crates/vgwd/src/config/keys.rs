//! Where pre-shared keys come from that are not in the configuration itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use vgw_crypto::Secret;
use vgw_gateway::rules;
use zeroize::Zeroizing;

use super::access;
use super::new_keys::NewKeys;
use crate::secret_file;

/// A key file longer than this holds something else.
const LONGEST_FILE: u64 = 4_096;

/// A key and what the operator should know about it.
pub(super) struct Key {
    /// Its octets.
    pub octets: Secret,
    /// Worth a warning: it was made just now.
    pub remark: Option<String>,
}

/// Gets keys that are not in the configuration itself. Errors are messages
/// that follow the field's name; they never hold a key.
pub(super) trait KeySource {
    /// The key in a file, which is made when `generate` and absent.
    fn file(&mut self, path: &Path, generate: bool) -> Result<Key, String>;
    /// The key in a systemd credential.
    fn credential(&mut self, name: &str) -> Result<Key, String>;
}

/// For text that came from no file: only keys inside it can be had.
pub(super) struct InlineOnly;

impl KeySource for InlineOnly {
    fn file(&mut self, _path: &Path, _generate: bool) -> Result<Key, String> {
        Err("cannot be used here, expected pre_shared_key".to_owned())
    }

    fn credential(&mut self, _name: &str) -> Result<Key, String> {
        Err("cannot be used here, expected pre_shared_key".to_owned())
    }
}

/// For a caller that needs no keys: none is read.
pub(super) struct Unread;

impl KeySource for Unread {
    fn file(&mut self, _path: &Path, _generate: bool) -> Result<Key, String> {
        Ok(Key::unread())
    }

    fn credential(&mut self, _name: &str) -> Result<Key, String> {
        Ok(Key::unread())
    }
}

impl Key {
    fn unread() -> Self {
        Self {
            octets: Secret::from(&[][..]),
            remark: None,
        }
    }

    /// A credential, when a check is run outside the daemon's service.
    fn unseen() -> Self {
        let remark = "is given to the daemon alone, by systemd: not checked";
        Self {
            remark: Some(remark.to_owned()),
            ..Self::unread()
        }
    }
}

/// What a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To run it; absent keys are made, by [`NewKeys::write`].
    Run,
    /// To check it.
    Check,
}

/// Keys on this machine.
pub(super) struct MachineKeys {
    /// What relative paths are relative to: the configuration's directory.
    pub directory: PathBuf,
    /// What `$CREDENTIALS_DIRECTORY` says.
    pub credentials: Option<PathBuf>,
    /// What the keys are read for.
    pub purpose: Purpose,
    /// Keys to be made.
    pub new: NewKeys,
    /// Credentials that were read.
    pub read: BTreeMap<String, CredentialVersion>,
}

/// Which file a credential was read from. systemd never writes to the same file again, so a
/// changed credential is another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialVersion {
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

impl CredentialVersion {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

impl KeySource for MachineKeys {
    fn file(&mut self, path: &Path, generate: bool) -> Result<Key, String> {
        let path = self.directory.join(path.strip_prefix(".").unwrap_or(path));
        let shown = path.display();
        match File::open(&path) {
            Ok(file) => {
                secret_file::check(&file, "a pre-shared key").map_err(|why| {
                    let us = access::us();
                    format!("{shown} {why} (chown {us}: {shown}; chmod 600 {shown})")
                })?;
                read_key(file).map_err(|why| format!("{shown} {why}"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && generate => {
                self.generate(&path)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
                "{shown} does not exist: put the key there that the other end has, or have one made \
                 for both by pre_shared_key_generate = true"
            )),
            Err(error) => Err(format!(
                "{shown} cannot be opened: {}",
                access::explained(&path, &error)
            )),
        }
    }

    fn credential(&mut self, name: &str) -> Result<Key, String> {
        let directory = match (&self.credentials, self.purpose) {
            (Some(directory), _) => directory,
            (None, Purpose::Check) => return Ok(Key::unseen()),
            (None, Purpose::Run) => {
                let why = "cannot be read: $CREDENTIALS_DIRECTORY is not set, expected systemd to \
                           set it (LoadCredential=)";
                return Err(why.to_owned());
            }
        };
        let path = directory.join(name);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "credential {name:?} was not handed over by systemd (LoadCredential=), which \
                 does so at the start"
            ),
            _ => format!("credential {name:?} cannot be opened: {error}"),
        })?;
        let version = CredentialVersion::of(&file)
            .map_err(|error| format!("credential {name:?} cannot be examined: {error}"))?;
        let key = read_key(file).map_err(|why| format!("credential {name:?} {why}"))?;
        self.read.insert(name.to_owned(), version);
        Ok(key)
    }
}

impl MachineKeys {
    fn generate(&mut self, path: &Path) -> Result<Key, String> {
        let drawn = self.new.draw(path);
        let (octets, new) = drawn.map_err(|error| format!("no random key can be had: {error}"))?;
        let shown = path.display();
        if self.purpose == Purpose::Check
            && let Some(why) = access::cannot_make(path)
        {
            return Err(format!("{shown} does not exist, and cannot be made: {why}"));
        }
        let remark = match self.purpose {
            Purpose::Check => format!("{shown} does not exist yet: a key will be generated"),
            Purpose::Run => {
                format!("{shown} did not exist: a key was generated; the peer needs it too")
            }
        };
        Ok(Key {
            octets,
            remark: new.then_some(remark),
        })
    }
}

/// The whole file but for one newline at its end.
fn read_key(file: File) -> Result<Key, String> {
    let mut octets = Zeroizing::new(Vec::with_capacity(
        usize::try_from(LONGEST_FILE).unwrap_or(0),
    ));
    file.take(LONGEST_FILE)
        .read_to_end(&mut octets)
        .map_err(|error| format!("cannot be read: {error}"))?;
    let key = octets.strip_suffix(b"\n").unwrap_or(&octets);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    rules::psk(key).map_err(|why| format!("holds {}, expected {}", why.found, why.expected))?;
    Ok(Key {
        octets: Secret::from(key),
        remark: None,
    })
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, KeySource, MachineKeys, NewKeys, Purpose};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn machine(directory: &Path, purpose: Purpose) -> MachineKeys {
        MachineKeys {
            directory: directory.to_owned(),
            credentials: Some(directory.to_owned()),
            purpose,
            new: NewKeys::default(),
            read: BTreeMap::new(),
        }
    }

    fn put(directory: &Path, name: &str, text: &str, mode: u32) {
        let path = directory.join(name);
        // One of a mode that forbids it cannot be written to.
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn file(directory: &Path, name: &str, generate: bool) -> Result<String, String> {
        let mut machine = machine(directory, Purpose::Run);
        let key = machine.file(Path::new(name), generate)?;
        machine.new.write()?;
        Ok(String::from_utf8(key.octets.expose().to_vec()).unwrap())
    }

    #[test]
    fn a_key_file_may_end_in_a_newline() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["abcdefgh", "abcdefgh\n", "abcdefgh\r\n"] {
            put(directory.path(), "key", text, 0o600);
            assert_eq!(file(directory.path(), "key", false).unwrap(), "abcdefgh");
        }
        put(directory.path(), "key", "abcdefgh\n\n", 0o600);
        assert!(file(directory.path(), "key", false).is_err());
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for (mode, good) in [(0o400, true), (0o600, true), (0o640, false), (0o604, false)] {
            put(directory.path(), "key", "abcdefgh", mode);
            let read = file(directory.path(), "key", false);
            assert_eq!(read.is_ok(), good, "{mode:o}: {read:?}");
        }
    }

    #[test]
    fn something_that_is_not_a_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("key")).unwrap();
        assert!(file(directory.path(), "key", true).is_err());
    }

    #[test]
    fn a_bad_key_in_a_file_is_refused_and_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), "key", "hunter2!hunter2", 0o600);
        let why = file(directory.path(), "key", false).unwrap_err();
        assert!(!why.contains("hunter"), "{why}");
    }

    #[test]
    fn an_absent_key_is_generated_once_and_then_kept() {
        let directory = tempfile::tempdir().unwrap();
        assert!(file(directory.path(), "keys/office", false).is_err());
        let first = file(directory.path(), "keys/office", true).unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(file(directory.path(), "keys/office", true).unwrap(), first);
    }

    #[test]
    fn a_check_announces_a_key_and_makes_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut machine = machine(directory.path(), Purpose::Check);
        let key = machine.file(Path::new("office"), true).unwrap();
        assert!(key.remark.unwrap().contains("will be generated"));
        assert!(!directory.path().join("office").exists());
    }

    #[test]
    fn a_credential_is_read_from_where_systemd_put_it() {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), "office-1", "abcdefgh\n", 0o440);
        let mut machine = machine(directory.path(), Purpose::Run);
        let key = machine.credential("office-1").unwrap();
        assert_eq!(key.octets.expose(), b"abcdefgh");
        assert!(machine.credential("office-2").is_err());
        let before = machine.read.clone();
        machine.credential("office-1").unwrap();
        assert_eq!(machine.read, before);
        // As systemd does when it hands them over again.
        put(directory.path(), "new", "abcdefgh\n", 0o440);
        fs::rename(
            directory.path().join("new"),
            directory.path().join("office-1"),
        )
        .unwrap();
        machine.credential("office-1").unwrap();
        assert_ne!(machine.read, before);
        machine.credentials = None;
        assert!(machine.credential("office-1").is_err());
    }

    #[test]
    fn a_check_outside_the_service_says_that_it_does_not_see_credentials() {
        let directory = tempfile::tempdir().unwrap();
        let mut machine = machine(directory.path(), Purpose::Check);
        assert!(machine.credential("office-1").is_err());
        machine.credentials = None;
        let key = machine.credential("office-1").unwrap();
        assert!(key.remark.unwrap().contains("not checked"));
    }
}
