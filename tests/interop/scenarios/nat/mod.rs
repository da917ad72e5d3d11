//! The peer behind an address translator, whose mapping changes under traffic.
//!
//! The flow's requests come from the peer's side: what the gateway sends to a mapping
//! that is gone reaches nobody, and only the peer can make a new one. There is one
//! tunnel, so that both directions use it.
//!
//! Seen: ESP in UDP and the peer's translated port in the status; after the
//! translator has forgotten its mappings and gives other ports, the flow goes on and
//! the status names the new port.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_harness::stage::{LATER, SOON, Stage, await_echoes};
use vgw_harness::tools::{change_mappings, masquerade};
use vgw_lab::wait_until;

pub fn run() -> Result<()> {
    let stage = Stage::behind_nat("nat")?;
    masquerade(&stage.topology, "20000-20999")?;
    let mut gateway = stage.start_gateway()?;
    let peer = stage.start_peer()?;
    peer.initiate("net1")?;
    let tunnel = gateway.await_tunnel(1, true, SOON)?;
    let ike = tunnel.ike.context("no IKE SA")?;
    ensure!(ike.nat_remote, "the NAT was not noticed: {ike:?}");
    ensure!((20000..21000).contains(&ike.remote.port()), "{ike:?}");
    ensure!(tunnel.children.iter().all(|child| child.udp_encapsulation));
    stage.ping_both_ways()?;

    let flow = stage.flow_from_premises(Duration::from_millis(10))?;
    await_echoes(&flow, 100, SOON)?;
    change_mappings(&stage.topology, "30000-30999")?;
    await_echoes(&flow, 100, LATER)?;
    wait_until("the new port in the status", LATER, || {
        let port = gateway.tunnel(1)?.ike.map(|ike| ike.remote.port());
        Ok(port.filter(|port| (30000..31000).contains(port)))
    })?;
    let report = flow.finish()?;
    println!("the mapping's change: {report:?}");
    // Found by the next packet, not by the dead peer detection of 40 s.
    ensure!(report.longest_gap < Duration::from_secs(15), "{report:?}");
    stage.ping_both_ways()
}
