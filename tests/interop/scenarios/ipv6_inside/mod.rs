//! IPv4 and IPv6 inside the same tunnels, over IPv4 outside.
//!
//! Seen: one CHILD SA with both families' selectors in each tunnel, and pings of both
//! families both ways.

use anyhow::{Context, Result, ensure};
use vgw_harness::stage::{CHILDREN, SOON, Stage};
use vgw_lab::probe::ping;
use vgw_lab::topology::{ON_PREMISES_HOST_V6, VPC_HOST_V6};

pub fn run() -> Result<()> {
    let stage = Stage::new("ipv6_inside")?;
    let (_gateway, peer) = stage.both_up()?;
    peer.lead("fd00:10::/64".parse()?)?;
    for child in CHILDREN {
        ensure!(
            peer.installed(child)?.len() == 1,
            "{child}: {:?}",
            peer.children()?
        );
    }
    stage.ping_both_ways()?;
    let (vpc, site) = (&stage.topology.vpc_host, &stage.topology.on_premises_host);
    let answered = ping(vpc, VPC_HOST_V6, ON_PREMISES_HOST_V6, SOON)?;
    answered.context("no answer to an IPv6 ping from the VPC")?;
    let answered = ping(site, ON_PREMISES_HOST_V6, VPC_HOST_V6, SOON)?;
    answered.context("no answer to an IPv6 ping from the premises")?;
    Ok(())
}
