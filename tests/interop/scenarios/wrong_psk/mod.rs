//! The peer has another pre-shared key for tunnel 1.
//!
//! Seen: tunnel 1 does not come up, and the status says why: what was offered and what
//! was expected. Tunnel 2, which is right, is not disturbed.

use anyhow::Result;
use vgw_harness::stage::{SOON, Stage};

/// What the reason must name.
const NAMED: &[&str] = &["pre-shared key", "192.0.2.1"];

pub fn run() -> Result<()> {
    let stage = Stage::new("wrong_psk")?;
    let (mut gateway, peer) = stage.see_refusal(NAMED)?;
    peer.initiate("net2")?;
    gateway.await_tunnel(2, true, SOON)?;
    Ok(())
}
