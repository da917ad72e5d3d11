//! `vgw demo`: the whole on one machine, for somebody who has never seen IPsec.
//!
//! Network namespaces for two gateways, a host behind each, and the internet between
//! them; the real daemon in one and our own customer gateway in another, as processes
//! that talk over real sockets and TUN devices. What is measured is measured from the
//! hosts that use the tunnels, and a watcher on the internet sees whether anything of
//! theirs gets out.

mod failover;
mod gateway;
mod preflight;
mod rekey;
mod report;
mod screen;
mod setup;
mod traffic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vgw_lab::topology::{ON_PREMISES_HOST, Topology, VPC_HOST};
use vgw_lab::{Lab, Watcher, interrupt, wait_until};

use gateway::GatewayProcess;
use report::Report;
use screen::Screen;

/// How long both tunnels may take to come up.
const BOTH_UP: Duration = Duration::from_secs(60);

/// What `vgw demo` takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Keep everything up at the end, to look around, until ^C.
    #[arg(long)]
    pub hold: bool,
    /// Write what was measured to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Both ends and the network between them.
#[derive(Debug)]
struct Stage {
    // Fields are dropped in this order: the daemons end before their networks.
    cloud: GatewayProcess,
    customer: GatewayProcess,
    topology: Topology,
}

/// Runs the demonstration. Everything it made is removed when it returns, also on
/// ^C and on failure.
///
/// # Errors
/// When the machine cannot run it, with what to do about that; when a step does not
/// show what it should; when interrupted.
pub fn run(args: &Args) -> Result<()> {
    preflight::check()?;
    interrupt::watch()?;
    let mut screen = Screen::new();
    screen.opening();
    let outcome = perform(args, &mut screen);
    match &outcome {
        Ok(()) => screen.say("Done. The networks and both gateways are removed."),
        Err(_) if interrupt::requested() => {
            screen.say("Interrupted. The networks and both gateways are removed.");
            // Asked to stop, and stopped: while holding that is the way out.
            if args.hold {
                return Ok(());
            }
        }
        Err(_) => screen.say("That failed. The networks and both gateways are removed."),
    }
    outcome
}

fn perform(args: &Args, screen: &mut Screen) -> Result<()> {
    let lab = Lab::new("demo")?;
    let scratch = lab.scratch()?;
    screen.step("Building three networks on this machine");
    let topology = Topology::build(&lab)?;
    let mut watcher = Watcher::start(&topology.internet)?;
    screen.networks(&topology);

    screen.step("Starting a gateway at each end");
    let files = setup::write(scratch.path())?;
    let start = Instant::now();
    let mut stage = Stage {
        cloud: GatewayProcess::start("virtual private gateway", &topology.vpc, &files.cloud)?,
        customer: GatewayProcess::start(
            "customer gateway",
            &topology.on_premises,
            &files.customer,
        )?,
        topology,
    };
    let outcome = show(&mut stage, start, args, screen);
    if outcome.is_err() && !interrupt::requested() {
        screen.logs(&stage);
    }
    // Nor may anything get out when they end.
    drop(stage);
    outcome.and_then(|()| watcher.check())?;
    screen.say(
        "No packet with an address of the two networks was seen on the internet outside the \
         tunnels,\nfrom the start to the end of both gateways.",
    );
    Ok(())
}

fn show(stage: &mut Stage, start: Instant, args: &Args, screen: &mut Screen) -> Result<()> {
    screen.gateways(stage);
    await_both_tunnels(stage, BOTH_UP)?;
    let tunnels_up = start.elapsed();
    screen.tunnels_up(tunnels_up);

    screen.step("Sending a ping each way through the tunnels");
    traffic::pings(stage, screen)?;

    screen.step("Moving bulk data from the VPC to the premises over one TCP connection");
    let throughput = traffic::bulk(stage, screen)?;

    screen.step("Cutting the line under the active tunnel");
    let failover = failover::run(stage, screen)?;

    screen.step("Changing all keys while traffic flows");
    let rekey = rekey::run(stage, screen)?;

    screen.step("What the virtual private gateway says about itself (vgw status)");
    screen.say(&stage.cloud.status_table()?);

    let report = Report::new(tunnels_up, &throughput, &failover, &rekey);
    screen.summary(&report);
    if let Some(file) = &args.json {
        report.write(file)?;
    }
    if args.hold {
        hold(stage, screen)?;
    }
    Ok(())
}

/// Until each end says that both tunnels are up.
fn await_both_tunnels(stage: &mut Stage, limit: Duration) -> Result<()> {
    for end in [&mut stage.cloud, &mut stage.customer] {
        let what = format!("both tunnels to be up at the {}", end.name());
        wait_until(&what, limit, || {
            let up = end
                .connection()?
                .is_some_and(|c| c.tunnels.iter().all(|t| t.up));
            Ok(up.then_some(()))
        })?;
    }
    Ok(())
}

fn hold(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    screen.holding(stage);
    loop {
        stage.cloud.check().context("while holding")?;
        stage.customer.check().context("while holding")?;
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The hosts at the ends of a probe: from the VPC to the premises on this port.
fn hosts(stage: &Stage, port: u16) -> (Endpoint<'_>, Endpoint<'_>) {
    let vpc = (&stage.topology.vpc_host, (VPC_HOST, port).into());
    let host = &stage.topology.on_premises_host;
    (vpc, (host, (ON_PREMISES_HOST, port).into()))
}

type Endpoint<'a> = (&'a vgw_lab::Namespace, std::net::SocketAddr);
