//! The active tunnel's path drops every packet; traffic moves to the other tunnel at once, and
//! returns when the path is whole again, as `failback` asks for.
//!
//! Seen: first only what we send is dropped, and the flow hardly notices; then all of it, and
//! the flow goes on once the peer has noticed, too; the status says why the traffic moved, and
//! which tunnel is down and why; then both up and the first active again.

use std::time::Duration;

use anyhow::{Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::stage::{CHILDREN, LATER, SOON, Stage, await_echoes};
use vgw_harness::tools::{cut, restore};
use vgw_lab::probe::EchoFlow;
use vgw_lab::topology::GATEWAY_OUTSIDE;
use vgw_lab::wait_until;

/// The peer must notice as well: a request that gets no answer in about ten seconds.
const PEER: &str = "retransmit_tries = 3\nretransmit_timeout = 1.0\nretransmit_base = 1.5\n";

pub fn run() -> Result<()> {
    let stage = Stage::new("failover")?;
    let mut gateway = stage.start_gateway()?;
    let peer = stage.start_peer_with(PEER)?;
    for child in CHILDREN {
        peer.initiate(child)?;
    }
    gateway.await_both(SOON)?;
    let internet = &stage.topology.internet;
    let flow = cut_and_see_it_move(&stage, &gateway, &["saddr"])?;
    await_echoes(&flow, 100, SOON)?;
    let report = flow.finish()?;
    println!("what we send is dropped: {report:?}");
    ensure!(report.longest_gap < Duration::from_secs(2), "{report:?}");
    let why = gateway.connection()?.last_move.map(|moved| moved.why);
    ensure!(
        why.as_deref() == Some("from tunnel 1: its peer does not answer"),
        "{why:?}"
    );
    restore(internet)?;
    returns(&gateway)?;

    let flow = cut_and_see_it_move(&stage, &gateway, &["saddr", "daddr"])?;
    await_echoes(&flow, 100, LATER)?;
    let dead = gateway.await_tunnel(1, false, LATER)?;
    ensure!(dead.last.is_some(), "nothing says why: {dead:?}");
    println!(
        "tunnel 1: {}",
        dead.last.map(|last| last.why).unwrap_or_default()
    );

    restore(internet)?;
    gateway.await_tunnel(1, true, LATER)?;
    returns(&gateway)?;
    await_echoes(&flow, 100, SOON)?;
    let report = flow.finish()?;
    println!(
        "outage {:.1} s, {} of {} packets lost",
        report.longest_gap.as_secs_f64(),
        report.lost(),
        report.sent
    );
    ensure!(report.longest_gap < Duration::from_secs(60), "{report:?}");
    Ok(())
}

/// Cuts the path of tunnel 1, which carries, for what comes from these ends, and waits until
/// traffic has moved.
fn cut_and_see_it_move(stage: &Stage, gateway: &Gateway, ends: &[&str]) -> Result<EchoFlow> {
    let flow = stage.flow(Duration::from_millis(10))?;
    await_echoes(&flow, 100, SOON)?;
    ensure!(gateway.connection()?.active_tunnel == Some(1));
    let [first, _] = GATEWAY_OUTSIDE;
    cut(&stage.topology.internet, first, ends)?;
    wait_until("traffic on tunnel 2", LATER, || {
        Ok((gateway.connection()?.active_tunnel == Some(2)).then_some(()))
    })?;
    Ok(flow)
}

/// Waits until traffic is back on tunnel 1.
fn returns(gateway: &Gateway) -> Result<()> {
    wait_until("the return to tunnel 1", LATER, || {
        Ok((gateway.connection()?.active_tunnel == Some(1)).then_some(()))
    })
}
