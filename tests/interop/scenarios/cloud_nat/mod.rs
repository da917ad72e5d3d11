//! Our gateway behind an address translator, as machines in a cloud are: each of its
//! outside addresses is the translator's, one to one with an address of its own. The
//! peer is behind a translator, too, whose mapping changes under traffic.
//!
//! Seen: where the configuration does not name the public addresses, the peer does not
//! accept us, and the status says whom it asked for and who we said we are. Where it
//! does, both tunnels come up by our initiation, and one anew by the peer's, with ESP in
//! UDP; pings both ways; under a steady flow, rekeys begun at either end, and not one
//! packet lost. When the peer's port changes, traffic comes back within seconds.
//! At last, traffic on the other tunnel when one is taken down by hand.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::stage::{
    CHILDREN, CONNECTIONS, LATER, SOON, Stage, await_echoes, await_reason, finish_whole,
};
use vgw_harness::tools::{change_mappings, lead_ike_to_peer};
use vgw_lab::topology::CUSTOMER_OUTSIDE;
use vgw_lab::wait_until;

/// How long nothing may come through after the peer's port has changed; dead peer
/// detection would take 40 s.
const OUTAGE: Duration = Duration::from_secs(5);

pub fn run() -> Result<()> {
    let stage = Stage::in_a_cloud("cloud_nat")?;
    lead_ike_to_peer(&stage.topology)?;
    let config = stage.workspace.file_as("unnamed.vgw.toml", "vgw.toml")?;
    let mut gateway = Gateway::start(&stage.topology.vpc, &config)?;
    let peer = stage.start_peer()?;
    let [child, _] = CHILDREN;
    ensure!(
        peer.initiate(child).is_err(),
        "the peer accepts us as another"
    );
    let asked = ["asked for 203.0.113.1", "we said we are 172.31.1.1"];
    println!("{}", await_reason(&gateway, &asked)?);

    stage.workspace.file("vgw.toml")?;
    gateway.reload()?;
    for tunnel in gateway.await_both(SOON)? {
        let ike = tunnel.ike.context("no IKE SA")?;
        ensure!(ike.role == "initiator", "{ike:?}");
        ensure!(ike.remote == (CUSTOMER_OUTSIDE, 4500).into(), "{ike:?}");
        ensure!(tunnel.children.iter().all(|child| child.udp_encapsulation));
    }
    stage.ping_both_ways()?;
    let [connection, _] = CONNECTIONS;
    peer.terminate(connection)?;
    gateway.await_tunnel(1, false, SOON)?;
    peer.initiate(child)?;
    gateway.await_both(SOON)?;
    stage.ping_both_ways()?;

    let flow = stage.flow(Duration::from_millis(5))?;
    await_echoes(&flow, 50, SOON)?;
    gateway.ask(&["tunnel", "rekey", "vpn-site/1"])?;
    gateway.ask(&["tunnel", "rekey", "--ike", "vpn-site/1"])?;
    wait_until("our rekeys of tunnel 1", SOON, || {
        let counters = gateway.tunnel(1)?.counters;
        Ok((counters.ike_rekeys >= 1 && counters.child_rekeys >= 1).then_some(()))
    })?;
    peer.rekey_child(child)?;
    wait_until("the peer's rekey of tunnel 1", SOON, || {
        Ok((gateway.tunnel(1)?.counters.child_rekeys >= 2).then_some(()))
    })?;
    await_echoes(&flow, 50, SOON)?;
    finish_whole(flow)?;

    // So that both directions use tunnel 1.
    gateway.ask(&["tunnel", "down", "vpn-site/2"])?;
    gateway.await_tunnel(2, false, SOON)?;
    see_mapping_change(&stage, &gateway, 30_000)?;

    lead_ike_to_peer(&stage.topology)?;
    gateway.ask(&["tunnel", "up", "vpn-site/2"])?;
    gateway.await_tunnel(2, true, LATER)?;
    gateway.ask(&["tunnel", "down", "vpn-site/1"])?;
    gateway.await_tunnel(1, false, SOON)?;
    stage.ping_both_ways()
}

/// Sees that a flow through tunnel 1 goes on after the peer's translator has forgotten
/// its mapping and gives one of the thousand ports from `first` on. The requests come
/// from the peer's side: only the peer can make a new mapping.
fn see_mapping_change(stage: &Stage, gateway: &Gateway, first: u16) -> Result<()> {
    let ports = first..first + 1_000;
    let before = gateway.tunnel(1)?.counters.path_changes;
    let flow = stage.flow_from_premises(Duration::from_millis(10))?;
    await_echoes(&flow, 100, SOON)?;
    change_mappings(&stage.topology, &format!("{first}-{}", first + 999))?;
    await_echoes(&flow, 100, LATER)?;
    wait_until("the new port in the status", LATER, || {
        let tunnel = gateway.tunnel(1)?;
        let port = tunnel.ike.map(|ike| ike.remote.port());
        let is_new = port.is_some_and(|port| ports.contains(&port));
        Ok((is_new && tunnel.counters.path_changes > before).then_some(()))
    })?;
    let report = flow.finish()?;
    println!("the mapping's change to {ports:?}: {report:?}");
    ensure!(report.longest_gap < OUTAGE, "{report:?}");
    stage.ping_both_ways()
}
