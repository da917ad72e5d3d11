//! `vgw guard` and `vgw flush`; needs root.

#![allow(
    clippy::unwrap_used,
    reason = "in a test's helpers too, what cannot be had fails the test"
)]

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use vgw_lab::{Lab, Namespace};

/// A connection with a prefix that is none.
const BRANCH: &str = r#"
    [[vpn_connection]]
    id = "vpn-branch"
    customer_gateway = "cgw-office"
    static_routes = ["192.168.300.0/24", "192.168.30.0/24"]
"#;

/// A configuration for this VPC, whose keys cannot be had.
fn configuration(vpc: &Namespace, socket: &Path) -> String {
    let control = format!(
        "[control]\nsocket = {socket:?}\n[vpc]\nnetns = {:?}",
        vpc.name()
    );
    include_str!("../../vgwd/tests/smallest.toml")
        .replace("[vpc]", &control)
        .replace("\"10.0.0.0/16\"", "\"10.0.0.0/16\", \"fd00:10::/64\"")
        .replace(
            "\"192.168.0.0/24\"",
            "\"192.168.10.0/24\", \"fd00:20::/64\"",
        )
        .replace(
            "pre_shared_key = \"abcdefgh.1",
            "pre_shared_key_file = \"/nowhere",
        )
        .replace(
            "pre_shared_key = \"abcdefgh.2",
            "pre_shared_key_credential = \"none",
        )
}

fn vgw(arguments: &[&str], file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgw"));
    command.args(arguments).arg(file).output().unwrap()
}

/// The first two words of each of our routes, IPv4 and IPv6, as ip(8) shows them.
fn routes(vpc: &Namespace) -> Vec<String> {
    let of_family = |family| {
        let mut ip = vpc.command("ip");
        let output = ip.args([family, "route", "show", "proto", "203"]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = ["-4", "-6"].map(of_family);
    let lines = shown.iter().flat_map(|text| text.lines());
    let words = lines.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
    words.collect()
}

#[test]
#[ignore = "needs root"]
fn what_can_be_read_is_guarded_without_keys_until_it_is_flushed() {
    let lab = Lab::new("guardcli").unwrap();
    let vpc = lab.namespace("vpc").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vgw.toml");
    let socket = folder.path().join("control.sock");
    let text = configuration(&vpc, &socket) + BRANCH;
    std::fs::write(&file, text).unwrap();

    let output = vgw(&["guard"], &file);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("192.168.300.0"), "{said}");
    assert!(!said.contains("/nowhere"), "{said}");
    let guarded = [
        "unreachable 169.254.10.0/30",
        "unreachable 169.254.10.4/30",
        "unreachable 192.168.10.0/24",
        "unreachable 192.168.30.0/24",
        "unreachable fd00:20::/64",
    ];
    assert_eq!(routes(&vpc), guarded);

    let daemon = UnixListener::bind(&socket).unwrap();
    let output = vgw(&["flush"], &file);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a daemon answers"), "{said}");
    assert_eq!(routes(&vpc), guarded);
    let output = vgw(&["flush", "--force"], &file);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(routes(&vpc), [""; 0]);

    drop(daemon);
    vgw(&["guard"], &file);
    assert_eq!(routes(&vpc), guarded);
    let output = vgw(&["flush"], &file);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("192.168.10.0/24: not guarded any more"),
        "{said}"
    );
    assert_eq!(routes(&vpc), [""; 0]);
}

#[test]
#[ignore = "needs root"]
fn a_whole_configuration_is_guarded_in_silence() {
    let lab = Lab::new("guardwhole").unwrap();
    let vpc = lab.namespace("vpc").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vgw.toml");
    let text = configuration(&vpc, &folder.path().join("control.sock"));
    std::fs::write(&file, text).unwrap();
    for _ in 0..2 {
        let output = vgw(&["guard"], &file);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(routes(&vpc).len(), 4);
    }
}
