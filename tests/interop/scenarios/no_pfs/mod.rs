//! A peer without PFS. Tunnel 1 is configured so here, tunnel 2 is not.
//!
//! Seen: tunnel 1 is rekeyed by either end, again and again. Of tunnel 2 either end's
//! rekey is refused, the status says why while it is up, and it stays up. Not one packet
//! is lost. When the peer has given the CHILD SA of tunnel 2 up, the tunnel comes back
//! with a new IKE SA, and carries.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_harness::stage::{SOON, Stage, await_echoes, finish_whole};
use vgw_lab::wait_until;

const ROUNDS: u64 = 3;

pub fn run() -> Result<()> {
    let stage = Stage::new("no_pfs")?;
    let peer = stage.start_peer()?;
    let mut gateway = stage.start_gateway()?;
    gateway.await_both(SOON)?;
    let flow = stage.flow(Duration::from_millis(2))?;
    let await_count = |what: &str, tunnel, counted: fn(u64, u64) -> u64, count| {
        wait_until(what, SOON, || {
            let counters = gateway.tunnel(tunnel)?.counters;
            let reached = counted(counters.child_rekeys, counters.rekeys_refused) >= count;
            Ok(reached.then_some(()))
        })
    };
    for round in 1..=ROUNDS {
        gateway.ask(&["tunnel", "rekey", "vpn-site/1"])?;
        await_count("CHILD SA rekeyed by us", 1, |done, _| done, round * 2 - 1)?;
        await_echoes(&flow, 100, SOON)?;
        peer.rekey_child("net1")?;
        await_count("CHILD SA rekeyed by the peer", 1, |done, _| done, round * 2)?;
        await_echoes(&flow, 100, SOON)?;
    }

    gateway.ask(&["tunnel", "rekey", "vpn-site/2"])?;
    await_count("our rekey refused", 2, |_, refused| refused, 1)?;
    peer.rekey_child("net2")?;
    await_count("the peer's rekey refused", 2, |_, refused| refused, 2)?;
    let tunnel = gateway.tunnel(2)?;
    let said = tunnel
        .rekey_refused
        .context("the status does not say so")?
        .why;
    ensure!(tunnel.up && said.contains("PFS"), "{said}");
    await_echoes(&flow, 100, SOON)?;
    let report = finish_whole(flow)?;
    println!(
        "{} rekeyings, {} packets, none lost",
        ROUNDS * 2,
        report.sent
    );

    let before = tunnel.ike.context("no IKE SA")?.spi_i;
    peer.swanctl(&["--terminate", "--timeout", "10", "--child", "net2"])?;
    wait_until("tunnel 2 back with a new IKE SA", SOON, || {
        let tunnel = gateway.tunnel(2)?;
        let renewed = tunnel.ike.is_some_and(|ike| ike.spi_i != before);
        Ok((tunnel.up && renewed).then_some(()))
    })?;

    gateway.ask(&["tunnel", "down", "vpn-site/1"])?;
    gateway.await_tunnel(1, false, SOON)?;
    stage.ping_both_ways()
}
