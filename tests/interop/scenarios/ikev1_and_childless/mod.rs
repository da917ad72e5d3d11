//! The peer speaks IKEv1 for tunnel 1, and demands an IKE SA without a CHILD SA for
//! tunnel 2 (RFC 6023). Then it does neither, and has two CHILD SAs in tunnel 1.
//!
//! Seen: neither tunnel comes up, each says why, and counters say how often. What the
//! status says of the two CHILD SAs is that both send.

use anyhow::{Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::stage::{LATER, SOON, Stage, await_reason};
use vgw_lab::wait_until;

pub fn run() -> Result<()> {
    let stage = Stage::new("ikev1_and_childless")?;
    let mut gateway = stage.start_gateway()?;
    let peer = stage.start_peer()?;

    ensure!(peer.initiate("net1").is_err(), "the peer came up by IKEv1");
    println!(
        "{}",
        await_reason(&gateway, &["IKEv1", "set the peer to IKEv2"])?
    );
    see_last(&gateway, 1, "set the peer to IKEv2")?;
    let counted = gateway.status()?.denied;
    ensure!(counted.get("ike_v1") > Some(&0), "{counted:?}");

    ensure!(peer.initiate("net2").is_err(), "the peer came up childless");
    wait_until("the end of the handshake", LATER, || {
        let expired = gateway.status()?.denied.get("half_open_expired") > Some(&0);
        Ok(expired.then_some(()))
    })?;
    see_last(&gateway, 2, "childless initiation")?;

    peer.load(&stage.workspace.file("two_children.swanctl.conf")?)?;
    peer.initiate("net1")?;
    peer.initiate("net1b")?;
    let tunnel = gateway.await_tunnel(1, true, SOON)?;
    ensure!(tunnel.children.len() == 2, "{:?}", tunnel.children);
    for child in &tunnel.children {
        ensure!(child.outbound, "{:?}", tunnel.children);
    }
    Ok(())
}

/// What a tunnel says went wrong last.
fn see_last(gateway: &Gateway, number: usize, words: &str) -> Result<()> {
    let last = gateway.tunnel(number)?.last;
    ensure!(
        last.as_ref().is_some_and(|last| last.why.contains(words)),
        "{last:?}"
    );
    Ok(())
}
