//! The peer offers for tunnel 1 only algorithms that we do not accept.
//!
//! Seen: tunnel 1 does not come up, and the status says why: what was offered and what
//! was expected. Tunnel 2, which is right, is not disturbed.

use anyhow::{Result, ensure};
use vgw_interop::stage::{SOON, Stage};
use vgw_lab::wait_until;

/// What the reason must name.
const NAMED: &[&str] = &["offered", "MODP"];

pub fn run() -> Result<()> {
    let stage = Stage::new("no_proposal")?;
    let mut gateway = stage.start_gateway()?;
    let peer = stage.start_peer()?;
    ensure!(peer.initiate("net1").is_err(), "the peer came up");
    let reason = wait_until("a reason in the status", SOON, || {
        let status = gateway.status()?;
        let reasons = status.reasons();
        let fits = |why: &&&str| NAMED.iter().all(|word| why.contains(word));
        Ok(reasons.iter().find(fits).map(ToString::to_string))
    })?;
    println!("{reason}");
    ensure!(!gateway.tunnel(1)?.up);
    peer.initiate("net2")?;
    gateway.await_tunnel(2, true, SOON)?;
    Ok(())
}
