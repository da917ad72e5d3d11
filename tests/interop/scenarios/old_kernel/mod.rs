//! The gateway on a kernel that lacks some of what it would use: Debian's 6.1 in a
//! virtual machine, whose TUN device knows no UDP super-packets.
//!
//! Seen: what is missing is found out and left out, and the whole demo, with both
//! ends in the guest, passes: traffic, failover, rekeys.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_harness::qemu::{Guest, Image};
use vgw_harness::stage::Stage;

/// The demo takes less than a minute where nothing is emulated.
const DEMO_PATIENCE: Duration = Duration::from_secs(300);

const CONFIGURATION: &str = "[gateway]
outside_addresses = [\"203.0.113.1\", \"198.51.100.1\"]
[vpc]
cidrs = [\"10.0.0.0/16\"]
[control]
socket = \"/run/vgw.sock\"
";

pub fn run() -> Result<()> {
    let stage = Stage::new("old_kernel")?;
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/old_kernel/guest");
    let image = Image::build(&recipe, &stage.workspace.directory().join("guest"))?;
    let mut guest = Guest::boot(&image, &stage.topology.internet, &["guest"], "")?;
    let kernel = guest.run("uname -r")?;
    ensure!(kernel.contains("6.1."), "kernel {kernel}");

    guest.write("/etc/vgw.toml", CONFIGURATION)?;
    guest.run("vgw run --config /etc/vgw.toml 2> /tmp/vgw.log & echo $! > /tmp/pid")?;
    guest.run("until vgw status --socket /run/vgw.sock; do usleep 100000; done")?;
    let log = guest.run("cat /tmp/vgw.log; kill $(cat /tmp/pid)")?;
    let offloads = log.split_once("offloads of the kernel: ");
    let (_, offloads) = offloads.with_context(|| format!("no offloads are logged\n{log}"))?;
    let (offloads, _) = offloads.split_once(';').context("the line does not end")?;
    for name in ["tun_vnet_header", "tun_tso", "udp_gso"] {
        ensure!(offloads.contains(name), "not logged: {name}\n{offloads}");
    }
    ensure!(!offloads.contains("tun_uso"), "{offloads}");

    guest.run_within("vgw demo", DEMO_PATIENCE)?;
    Ok(())
}
