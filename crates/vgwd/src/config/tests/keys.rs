//! Pre-shared keys, through whole files on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{SMALLEST, lines, refused, with, with_option};
use crate::config::{check, load};

fn put(directory: &Path, text: &str, mode: u32) -> PathBuf {
    let path = directory.join("vgw.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// [`SMALLEST`] with both keys in files beside it, to be generated.
fn with_files() -> String {
    let text = with(
        SMALLEST,
        "pre_shared_key = \"abcdefgh.1\"",
        "pre_shared_key_file = \"./one\"\npre_shared_key_generate = true",
    );
    with(
        &text,
        "pre_shared_key = \"abcdefgh.2\"",
        "pre_shared_key_file = \"./two\"\npre_shared_key_generate = true",
    )
}

#[test]
fn a_file_with_a_key_in_it_is_not_for_everyone_to_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = put(directory.path(), SMALLEST, 0o600);
    assert_eq!(check(&path), Ok(Vec::new()));
    let path = put(directory.path(), SMALLEST, 0o640);
    assert!(lines(&check(&path).unwrap()).contains("its group may read (mode 0640)"));
    let path = put(directory.path(), SMALLEST, 0o644);
    let problems = lines(&check(&path).unwrap_err());
    assert!(
        problems.contains("pre_shared_key: stands in a file of mode 0644"),
        "{problems}"
    );
}

#[test]
fn keys_are_generated_once_beside_the_file_and_then_stay() {
    let directory = tempfile::tempdir().unwrap();
    let path = put(directory.path(), &with_files(), 0o644);
    let warnings = lines(&check(&path).unwrap());
    assert!(warnings.contains("pre_shared_key_file") && warnings.contains("will be generated"));
    assert!(
        !directory.path().join("one").exists(),
        "a check makes nothing"
    );

    let first = load(&path).unwrap();
    assert!(lines(&first.warnings).contains("a key was generated"));
    assert!(!directory.path().join("one").exists(), "nor does loading");
    first.new_keys.write().unwrap();
    let again = load(&path).unwrap();
    assert_eq!(first.gateway, again.gateway);
    assert!(again.warnings.is_empty());
    let [one, two] = &again.gateway.connections[0].tunnels;
    assert_ne!(one.psk, two.psk);
}

#[test]
fn an_absent_key_file_is_an_error_unless_a_key_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let text = with_files().replace("pre_shared_key_generate = true", "");
    let problems = lines(&load(&put(directory.path(), &text, 0o644)).unwrap_err());
    assert!(
        problems.contains("vgw.toml:19: vpn_connection[1].tunnel[1].pre_shared_key_file"),
        "{problems}"
    );
    assert!(
        problems.contains("does not exist: put the key there that the other end has"),
        "{problems}"
    );
}

#[test]
fn a_key_comes_from_exactly_one_place() {
    let none = with(SMALLEST, "pre_shared_key = \"abcdefgh.1\"\n", "");
    assert!(refused(&none).contains("tunnel[1].pre_shared_key: is missing"));
    let two = with_option(SMALLEST, "pre_shared_key_file = \"/x\"");
    let problems = refused(&two);
    assert!(
        problems.contains("found pre_shared_key and pre_shared_key_file"),
        "{problems}"
    );
    let nowhere = with_option(SMALLEST, "pre_shared_key_generate = true");
    assert!(
        refused(&nowhere).contains("pre_shared_key_generate: is set, expected pre_shared_key_file")
    );
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let problems = load(Path::new("/nowhere/vgw.toml")).unwrap_err();
    assert!(lines(&problems).starts_with("/nowhere/vgw.toml: cannot be opened: "));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vgw.toml");
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(lines(&load(&path).unwrap_err()).contains("cannot be read"));
}

#[test]
fn a_check_takes_credentials_that_only_the_daemon_is_given_and_nothing_runs_without_them() {
    let directory = tempfile::tempdir().unwrap();
    let text = (1..=2).fold(SMALLEST.to_owned(), |text, tunnel| {
        with(
            &text,
            &format!("pre_shared_key = \"abcdefgh.{tunnel}\""),
            &format!("pre_shared_key_credential = \"site-{tunnel}\""),
        )
    });
    let path = put(directory.path(), &text, 0o644);
    let warnings = lines(&check(&path).unwrap());
    assert_eq!(
        warnings.matches("by systemd: not checked").count(),
        2,
        "{warnings}"
    );
    assert!(lines(&load(&path).unwrap_err()).contains("pre_shared_key_credential"));
}
