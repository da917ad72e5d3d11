//! Case 4: packets per second without loss, and what a packet waits at half of that.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use vgw_lab::interrupt;
use vgw_lab::probe::{Arrivals, Paced};
use vgw_lab::topology::{CUSTOMER_OUTSIDE, GATEWAY_OUTSIDE, ON_PREMISES_HOST, VPC_HOST};

use crate::Plan;
use crate::entrant::Entrant;
use crate::rounds::{Metric, Rounds};
use crate::say;
use crate::search::{Trial, highest};

/// Octets of the packets inside the tunnel, IPv4 and UDP headers included.
const SIZES: [usize; 3] = [64, 512, 1400];
/// IPv4 and UDP.
const HEADERS: usize = 28;
/// Lost packets of a thousand that still count as none: a shared machine is late now
/// and then.
const TOLERATED_PER_MILLE: u64 = 1;
const TRIAL: Duration = Duration::from_millis(500);
const PORT: u16 = 7000;

pub const RATE: Metric = Metric {
    name: "rate without loss",
    unit: "packets/s",
};
const MEDIAN: Metric = Metric {
    name: "latency at half, median",
    unit: "µs",
};
const P99: Metric = Metric {
    name: "latency at half, p99",
    unit: "µs",
};

/// The case as it stands in the results.
pub fn case(size: usize) -> String {
    format!("UDP, {size}-octet packets")
}

/// Measures every subject, turn and turn about.
pub fn run(plan: &Plan, rounds: &mut Rounds) -> Result<()> {
    let mut entrants = Vec::new();
    for subject in plan.subjects() {
        let suite = subject.usual_suite();
        entrants.push(Entrant::start(subject, suite, &plan.programs)?);
    }
    if let Some(entrant) = entrants.first() {
        around(entrant)?;
    }
    for round in 1..=plan.rounds {
        say(&format!("UDP, round {round} of {}", plan.rounds));
        for size in SIZES {
            for entrant in &entrants {
                measure(entrant, size, rounds)
                    .with_context(|| format!("{} with {size}-octet packets", entrant.name()))?;
            }
        }
    }
    entrants.into_iter().try_for_each(Entrant::end)
}

/// Says what the probe itself can do on the same path around the tunnel: it must not be
/// what limits a subject.
fn around(entrant: &Entrant) -> Result<()> {
    let [outside, _] = GATEWAY_OUTSIDE;
    for size in SIZES {
        let rate = rate_of(entrant, size, [CUSTOMER_OUTSIDE, outside])?;
        say(&format!(
            "  the probe around the tunnel, {}: {rate} packets/s",
            case(size)
        ));
    }
    Ok(())
}

/// The highest rate without loss from the first address, on the premises, to the
/// second, in the VPC.
fn rate_of(entrant: &Entrant, size: usize, ends: [IpAddr; 2]) -> Result<u32> {
    let rate = highest(|rate| {
        interrupt::check()?;
        let arrivals = send(entrant, size, ends, rate)?;
        Ok(Trial {
            whole: arrivals.received > 0 && arrivals.lost_per_mille() <= TOLERATED_PER_MILLE,
            offered: arrivals.offered(),
            arrived: arrivals.rate(),
        })
    })?;
    rate.context("packets are lost at every rate")
}

fn measure(entrant: &Entrant, size: usize, rounds: &mut Rounds) -> Result<()> {
    let ends = [ON_PREMISES_HOST, VPC_HOST];
    let rate = rate_of(entrant, size, ends)?;
    let arrivals = send(entrant, size, ends, rate / 2)?;
    let nothing = || format!("nothing arrives at {} packets a second", rate / 2);
    let median = arrivals.delay(500).with_context(nothing)?;
    let p99 = arrivals.delay(990).with_context(nothing)?;
    let subject = entrant.subject.name();
    let micros = |delay: Duration| delay.as_secs_f64() * 1e6;
    let case = case(size);
    say(&format!(
        "  {subject:10} {case}: {rate} packets/s; at half of it {:.0} µs, p99 {:.0} µs{}",
        micros(median),
        micros(p99),
        match arrivals.overtaken {
            0 => String::new(),
            overtaken => format!("; {overtaken} OVERTAKEN"),
        }
    ));
    rounds.add(&case, subject, RATE, f64::from(rate));
    rounds.add(&case, subject, MEDIAN, micros(median));
    rounds.add(&case, subject, P99, micros(p99));
    Ok(())
}

fn send(entrant: &Entrant, size: usize, ends: [IpAddr; 2], rate: u32) -> Result<Arrivals> {
    let stream = Paced {
        rate,
        payload: size.saturating_sub(HEADERS),
        duration: TRIAL,
    };
    let topology = &entrant.stage.topology;
    let [from, to] = ends;
    stream.run(
        (&topology.on_premises, (from, PORT).into()),
        (&topology.vpc, (to, PORT).into()),
    )
}
