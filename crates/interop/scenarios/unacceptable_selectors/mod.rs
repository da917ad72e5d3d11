//! The peer asks for a network that is not on its side of the connection.
//!
//! Seen: neither tunnel comes up, and the status names what was asked for and what is
//! allowed.

use anyhow::{Result, ensure};
use vgw_interop::stage::{SOON, Stage};
use vgw_lab::wait_until;

/// What the reason must name.
const NAMED: &[&str] = &["192.168.77.0", "192.168.10.0"];

pub fn run() -> Result<()> {
    let stage = Stage::new("unacceptable_selectors")?;
    let gateway = stage.start_gateway()?;
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
    Ok(())
}
