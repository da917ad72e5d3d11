//! Traffic through the tunnels when all is well.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vgw_lab::interrupt;
use vgw_lab::probe::{Bulk, Throughput, ping};
use vgw_lab::topology::{ON_PREMISES_HOST, VPC_HOST};

use super::screen::Screen;
use super::{Stage, hosts};

const PORT: u16 = 7001;
const PING: Duration = Duration::from_secs(5);
const BULK: Duration = Duration::from_secs(4);

pub(super) fn pings(stage: &Stage, screen: &Screen) -> Result<()> {
    let topology = &stage.topology;
    let ways = [
        ("VPC to premises", &topology.vpc, VPC_HOST, ON_PREMISES_HOST),
        (
            "premises to VPC",
            &topology.on_premises,
            ON_PREMISES_HOST,
            VPC_HOST,
        ),
    ];
    for (way, namespace, from, to) in ways {
        let time = ping(namespace, from, to, PING)?
            .with_context(|| format!("no answer from {to} to {from} within {PING:?}"))?;
        screen.say(&format!(
            "{way}: {from} asks {to}, answer after {time:.2?}."
        ));
    }
    Ok(())
}

pub(super) fn bulk(stage: &Stage, screen: &mut Screen) -> Result<Throughput> {
    let (vpc, premises) = hosts(stage, PORT);
    let bulk = Bulk::start(vpc, premises)?;
    let start = Instant::now();
    while start.elapsed() < BULK {
        interrupt::check()?;
        let megabytes = bulk.received() / 1_000_000;
        screen.progress(start.elapsed(), &format!("{megabytes} MB arrived"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let result = bulk.finish()?;
    screen.say(&format!(
        "{} MB in {:.1} s: {:.2} Gbit/s, encrypted and decrypted on this machine.",
        result.octets / 1_000_000,
        result.elapsed.as_secs_f64(),
        result.gbps()
    ));
    Ok(result)
}
