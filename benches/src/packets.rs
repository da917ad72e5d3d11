//! Case 4: packets per second without loss, one by one and in trains, and what a packet
//! waits at half of that.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use vgw_lab::probe::{Arrivals, Patience, Stream};
use vgw_lab::topology::{CUSTOMER_OUTSIDE, GATEWAY_OUTSIDE, ON_PREMISES_HOST, VPC_HOST};
use vgw_lab::{Namespace, interrupt};

use crate::Plan;
use crate::entrant::{self, Entrant};
use crate::rounds::{Metric, Rounds};
use crate::say;
use crate::search::{KEPT_UP, Length, Trial, highest};

/// Octets of the packets inside the tunnel, IPv4 and UDP headers included.
const SIZES: [usize; 3] = [64, 512, 1400];
/// IPv4 and UDP.
const HEADERS: usize = 28;
/// Lost packets of a thousand that still count as none: a shared machine is late now
/// and then.
const TOLERATED_PER_MILLE: u64 = 1;
/// Of a brief trial, a full one, and the one whose packets' delays are taken.
const BRIEF: Duration = Duration::from_millis(100);
const FULL: Duration = Duration::from_millis(250);
const LATENCY: Duration = Duration::from_millis(300);
/// Single packets a second beside trains: 750 in `LATENCY`.
const PROBES: u32 = 2500;
const PORT: u16 = 7000;
/// Theirs.
const PROBE_PORT: u16 = 7001;

/// How the sender gives its packets to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    OneByOne,
    InTrains,
}

const WAYS: [Way; 2] = [Way::OneByOne, Way::InTrains];

impl Way {
    /// Packets a call: sixteen of 1,400 octets are a third of what one call can take.
    fn train(self) -> usize {
        match self {
            Self::OneByOne => 1,
            Self::InTrains => 16,
        }
    }

    /// The highest rate without loss.
    pub fn rate(self) -> Metric {
        let name = match self {
            Self::OneByOne => "rate without loss",
            Self::InTrains => "rate without loss, trains",
        };
        let unit = "packets/s";
        Metric { name, unit }
    }

    fn median(self) -> Metric {
        let name = match self {
            Self::OneByOne => "latency at half, median",
            Self::InTrains => "latency beside trains, median",
        };
        Metric { name, unit: "µs" }
    }

    fn p99(self) -> Metric {
        let name = match self {
            Self::OneByOne => "latency at half, p99",
            Self::InTrains => "latency beside trains, p99",
        };
        Metric { name, unit: "µs" }
    }
}

/// The case as it stands in the results.
pub fn case(size: usize) -> String {
    format!("UDP, {size}-octet packets")
}

/// Rates that were found in the round before.
type Found = BTreeMap<(&'static str, usize, Way), u32>;

/// Measures every subject, turn and turn about.
pub fn run(plan: &Plan, rounds: &mut Rounds) -> Result<()> {
    let usual = |subject: crate::subject::Subject| (subject, subject.usual_suite());
    let mut entrants = entrant::start_all(plan, plan.subjects().map(usual), rounds)?;
    if let Some(entrant) = entrants.first() {
        let limits = around(entrant);
        rounds.keep(limits)?;
    }
    let mut found = Found::new();
    for round in 1..=plan.rounds {
        say(&format!("UDP, round {round} of {}", plan.rounds));
        for size in SIZES {
            for way in WAYS {
                entrant::each(&mut entrants, rounds, |entrant, rounds| {
                    measure(entrant, size, way, &mut found, rounds)
                        .with_context(|| format!("{size}-octet packets"))
                })?;
            }
        }
        plan.save(rounds)?;
    }
    entrants.into_iter().try_for_each(Entrant::end)
}

/// Says what the probe itself can do between the gateways, around the tunnel: it must not
/// be what limits a subject.
fn around(entrant: &Entrant) -> Result<()> {
    let [outside, _] = GATEWAY_OUTSIDE;
    let topology = &entrant.stage.topology;
    for size in SIZES {
        for way in WAYS {
            let path = Path {
                size,
                ends: [
                    (&topology.on_premises, CUSTOMER_OUTSIDE),
                    (&topology.vpc, outside),
                ],
            };
            let rate = path.highest(way, None)?;
            say(&format!(
                "  the probe around the tunnel, {}, {}: {rate} packets/s",
                case(size),
                way.rate().name
            ));
        }
    }
    Ok(())
}

fn measure(
    entrant: &Entrant,
    size: usize,
    way: Way,
    found: &mut Found,
    rounds: &mut Rounds,
) -> Result<()> {
    let topology = &entrant.stage.topology;
    let path = Path {
        size,
        ends: [
            (&topology.on_premises_host, ON_PREMISES_HOST),
            (&topology.vpc_host, VPC_HOST),
        ],
    };
    let subject = entrant.subject.name();
    let near = found.get(&(subject, size, way)).copied();
    let rate = path.highest(way, near)?;
    found.insert((subject, size, way), rate);
    let arrivals = path.at_half(way, rate)?;
    let nothing = || format!("nothing arrives at {} packets a second", rate / 2);
    let median = arrivals.delay(500).with_context(nothing)?;
    let p99 = arrivals.delay(990).with_context(nothing)?;
    let micros = |delay: Duration| delay.as_secs_f64() * 1e6;
    let case = case(size);
    say(&format!(
        "  {subject:10} {case}, {}: {rate} packets/s; at half of it {:.0} µs, p99 {:.0} µs{}",
        way.rate().name,
        micros(median),
        micros(p99),
        match arrivals.overtaken {
            0 => String::new(),
            overtaken => format!("; {overtaken} OVERTAKEN"),
        }
    ));
    rounds.add(&case, subject, way.rate(), f64::from(rate));
    rounds.add(&case, subject, way.median(), micros(median));
    rounds.add(&case, subject, way.p99(), micros(p99));
    Ok(())
}

/// Packets of one size from the first address, on the premises, to the second, in the
/// VPC.
struct Path<'a> {
    size: usize,
    ends: [(&'a Namespace, IpAddr); 2],
}

impl Path<'_> {
    /// The highest rate without loss.
    fn highest(&self, way: Way, near: Option<u32>) -> Result<u32> {
        let rate = highest(near, |rate, length| {
            interrupt::check()?;
            let stream = self.trial(way, rate, length)?;
            let arrivals = self.send(stream, PORT)?;
            Ok(Trial {
                whole: arrivals.received > 0 && arrivals.lost_per_mille() <= TOLERATED_PER_MILLE,
                offered: arrivals.offered(),
                arrived: arrivals.rate(),
            })
        })?;
        rate.context("packets are lost at every rate")
    }

    /// It ends as soon as so much is missing that it can only fail, even if much comes
    /// out of order.
    fn trial(&self, way: Way, rate: u32, length: Length) -> Result<Stream> {
        let duration = match length {
            Length::Brief => BRIEF,
            Length::Full => FULL,
        };
        let packets = u128::from(rate) * duration.as_millis() / 1000;
        let packets = u64::try_from(packets)?;
        let tolerated = packets * TOLERATED_PER_MILLE / 1000;
        Ok(Stream {
            duration,
            patience: Some(Patience {
                missing: 2 * tolerated + 64,
                forgone: packets * (100 - KEPT_UP) / 100,
            }),
            ..self.stream(way, rate)
        })
    }

    /// What single packets meet at half a rate: of the stream itself, or beside its
    /// trains in a flow of their own.
    fn at_half(&self, way: Way, rate: u32) -> Result<Arrivals> {
        let half = self.stream(way, rate / 2);
        if way == Way::OneByOne {
            return self.send(half, PORT);
        }
        let probes = self.stream(Way::OneByOne, PROBES);
        std::thread::scope(|scope| {
            let trains = scope.spawn(|| self.send(half, PORT));
            let probes = self.send(probes, PROBE_PORT);
            let trains = trains.join().map_err(|_| anyhow!("a sender panicked"))??;
            let mut probes = probes?;
            probes.overtaken += trains.overtaken;
            Ok(probes)
        })
    }

    fn stream(&self, way: Way, rate: u32) -> Stream {
        Stream {
            rate,
            payload: self.size.saturating_sub(HEADERS),
            train: way.train(),
            duration: LATENCY,
            patience: None,
        }
    }

    fn send(&self, stream: Stream, port: u16) -> Result<Arrivals> {
        let [from, to] = self
            .ends
            .map(|(host, address)| (host, (address, port).into()));
        stream.run(from, to)
    }
}
