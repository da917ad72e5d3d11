//! The peer asks for a network that is not on its side of the connection.
//!
//! Seen: neither tunnel comes up, and the status names what was asked for and what is
//! allowed.

use anyhow::Result;
use vgw_interop::stage::Stage;

/// What the reason must name.
const NAMED: &[&str] = &["192.168.77.0", "192.168.10.0"];

pub fn run() -> Result<()> {
    let stage = Stage::new("unacceptable_selectors")?;
    stage.see_refusal(NAMED)?;
    Ok(())
}
