//! Figures rather than verdicts: `cargo xtask figures` prints them. Nothing here
//! fails by being slow. Throughput and memory are the bench's.

use std::time::Duration;

use anyhow::{Context, Result};
use vgw_harness::gateway::Gateway;
use vgw_harness::our_pair::{AES_128_GCM, Pair, Setup, add_hosts, hosts};
use vgw_harness::stage::{LATER, SOON, Stage, await_echoes, await_requests};
use vgw_harness::tools::{cut, cut_only, nft};
use vgw_lab::probe::{EchoFlow, FlowReport, ManyFlows};
use vgw_lab::topology::GATEWAY_OUTSIDE;
use vgw_lab::wait_until;

/// How often each way of failing is measured.
const TIMES: usize = 50;

/// What of a path is dropped, as nftables matches it.
const WAYS: [(&str, &[&str]); 3] = [
    ("both ways", &["saddr", "daddr"]),
    ("from the gateway", &["saddr"]),
    ("to the gateway", &["daddr"]),
];

const PACE: Duration = Duration::from_millis(10);

/// Packets of a flow after which it is known how long the peer takes to answer.
const KNOWN: u64 = 400;

/// Connections of two tunnels each, for the failure of a line that all of them use.
const CONNECTIONS: u16 = 500;

/// From one packet of a connection to the next, either way.
const PACE_OF_MANY: Duration = Duration::from_millis(50);

/// What a cut cost.
struct Cut {
    /// Until the gateway in the VPC sent by the other tunnel, of its own accord.
    moved: Duration,
    flow: FlowReport,
}

/// How long traffic is out when the active tunnel's path drops everything, in one direction or
/// in both, of a hundred packets a second, to and fro.
#[test]
#[ignore = "a measurement for an otherwise idle machine"]
fn failover() {
    for (way, ends) in WAYS {
        let cuts = (0..TIMES).map(|_| outage(ends, |_| Ok(())).unwrap());
        let cuts: Vec<Cut> = cuts.collect();
        print(way, "gateway moved", cuts.iter().map(|cut| cut.moved));
        let there = cuts.iter().map(|cut| cut.flow.longest_gap_there);
        print(way, "no request arrived", there);
        let echoes = cuts.iter().map(|cut| cut.flow.longest_gap);
        print(way, "no echo arrived", echoes);
        let lost: Vec<u64> = cuts.iter().map(|cut| cut.flow.lost()).collect();
        println!("cut {way}: {lost:?} packets lost");
    }
}

/// The same, where traffic goes only one way: the peer was asked up to ten seconds before.
#[test]
#[ignore = "a measurement for an otherwise idle machine"]
fn failover_of_traffic_that_goes_one_way() {
    let mute = "add table ip mute; \
                add chain ip mute out { type filter hook output priority 0; }; \
                add rule ip mute out udp sport 7000 drop";
    let (way, ends) = WAYS[0];
    let cuts = (0..TIMES / 5).map(|_| {
        let cut = outage(ends, |stage| nft(&stage.topology.on_premises_host, mute));
        cut.unwrap().flow.longest_gap_there
    });
    print(way, "no packet arrived, one-way traffic", cuts);
}

fn outage(ends: &[&str], prepare: impl Fn(&Stage) -> Result<()>) -> Result<Cut> {
    let stage = Stage::new("figures")?;
    let (pair, carrier) = start_alike(&stage)?;
    prepare(&stage)?;
    let flow = stage.flow(PACE)?;
    await_requests(&flow, KNOWN, SOON)?;
    let [first, second] = GATEWAY_OUTSIDE;
    let (path, other) = if carrier == 1 {
        (first, 2)
    } else {
        (second, 1)
    };
    let start = cut(&stage.topology.internet, path, ends)?;
    let moved = pair.cloud.await_move(other, start, LATER)?;
    await_requests(&flow, 100, SOON)?;
    let flow = flow.finish()?;
    Ok(Cut { moved, flow })
}

/// How long each of many connections is out when the line drops everything that all of them use.
#[test]
#[ignore = "a measurement for an otherwise idle machine"]
fn failover_of_many() {
    for (way, ends) in WAYS {
        let [there, back] = outages_of_many(ends).unwrap();
        print(way, "to the premises, each of many", there);
        print(way, "to the VPC, each of many", back);
    }
}

fn outages_of_many(ends: &[&str]) -> Result<[Vec<Duration>; 2]> {
    let stage = Stage::unwatched("figures")?;
    add_hosts(&stage)?;
    let pair = start(&stage, CONNECTIONS)?;
    for end in [&pair.cloud, &pair.customer] {
        all_send_by(end, 1)?;
    }
    let pairs: Vec<_> = (0..CONNECTIONS).map(hosts).collect();
    let topology = &stage.topology;
    let sites = [&topology.vpc_host, &topology.on_premises_host];
    let flows = ManyFlows::start(sites, &pairs, 7000, PACE_OF_MANY)?;
    let more = |seconds: u64| {
        let before = flows.received();
        let more = seconds * 2 * u64::from(CONNECTIONS) * 20;
        wait_until("packets of all", LATER, || {
            Ok((flows.received() >= before + more).then_some(()))
        })
    };
    more(5)?;
    let (sent, received) = (flows.sent(), flows.received());
    println!("{CONNECTIONS} connections, before the cut: {received} of {sent} packets arrived");
    let [first, _] = GATEWAY_OUTSIDE;
    cut(&topology.internet, first, ends)?;
    // Nobody asks for the status meanwhile, which takes the time of those who are measured.
    more(5)?;
    let report = flows.finish()?;
    println!(
        "{CONNECTIONS} connections, {ends:?} cut: {} of {} packets arrived",
        report.received - received,
        report.sent - sent
    );
    for end in [&pair.cloud, &pair.customer] {
        all_send_by(end, 2)?;
    }
    Ok(report.longest_gaps)
}

fn all_send_by(end: &Gateway, tunnel: u8) -> Result<()> {
    wait_until("traffic of all on one tunnel", LATER, || {
        let connections = end.status()?.connections;
        let all = connections.iter().all(|c| c.active_tunnel == Some(tunnel));
        Ok(all.then_some(()))
    })
}

/// What ten minutes on a path cost that loses packets at random: how often traffic moves, and how
/// much is lost.
#[test]
#[ignore = "a measurement for an otherwise idle machine"]
fn ten_minutes_of_loss() {
    std::thread::scope(|scope| {
        for percent in [1, 10, 30] {
            scope.spawn(move || {
                let (moves, report) = loss(percent).unwrap();
                println!("{percent} % lost for ten minutes: {moves} moves, {report:?}");
            });
        }
    });
}

/// The path of tunnel 1 alone loses packets.
fn loss(percent: u8) -> Result<(u64, FlowReport)> {
    let stage = Stage::new(&format!("figures/{percent}"))?;
    let pair = start(&stage, 1)?;
    let flow: EchoFlow = stage.flow(PACE)?;
    await_echoes(&flow, 100, SOON)?;
    let [first, _] = GATEWAY_OUTSIDE;
    let some = format!("numgen random mod 100 < {percent}");
    let ends = ["saddr", "daddr"];
    cut_only(&stage.topology.internet, first, &ends, &[&some])?;
    await_requests(&flow, 60_000, Duration::from_secs(900))?;
    Ok((pair.cloud.moves()?, flow.finish()?))
}

fn start(stage: &Stage, connections: u16) -> Result<Pair> {
    let setup = Setup {
        connections,
        encapsulation: "udp",
        options: AES_128_GCM,
    };
    setup.start(stage)
}

/// A pair of which both ends send by the same tunnel, and which that is: each begins with the one
/// that came up first there.
fn start_alike(stage: &Stage) -> Result<(Pair, u8)> {
    loop {
        let pair = start(stage, 1)?;
        let carriers = [&pair.cloud, &pair.customer].map(|end| {
            let active = end.connection()?.active_tunnel;
            active.context("no tunnel carries")
        });
        let [ours, theirs] = carriers;
        let carrier = ours?;
        if carrier == theirs? {
            return Ok((pair, carrier));
        }
    }
}

fn print(way: &str, what: &str, times: impl IntoIterator<Item = Duration>) {
    let mut times: Vec<u128> = times.into_iter().map(|time| time.as_millis()).collect();
    times.sort_unstable();
    let (median, worst) = (times.get(times.len() / 2), times.last());
    println!(
        "cut {way}, {what}: median {median:?}, worst {worst:?} ms of {}",
        times.len()
    );
}
