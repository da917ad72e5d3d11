//! The peer initiates both tunnels.
//!
//! Seen: both up at both ends, us as responder; pings both ways; iperf3 through each
//! tunnel while the other is taken down by hand, counted by both ends; the other comes
//! back when it is brought up by hand, though the peer does nothing for it.

use anyhow::{Result, ensure};
use vgw_harness::iperf3::Transfer;
use vgw_harness::stage::{CHILDREN, SOON, Stage};
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
        gateway.ask(&["tunnel", "down", &name])?;
        gateway.await_tunnel(other, false, SOON)?;
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
