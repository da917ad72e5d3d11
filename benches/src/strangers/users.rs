//! What users feel while something goes on: how long a status, a scrape, a handshake and
//! a rekey take, whether their packets pass, and what the daemon uses of the CPU.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vgw_admin::wire::{RekeyTarget, Request};
use vgw_harness::tools::{count_packets, counted_packets};
use vgw_lab::probe::FlowReport;
use vgw_lab::{Namespace, interrupt};

use super::clients::scrape;
use super::daemon::Control;
use super::scene::{HELD, Scene, TRIED};
use crate::cpu;
use crate::rounds::{Spread, spread};

/// For so long new questions are asked.
const WINDOW: Duration = Duration::from_secs(5);
/// A status or a scrape that takes longer has no answer.
const ANSWER: Duration = Duration::from_secs(10);
/// A handshake or a rekey that takes longer does not come.
const EXCHANGE: Duration = Duration::from_secs(25);
/// Between two questions of a kind.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is asked at first whether a tunnel is up: what a handshake takes is known
/// so well, or to a fiftieth.
const LOOK: Duration = Duration::from_millis(3);
/// Between two packets of the established tunnel.
const PACKETS: Duration = Duration::from_millis(10);

/// Times of one kind.
#[derive(Debug, Clone, Default)]
pub struct Times {
    /// Those that were waited for in vain count with what was waited.
    pub took: Vec<Duration>,
    /// How many were.
    pub in_vain: usize,
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self
            .took
            .iter()
            .map(|took| took.as_secs_f64() * 1e3)
            .collect();
        let Some(Spread {
            median, max, count, ..
        }) = spread(took)
        else {
            return f.write_str("never asked");
        };
        write!(
            f,
            "median {median:.1} ms, max {max:.1} ms, of {count}, {} in vain",
            self.in_vain
        )
    }
}

/// What was felt.
#[derive(Debug)]
pub struct Felt {
    pub status: Times,
    pub scrape: Times,
    pub handshake: Times,
    pub rekey: Times,
    pub packets: FlowReport,
    /// Whether the established tunnel is up, and has been.
    pub stayed: bool,
    /// CPU seconds a second.
    pub cpu: f64,
    /// The same of the control thread alone.
    pub control_thread: f64,
    /// Datagrams a second to port 500 that reached the gateway's machine.
    pub arrived: f64,
    /// Datagrams a second that were lost because a socket's buffer was full.
    pub overflowed: f64,
}

/// Asks everything again and again, each on a thread of its own, until the window is
/// over and the last answer there or in vain.
///
/// # Errors
/// When the customer's daemon fails or the gateway has ended.
pub fn feel(scene: &Scene) -> Result<Felt> {
    let (gateway, customer) = (scene.gateway.control(), scene.customer.control());
    let vpc = &scene.stage.topology.vpc;
    let before = Used::now(scene)?;
    let began = Instant::now();
    let held = customer.tunnel(HELD)?;
    let flow = scene.stage.flow_from_premises(PACKETS)?;
    let over = AtomicBool::new(false);
    let again = |one: &dyn Fn() -> Result<Option<Duration>>, limit| repeat(&over, limit, one);
    let felt = std::thread::scope(|scope| {
        let status = scope.spawn(|| again(&|| Ok(gateway.time_of_status(ANSWER)), ANSWER));
        let scrape = scope.spawn(|| again(&|| vpc.run(|| scrape(ANSWER)), ANSWER));
        let handshake = scope.spawn(|| again(&|| handshake(customer), EXCHANGE));
        let rekey = scope.spawn(|| again(&|| rekey(customer), EXCHANGE));
        let waited = wait();
        over.store(true, Ordering::Relaxed);
        let times = [status, scrape, handshake, rekey]
            .map(|thread| thread.join().ok().context("a thread panicked")?);
        waited?;
        anyhow::Ok(times)
    });
    let seconds = began.elapsed().as_secs_f64();
    let used = Used::now(scene);
    let packets = flow.finish()?;
    let ([status, scrape, handshake, rekey], used) = (felt?, used?);
    let now = customer.tunnel(HELD)?;
    let a_second = |now: u64, before: u64| {
        let more = u32::try_from(now - before).unwrap_or(u32::MAX);
        f64::from(more) / seconds
    };
    Ok(Felt {
        status: status?,
        scrape: scrape?,
        handshake: handshake?,
        rekey: rekey?,
        packets,
        stayed: now.up && now.counters.ike_established == held.counters.ike_established,
        cpu: (used.cpu - before.cpu).as_secs_f64() / seconds,
        control_thread: (used.control_thread - before.control_thread).as_secs_f64() / seconds,
        arrived: a_second(used.arrived, before.arrived),
        overflowed: a_second(used.overflowed, before.overflowed),
    })
}

fn wait() -> Result<()> {
    let until = Instant::now() + WINDOW;
    while Instant::now() < until {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn repeat(
    over: &AtomicBool,
    limit: Duration,
    one: impl Fn() -> Result<Option<Duration>>,
) -> Result<Times> {
    let mut times = Times::default();
    loop {
        let took = one()?;
        times.in_vain += usize::from(took.is_none());
        times.took.push(took.unwrap_or(limit));
        std::thread::sleep(PAUSE);
        if over.load(Ordering::Relaxed) || interrupt::requested() {
            return Ok(times);
        }
    }
}

/// Takes a tunnel down at the customer's end and brings it up again; how long the
/// latter takes.
fn handshake(customer: &Control) -> Result<Option<Duration>> {
    let tunnel = || TRIED.to_owned();
    customer.order(&Request::TunnelDown { tunnel: tunnel() })?;
    // Time for its DELETE, so that one does not hinder the other.
    std::thread::sleep(PAUSE);
    let began = Instant::now();
    customer.order(&Request::TunnelUp { tunnel: tunnel() })?;
    until(began, || Ok(customer.tunnel(TRIED)?.up))
}

/// Rekeys the established tunnel's IKE SA.
fn rekey(customer: &Control) -> Result<Option<Duration>> {
    let before = customer.tunnel(HELD)?.counters.ike_rekeys;
    let began = Instant::now();
    let request = Request::Rekey {
        tunnel: HELD.to_owned(),
        what: RekeyTarget::Ike,
    };
    if customer.order(&request).is_err() {
        // It is down, which is said elsewhere.
        return Ok(None);
    }
    until(began, || {
        Ok(customer.tunnel(HELD)?.counters.ike_rekeys > before)
    })
}

fn until(began: Instant, seen: impl Fn() -> Result<bool>) -> Result<Option<Duration>> {
    while began.elapsed() < EXCHANGE && !interrupt::requested() {
        if seen()? {
            return Ok(Some(began.elapsed()));
        }
        std::thread::sleep(LOOK.max(began.elapsed() / 50));
    }
    Ok(None)
}

/// The counter of what comes to port 500.
const ARRIVED: &str = "ike";

/// Has what comes to the gateway's port 500 counted, whoever sends it.
///
/// # Errors
/// When `nft` refuses.
pub fn count_arrivals(gateway: &Namespace) -> Result<()> {
    count_packets(gateway, ARRIVED, "input", "udp dport 500")
}

/// What the gateway has used and got since it began.
struct Used {
    cpu: Duration,
    control_thread: Duration,
    arrived: u64,
    overflowed: u64,
}

impl Used {
    fn now(scene: &Scene) -> Result<Self> {
        let id = scene.gateway.id();
        let vpc = &scene.stage.topology.vpc;
        Ok(Self {
            cpu: cpu::used(&[id])?,
            control_thread: cpu::of_main_thread(id)?,
            arrived: counted_packets(vpc, ARRIVED)?,
            overflowed: overflowed(vpc)?,
        })
    }
}

/// Datagrams that found a socket's buffer full, in a namespace.
fn overflowed(namespace: &Namespace) -> Result<u64> {
    let path = Path::new("/proc/thread-self/net/snmp");
    let text = namespace.run(|| std::fs::read_to_string(path))??;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next(), lines.next());
    let (names, values) = names
        .zip(values)
        .context("the kernel counts no datagrams")?;
    let mut columns = names.split(' ').zip(values.split(' '));
    let column = columns.find(|(name, _)| *name == "RcvbufErrors");
    let (_, value) = column.context("the kernel counts no full buffers")?;
    Ok(value.parse()?)
}
