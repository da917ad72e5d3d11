//! The daemon: starts everything, then goes round one loop until it is told to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until, timeout_at};
use vgw_admin::request::{Order, Request};
use vgw_admin::wire::{self, Reply};
use vgw_gateway::domain::TunnelName;
use vgw_gateway::revision::ChangeSet;
use vgw_ike::wire::peek_header;

use crate::admin_server::server::PendingRequest;
use crate::config::{CredentialVersion, Loaded, Settings};
use crate::driver::Driver;
use crate::inbox::{self, Message};
use crate::kernel::DesiredByConfig;
use crate::logging::Logging;
use crate::outside_watch::OutsideWatch;
use crate::service_manager::Notifier;
use crate::{metrics, service_manager};

mod path_news;
mod reload;
mod start;

use self::path_news::PathNews;
use self::reload::Reloads;

/// In one turn the loop takes IKE messages for this long, and no more than so many.
const TURN_TIME: Duration = Duration::from_millis(5);
const TURN_MESSAGES: usize = 64;
/// Threads that make texts of status and metrics.
const TEXT_THREADS: usize = 2;
/// How often the supervisor learns what the data plane counted.
const SAMPLE: Duration = Duration::from_secs(1);
/// How long peers may take to confirm that their SAs are deleted.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);

/// Everything that can wake the loop.
struct Inputs {
    /// IKE messages from the data plane.
    ike: inbox::InboxReceiver,
    /// Packets that came by new paths.
    paths: PathNews,
    /// Links, addresses and routes outside.
    outside: OutsideWatch,
    /// The addresses of this machine in the VPC's namespace.
    host: watch::Receiver<BTreeSet<IpAddr>>,
    /// Changes of the TUN link.
    tun_link: watch::Receiver<()>,
    /// A data plane that cannot go on.
    failures: mpsc::UnboundedReceiver<String>,
    /// The control socket.
    asked: mpsc::Receiver<PendingRequest>,
    /// Scrapes.
    scrapes: mpsc::Receiver<metrics::SampleRequest>,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    sample: Interval,
    /// When to look at the tunnels' traffic again.
    next_look: Instant,
    watchdog: Option<Interval>,
}

struct Daemon {
    path: PathBuf,
    /// What runs.
    settings: Settings,
    credentials: Arc<BTreeMap<String, CredentialVersion>>,
    desired: DesiredByConfig,
    reloads: Reloads,
    /// Seconds since 1970.
    started: f64,
    /// The outside addresses that have sockets.
    bound: Vec<IpAddr>,
    logging: Logging,
    notifier: Notifier,
    driver: Driver,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What could not be started, or what failed beyond repair.
pub fn run(path: &Path, loaded: Loaded) -> Result<()> {
    let logging = Logging::start(&loaded.settings.log)?;
    loaded.new_keys.write().map_err(anyhow::Error::msg)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(TEXT_THREADS)
        .build()
        .context("starting the event loop")?;
    runtime.block_on(async {
        let (mut daemon, mut inputs) = start::start(path, loaded, logging)?;
        daemon.notifier.ready(&daemon.summary());
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "{}", daemon.summary());
        let outcome = daemon.serve(&mut inputs).await;
        daemon.notifier.stopping();
        daemon.shut_down(&mut inputs).await;
        outcome
    })
}

impl Inputs {
    fn intervals() -> (Interval, Option<Interval>) {
        let ticks = |period| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        (ticks(SAMPLE), service_manager::watchdog_period().map(ticks))
    }
}

impl Daemon {
    /// One input at a time, each followed by what it leads to. The order is that
    /// of precedence: what keeps the daemon alive and what its operator wants come
    /// before what anybody may send, and that is taken in small portions.
    async fn serve(&mut self, inputs: &mut Inputs) -> Result<()> {
        loop {
            tokio::select! {
                biased;
                Some(what) = inputs.failures.recv() => bail!("{what}"),
                _ = inputs.terminate.recv() => {
                    tracing::info!("stopping on SIGTERM");
                    return Ok(());
                }
                _ = inputs.interrupt.recv() => {
                    tracing::info!("stopping on SIGINT");
                    return Ok(());
                }
                () = tick(&mut inputs.watchdog) => self.notifier.watchdog(),
                () = due(self.driver.deadline()) => self.on_timeout(&mut inputs.ike),
                _ = inputs.hangup.recv() => self.reload(None),
                outcome = self.reloads.outcome() => self.on_read(outcome),
                Some(asked) = inputs.asked.recv() => self.on_asked(asked, &mut inputs.asked),
                Ok(()) = inputs.host.changed() => {
                    self.driver.set_host_addresses(&inputs.host.borrow_and_update());
                }
                Ok(()) = inputs.tun_link.changed() => self.driver.look_at_tun(),
                () = sleep_until(inputs.next_look.into()) => {
                    let now = Instant::now();
                    self.driver.look_at_activity(now);
                    inputs.next_look = now + self.driver.activity_pace();
                }
                news = inputs.outside.next() => self.driver.note_outside(Instant::now(), news),
                () = inputs.paths.wait() => self.driver.follow_paths(Instant::now()),
                _ = inputs.sample.tick() => {
                    let now = Instant::now();
                    self.driver.sample(now);
                    self.driver.tell_unread(now);
                    self.driver.look_outside(now);
                }
                Some(scrape) = inputs.scrapes.recv() => {
                    // A scraper that has gone away needs no answer.
                    let _ = scrape.send(self.sample());
                }
                message = inputs.ike.take() => {
                    self.on_messages(message, &mut inputs.ike);
                    // Clients' tasks and timers run only while the loop waits.
                    yield_now().await;
                }
            }
        }
    }

    /// Takes what waits, up to a portion, and ends early for a timer that is due.
    fn on_messages(&mut self, first: Message, rest: &mut inbox::InboxReceiver) {
        let until = Instant::now() + TURN_TIME;
        self.on_message(&first);
        for _ in 1..TURN_MESSAGES {
            let now = Instant::now();
            if now >= until || self.driver.deadline().is_some_and(|due| due <= now) {
                return;
            }
            let Some(message) = rest.try_take() else {
                return;
            };
            self.on_message(&message);
        }
    }

    fn on_message(&mut self, message: &Message) {
        let now = Instant::now();
        let Message {
            local,
            remote,
            octets,
        } = message;
        self.driver
            .drive(|supervisor| supervisor.handle_datagram(now, *local, *remote, octets));
    }

    /// An answer that waits here is none that did not come, so what peers sent is taken first.
    fn on_timeout(&mut self, waiting: &mut inbox::InboxReceiver) {
        for _ in 0..inbox::ESTABLISHED {
            let Some(message) = waiting.try_take_established() else {
                break;
            };
            self.on_message(&message);
        }
        let now = Instant::now();
        self.driver
            .drive(|supervisor| supervisor.handle_timeout(now));
    }

    /// Answers all who wait, and those who want the status with the same one.
    fn on_asked(&mut self, first: PendingRequest, rest: &mut mpsc::Receiver<PendingRequest>) {
        let mut status = None;
        let mut next = Some(first);
        while let Some(PendingRequest { request, reply }) = next {
            next = rest.try_recv().ok();
            let answer = match request {
                Request::Status => Arc::clone(status.get_or_insert_with(|| self.status())),
                Request::Reload => {
                    self.reload(Some(reply));
                    continue;
                }
                Request::Order(order, tunnel) => {
                    // The next status shows what it does.
                    status = None;
                    Arc::new(self.obey(order, &tunnel))
                }
            };
            // A client that has gone away needs no answer.
            let _ = reply.send(answer);
        }
    }

    fn sample(&mut self) -> metrics::Sample {
        metrics::Sample {
            started: self.started,
            reloaded: self.reloads.last,
            ..self.driver.metrics(Instant::now(), self.logging.losses())
        }
    }

    fn status(&mut self) -> Arc<Reply> {
        let now = Instant::now();
        let status = Box::new(self.driver.status(now, self.logging.losses()));
        Arc::new(Reply::Status { status })
    }

    fn obey(&mut self, order: Order, tunnel: &TunnelName) -> Reply {
        let now = Instant::now();
        let outcome = self.driver.drive(|supervisor| match order {
            Order::Down => supervisor.tunnel_down(now, tunnel),
            Order::Up => supervisor.tunnel_up(now, tunnel),
            Order::Rekey(what) => supervisor.rekey(now, tunnel, rekeyed(what)),
        });
        let done = match order {
            Order::Down => {
                format!("{tunnel}: going down; `vgw tunnel up {tunnel}` brings it back")
            }
            Order::Up => format!("{tunnel}: coming up"),
            Order::Rekey(_) => format!("{tunnel}: being rekeyed"),
        };
        match outcome {
            Ok(()) => Reply::Done { lines: vec![done] },
            Err(error) => Reply::Failed {
                lines: vec![error.to_string()],
            },
        }
    }

    /// Tells every peer that its SAs end, and waits a little for their answers.
    async fn shut_down(&mut self, inputs: &mut Inputs) {
        self.driver.leave_kernel();
        let now = Instant::now();
        self.driver.drive(|supervisor| {
            let before = supervisor.revision();
            let nothing = ChangeSet::between(before, before.without_connections());
            supervisor.apply(now, nothing);
        });
        let last = now + SHUTDOWN_LIMIT;
        while !self.driver.is_quiet() {
            let deadline = self.driver.deadline().map_or(last, |at| at.min(last));
            tokio::select! {
                message = timeout_at(deadline.into(), inputs.ike.take()) => match message {
                    // A refusal would make a peer wait longer before it tries the
                    // daemon that comes after us.
                    Ok(message) if begins_anew(&message) => {}
                    Ok(message) => self.on_message(&message),
                    Err(_) if deadline == last => return,
                    Err(_) => self.on_timeout(&mut inputs.ike),
                },
                // A second signal ends the wait.
                _ = inputs.terminate.recv() => return,
                _ = inputs.interrupt.recv() => return,
            }
        }
    }

    fn summary(&self) -> String {
        let revision = self.driver.revision();
        let outside = revision.own().outside_addresses.iter();
        let outside: Vec<String> = outside.map(|ours| ours.seen().to_string()).collect();
        let connections = match revision.connections().len() {
            1 => "1 VPN connection".to_owned(),
            count => format!("{count} VPN connections"),
        };
        format!("serving {connections} on {}", outside.join(" "))
    }
}

/// Whether it asks for a new IKE SA.
fn begins_anew(message: &Message) -> bool {
    peek_header(&message.octets).is_ok_and(|header| header.begins)
}

const fn rekeyed(what: wire::RekeyTarget) -> vgw_gateway::supervisor::RekeyTarget {
    match what {
        wire::RekeyTarget::Ike => vgw_gateway::supervisor::RekeyTarget::Ike,
        wire::RekeyTarget::Child => vgw_gateway::supervisor::RekeyTarget::Child,
    }
}

/// Waits until then; without a time, for ever. The runtime's own clock stands still
/// while the loop is busy, so what is past is seen here.
async fn due(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) if deadline <= Instant::now() => {}
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}

/// Seconds since 1970.
fn unix_time() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// The signals that we take.
fn signals() -> std::io::Result<[Signal; 3]> {
    Ok([
        signal(SignalKind::hangup())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    ])
}
