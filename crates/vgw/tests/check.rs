//! `vgw check` as root, for the user that runs the daemon.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test's helpers too, what cannot be had fails the test"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A user without rights that every machine has.
const NOBODY: &str = "nobody";
const NOBODYS_ID: u32 = 65_534;

/// A configuration in a folder that everyone may enter, whose first key is in `keys/one`.
struct Files {
    folder: TempDir,
    config: PathBuf,
    keys: PathBuf,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        set(folder.path(), 0, 0o755);
        let (config, keys) = (folder.path().join("vgw.toml"), folder.path().join("keys"));
        fs::create_dir(&keys).unwrap();
        set(&keys, 0, 0o755);
        let text = include_str!("../../vgwd/tests/smallest.toml").replace(
            "pre_shared_key = \"abcdefgh.1\"",
            "pre_shared_key_file = \"./keys/one\"\npre_shared_key_generate = true",
        );
        fs::write(&config, text).unwrap();
        set(&config, NOBODYS_ID, 0o600);
        Self {
            folder,
            config,
            keys,
        }
    }

    fn put_key(&self, owner: u32, mode: u32) {
        let key = self.keys.join("one");
        fs::write(&key, "correct.horse").unwrap();
        set(&key, owner, mode);
    }

    /// The exit code, and all that is said.
    fn check(&self, user: &str) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vgw"));
        command.args(["check", "--user", user]).arg(&self.config);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap(),
            String::from_utf8(said).unwrap(),
        )
    }

    fn assert_refused(&self, expected: &str) {
        let (code, said) = self.check(NOBODY);
        let folder = self.folder.path().display().to_string();
        let said = said.replace(&folder, "FOLDER");
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

fn set(path: &Path, owner: u32, mode: u32) {
    chown(path, Some(owner), None).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
#[ignore = "needs root"]
fn keys_are_judged_as_the_daemon_finds_them_and_not_as_root_does() {
    let files = Files::new();
    files.put_key(NOBODYS_ID, 0o600);
    let (code, said) = files.check(NOBODY);
    assert_eq!(code, 0, "{said}");
    assert!(said.ends_with("vgw.toml: good for user nobody\n"), "{said}");
    // To root itself that key is somebody else's.
    assert_eq!(files.check("root").0, 3);

    files.put_key(0, 0o600);
    files.assert_refused(
        "user nobody may not read it, as it belongs to root and has mode 0600 \
         (chown nobody: FOLDER/keys/one; chmod 600 FOLDER/keys/one)",
    );
    assert_eq!(files.check("root").0, 0);

    files.put_key(NOBODYS_ID, 0o644);
    files.assert_refused("(chown nobody: FOLDER/keys/one; chmod 600 FOLDER/keys/one)");
}

#[test]
#[ignore = "needs root"]
fn a_folder_on_the_way_that_is_closed_is_named() {
    let files = Files::new();
    files.put_key(NOBODYS_ID, 0o600);
    set(&files.keys, 0, 0o700);
    files.assert_refused(
        "user nobody may not enter FOLDER/keys, which belongs to root and has mode 0700 \
         (chmod a+x FOLDER/keys)",
    );
    set(&files.config, 0, 0o600);
    files.assert_refused("cannot be opened: Permission denied (os error 13): user nobody may not");
}

#[test]
#[ignore = "needs root"]
fn a_key_that_the_daemon_cannot_make_is_refused() {
    let files = Files::new();
    files.assert_refused(
        "does not exist, and cannot be made: user nobody may not write to FOLDER/keys",
    );
    set(&files.keys, NOBODYS_ID, 0o700);
    let (code, said) = files.check(NOBODY);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("will be generated"), "{said}");
    // Made with the unit: StateDirectory=.
    fs::remove_dir(&files.keys).unwrap();
    assert_eq!(files.check(NOBODY).0, 0);
}

#[test]
#[ignore = "needs root"]
fn a_user_that_there_is_not_is_refused() {
    let (code, said) = Files::new().check("nobody-of-that-name");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("expected one of this machine"), "{said}");
}
