//! A tunnel with a bandwidth limit is sent sixteen times as much, either way, while
//! another tunnel without one carries four times that limit.
//!
//! Seen: each packet for the limited tunnel either passed or is counted as dropped for
//! its rate, most of them the latter; the other tunnel lost none.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use vgw_admin::wire::Traffic;
use vgw_harness::stage::SOON;
use vgw_harness::two_sites::Sites;
use vgw_lab::probe::{Arrivals, Stream};
use vgw_lab::topology::{BRANCH_HOST, ON_PREMISES_HOST, VPC_HOST};
use vgw_lab::{Namespace, wait_until};

/// 16 Mbit/s.
const TOO_MUCH: Stream = Stream {
    rate: 2000,
    payload: 1000,
    train: 1,
    duration: Duration::from_secs(1),
    patience: None,
};
/// 4 Mbit/s.
const STEADY: Stream = Stream {
    rate: 500,
    ..TOO_MUCH
};
/// The limit of 1 Mbit/s lets pass 128 KiB at once, and as much in this second.
const SURELY_DROPPED: u64 = 500;
const SURELY_PASSED: u64 = 100;

pub fn run() -> Result<()> {
    let sites = Sites::start("bandwidth_limit")?;
    let site = (&sites.stage.topology.on_premises_host, ON_PREMISES_HOST);
    let branch = (&sites.branch.host, BRANCH_HOST);
    let vpc = (&sites.stage.topology.vpc_host, VPC_HOST);

    let before = Counts::of(&sites, |traffic| traffic.packets_out)?;
    let (burst, steady) = at_once((vpc, site), (vpc, branch))?;
    let out = await_counts("sent", || {
        let counts = Counts::of(&sites, |traffic| traffic.packets_out)?.since(before);
        let all = counts.site + counts.over_rate == burst.sent && counts.branch == steady.sent;
        Ok((all, counts))
    })?;
    println!("of {} packets to the limited site: {out:?}", burst.sent);
    ensure!(
        out.over_rate >= SURELY_DROPPED && out.site >= SURELY_PASSED,
        "{out:?}"
    );
    ensure!(burst.received <= out.site, "{burst:?}");
    ensure!(steady.received == steady.sent, "{steady:?}");

    let before = Counts::of(&sites, |traffic| traffic.packets_in)?;
    let (burst, steady) = at_once((site, vpc), (branch, vpc))?;
    let into = await_counts("received", || {
        let counts = Counts::of(&sites, |traffic| traffic.packets_in)?.since(before);
        let all = burst.received + counts.over_rate == counts.site && counts.branch == steady.sent;
        Ok((all, counts))
    })?;
    println!("of {} packets from the limited site: {into:?}", burst.sent);
    ensure!(
        into.over_rate >= SURELY_DROPPED && burst.received >= SURELY_PASSED,
        "{into:?}"
    );
    ensure!(steady.received == steady.sent, "{steady:?}");
    Ok(())
}

type Host<'a> = (&'a Namespace, IpAddr);

/// Sends too much by the first way, and steadily by the second.
fn at_once(
    limited: (Host<'_>, Host<'_>),
    free: (Host<'_>, Host<'_>),
) -> Result<(Arrivals, Arrivals)> {
    let send = |stream: Stream, ((client, from), (server, to)): (Host<'_>, Host<'_>), port: u16| {
        stream.run((client, (from, port).into()), (server, (to, port).into()))
    };
    std::thread::scope(|scope| {
        let steady = scope.spawn(|| send(STEADY, free, 7002));
        let burst = send(TOO_MUCH, limited, 7001);
        let steady = steady
            .join()
            .map_err(|_| anyhow!("the steady stream panicked"))?;
        Ok((burst?, steady?))
    })
}

/// Packets of one direction that the gateway has counted.
#[derive(Debug, Clone, Copy)]
struct Counts {
    site: u64,
    branch: u64,
    over_rate: u64,
}

impl Counts {
    fn of(sites: &Sites, direction: impl Fn(Traffic) -> u64) -> Result<Self> {
        let [site, branch] = sites.traffic()?;
        Ok(Self {
            site: direction(site),
            branch: direction(branch),
            over_rate: sites.gateway.dropped("over_rate")?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            site: self.site - before.site,
            branch: self.branch - before.branch,
            over_rate: self.over_rate - before.over_rate,
        }
    }
}

/// Waits until the counts, which follow what they count, are complete; gives them.
fn await_counts(what: &str, counts: impl Fn() -> Result<(bool, Counts)>) -> Result<Counts> {
    let mut last = None;
    wait_until(what, SOON, || {
        let (complete, counts) = counts()?;
        last = Some(counts);
        Ok(complete.then_some(counts))
    })
    .with_context(|| format!("counted: {last:?}"))
}
