//! The thread that keeps links, addresses and routes of the VPC as they should be. No other
//! thread may change them.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep_until;

use super::addresses::Addresses;
use super::backoff::Backoff;
use super::desired_changes::{self, DesiredReceiver, DesiredSender};
use super::watch::{Change, Watch};
use super::{Desired, GuardRoutes, Netlink, TunLink, read_forwarding};
use crate::config::settings::{NetworkNamespace, Settings};
use crate::namespace;
use crate::privileges::{NETLINK, drop_privileges};
use crate::problems::StandingProblems;
use crate::seccomp::{ThreadKind, confine};

/// What the kernel refused is tried again after so long, if nothing changes before.
const RETRY: Duration = Duration::from_secs(5);
/// After a change by others of what is forwarded, so long is waited for more of them before
/// it is looked at.
const SETTLED: Duration = Duration::from_secs(1);

/// The thread, which has put the guard routes in place and waits for the TUN device.
#[derive(Debug)]
pub struct Keeper {
    begin: oneshot::Sender<u32>,
    kernel: KernelHandle,
}

/// The rest of the daemon's ends of the channels.
#[derive(Debug)]
pub struct KernelHandle {
    /// Changes what should be. When it is dropped, everything stays as it is and the
    /// thread ends.
    pub desired: DesiredSender,
    /// What is not as it should be, in words.
    pub problems: watch::Receiver<Vec<String>>,
    /// What the VPC's namespace takes for its own, kept current: its addresses and
    /// those of its networks as a whole.
    pub local_addresses: watch::Receiver<BTreeSet<IpAddr>>,
    /// Says when the TUN link may not be what it was, whoever changed it.
    pub tun_link: watch::Receiver<()>,
}

/// The thread's ends of the channels.
struct KeeperEnds {
    desired: DesiredReceiver,
    problems: watch::Sender<Vec<String>>,
    local_addresses: watch::Sender<BTreeSet<IpAddr>>,
    tun_link: watch::Sender<()>,
}

/// What is open in the VPC's namespace.
struct Opened {
    runtime: Runtime,
    netlink: Netlink,
    asked: vgw_dataplane::Netlink,
    watch: Watch,
}

impl Keeper {
    /// Starts the thread in the VPC's namespace, and returns when nothing that is to
    /// be encrypted can leave in clear any more. Guard routes that the kernel
    /// refuses are tried again as long as the thread runs. `on_failure` is told
    /// why it ends, if it ends by itself.
    ///
    /// # Errors
    /// When the namespace cannot be entered, which takes CAP_SYS_ADMIN if it is
    /// another, or what the kernel says.
    pub fn start(
        settings: &Settings,
        desired: Desired,
        on_failure: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<Self> {
        let (changes, changes_end) = desired_changes::channel();
        let (problems_end, problems) = watch::channel(Vec::new());
        let (addresses_end, local_addresses) = watch::channel(BTreeSet::new());
        let (tun_link_end, tun_link) = watch::channel(());
        let ends = KeeperEnds {
            desired: changes_end,
            problems: problems_end,
            local_addresses: addresses_end,
            tun_link: tun_link_end,
        };
        let (begin, begun) = oneshot::channel();
        let (ready, is_ready) = sync_channel(1);
        let settings = settings.clone();
        let body = move || work(&settings, desired, ends, &ready, begun);
        thread::Builder::new()
            .name("vgw-kernel".to_owned())
            .spawn(move || {
                let why = match catch_unwind(AssertUnwindSafe(body)) {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => format!("watching the VPC's kernel: {error}"),
                    Err(_) => "the thread vgw-kernel panicked".to_owned(),
                };
                on_failure(why);
            })?;
        is_ready
            .recv()
            .map_err(|_| io::Error::other("the thread vgw-kernel panicked"))??;
        let kernel = KernelHandle {
            desired: changes,
            problems,
            local_addresses,
            tun_link,
        };
        Ok(Self { begin, kernel })
    }

    /// Has everything kept as desired from now on, now that there is a TUN device
    /// with this index.
    pub fn keep(self, tun_index: u32) -> KernelHandle {
        // A thread that has ended has told why.
        let _ = self.begin.send(tun_index);
        self.kernel
    }
}

fn work(
    settings: &Settings,
    desired: Desired,
    ends: KeeperEnds,
    ready: &SyncSender<io::Result<()>>,
    begun: oneshot::Receiver<u32>,
) -> io::Result<()> {
    let tell = |outcome| {
        // Whoever started us waits for it.
        let _ = ready.send(outcome);
    };
    let opened = match open(settings) {
        Ok(opened) => opened,
        Err(error) => {
            tell(Err(error));
            return Ok(());
        }
    };
    let Opened {
        runtime,
        netlink,
        asked,
        watch,
    } = opened;
    let guard = GuardRoutes::of(&settings.tun.name);
    runtime.block_on(async {
        if let Err(error) = guard.put_up(&netlink, &desired).await {
            tracing::error!(%error, "the VPC is not guarded yet; retrying: {error}");
        }
        tell(Ok(()));
        let Ok(index) = begun.await else {
            // The daemon did not start.
            return Ok(());
        };
        let link = TunLink::new(netlink, index, settings.tun.mtu, guard, desired);
        let namespace = settings.network_namespace.as_ref();
        keep(link, &asked, watch, ends, namespace).await
    })
}

fn open(settings: &Settings) -> io::Result<Opened> {
    namespace::enter(settings.network_namespace.as_ref())?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let netlink = Netlink::open(runtime.handle())?;
    let asked = vgw_dataplane::Netlink::open()?;
    let watch = {
        let _entered = runtime.enter();
        Watch::open(&netlink)?
    };
    drop_privileges(&NETLINK).map_err(io::Error::other)?;
    confine(ThreadKind::Kernel)?;
    Ok(Opened {
        runtime,
        netlink,
        asked,
        watch,
    })
}

/// Keeps everything as desired until nobody desires anything any more.
async fn keep(
    mut link: TunLink,
    asked: &vgw_dataplane::Netlink,
    mut watch: Watch,
    mut ends: KeeperEnds,
    namespace: Option<&NetworkNamespace>,
) -> io::Result<()> {
    link.without_link_local_address().await;
    link.read_addresses().await.map_err(io::Error::other)?;
    publish(&link.addresses, &ends.local_addresses);
    let mut report = LastReport::default();
    let mut backoff = Backoff::default();
    // When to compare everything, and whether a change by others is the reason for it.
    let mut due = Some(Instant::now());
    let mut by_others = false;
    // Whether it is known what is in force.
    let mut compared = false;
    // When to look at what is forwarded.
    let mut look_at_forwarding = due;
    loop {
        tokio::select! {
            changes = watch.next() => {
                let changes = changes?;
                if changes.contains(&Change::Missed) {
                    link.read_addresses().await.map_err(io::Error::other)?;
                }
                // Each is noted.
                if changes.iter().filter(|change| link.note(change)).count() > 0 {
                    by_others = true;
                    let soon = Instant::now() + backoff.delay();
                    due = Some(due.map_or(soon, |due| due.min(soon)));
                }
                if changes.iter().any(|change| read_forwarding::concerns(change, &link.desired)) {
                    look_at_forwarding = Some(look_at_forwarding.unwrap_or_else(|| Instant::now() + SETTLED));
                }
                if changes.iter().any(|change| is_of_link(change, link.index())) {
                    ends.tun_link.send_replace(());
                }
                if changes.iter().any(is_of_addresses) {
                    publish(&link.addresses, &ends.local_addresses);
                }
            }
            changes = ends.desired.next(), if compared => {
                let Some(changes) = changes else {
                    return Ok(());
                };
                let afterwards = link.change(changes);
                if afterwards.compare {
                    by_others = false;
                    due = Some(Instant::now());
                }
                if afterwards.look_at_forwarding {
                    look_at_forwarding = Some(Instant::now());
                }
            }
            () = at(due) => {
                let changed = link.compare().await;
                let now = Instant::now();
                if by_others && changed > 0 {
                    backoff.note_restored(now);
                }
                (compared, by_others) = (true, false);
                report.refused = link.problems();
                due = (!report.refused.is_empty()).then(|| now + RETRY.max(backoff.delay()));
                report.tell(&backoff, &ends.problems);
            }
            () = at(look_at_forwarding) => {
                look_at_forwarding = None;
                let found = read_forwarding::problems_now(&link, asked, namespace);
                report.forwarding.update(found.await);
                report.tell(&backoff, &ends.problems);
            }
            () = at(backoff.over_at()) => {
                backoff.rest(Instant::now());
                report.tell(&backoff, &ends.problems);
            }
        }
    }
}

/// Whether the link may not be what it was.
fn is_of_link(change: &Change, link: u32) -> bool {
    matches!(change, Change::Link { index, .. } if *index == link)
        || matches!(change, Change::Missed)
}

/// Whether there may be other addresses.
const fn is_of_addresses(change: &Change) -> bool {
    matches!(
        change,
        Change::Address(_) | Change::AddressGone(_) | Change::Missed
    )
}

/// What was reported last.
#[derive(Debug, Default)]
struct LastReport {
    refused: Vec<String>,
    /// As it was logged: what was refused, and whether there was a complaint.
    logged: (Vec<String>, bool),
    /// What keeps the VPC's hosts and the sites apart.
    forwarding: StandingProblems,
}

impl LastReport {
    /// Tells what is not as it should be; in the log, only when it is news.
    fn tell(&mut self, backoff: &Backoff, problems: &watch::Sender<Vec<String>>) {
        let complaint = backoff.complaint();
        // A complaint with a higher count is not new.
        let news = (self.refused.clone(), complaint.is_some());
        let now: Vec<String> = self.refused.iter().cloned().chain(complaint).collect();
        if news != self.logged && now.is_empty() {
            tracing::info!("the VPC's kernel is as it should be again");
        } else if news != self.logged {
            let error = now.join("; ");
            tracing::error!(
                error,
                "the VPC's kernel is not as it should be; retrying: {error}"
            );
        }
        self.logged = news;
        problems.send_replace(
            now.into_iter()
                .chain(self.forwarding.lines().cloned())
                .collect(),
        );
    }
}

fn publish(addresses: &Addresses, local_addresses: &watch::Sender<BTreeSet<IpAddr>>) {
    let addresses = addresses.destinations();
    local_addresses.send_if_modified(|known| {
        let news = *known != addresses;
        if news {
            *known = addresses;
        }
        news
    });
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => pending().await,
    }
}
