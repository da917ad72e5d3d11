//! The VPC's hosts send all the time, IPv4 and IPv6, while our daemon is not yet
//! started, killed, started again and stopped, and while its routes and its link are
//! taken from it.
//!
//! Seen: nothing leaves but in a tunnel, which the stage's watcher sees to; and
//! traffic passes whenever the daemon runs, soon after somebody interfered.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_harness::gateway::{Gateway, program};
use vgw_harness::stage::{LATER, SOON, Stage, await_echoes};
use vgw_harness::tools::run as tool;
use vgw_lab::probe::EchoFlow;
use vgw_lab::topology::{ON_PREMISES_HOST_V6, VPC_HOST_V6};
use vgw_lab::wait_until;

/// Requests that must find no way out.
const MANY: u64 = 40;

pub fn run() -> Result<()> {
    let stage = Stage::new("fail_closed")?;
    let topology = &stage.topology;
    let config = stage.workspace.file("vgw.toml")?;
    // As at boot: before there is any traffic, and in the namespace of the routes.
    let mut guard: Command = topology.vpc.command(program()?);
    let output = guard.arg("guard").arg(&config).output()?;
    ensure!(output.status.success(), "vgw guard: {output:?}");

    let interval = Duration::from_millis(5);
    let v6 = [
        (&topology.vpc_host, (VPC_HOST_V6, 7001).into()),
        (
            &topology.on_premises_host,
            (ON_PREMISES_HOST_V6, 7001).into(),
        ),
    ];
    let [near, far] = v6;
    let flows = [stage.flow(interval)?, EchoFlow::start(near, far, interval)?];
    await_sent(&flows)?;

    let peer = stage.start_peer()?;
    peer.lead("fd00:10::/64".parse()?)?;
    let gateway = passing(stage.start_gateway()?, &flows)?;
    let interferences = [
        &["route", "flush", "dev", "vgw0"][..],
        &["-6", "route", "flush", "dev", "vgw0"],
        &["link", "set", "vgw0", "down"],
    ];
    for interference in interferences {
        tool(&topology.vpc, "ip", interference)?;
        flows
            .iter()
            .try_for_each(|flow| await_echoes(flow, MANY, SOON))?;
    }
    let problems = gateway.status()?.problems;
    ensure!(problems.is_empty(), "{problems:?}");

    gateway.crash()?;
    await_sent(&flows)?;
    let gateway = passing(stage.start_gateway()?, &flows)?;
    gateway.stop()?;
    await_sent(&flows)?;

    for flow in flows {
        let report = flow.finish()?;
        ensure!(
            report.lost() > MANY,
            "sent without a daemon, yet: {report:?}"
        );
    }
    Ok(())
}

fn await_sent(flows: &[EchoFlow]) -> Result<()> {
    flows.iter().try_for_each(|flow| {
        let before = flow.sent();
        wait_until("requests", SOON, || {
            Ok((flow.sent() >= before + MANY).then_some(()))
        })
    })
}

/// Waits until the daemon carries the flows.
fn passing(mut gateway: Gateway, flows: &[EchoFlow]) -> Result<Gateway> {
    gateway.await_both(LATER)?;
    for flow in flows {
        await_echoes(flow, MANY, LATER).context("with both tunnels up")?;
    }
    Ok(gateway)
}
