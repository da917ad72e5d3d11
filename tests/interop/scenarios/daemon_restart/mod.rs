//! Our daemon is stopped in order and started again, then killed and started again. The
//! peer only answers and never asks whether we live; of our two tunnels, one is to
//! initiate and one is to wait for the peer.
//!
//! Seen: after each start both tunnels come up before anything else could bring them up,
//! at most one CHILD SA of each is left at the peer, and traffic passes.

use anyhow::Result;
use vgw_harness::gateway::Gateway;
use vgw_harness::stage::{CHILDREN, SOON, Stage};
use vgw_harness::strongswan::StrongSwan;
use vgw_lab::wait_until;

pub fn run() -> Result<()> {
    let stage = Stage::new("daemon_restart")?;
    let peer = stage.start_peer()?;
    let gateway = stage.start_gateway()?;
    let gateway = whole(&stage, gateway, &peer)?;

    gateway.stop()?;
    wait_until("the peer's deletion", SOON, || {
        Ok(peer.children()?.is_empty().then_some(()))
    })?;
    let gateway = stage.start_gateway()?;
    let gateway = whole(&stage, gateway, &peer)?;

    gateway.crash()?;
    let gateway = stage.start_gateway()?;
    whole(&stage, gateway, &peer)?;
    Ok(())
}

fn whole(stage: &Stage, mut gateway: Gateway, peer: &StrongSwan) -> Result<Gateway> {
    gateway.await_both(SOON)?;
    for child in CHILDREN {
        wait_until("one CHILD SA at the peer", SOON, || {
            Ok((peer.installed(child)?.len() == 1).then_some(()))
        })?;
    }
    stage.ping_both_ways()?;
    Ok(gateway)
}
