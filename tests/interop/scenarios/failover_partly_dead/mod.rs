//! The active tunnel's path drops some packets and lets others through: IKE alone, ESP alone,
//! large ones alone.
//!
//! Seen: without IKE traffic stays where it is, and no packet is lost; without ESP, although IKE
//! passes, it moves after some seconds, and the status says that nothing comes back; so does a
//! flow of which every packet is too large. ESP is in UDP: as IP protocol 50 it is seen in
//! `native_esp`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vgw_harness::stage::{SOON, await_echoes, await_requests, finish_whole};
use vgw_harness::tools::{ESP_IN_UDP, IKE, cut_only, restore};
use vgw_lab::probe::EchoFlow;
use vgw_lab::topology::{GATEWAY_OUTSIDE, ON_PREMISES_HOST, VPC_HOST};

use crate::failover::{PACE, Scene};

/// Packets without an echo until traffic tries the other tunnel, and some time to be seen.
const TRIES_THE_OTHER: Duration = Duration::from_secs(8);

/// Outer packets that a path drops which has a hole for large ones.
const LARGE: [&str; 1] = ["ip length > 1000"];

pub fn run() -> Result<()> {
    without_ike()?;
    for ends in [&["saddr"][..], &["daddr"]] {
        without_esp(ends)?;
    }
    without_large_packets()
}

fn without_ike() -> Result<()> {
    let scene = Scene::new("failover_partly_dead", "")?;
    let flow = begin_flow(&scene, 7000, 200)?;
    await_echoes(&flow, 100, SOON)?;
    cut(&scene, &["saddr", "daddr"], &IKE)?;
    await_requests(&flow, 500, SOON)?;
    ensure!(scene.gateway.moves()? == 0, "traffic moved");
    restore(&scene.stage.topology.internet)?;
    await_echoes(&flow, 100, SOON)?;
    println!("without IKE: {:?}", finish_whole(flow)?);
    Ok(())
}

fn without_esp(ends: &[&str]) -> Result<()> {
    let scene = Scene::new("failover_partly_dead", "")?;
    let flow = begin_flow(&scene, 7000, 200)?;
    await_echoes(&flow, 100, SOON)?;
    let start = cut(&scene, ends, &ESP_IN_UDP)?;
    let moved = moves_for_want_of_echoes(&scene, start)?;
    println!("without ESP, {ends:?}: moved after {moved:?}");
    if ends == ["daddr"] {
        // The peer goes on sending by tunnel 1: it cannot know.
        let said = scene.gateway.tunnel(1)?.one_way;
        let why = said
            .context("the status does not say that nothing comes")?
            .why;
        println!("{why}");
    } else {
        await_echoes(&flow, 100, SOON)?;
    }
    let report = flow.finish()?;
    ensure!(report.longest_gap_there < TRIES_THE_OTHER, "{report:?}");
    Ok(())
}

fn without_large_packets() -> Result<()> {
    let scene = Scene::new("failover_partly_dead", "")?;
    let large = begin_flow(&scene, 7001, 1200)?;
    await_echoes(&large, 100, SOON)?;
    let start = cut(&scene, &["saddr"], &LARGE)?;
    let moved = moves_for_want_of_echoes(&scene, start)?;
    await_echoes(&large, 100, SOON)?;
    let report = large.finish()?;
    println!("without large packets: moved after {moved:?}, {report:?}");
    Ok(())
}

/// A flow of requests with so many octets.
fn begin_flow(scene: &Scene, port: u16, octets: usize) -> Result<EchoFlow> {
    let topology = &scene.stage.topology;
    let vpc = (&topology.vpc_host, SocketAddr::new(VPC_HOST, port));
    let premises = SocketAddr::new(ON_PREMISES_HOST, port);
    EchoFlow::start_of(octets, vpc, (&topology.on_premises_host, premises), PACE)
}

/// Cuts the path of tunnel 1 for these packets from these ends.
fn cut(scene: &Scene, ends: &[&str], matching: &[&str]) -> Result<Instant> {
    let [first, _] = GATEWAY_OUTSIDE;
    cut_only(&scene.stage.topology.internet, first, ends, matching)
}

/// Sees that traffic moves because nothing comes back; gives when, after `start`.
fn moves_for_want_of_echoes(scene: &Scene, start: Instant) -> Result<Duration> {
    let moved = scene.gateway.await_move(2, start, SOON)?;
    let why = scene.gateway.connection()?.last_move;
    let why = why.context("the status does not say why")?.why;
    ensure!(why == "from tunnel 1: nothing comes back", "{why}");
    ensure!(moved < TRIES_THE_OTHER, "moved after {moved:?}");
    Ok(moved)
}
