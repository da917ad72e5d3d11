//! Our gateway behind an address translator, as machines in a cloud are: each of its
//! outside addresses is the translator's, one to one with an address of its own.
//!
//! The peer initiates, and knows the gateway by its outside addresses alone.
//!
//! Seen: both tunnels up with ESP in UDP; pings both ways; under a steady flow, rekeys
//! begun at either end, and not one packet lost; traffic on the other tunnel when one is
//! taken down by hand.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_interop::stage::{CHILDREN, SOON, Stage, await_echoes, finish_whole};
use vgw_lab::topology::CUSTOMER_OUTSIDE;
use vgw_lab::wait_until;

pub fn run() -> Result<()> {
    let stage = Stage::in_a_cloud("cloud_nat")?;
    let (mut gateway, peer) = stage.both_up()?;
    for tunnel in gateway.await_both(SOON)? {
        let ike = tunnel.ike.context("no IKE SA")?;
        ensure!(ike.remote == (CUSTOMER_OUTSIDE, 4500).into(), "{ike:?}");
        ensure!(tunnel.children.iter().all(|child| child.udp_encapsulation));
    }
    stage.ping_both_ways()?;

    let flow = stage.flow(Duration::from_millis(5))?;
    await_echoes(&flow, 50, SOON)?;
    gateway.ask(&["tunnel", "rekey", "vpn-site/1"])?;
    gateway.ask(&["tunnel", "rekey", "--ike", "vpn-site/1"])?;
    let [child, _] = CHILDREN;
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

    gateway.ask(&["tunnel", "down", "vpn-site/1"])?;
    gateway.await_tunnel(1, false, SOON)?;
    stage.ping_both_ways()
}
