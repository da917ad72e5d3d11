//! The active tunnel's line is cut, and traffic moves to the other tunnel.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vgw_lab::probe::{EchoFlow, FlowReport};
use vgw_lab::topology::GATEWAY_OUTSIDE;
use vgw_lab::wait_until;

use super::screen::Screen;
use super::{Stage, await_both_tunnels, hosts};

const PORT: u16 = 7002;
const INTERVAL: Duration = Duration::from_millis(10);
/// Echoes before the cut, to see that the flow is well.
const BEFORE: u64 = 100;
/// Echoes that must come after a silence until it counts as over.
const AFTER: u64 = 50;
/// Answers that were already on the way when the line was cut.
const IN_FLIGHT: u64 = 5;
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn run(stage: &mut Stage, screen: &mut Screen) -> Result<FlowReport> {
    let active = active(stage)?;
    let outside = GATEWAY_OUTSIDE
        .get(usize::from(active).saturating_sub(1))
        .context("the active tunnel is neither 1 nor 2")?;
    let (vpc, premises) = hosts(stage, PORT);
    let flow = EchoFlow::start(vpc, premises, INTERVAL)?;
    wait_until("a steady flow of echoes", LIMIT, || {
        Ok((flow.answered() >= BEFORE).then_some(()))
    })?;
    screen.say(&format!(
        "A host in the VPC asks one on the premises a hundred times a second. Tunnel {active} \
         carries it."
    ));

    let cut = stage.topology.internet.cut(*outside)?;
    let cut_at = Instant::now();
    let answered = flow.answered();
    screen.say(&format!(
        "Cut: whatever comes from or goes to {outside} now vanishes, and nobody is told. As soon as \
         nothing\ncomes back, each gateway asks the other end by both tunnels, and sends by the one \
         that answers."
    ));
    wait_until("traffic to pass again", LIMIT, || {
        stage.cloud.check()?;
        stage.customer.check()?;
        let back = flow.answered() > answered + IN_FLIGHT;
        if !back {
            let unanswered = flow.sent().saturating_sub(flow.answered());
            let text = format!("{unanswered} questions without an answer");
            screen.progress(cut_at.elapsed(), &text);
        }
        Ok(back.then_some(()))
    })?;
    wait_until("a steady flow again", LIMIT, || {
        Ok((flow.answered() > answered + AFTER).then_some(()))
    })?;
    let report = flow.finish()?;
    screen.say(&format!(
        "Traffic moved to tunnel {}. It was out for {} ms and lost {} of {} packets.",
        self::active(stage)?,
        report.longest_gap.as_millis(),
        report.lost(),
        report.sent
    ));

    cut.restore()?;
    let restored = Instant::now();
    await_both_tunnels(stage, LIMIT)?;
    await_well(stage, active)?;
    screen.say(&format!(
        "The line is mended, before dead peer detection took the tunnel down: {:.1} s later its \
         peer answers\nagain, with the SAs that it had.",
        restored.elapsed().as_secs_f64()
    ));
    Ok(report)
}

/// Waits until the peer answers by this tunnel again.
fn await_well(stage: &mut Stage, number: u8) -> Result<()> {
    wait_until("an answer by the tunnel that was cut", LIMIT, || {
        let connection = stage.cloud.connection()?;
        let tunnels = connection.map(|connection| connection.tunnels);
        let well = tunnels.into_iter().flatten();
        let mut well = well.filter(|tunnel| tunnel.number == number && tunnel.suspect.is_none());
        Ok(well.next().map(|_| ()))
    })
}

/// The tunnel that the VPC's traffic goes through.
fn active(stage: &mut Stage) -> Result<u8> {
    let connection = stage.cloud.connection()?;
    connection
        .and_then(|connection| connection.active_tunnel)
        .context("no tunnel of the virtual private gateway carries traffic")
}
