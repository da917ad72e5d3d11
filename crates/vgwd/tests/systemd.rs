//! The units as systemd reads them. `systemd-analyze` must be there: a test that
//! is left out because a tool is missing says nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test's helpers too, what cannot be had fails the test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tenths of exposure that the unit may have at most; it has this much because
/// it must reach the network, the TUN device and capset(2).
const THRESHOLD: &str = "--threshold=19";

fn unit(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Both units in a folder, with programs that are there.
fn installed(folder: &Path) -> [PathBuf; 2] {
    ["vgwd.service", "vgwd-guard.service"].map(|name| install(folder, name))
}

fn install(folder: &Path, name: &str) -> PathBuf {
    // Of `vgw`, too, it is asked only whether it is there.
    let program = concat!(env!("CARGO_BIN_EXE_vgwd"), " ");
    let text = unit(name)
        .replace("/usr/local/sbin/vgwd ", program)
        .replace("/usr/local/sbin/vgw ", program);
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn analyze(arguments: &[&str], unit: &Path) -> String {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .env("SYSTEMD_COLORS", "0")
        .output()
        .unwrap_or_else(|error| panic!("systemd-analyze must be installed: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        output.status.success(),
        "systemd-analyze {arguments:?}:\n{said}"
    );
    said
}

#[test]
fn systemd_takes_the_units_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    for unit in installed(folder.path()) {
        let said = analyze(&["verify", "--man=no"], &unit);
        assert_eq!(said.trim(), "");
    }
}

#[test]
fn the_sandbox_is_as_tight_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for unit in installed(folder.path()) {
        analyze(&["security", "--offline=true", THRESHOLD], &unit);
    }
}

#[test]
fn the_namespace_drop_in_adds_to_the_units_what_setns_takes() {
    let folder = tempfile::tempdir().unwrap();
    for unit_file in installed(folder.path()) {
        let drop_ins = unit_file.with_extension("service.d");
        fs::create_dir(&drop_ins).unwrap();
        fs::write(
            drop_ins.join("network-namespace.conf"),
            unit("network-namespace.conf"),
        )
        .unwrap();
        let said = analyze(&["verify", "--man=no"], &unit_file);
        assert_eq!(said.trim(), "");
    }
}
