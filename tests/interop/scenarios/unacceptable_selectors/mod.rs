//! The peer asks for a network that is not on its side of the connection.
//!
//! Seen: the first tunnel does not come up, and the status names what was asked for and what
//! to ask for. The second asks for half of what is routed to it: it comes up, and the status
//! names the half that it does not carry.

use anyhow::{Result, ensure};
use vgw_harness::stage::{SOON, Stage};

/// What the reason must name.
const NAMED: &[&str] = &[
    "peer offers 192.168.77.0/24",
    "set 192.168.10.0/24 (local_ipv4_network_cidr) at the peer as its local networks",
];

pub fn run() -> Result<()> {
    let stage = Stage::new("unacceptable_selectors")?;
    let (mut gateway, peer) = stage.see_refusal(NAMED)?;
    peer.initiate("net2")?;
    let up = gateway.await_tunnel(2, true, SOON)?;
    let problems = up.problems.join("; ");
    let lost = "what is sent to 192.168.10.0/25 is dropped";
    ensure!(problems.contains(lost), "{problems}");
    Ok(())
}
