//! Figures rather than verdicts: `cargo xtask figures` prints them. Nothing here
//! fails by being slow. Throughput and memory are the bench's.

use std::time::Duration;

use anyhow::{Context, Result};
use vgw_harness::our_pair::{AES_128_GCM, Setup};
use vgw_harness::stage::{LATER, SOON, Stage, await_echoes};
use vgw_lab::probe::FlowReport;
use vgw_lab::topology::GATEWAY_OUTSIDE;
use vgw_lab::wait_until;

/// How long traffic is out when the active tunnel's path drops everything, with the
/// shortest DPD timeout allowed and with AWS's default.
#[test]
#[ignore = "a measurement for an otherwise idle machine"]
fn failover() {
    for seconds in [30, 40] {
        let report = outage(seconds).unwrap();
        println!(
            "DPD timeout {seconds} s: outage {:.1} s, {} of {} packets lost",
            report.longest_gap.as_secs_f64(),
            report.lost(),
            report.sent
        );
    }
}

fn outage(dpd_timeout: u32) -> Result<FlowReport> {
    let stage = Stage::new("figures")?;
    let setup = Setup {
        connections: 1,
        encapsulation: "udp",
        options: &format!("{AES_128_GCM}dpd_timeout_seconds = {dpd_timeout}\n"),
    };
    let pair = setup.start(&stage)?;
    let flow = stage.flow(Duration::from_millis(10))?;
    await_echoes(&flow, 100, SOON)?;
    let active = pair
        .cloud
        .connection()?
        .active_tunnel
        .context("no tunnel sends")?;
    let [first, second] = GATEWAY_OUTSIDE;
    let cut = if active == 1 { first } else { second };
    let _cut = stage.topology.internet.cut(cut)?;
    wait_until("traffic on the other tunnel", LATER, || {
        Ok((pair.cloud.connection()?.active_tunnel != Some(active)).then_some(()))
    })?;
    await_echoes(&flow, 100, LATER)?;
    flow.finish()
}
