//! Two customers of one gateway, each with a list of algorithms of its own.
//!
//! Seen: each tunnel comes up with its customer's algorithms, and pings pass; a customer
//! that offers what the other may use is refused, with what it offers and what is
//! accepted of it, and the other is not disturbed.

use anyhow::{Context, Result, ensure};
use vgw_harness::stage::{SOON, await_reason};
use vgw_harness::two_sites::{Sites, TUNNELS};
use vgw_lab::probe::ping;
use vgw_lab::topology::{BRANCH_HOST, ON_PREMISES_HOST, VPC_HOST};

const SUITES: [(&str, &str); 2] = [("AES_CBC", "HMAC_SHA2_256_128"), ("AES_GCM_16", "")];

/// What the reason must name: the other customer's algorithm, and the site's own.
const NAMED: &[&str] = &["AES256-GCM-16", "AES128"];

pub fn run() -> Result<()> {
    let sites = Sites::start("algorithm_lists")?;
    for (peer, expected) in sites.peers.iter().zip(SUITES) {
        let children = peer.installed("net")?;
        let sa = children.first().context("no CHILD SA at the peer")?;
        let suite = (sa.encryption.as_str(), sa.integrity.as_str());
        ensure!(suite == expected, "expected {expected:?}: {sa:?}");
    }
    let answered = ping(
        &sites.stage.topology.on_premises_host,
        ON_PREMISES_HOST,
        VPC_HOST,
        SOON,
    )?;
    answered.context("no answer to a ping from the premises")?;

    let [site, _] = &sites.peers;
    site.terminate("tunnel1")?;
    site.load(&sites.stage.workspace.file("site-as-branch.swanctl.conf")?)?;
    ensure!(
        site.initiate("net").is_err(),
        "the site came up with the branch's algorithms"
    );
    println!("{}", await_reason(&sites.gateway, NAMED)?);
    let [site, branch] = TUNNELS.map(|name| sites.gateway.tunnel_named(name));
    ensure!(!site?.up && branch?.up);
    let answered = ping(&sites.branch.host, BRANCH_HOST, VPC_HOST, SOON)?;
    answered.context("no answer to a ping from the branch")?;
    Ok(())
}
