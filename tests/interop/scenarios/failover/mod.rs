//! The active tunnel's path drops every packet, and traffic moves to the other tunnel at once.
//! First only what we send is dropped, then only what comes to us, then all of it.
//!
//! Seen: what we send reaches the host on the premises again at once; the
//! status says why it moved. What the premises send stays in tunnel 1 until strongSwan's dead
//! peer detection has noticed as well: where that is dropped, echoes come no sooner. Once the path
//! is whole, traffic returns to tunnel 1, as `failback` asks for.

use std::time::Duration;

use anyhow::{Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::stage::{CHILDREN, LATER, SOON, Stage, await_echoes, await_requests};
use vgw_harness::strongswan::StrongSwan;
use vgw_harness::tools::{cut, restore};
use vgw_lab::probe::{EchoFlow, FlowReport};
use vgw_lab::topology::GATEWAY_OUTSIDE;
use vgw_lab::wait_until;

/// What our own traffic may be out for: a quarter of a second and what a busy machine adds, yet
/// far less than any dead peer detection takes. The figures say how long it is.
pub const BLINK: Duration = Duration::from_secs(1);

/// Of the flows of the scenarios that are about failover.
pub const PACE: Duration = Duration::from_millis(10);

/// Packets of a flow after which it is known how long the peer takes to answer.
const KNOWN: u64 = 400;

/// The peer must notice as well: a request that gets no answer in about ten seconds.
const PEER: &str = "retransmit_tries = 3\nretransmit_timeout = 1.0\nretransmit_base = 1.5\n";

pub fn run() -> Result<()> {
    what_we_send_is_lost()?;
    what_comes_to_us_is_lost()?;
    everything_is_lost()
}

fn what_we_send_is_lost() -> Result<()> {
    let scene = Scene::new("failover", PEER)?;
    let flow = scene.cut(&["saddr"])?;
    await_echoes(&flow, 100, SOON)?;
    let report = flow.finish()?;
    scene.judge("what we send is lost", &report)?;
    // The peer's answers come by tunnel 1, whose path is whole in that direction.
    ensure!(report.longest_gap < BLINK, "{report:?}");
    Ok(())
}

fn what_comes_to_us_is_lost() -> Result<()> {
    let scene = Scene::new("failover", PEER)?;
    let flow = scene.cut(&["daddr"])?;
    await_requests(&flow, 100, SOON)?;
    scene.judge("what comes to us is lost", &flow.finish()?)
}

fn everything_is_lost() -> Result<()> {
    let scene = Scene::new("failover", PEER)?;
    let flow = scene.cut(&["saddr", "daddr"])?;
    await_echoes(&flow, 100, LATER)?;
    scene.restore()?;
    await_echoes(&flow, 100, SOON)?;
    scene.judge("everything is lost", &flow.finish()?)
}

/// A stage on which both tunnels are up and both ends send by tunnel 1.
pub struct Scene {
    pub gateway: Gateway,
    pub peer: StrongSwan,
    // Goes last: daemons end before their networks do.
    pub stage: Stage,
}

impl Scene {
    /// The stage of this name, whose peer has these settings of charon.
    pub fn new(name: &str, peer: &str) -> Result<Self> {
        let stage = Stage::new(name)?;
        let mut gateway = stage.start_gateway()?;
        let peer = stage.start_peer_with(peer)?;
        for child in CHILDREN {
            peer.initiate(child)?;
        }
        gateway.await_both(SOON)?;
        // The peer sends with the SA that it made last.
        peer.rekey_child("net1")?;
        wait_until("the rekeying's end", SOON, || {
            let tunnel = gateway.tunnel(1)?;
            let rekeyed = tunnel.counters.child_rekeys == 1 && tunnel.children.len() == 1;
            Ok(rekeyed.then_some(()))
        })?;
        Ok(Self {
            gateway,
            peer,
            stage,
        })
    }

    /// Begins a flow, cuts the path of tunnel 1 for what comes from these ends, and sees that
    /// our traffic moves to tunnel 2 soon.
    fn cut(&self, ends: &[&str]) -> Result<EchoFlow> {
        let flow = self.stage.flow(PACE)?;
        await_requests(&flow, KNOWN, SOON)?;
        ensure!(self.gateway.connection()?.active_tunnel == Some(1));
        let [first, _] = GATEWAY_OUTSIDE;
        let start = cut(&self.stage.topology.internet, first, ends)?;
        let moved = self.gateway.await_move(2, start, SOON)?;
        println!("{ends:?} cut: moved after {} ms", moved.as_millis());
        ensure!(moved < BLINK, "{ends:?} cut: moved after {moved:?}");
        let why = self.gateway.connection()?.last_move.map(|moved| moved.why);
        ensure!(
            why.as_deref() == Some("from tunnel 1: its peer does not answer"),
            "{why:?}"
        );
        Ok(flow)
    }

    /// Heals the path, and waits until traffic is back on tunnel 1.
    fn restore(&self) -> Result<()> {
        restore(&self.stage.topology.internet)?;
        wait_until("the return to tunnel 1", LATER, || {
            Ok((self.gateway.connection()?.active_tunnel == Some(1)).then_some(()))
        })
    }

    fn judge(&self, what: &str, report: &FlowReport) -> Result<()> {
        println!(
            "{what}: from us nothing for {} ms, no echo for {:.1} s, {} of {} packets lost",
            report.longest_gap_there.as_millis(),
            report.longest_gap.as_secs_f64(),
            report.lost(),
            report.sent
        );
        ensure!(report.longest_gap_there < BLINK, "{report:?}");
        ensure!(report.longest_gap < Duration::from_secs(60), "{report:?}");
        Ok(())
    }
}
