//! What the daemon does to the kernel of a VPC, in network namespaces;
//! needs root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test's helpers too, what cannot be had fails the test"
)]

use vgw_lab::Namespace;

mod forwarding;
mod keeper;

/// A configuration for this VPC.
fn configuration(vpc: &Namespace) -> String {
    include_str!("../smallest.toml")
        .replace("[vpc]", &format!("[vpc]\nnetns = {:?}", vpc.name()))
        .replace("\"10.0.0.0/16\"", "\"10.0.0.0/16\", \"fd00:10::/64\"")
        .replace(
            "\"192.168.0.0/24\"",
            "\"192.168.10.0/24\", \"fd00:20::/64\"",
        )
}

/// What ip(8) says in a namespace.
fn ip(vpc: &Namespace, arguments: &str) -> String {
    let output = vpc
        .command("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "ip {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Our routes, IPv4 and IPv6, as ip(8) shows them.
fn own_routes(vpc: &Namespace) -> Vec<String> {
    let shown = ["-4", "-6"].map(|family| ip(vpc, &format!("{family} route show proto 203")));
    let lines = shown.iter().flat_map(|text| text.lines());
    lines.map(str::to_owned).collect()
}
