//! We initiate both tunnels; the peer only answers.
//!
//! Seen: both up at both ends, us as initiator; pings both ways.

use anyhow::{Result, ensure};
use vgw_harness::stage::{CHILDREN, LATER, Stage};

pub fn run() -> Result<()> {
    let stage = Stage::new("up_from_us")?;
    let peer = stage.start_peer()?;
    let mut gateway = stage.start_gateway()?;
    for tunnel in gateway.await_both(LATER)? {
        let role = tunnel.ike.map(|ike| ike.role);
        ensure!(role.as_deref() == Some("initiator"), "{role:?}");
    }
    for child in CHILDREN {
        let installed = peer.installed(child)?;
        ensure!(installed.len() == 1, "{child}: {installed:?}");
    }
    stage.ping_both_ways()
}
