//! The path loses 2 % of all packets at random while SAs are rekeyed by either side.
//!
//! Seen: every rekeying comes to its end by retransmission, both tunnels are up, and
//! what the flow lost is not more than what the path lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use vgw_harness::stage::{LATER, SOON, Stage, await_echoes};
use vgw_harness::tools::lose;
use vgw_lab::wait_until;

const ROUNDS: u64 = 10;

pub fn run() -> Result<()> {
    let stage = Stage::new("lossy_rekey")?;
    let (mut gateway, peer) = stage.both_up()?;
    let flow = stage.flow(Duration::from_millis(2))?;
    lose(&stage.topology.internet, 2)?;
    for round in 1..=ROUNDS {
        gateway.ask(&["tunnel", "rekey", "vpn-site/1"])?;
        wait_until("our rekeying's end", LATER, || {
            Ok((gateway.tunnel(1)?.counters.child_rekeys >= round * 2 - 1).then_some(()))
        })?;
        await_echoes(&flow, 100, SOON)?;
        peer.rekey_child("net1")?;
        wait_until("the peer's rekeying's end", LATER, || {
            Ok((gateway.tunnel(1)?.counters.child_rekeys >= round * 2).then_some(()))
        })?;
        await_echoes(&flow, 100, SOON)?;
    }
    lose(&stage.topology.internet, 0)?;
    gateway.await_both(SOON)?;
    stage.ping_both_ways()?;
    let report = flow.finish()?;
    let (sent, lost) = (report.sent, report.lost());
    println!("{} rekeyings, {sent} packets, {lost} lost", ROUNDS * 2);
    // Request and echo each pass the path once: 4 % on average. A rekeying that broke
    // before it made would cost a second and more of each.
    ensure!(lost * 100 < sent * 8, "{report:?}");
    Ok(())
}
