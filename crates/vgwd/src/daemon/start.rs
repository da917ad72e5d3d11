//! Opens everything that takes a privilege, drops the privileges, and starts
//! the rest.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use getrandom::SysRng;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use vgw_crypto::RandomSources;
use vgw_dataplane::{Config, DataPlane, DataPlaneEvent, OutsideSockets, Tun};
use vgw_gateway::supervisor::Supervisor;

use super::path_news::PathNews;
use super::reload::Reloads;
use super::{Daemon, Inputs, signals, unix_time};
use crate::admin_server::server::Listener;
use crate::config::{self, Loaded};
use crate::driver::Driver;
use crate::inbox::{self, Message, PeerAddresses};
use crate::kernel::{Desired, DesiredByConfig, Keeper};
use crate::key_log::KeyLog;
use crate::logging::Logging;
use crate::mtu::MtuWarnings;
use crate::namespace::run_in;
use crate::outside_watch::OutsideWatch;
use crate::seccomp::{ThreadKind, confine};
use crate::service_manager::Notifier;
use crate::{crash_detection_key, metrics, privileges};

/// Requests that may wait.
const REQUESTS: usize = 16;

/// What took a privilege to open.
struct Opened {
    control: Listener,
    metrics: Option<TcpListener>,
    tun: Tun,
    outside: Vec<OutsideSockets>,
    key_log: KeyLog,
}

pub(super) fn start(path: &Path, loaded: Loaded, mut logging: Logging) -> Result<(Daemon, Inputs)> {
    let (failure_sender, failures) = mpsc::unbounded_channel();
    // Before anything else, because the more can fail after it: from here on nothing
    // leaves in clear.
    let keeper = keep_kernel(&loaded, failure_sender.clone())?;
    let opened = open(&loaded)?;
    // Before any other thread is started: each has privileges of its own.
    privileges::drop_privileges(&[])?;
    logging.start_writer()?;
    let notifier = Notifier::start().context("starting the thread of the service manager")?;

    let (sender, ike, known_senders) = inbox::open();
    known_senders.expect_from(PeerAddresses::of(&loaded.gateway));
    let seen = Arc::new(Notify::new());
    let paths = PathNews::new(Arc::clone(&seen));
    let on_event = move |event| match event {
        DataPlaneEvent::PathsSeen | DataPlaneEvent::UnknownSpisSeen | DataPlaneEvent::HintsSeen => {
            seen.notify_one();
            true
        }
        DataPlaneEvent::Failed { what } => {
            let what = format!("the data plane failed: {what}");
            failure_sender.send(what).is_ok()
        }
        DataPlaneEvent::Ike {
            local,
            remote,
            message: octets,
        } => sender.put(Message {
            local,
            remote,
            octets,
        }),
    };
    let kernel = keeper.keep(opened.tun.index());
    let config = Config {
        gateway: loaded.gateway.id,
        tun: opened.tun,
        outside: opened.outside,
        workers: workers(&loaded.settings.data_plane),
    };
    let plane =
        DataPlane::start_confined(config, Box::new(on_event), || confine(ThreadKind::Packets))
            .context("starting the data plane")?;
    log_start_of(&plane);

    let now = Instant::now();
    let desired = DesiredByConfig::of(&loaded.gateway, &loaded.settings);
    let ours = loaded.gateway.outside_addresses.iter();
    let bound = ours.map(|ours| ours.address).collect();
    let mut supervisor = Supervisor::with_limits(
        now,
        loaded.gateway,
        loaded.settings.limits,
        opened.key_log.wants_ike(),
        random()?,
    );
    supervisor.set_token_key(crash_detection_key::open(
        loaded.settings.state_directory.as_deref(),
    ));
    let host = kernel.local_addresses.clone();
    let tun_link = kernel.tun_link.clone();
    let mtu_warnings = MtuWarnings::new(loaded.settings.tun.mtu);
    let driver = Driver::new(
        now,
        supervisor,
        plane,
        kernel,
        known_senders,
        opened.key_log,
        mtu_warnings,
    );

    let (asked_sender, asked) = mpsc::channel(REQUESTS);
    tokio::spawn(opened.control.serve(asked_sender));
    let (scrape_sender, scrapes) = mpsc::channel(REQUESTS);
    if let Some(listener) = opened.metrics {
        tokio::spawn(metrics::serve(listener, scrape_sender));
    }
    let [hangup, terminate, interrupt] = signals().context("taking signals")?;
    let (sample, watchdog) = Inputs::intervals();
    let inputs = Inputs {
        ike,
        paths,
        outside: OutsideWatch::open(),
        host,
        tun_link,
        failures,
        asked,
        scrapes,
        hangup,
        terminate,
        interrupt,
        sample,
        next_look: Instant::now(),
        watchdog,
    };
    let daemon = Daemon {
        path: path.to_owned(),
        bound,
        settings: loaded.settings,
        credentials: Arc::new(loaded.credentials),
        desired,
        reloads: Reloads::new(unix_time()),
        started: unix_time(),
        logging,
        notifier,
        driver,
    };
    confine(ThreadKind::Control)?;
    Ok((daemon, inputs))
}

/// Logs how many threads carry packets, and what the kernel and the CPU do for them.
fn log_start_of(plane: &DataPlane) {
    let ((workers_in, workers_out), offered) = (plane.workers(), plane.offloads());
    let offloads = [
        ("tun_vnet_header", offered.tun_vnet_header),
        ("tun_tso", offered.tun_tso),
        ("tun_uso", offered.tun_uso),
        ("tun_multi_queue", offered.tun_multi_queue),
        ("udp_gso", offered.udp_gso),
        ("udp_gro", offered.udp_gro),
    ];
    let in_use = offloads.iter().filter(|(_, in_use)| *in_use);
    let offloads: Vec<_> = in_use.map(|(name, _)| *name).collect();
    let list = |names: &[&str]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let offloads = list(&offloads);
    let accelerated = list(&vgw_crypto::accelerated());
    // No fields beside it: the text log would say everything twice.
    tracing::info!(
        "data plane: {workers_in} threads receive from outside, {workers_out} from the TUN \
         device; offloads of the kernel: {offloads}; wide instructions of the CPU for: \
         {accelerated}"
    );
}

/// Threads of the data plane for each direction: unless configured, one for each core, but no
/// more than may be configured.
fn workers(data_plane: &config::DataPlane) -> usize {
    const MOST: usize = 64;
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST));
    data_plane.workers.unwrap_or_else(cores)
}

fn keep_kernel(loaded: &Loaded, failures: mpsc::UnboundedSender<String>) -> Result<Keeper> {
    let desired = Desired::of(&loaded.gateway, &loaded.settings);
    let on_failure = move |why| {
        // A daemon that has ended need not know.
        let _ = failures.send(why);
    };
    Keeper::start(&loaded.settings, desired, on_failure).context("guarding the VPC")
}

fn open(loaded: &Loaded) -> Result<Opened> {
    let settings = &loaded.settings;
    // First, because it tells whether we are running already.
    let control = Listener::bind(&settings.control.socket, settings.control.mode)?;
    let metrics = settings.metrics.map(listen).transpose()?;
    let features = settings.data_plane.features;
    let workers = workers(&settings.data_plane);
    let mut tun = run_in(settings.network_namespace.as_ref(), || {
        Tun::open(&settings.tun.name, workers, features)
    })
    .with_context(|| format!("opening the TUN device {}", settings.tun.name))?;
    tun.intend_mtu(settings.tun.mtu.into());
    let outside = loaded
        .gateway
        .outside_addresses
        .iter()
        .map(|ours| OutsideSockets::bind(ours.address, workers, features))
        .collect::<Result<_, _>>()
        .context("opening the outside sockets")?;
    let key_log = KeyLog::open(&settings.key_log)?;
    KeyLog::warn(&settings.key_log);
    Ok(Opened {
        control,
        metrics,
        tun,
        outside,
        key_log,
    })
}

fn listen(address: std::net::SocketAddr) -> Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)
        .and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .with_context(|| format!("listening for metrics on {address}"))?;
    Ok(TcpListener::from_std(listener)?)
}

/// The supervisor's sources of all randomness: the kernel, for every key anew. A
/// generator in this process would show all keys that it made to whoever reads
/// its memory once, and make the same ones in each copy of a virtual machine.
fn random() -> Result<RandomSources> {
    // A kernel without random numbers is better found out now than by a peer.
    getrandom::fill(&mut [0]).context("getting random numbers")?;
    Ok(RandomSources::new(SysRng, SysRng))
}
