//! Keys change under load, and no packet is lost.

use std::time::Duration;

use anyhow::{Context, Result};
use vgw_admin::wire::{Counters, RekeyTarget};
use vgw_lab::probe::EchoFlow;
use vgw_lab::wait_until;

use super::gateway::GatewayProcess;
use super::report::Rekeys;
use super::screen::Screen;
use super::{Stage, hosts};

const PORT: u16 = 7003;
const INTERVAL: Duration = Duration::from_millis(1);
/// Rounds in which each end changes the keys of the traffic and of the negotiation.
const ROUNDS: u8 = 5;
/// Echoes between two changes, to see that the new keys work both ways.
const BETWEEN: u64 = 50;
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(stage: &mut Stage, screen: &mut Screen) -> Result<Rekeys> {
    let (vpc, premises) = hosts(stage, PORT);
    let flow = EchoFlow::start(vpc, premises, INTERVAL)?;
    let mut count = 0;
    for round in 1..=ROUNDS {
        for end in [&mut stage.cloud, &mut stage.customer] {
            for what in [RekeyTarget::Child, RekeyTarget::Ike] {
                await_echoes(&flow)?;
                rekey(end, what)?;
                count += 1;
            }
        }
        screen.progress(
            Duration::from_secs(0),
            &format!("round {round} of {ROUNDS}, {count} changes"),
        );
    }
    await_echoes(&flow)?;
    let flow = flow.finish()?;
    screen.say(&format!(
        "Keys were changed {count} times, by either end in turn, while {} questions were asked: \
         {} lost.",
        flow.sent,
        flow.lost()
    ));
    Ok(Rekeys { count, flow })
}

fn await_echoes(flow: &EchoFlow) -> Result<()> {
    let before = flow.answered();
    wait_until("echoes between two changes of keys", LIMIT, || {
        Ok((flow.answered() >= before + BETWEEN).then_some(()))
    })
}

/// Has `end` change the keys of the active tunnel, and waits until it has.
fn rekey(end: &mut GatewayProcess, what: RekeyTarget) -> Result<()> {
    let (tunnel, before) = active(end)?;
    end.rekey(&tunnel, what)?;
    wait_until("new keys", LIMIT, || {
        let (_, now) = active(end)?;
        Ok((done(&now, what) > done(&before, what)).then_some(()))
    })
}

fn done(counters: &Counters, what: RekeyTarget) -> u64 {
    match what {
        RekeyTarget::Ike => counters.ike_rekeys,
        RekeyTarget::Child => counters.child_rekeys,
    }
}

/// The tunnel that an end sends through, and what it counted.
fn active(end: &mut GatewayProcess) -> Result<(String, Counters)> {
    let connection = end.connection()?;
    connection
        .and_then(|connection| connection.tunnels.into_iter().find(|tunnel| tunnel.active))
        .map(|tunnel| (tunnel.name, tunnel.counters))
        .with_context(|| format!("no tunnel of the {} carries traffic", end.name()))
}
