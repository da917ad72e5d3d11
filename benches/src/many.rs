//! Case 5: one tunnel that carries, of a thousand that are up; and what they take of
//! the memory.

use anyhow::{Context, Result};
use vgw_harness::iperf3::Transfer;
use vgw_harness::our_pair::{AES_128_GCM, Pair, Setup, add_hosts, hosts};
use vgw_harness::stage::{SOON, Stage};
use vgw_harness::workspace;
use vgw_lab::interrupt;
use vgw_lab::probe::ping;

use crate::Plan;
use crate::entrant::transfer_of;
use crate::rounds::{Metric, Rounds};
use crate::say;
use crate::subject::Subject;

/// As it stands in the results.
pub const CASE: &str = "one tunnel of 1,000 up, one TCP flow, AES-128-GCM";

/// Resident memory of the gateway with all tunnels up, less what it was with the same
/// configuration and none up, by tunnel. The negotiator's share is in it.
pub const MEMORY: Metric = Metric {
    name: "resident memory per tunnel",
    unit: "KiB",
};

/// Of two tunnels each.
const CONNECTIONS: u16 = 500;
const FILES: &str = "bench-vgw-thousand";

/// Measures ours, anew for every round.
pub fn run(plan: &Plan, rounds: &mut Rounds) -> Result<()> {
    if !plan.subjects().any(|subject| subject == Subject::Vgw) {
        return Ok(());
    }
    for round in 1..=plan.rounds {
        say(&format!("1,000 tunnels, round {round} of {}", plan.rounds));
        one(plan, rounds).with_context(|| format!("vgw: {CASE}"))?;
        plan.save(rounds)?;
    }
    workspace::forget(FILES)
}

fn one(plan: &Plan, rounds: &mut Rounds) -> Result<()> {
    interrupt::check()?;
    let setup = Setup {
        connections: CONNECTIONS,
        encapsulation: "udp",
        options: AES_128_GCM,
    };
    let stage = Stage::unwatched(FILES)?;
    add_hosts(&stage)?;
    let program = &plan.programs.vgw;
    let cloud = setup.start_cloud(program, &stage)?;
    let before = cloud.resident_kib()?;
    let pair = setup.join(program, &stage, cloud)?;
    for number in 1..CONNECTIONS {
        carry(&stage, number)?;
    }
    let after = pair.cloud.resident_kib()?;
    let tunnels = f64::from(CONNECTIONS) * 2.0;
    let grown = f64::from(u32::try_from(after.saturating_sub(before))?);
    say(&format!(
        "  vgw        {before} KiB with no tunnel up, {after} KiB with all"
    ));
    rounds.add(CASE, Subject::Vgw.name(), MEMORY, grown / tunnels);
    transfer(plan, &stage, &pair, rounds)
}

fn transfer(plan: &Plan, stage: &Stage, pair: &Pair, rounds: &mut Rounds) -> Result<()> {
    let processes = [pair.cloud.id(), pair.customer.id()];
    let transfer = Transfer {
        flows: 1,
        seconds: plan.seconds,
    };
    transfer_of(Subject::Vgw, &processes, CASE, rounds, || {
        transfer.to_vpc(stage)
    })
}

/// Sees that this connection carries packets both ways.
fn carry(stage: &Stage, number: u16) -> Result<()> {
    let [from, to] = hosts(number);
    let answer = ping(&stage.topology.vpc_host, from, to, SOON)?;
    answer.with_context(|| format!("no answer to a ping from {from} to {to}"))?;
    Ok(())
}
