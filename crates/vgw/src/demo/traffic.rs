//! Traffic through the tunnels when all is well.

use std::time::{Duration, Instant};

use anyhow::Result;
use vgw_lab::interrupt;
use vgw_lab::probe::{Bulk, Throughput, ping};
use vgw_lab::topology::{ON_PREMISES_HOST, VPC_HOST};
use vgw_lab::wait_until;

use super::screen::Screen;
use super::{Stage, hosts};

const PORT: u16 = 7001;
/// How long one ping may take, and how long they are sent: on a slow machine the
/// kernel has its routes only a moment after the tunnels are up.
const PING: Duration = Duration::from_secs(1);
const PINGS: Duration = Duration::from_secs(10);
const BULK: Duration = Duration::from_secs(4);

pub(super) fn pings(stage: &Stage, screen: &Screen) -> Result<()> {
    let topology = &stage.topology;
    let ways = [
        (
            "VPC to premises",
            &topology.vpc_host,
            VPC_HOST,
            ON_PREMISES_HOST,
        ),
        (
            "premises to VPC",
            &topology.on_premises_host,
            ON_PREMISES_HOST,
            VPC_HOST,
        ),
    ];
    for (way, namespace, from, to) in ways {
        let answer = format!("an answer from {to} to {from}");
        let time = wait_until(&answer, PINGS, || ping(namespace, from, to, PING))?;
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
    screen.say(
        "Its packets travel in UDP, as through a NAT, of which the kernel takes and gives many at \
         once;\nbare ESP it moves one by one, and slower.",
    );
    screen.say(&format!(
        "{} MB in {:.1} s: {:.2} Gbit/s, encrypted and decrypted on this machine.",
        result.octets / 1_000_000,
        result.elapsed.as_secs_f64(),
        result.gbps()
    ));
    Ok(result)
}
