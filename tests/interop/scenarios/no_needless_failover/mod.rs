//! What is no reason to move traffic, or is one that helps nobody: a peer that stands still for a
//! while, a path that loses packets at random, a peer that is gone. All at once, each on a stage of
//! its own.
//!
//! Seen: traffic does not go to and fro; a peer that stood still gets every packet from then on;
//! what the flow loses is what the path loses; with the peer gone, killed or with its network, the
//! status says so of both tunnels, and they are up again soon after it is started again.

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vgw_harness::stage::{CHILDREN, LATER, SOON, await_echoes, await_requests};
use vgw_harness::tools::{cut, cut_only, restore};
use vgw_lab::topology::{CUSTOMER_OUTSIDE, GATEWAY_OUTSIDE};
use vgw_lab::wait_until;

use crate::failover::{PACE, Scene};

/// Packets of a flow in a second.
const SECOND: u64 = 100;

const ENDS: [&str; 2] = ["saddr", "daddr"];

/// A part of the scenario.
type Part = fn() -> Result<()>;

pub fn run() -> Result<()> {
    let parts: [(&str, Part); 4] = [
        ("pauses", pauses),
        ("loss", loss),
        ("killed", || gone("killed", false)),
        ("gone", || gone("gone", true)),
    ];
    std::thread::scope(|scope| {
        let parts = parts.map(|(name, part)| (name, scope.spawn(part)));
        for (name, part) in parts {
            let outcome = part.join().map_err(|_| anyhow!("{name} panicked"))?;
            outcome.with_context(|| name.to_owned())?;
        }
        Ok(())
    })
}

/// The peer's process stands still for 200 ms and for 2 s; then nothing gets to its host or comes
/// from it for 20 s.
fn pauses() -> Result<()> {
    let Scene {
        gateway,
        peer,
        stage,
    } = begin("pauses")?;
    let internet = &stage.topology.internet;
    let flow = stage.flow(PACE)?;
    let charon = Pid::from_raw(i32::try_from(peer.id())?);
    let mut moves = 0;
    for pause in [SECOND / 5, 2 * SECOND, 20 * SECOND] {
        await_echoes(&flow, 5 * SECOND, SOON)?;
        let lost = flow.sent() - flow.answered();
        if pause < 10 * SECOND {
            kill(charon, Signal::SIGSTOP)?;
            await_requests(&flow, pause, SOON)?;
            kill(charon, Signal::SIGCONT)?;
        } else {
            cut(internet, CUSTOMER_OUTSIDE, &ENDS)?;
            await_requests(&flow, pause, LATER)?;
            restore(internet)?;
        }
        await_echoes(&flow, 5 * SECOND, SOON)?;
        let lost = (flow.sent() - flow.answered()).saturating_sub(lost);
        let before = std::mem::replace(&mut moves, gateway.moves()?);
        println!(
            "{pause} packets long nothing: {lost} lost, {} moves",
            moves - before
        );
        ensure!(moves <= before + 1, "traffic went to and fro");
        ensure!(
            lost < pause + SECOND / 2,
            "{lost} lost in a pause of {pause}"
        );
    }
    println!("{:?}", flow.finish()?);
    Ok(())
}

/// The path of tunnel 1 loses a tenth of all packets for a while.
fn loss() -> Result<()> {
    let scene = begin("loss")?;
    let stage = &scene.stage;
    let flow = stage.flow(PACE)?;
    await_echoes(&flow, SECOND, SOON)?;
    let [first, _] = GATEWAY_OUTSIDE;
    let tenth = ["numgen random mod 100 < 10"];
    cut_only(&stage.topology.internet, first, &ENDS, &tenth)?;
    await_requests(&flow, 40 * SECOND, LATER)?;
    let report = flow.finish()?;
    let moves = scene.gateway.moves()?;
    println!("a tenth lost: {report:?}, {moves} moves");
    // Of a hundred requests ten, and of ninety echoes nine.
    ensure!(report.lost() * 100 < report.sent * 25, "{report:?}");
    ensure!(moves <= 2, "{moves} moves");
    Ok(())
}

/// The peer is killed, and its host goes on without it, or its network is gone as well.
fn gone(part: &str, network: bool) -> Result<()> {
    let Scene {
        mut gateway,
        peer,
        stage,
    } = begin(part)?;
    let internet = &stage.topology.internet;
    let flow = stage.flow(PACE)?;
    await_echoes(&flow, SECOND, SOON)?;
    peer.crash()?;
    if network {
        cut(internet, CUSTOMER_OUTSIDE, &ENDS)?;
    }
    wait_until("a sign in the status", SOON, || {
        let tunnels = gateway.connection()?.tunnels;
        let suspect = |why: &str| why.contains("does not answer");
        let said = tunnels.iter().all(|tunnel| {
            let why = tunnel.suspect.as_ref().map(|said| said.why.as_str());
            why.is_some_and(suspect)
        });
        Ok(said.then_some(()))
    })?;
    for number in [1, 2] {
        let tunnel = gateway.await_tunnel(number, false, LATER)?;
        let last = tunnel.last.context("nothing says why")?;
        println!("{part}: tunnel {number}: {}", last.why);
    }
    let moves = gateway.moves()?;
    ensure!(moves <= 1, "{moves} moves");
    if network {
        restore(internet)?;
    }
    let peer = stage.start_peer()?;
    for child in CHILDREN {
        peer.initiate(child)?;
    }
    gateway.await_both(SOON)?;
    await_echoes(&flow, SECOND, SOON)?;
    flow.finish()?;
    Ok(())
}

fn begin(part: &str) -> Result<Scene> {
    Scene::new(&format!("no_needless_failover/{part}"), "")
}
