//! Figures rather than verdicts: `cargo xtask figures` prints them. Nothing here
//! fails by being slow. Throughput and memory are the bench's.

use std::time::Duration;

use anyhow::{Result, ensure};
use vgw_harness::our_pair::{AES_128_GCM, Setup};
use vgw_harness::stage::{LATER, SOON, Stage, await_echoes};
use vgw_harness::tools::cut;
use vgw_lab::probe::FlowReport;
use vgw_lab::topology::GATEWAY_OUTSIDE;

/// How often each way of failing is measured.
const TIMES: usize = 50;

/// What of a path is dropped, as nftables matches it.
const WAYS: [(&str, &[&str]); 3] = [
    ("both ways", &["saddr", "daddr"]),
    ("from the gateway", &["saddr"]),
    ("to the gateway", &["daddr"]),
];

/// How long traffic is out when the active tunnel's path drops everything, in one direction or
/// in both, and how many of a hundred packets a second are lost, to and fro.
#[test]
#[ignore = "a measurement for an otherwise idle machine"]
fn failover() {
    for (way, ends) in WAYS {
        let outages = (0..TIMES).map(|_| outage(ends).unwrap());
        let mut outages: Vec<FlowReport> = outages.collect();
        outages.sort_by_key(|report| report.longest_gap);
        for (which, report) in [
            ("median", outages.get(TIMES / 2)),
            ("worst", outages.last()),
        ] {
            let report = report.unwrap();
            let (gap, lost) = (report.longest_gap.as_millis(), report.lost());
            println!("cut {way}, {which} of {TIMES}: {gap} ms, {lost} packets lost");
        }
    }
}

fn outage(ends: &[&str]) -> Result<FlowReport> {
    let stage = Stage::new("figures")?;
    let setup = Setup {
        connections: 1,
        encapsulation: "udp",
        options: AES_128_GCM,
    };
    let pair = setup.start(&stage)?;
    let flow = stage.flow(Duration::from_millis(10))?;
    await_echoes(&flow, 100, SOON)?;
    let active = pair.cloud.connection()?.active_tunnel;
    ensure!(active == Some(1), "tunnel {active:?} sends, expected 1");
    let [first, _] = GATEWAY_OUTSIDE;
    cut(&stage.topology.internet, first, ends)?;
    // The cut holds as soon as the command has returned, and what follows came after it.
    await_echoes(&flow, 100, LATER)?;
    flow.finish()
}
