//! CHILD SA and IKE SA rekeyed, started by either side, under a steady flow.
//!
//! Seen: each rekeying in both ends' accounts, and not one packet lost.

use std::time::Duration;

use anyhow::Result;
use vgw_harness::stage::{CHILDREN, CONNECTIONS, SOON, Stage, await_echoes, finish_whole};
use vgw_lab::wait_until;

const ROUNDS: u64 = 7;

pub fn run() -> Result<()> {
    let stage = Stage::new("rekey")?;
    let (gateway, peer) = stage.both_up()?;
    let ([child, _], [connection, _]) = (CHILDREN, CONNECTIONS);
    let flow = stage.flow(Duration::from_millis(2))?;
    for round in 1..=ROUNDS {
        for tunnel in [1, 2] {
            let name = format!("vpn-site/{tunnel}");
            gateway.ask(&["tunnel", "rekey", &name])?;
            await_count("CHILD SA rekeyed by us", || {
                Ok(gateway.tunnel(tunnel)?.counters.child_rekeys >= round * 2 - 1)
            })?;
            await_echoes(&flow, 100, SOON)?;
            peer.rekey_child(CHILDREN.get(tunnel - 1).copied().unwrap_or(child))?;
            await_count("CHILD SA rekeyed by the peer", || {
                Ok(gateway.tunnel(tunnel)?.counters.child_rekeys >= round * 2)
            })?;
            await_echoes(&flow, 100, SOON)?;
            gateway.ask(&["tunnel", "rekey", "--ike", &name])?;
            await_count("IKE SA rekeyed by us", || {
                Ok(gateway.tunnel(tunnel)?.counters.ike_rekeys >= round * 2 - 1)
            })?;
            await_echoes(&flow, 100, SOON)?;
            peer.rekey_ike(CONNECTIONS.get(tunnel - 1).copied().unwrap_or(connection))?;
            await_count("IKE SA rekeyed by the peer", || {
                Ok(gateway.tunnel(tunnel)?.counters.ike_rekeys >= round * 2)
            })?;
            await_echoes(&flow, 100, SOON)?;
        }
    }
    for child in CHILDREN {
        wait_until("one CHILD SA left of each", SOON, || {
            Ok((peer.installed(child)?.len() == 1).then_some(()))
        })?;
    }
    let report = finish_whole(flow)?;
    println!(
        "{} rekeyings, {} packets, none lost",
        ROUNDS * 8,
        report.sent
    );
    Ok(())
}

fn await_count(what: &str, reached: impl Fn() -> Result<bool>) -> Result<()> {
    wait_until(what, SOON, || Ok(reached()?.then_some(())))
}
