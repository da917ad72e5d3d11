//! Two customers without an address, whom IKE cannot tell apart when it chooses
//! algorithms; either offers more than it may use.
//!
//! Seen: where the customers' lists have something in common, both get it, though the
//! first of them prefers something else. Where they have nothing in common, the second
//! is refused, with a reason that names both and what was chosen and expected; it comes
//! up as soon as it offers no more than its own. Pings pass.

use anyhow::{Context, Result, ensure};
use vgw_harness::stage::{SOON, await_reason};
use vgw_harness::two_sites::{Sites, TUNNELS};
use vgw_lab::probe::ping;
use vgw_lab::topology::{BRANCH_HOST, ON_PREMISES_HOST, VPC_HOST};
use vgw_lab::wait_until;

/// What both lists hold.
const COMMON: &str = "AES128-GCM-16";

/// What the reason must name.
const NAMED: &[&str] = &[
    "chosen was AES256-GCM-16",
    "expected encryption AES256;",
    "vpn-site/1",
    "vpn-branch/1",
];

pub fn run() -> Result<()> {
    let sites = Sites::start("alike_sites")?;
    for name in TUNNELS {
        let ike = sites.gateway.tunnel_named(name)?.ike.context("no IKE SA")?;
        ensure!(ike.suite.contains(COMMON), "{name}: {ike:?}");
    }
    ping_from_both(&sites)?;

    sites
        .stage
        .workspace
        .file_as("apart.vgw.toml", "vgw.toml")?;
    sites.gateway.reload()?;
    for name in TUNNELS {
        wait_until("the tunnel's restart", SOON, || {
            Ok((!sites.gateway.tunnel_named(name)?.up).then_some(()))
        })?;
    }
    let [site, branch] = &sites.peers;
    site.initiate("net")?;
    ensure!(
        branch.initiate("net").is_err(),
        "the branch came up with the site's algorithms"
    );
    println!("{}", await_reason(&sites.gateway, NAMED)?);
    branch.load(&sites.stage.workspace.file("branch-alone.swanctl.conf")?)?;
    branch.initiate("net")?;
    sites.gateway.await_tunnels(TUNNELS.len(), SOON)?;
    ping_from_both(&sites)
}

fn ping_from_both(sites: &Sites) -> Result<()> {
    let from = [
        (&sites.stage.topology.on_premises_host, ON_PREMISES_HOST),
        (&sites.branch.host, BRANCH_HOST),
    ];
    for (namespace, address) in from {
        let answered = ping(namespace, address, VPC_HOST, SOON)?;
        answered.with_context(|| format!("no answer to a ping from {address}"))?;
    }
    Ok(())
}
