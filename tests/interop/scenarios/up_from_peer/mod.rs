//! The peer initiates both tunnels.
//!
//! Seen: both up at both ends, us as responder; pings both ways; each tunnel taken down by hand
//! amid a conversation, of which nothing is lost; iperf3 through the other one meanwhile, counted
//! by both ends; the first comes back when it is brought up by hand, though the peer does nothing
//! for it.

use std::time::Duration;

use anyhow::{Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::iperf3::Transfer;
use vgw_harness::stage::{CHILDREN, SOON, Stage, await_echoes};
use vgw_lab::wait_until;

pub fn run() -> Result<()> {
    let stage = Stage::new("up_from_peer")?;
    let (mut gateway, peer) = stage.both_up()?;
    for tunnel in gateway.await_both(SOON)? {
        let role = tunnel.ike.map(|ike| ike.role);
        ensure!(role.as_deref() == Some("responder"), "{role:?}");
    }
    stage.ping_both_ways()?;

    for (number, child) in (1..).zip(CHILDREN) {
        let other = 3 - number;
        let name = format!("vpn-site/{other}");
        drain(&mut gateway, &stage, other)?;
        let before = gateway.tunnel(number)?.traffic;
        let transfer = Transfer {
            flows: 1,
            seconds: 2,
        };
        let gbps = transfer.to_vpc(&stage)?.gbps;
        println!("iperf3 through tunnel {number}: {gbps:.2} Gbit/s");
        wait_until("the tunnel's count", SOON, || {
            let now = gateway.tunnel(number)?.traffic;
            let counted =
                now.packets_in > before.packets_in && now.packets_out > before.packets_out;
            Ok(counted.then_some(()))
        })?;
        let counted = peer.installed(child)?;
        ensure!(counted.iter().any(|sa| sa.packets_out > 100), "{counted:?}");
        // The peer has given it up by now; we initiate.
        gateway.ask(&["tunnel", "up", &name])?;
        gateway.await_both(SOON)?;
    }
    Ok(())
}

/// Takes a tunnel down amid a conversation, of which nothing is lost.
fn drain(gateway: &mut Gateway, stage: &Stage, number: usize) -> Result<()> {
    let flow = stage.flow(Duration::from_millis(10))?;
    await_echoes(&flow, 50, SOON)?;
    let said = gateway.ask(&["tunnel", "down", &format!("vpn-site/{number}")])?;
    println!("{said}");
    ensure!(said.contains("admin-down: taken down by hand, "), "{said}");
    ensure!(!gateway.tunnel(number)?.up);
    await_echoes(&flow, 50, SOON)?;
    let report = flow.finish()?;
    ensure!(report.lost() == 0, "{report:?}");
    Ok(())
}
