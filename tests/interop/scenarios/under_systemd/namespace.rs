//! The VPC becomes a network namespace of the machine.

use anyhow::{Result, ensure};
use vgw_lab::probe::EchoFlow;

use super::passing;
use super::site::{CONFIG, DAEMON, GUARD, Site};

/// What makes the namespace, and what gives it a way out.
const UNITS: [(&str, &str); 2] = [
    (
        "vpc-namespace.service",
        include_str!("units/vpc-namespace.service"),
    ),
    (
        "vpc-way-out.service",
        include_str!("units/vpc-way-out.service"),
    ),
];

/// Takes the drop-in for it that the project has, with the lines for a unit that makes
/// the namespace, and sees the daemon serve it without the privilege to enter one.
pub fn moved(site: &Site<'_>, flow: &EchoFlow, config: &str) -> Result<()> {
    let drop_in = include_str!("../../../../systemd/network-namespace.conf");
    let drop_in = drop_in
        .replace("\n#Requires", "\nRequires")
        .replace("\n#After", "\nAfter");
    for unit in [DAEMON, GUARD] {
        let path = format!("/etc/systemd/system/{unit}.d/network-namespace.conf");
        site.disk.write(&path, &drop_in)?;
    }
    for (name, text) in UNITS {
        site.disk
            .write(&format!("/etc/systemd/system/{name}"), text)?;
    }
    site.disk
        .write(CONFIG, &config.replace("[vpc]", "[vpc]\nnetns = \"vpc\""))?;
    site.systemctl(&["daemon-reload"])?;
    site.systemctl(&["enable", "vpc-way-out.service"])?;
    site.systemctl(&["stop", DAEMON, GUARD])?;
    site.systemctl(&["start", "vpc-way-out.service", GUARD, DAEMON])?;
    let inside = ["-netns", "vpc", "route", "show"];
    let routes = site.machine.run("ip", &inside)?;
    ensure!(routes.contains("unreachable 192.168.10.0/24"), "{routes}");
    passing(site, flow)?;
    let outside = site.machine.run("ip", &["link", "show"])?;
    ensure!(
        !outside.contains("vgw0"),
        "the TUN device is outside:\n{outside}"
    );
    super::confinement::see_threads(site)
}
