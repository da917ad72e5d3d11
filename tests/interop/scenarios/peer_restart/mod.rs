//! strongSwan is killed without a word and started again.
//!
//! Seen: it comes back with new SAs in place of the old ones (INITIAL_CONTACT), and
//! traffic passes; then it is stopped in order, and both tunnels are down at once.

use anyhow::{Result, ensure};
use vgw_harness::stage::{CHILDREN, SOON, Stage};
use vgw_lab::wait_until;

pub fn run() -> Result<()> {
    let stage = Stage::new("peer_restart")?;
    let (mut gateway, peer) = stage.both_up()?;
    stage.ping_both_ways()?;
    let before = gateway
        .await_both(SOON)?
        .map(|tunnel| tunnel.ike.map(|ike| ike.spi_i));
    peer.crash()?;

    let peer = stage.start_peer()?;
    for child in CHILDREN {
        peer.initiate(child)?;
    }
    for (number, old) in (1..).zip(before) {
        wait_until("only the new SAs", SOON, || {
            let tunnel = gateway.tunnel(number)?;
            let new = tunnel.ike.map(|ike| ike.spi_i) != old;
            Ok((tunnel.up && new && tunnel.children.len() == 1).then_some(()))
        })?;
    }
    stage.ping_both_ways()?;

    peer.stop()?;
    for number in [1, 2] {
        let tunnel = gateway.await_tunnel(number, false, SOON)?;
        ensure!(tunnel.last.is_some(), "nothing says why: {tunnel:?}");
    }
    Ok(())
}
