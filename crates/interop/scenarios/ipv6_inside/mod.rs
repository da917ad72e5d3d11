//! IPv4 and IPv6 inside the same tunnels, over IPv4 outside.
//!
//! Seen: one CHILD SA with both families' selectors in each tunnel, and pings of both
//! families both ways.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use vgw_interop::stage::{CHILDREN, SOON, Stage};
use vgw_lab::probe::ping;

pub fn run() -> Result<()> {
    let stage = Stage::new("ipv6_inside")?;
    let (vpc, site) = (&stage.topology.vpc, &stage.topology.on_premises);
    vpc.add_address("lo", "fd00:10::1/128".parse()?)?;
    site.add_address("lo", "fd00:192::1/128".parse()?)?;
    let (_gateway, peer) = stage.both_up()?;
    peer.lead("fd00:10::/64".parse()?)?;
    for child in CHILDREN {
        ensure!(peer.installed(child)?.len() == 1, "{child}: {:?}", peer.children()?);
    }
    stage.ping_both_ways()?;
    let (cloud, customer): (IpAddr, IpAddr) = ("fd00:10::1".parse()?, "fd00:192::1".parse()?);
    let answered = ping(vpc, cloud, customer, SOON)?;
    answered.context("no answer to an IPv6 ping from the VPC")?;
    let answered = ping(site, customer, cloud, SOON)?;
    answered.context("no answer to an IPv6 ping from the premises")?;
    Ok(())
}
