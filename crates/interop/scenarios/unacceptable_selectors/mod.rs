//! The peer asks for a network that is not on its side of the connection.
//!
//! Seen: neither tunnel comes up, and the status names what was asked for and what is
//! allowed.

use anyhow::{Result, ensure};
use vgw_interop::stage::{Stage, await_reason};

/// What the reason must name.
const NAMED: &[&str] = &["192.168.77.0", "192.168.10.0"];

pub fn run() -> Result<()> {
    let stage = Stage::new("unacceptable_selectors")?;
    let gateway = stage.start_gateway()?;
    let peer = stage.start_peer()?;
    ensure!(peer.initiate("net1").is_err(), "the peer came up");
    let reason = await_reason(&gateway, NAMED)?;
    println!("{reason}");
    ensure!(!gateway.tunnel(1)?.up);
    Ok(())
}
