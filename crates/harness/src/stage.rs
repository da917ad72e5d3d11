//! What nearly every scenario has: our daemon in the VPC, strongSwan on the
//! premises, two tunnels between them.

use std::mem::take;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_admin::wire::Status;
use vgw_lab::probe::{EchoFlow, FlowReport, ping};
use vgw_lab::topology::{ON_PREMISES_HOST, Topology, VPC_HOST, on_premises_cidr, vpc_cidr};
use vgw_lab::{Lab, Namespace, Watcher, wait_until};

use crate::gateway::Gateway;
use crate::strongswan::StrongSwan;
use crate::tools::translate_one_to_one;
use crate::workspace::Workspace;

/// How long anything that is about to happen may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
/// How long what waits for a retry may take: the gateway retries every 30 s at least.
pub const LATER: Duration = Duration::from_secs(90);

/// The peer's CHILD SAs, of tunnel 1 and of tunnel 2.
pub const CHILDREN: [&str; 2] = ["net1", "net2"];
/// The peer's connections.
pub const CONNECTIONS: [&str; 2] = ["tunnel1", "tunnel2"];

/// What the watchers of stages that are gone have seen.
static LEAKS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What has leaked on stages that are gone, since this was asked last.
#[must_use]
pub fn leaks() -> Vec<String> {
    take(&mut *LEAKS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The networks and files of a scenario.
#[derive(Debug)]
pub struct Stage {
    // Never read; dropped with the stage, and before the networks.
    _watch: Option<Watch>,
    /// The networks.
    pub topology: Topology,
    /// The files.
    pub workspace: Workspace,
}

/// A watcher whose finding is kept when the stage goes, so that no scenario can forget to ask.
#[derive(Debug)]
struct Watch(Watcher);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Err(error) = self.0.check() {
            let mut leaks = LEAKS.lock().unwrap_or_else(PoisonError::into_inner);
            leaks.push(format!("{error:#}"));
        }
    }
}

impl Stage {
    /// The stage of the scenario whose folder has this name, or of a part of it
    /// (`SCENARIO/PART`). It is watched for leaks: see [`leaks`].
    ///
    /// # Errors
    /// When the networks cannot be made.
    pub fn new(scenario: &str) -> Result<Self> {
        Self::with(scenario, Topology::build)
    }

    /// As [`Self::new`], with a NAT before the peer that translates what it sends.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn behind_nat(scenario: &str) -> Result<Self> {
        Self::with(scenario, Topology::build_with_nat)
    }

    /// As [`Self::behind_nat`], with a NAT before our gateway, too, that has an outside
    /// address for each of the gateway's own, as clouds have it.
    ///
    /// # Errors
    /// As [`Self::new`], and when `nft` refuses.
    pub fn in_a_cloud(scenario: &str) -> Result<Self> {
        let stage = Self::with(scenario, Topology::build_with_both_nats)?;
        translate_one_to_one(&stage.topology)?;
        Ok(stage)
    }

    /// As [`Self::new`], without the watcher: for benches.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn unwatched(scenario: &str) -> Result<Self> {
        Self::build(scenario, Topology::build)
    }

    fn with(scenario: &str, build: fn(&Lab) -> Result<Topology>) -> Result<Self> {
        let mut stage = Self::build(scenario, build)?;
        stage._watch = Some(Watch(Watcher::start(&stage.topology.internet)?));
        Ok(stage)
    }

    fn build(scenario: &str, build: fn(&Lab) -> Result<Topology>) -> Result<Self> {
        let lab = Lab::new(&scenario.replace(['_', '/'], "-"))?;
        Ok(Self {
            _watch: None,
            topology: build(&lab)?,
            workspace: Workspace::new(scenario)?,
        })
    }

    /// Starts our daemon with the scenario's `vgw.toml`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_gateway(&self) -> Result<Gateway> {
        let config = self.workspace.file("vgw.toml")?;
        Gateway::start(&self.topology.vpc, &config)
    }

    /// Starts strongSwan with the scenario's `swanctl.conf`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_peer(&self) -> Result<StrongSwan> {
        self.start_peer_with("")
    }

    /// As [`Self::start_peer`], with more settings of charon.
    ///
    /// # Errors
    /// As [`Self::start_peer`].
    pub fn start_peer_with(&self, extra: &str) -> Result<StrongSwan> {
        let conf = self.workspace.file("swanctl.conf")?;
        let directory = self.workspace.directory().join("peer");
        StrongSwan::start(
            &self.topology.on_premises,
            &directory,
            &conf,
            vpc_cidr(),
            extra,
        )
    }

    /// Both started, and both tunnels brought up by the peer.
    ///
    /// # Errors
    /// When that fails.
    pub fn both_up(&self) -> Result<(Gateway, StrongSwan)> {
        let mut gateway = self.start_gateway()?;
        let peer = self.start_peer()?;
        for child in CHILDREN {
            peer.initiate(child)?;
        }
        gateway.await_both(SOON)?;
        Ok((gateway, peer))
    }

    /// Pings from either side.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ping_both_ways(&self) -> Result<()> {
        let (vpc, site) = (VPC_HOST, ON_PREMISES_HOST);
        let answered = ping(&self.topology.vpc_host, vpc, site, SOON)?;
        answered.context("no answer to a ping from the VPC")?;
        let answered = ping(&self.topology.on_premises_host, site, vpc, SOON)?;
        answered.context("no answer to a ping from the premises")?;
        Ok(())
    }

    /// Starts both, and sees that tunnel 1 does not come up when the peer initiates it
    /// and that the status gives a reason which names all of these words.
    ///
    /// # Errors
    /// When it comes up, or no reason does.
    pub fn see_refusal(&self, named: &[&str]) -> Result<(Gateway, StrongSwan)> {
        let gateway = self.start_gateway()?;
        let peer = self.start_peer()?;
        ensure!(peer.initiate("net1").is_err(), "the peer came up");
        let reason = await_reason(&gateway, named)?;
        println!("{reason}");
        ensure!(!gateway.tunnel(1)?.up);
        Ok((gateway, peer))
    }

    /// Starts strongSwan in the place of our daemon, too, and has the customer bring
    /// up the one tunnel of `cloud.swanctl.conf` and `customer.swanctl.conf`.
    ///
    /// # Errors
    /// When that fails.
    pub fn strongswan_pair(&self) -> Result<(StrongSwan, StrongSwan)> {
        let start = |namespace, name: &str, far_side| {
            let conf = self.workspace.file(&format!("{name}.swanctl.conf"))?;
            let directory = self.workspace.directory().join(name);
            StrongSwan::start(namespace, &directory, &conf, far_side, "")
        };
        let cloud = start(&self.topology.vpc, "cloud", on_premises_cidr())?;
        let customer = start(&self.topology.on_premises, "customer", vpc_cidr())?;
        customer.initiate("net")?;
        Ok((cloud, customer))
    }

    /// Sees that the peer's SAs of tunnel 1 and 2 have these algorithms, encryption
    /// and integrity, and that either tunnel carries traffic.
    ///
    /// # Errors
    /// When they have others or a ping is not answered.
    pub fn see_suites(&self, expected: [(&str, &str); 2]) -> Result<()> {
        let (mut gateway, peer) = self.both_up()?;
        for (child, (encryption, integrity)) in CHILDREN.into_iter().zip(expected) {
            let installed = peer.installed(child)?;
            let sa = installed.first().context("no CHILD SA at the peer")?;
            ensure!(
                sa.encryption == encryption && sa.integrity == integrity,
                "expected {encryption} {integrity}: {sa:?}"
            );
        }
        self.ping_both_ways()?;
        gateway.ask(&["tunnel", "down", "vpn-site/1"])?;
        gateway.await_tunnel(1, false, SOON)?;
        self.ping_both_ways()
    }

    /// A steady flow of requests from the VPC to the premises.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn flow(&self, interval: Duration) -> Result<EchoFlow> {
        let [vpc, premises] = self.hosts();
        EchoFlow::start(vpc, premises, interval)
    }

    /// A steady flow of requests from the premises to the VPC.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn flow_from_premises(&self, interval: Duration) -> Result<EchoFlow> {
        let [vpc, premises] = self.hosts();
        EchoFlow::start(premises, vpc, interval)
    }

    fn hosts(&self) -> [(&Namespace, SocketAddr); 2] {
        [
            (&self.topology.vpc_host, (VPC_HOST, 7000).into()),
            (
                &self.topology.on_premises_host,
                (ON_PREMISES_HOST, 7000).into(),
            ),
        ]
    }
}

/// Waits until a line of the status says why something is refused and names all of
/// these words; gives it.
///
/// # Errors
/// When none does in time, with those there are.
pub fn await_reason(gateway: &Gateway, words: &[&str]) -> Result<String> {
    let mut seen = Vec::new();
    let outcome = wait_until("a reason in the status", SOON, || {
        let status = gateway.status()?;
        seen = reasons(status);
        let fits = |why: &&String| words.iter().all(|word| why.contains(word));
        Ok(seen.iter().find(fits).cloned())
    });
    outcome.with_context(|| format!("the status says {seen:?}, nothing that names {words:?}"))
}

/// Every line of a status that says why something is not as it should be.
fn reasons(status: Status) -> Vec<String> {
    let tunnels = status.connections.into_iter().flat_map(|c| c.tunnels);
    let last = tunnels.filter_map(|tunnel| Some(tunnel.last?.why));
    let refusals = status.refusals.into_iter().map(|refusal| refusal.why);
    last.chain(refusals).chain(status.problems).collect()
}

/// Waits until a flow has had so many more echoes.
///
/// # Errors
/// When they do not come within `limit`.
pub fn await_echoes(flow: &EchoFlow, more: u64, limit: Duration) -> Result<()> {
    let before = flow.answered();
    wait_until("echoes", limit, || {
        Ok((flow.answered() >= before + more).then_some(()))
    })
}

/// Waits until a flow has sent so many more requests, answered or not: a time, measured by what
/// is sent in it.
///
/// # Errors
/// When it does not within `limit`.
pub fn await_requests(flow: &EchoFlow, more: u64, limit: Duration) -> Result<()> {
    let before = flow.sent();
    wait_until("requests", limit, || {
        Ok((flow.sent() >= before + more).then_some(()))
    })
}

/// Ends a flow of which nothing may have been lost.
///
/// # Errors
/// When something was.
pub fn finish_whole(flow: EchoFlow) -> Result<FlowReport> {
    let report = flow.finish()?;
    ensure!(report.lost() == 0, "packets were lost: {report:?}");
    Ok(report)
}
