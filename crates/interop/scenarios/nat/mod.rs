//! The peer behind an address translator, whose mapping changes under traffic.
//!
//! The flow's requests come from the peer's side: what the gateway sends to a mapping
//! that is gone reaches nobody, and only the peer can make a new one.
//!
//! Seen: ESP in UDP and the peer's translated port in the status; after the
//! translator has forgotten its mappings and gives other ports, the flow goes on and
//! the status names the new port.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_interop::stage::{LATER, SOON, Stage, await_echoes};
use vgw_interop::tools::{masquerade, run as run_in};
use vgw_lab::wait_until;

pub fn run() -> Result<()> {
    let stage = Stage::behind_nat("nat")?;
    masquerade(&stage.topology, "20000-20999")?;
    let (mut gateway, _peer) = stage.both_up()?;
    for tunnel in gateway.await_both(SOON)? {
        let ike = tunnel.ike.context("no IKE SA")?;
        ensure!(ike.nat_remote, "the NAT was not noticed: {ike:?}");
        ensure!((20000..21000).contains(&ike.remote.port()), "{ike:?}");
        ensure!(tunnel.children.iter().all(|child| child.udp_encapsulation));
    }
    stage.ping_both_ways()?;

    let flow = stage.flow_from_premises(Duration::from_millis(10))?;
    await_echoes(&flow, 100, SOON)?;
    masquerade(&stage.topology, "30000-30999")?;
    forget_mappings(&stage)?;
    await_echoes(&flow, 100, LATER)?;
    let active = gateway.connection()?.active_tunnel.context("no active tunnel")?;
    wait_until("the new port in the status", LATER, || {
        let tunnel = gateway.tunnel(active.into())?;
        let port = tunnel.ike.map(|ike| ike.remote.port());
        Ok(port.filter(|port| (30000..31000).contains(port)))
    })?;
    let report = flow.finish()?;
    println!("the mapping's change: {report:?}");
    stage.ping_both_ways()
}

/// As a translator whose line was down: it has forgotten its mappings.
fn forget_mappings(stage: &Stage) -> Result<()> {
    let nat = stage.topology.nat.as_ref().context("no NAT")?;
    run_in(nat, "ip", &["link", "set", "wan", "down"])?;
    run_in(nat, "ip", &["link", "set", "wan", "up"])?;
    run_in(nat, "ip", &["route", "add", "default", "via", "192.0.2.254"])?;
    Ok(())
}
