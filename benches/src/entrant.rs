//! A subject at work on a stage of its own, beside the others.

use anyhow::{Context, Result};
use vgw_harness::iperf3::Transfer;
use vgw_harness::stage::Stage;
use vgw_harness::workspace;
use vgw_lab::interrupt;

use crate::Plan;
use crate::rounds::{Metric, Rounds};
use crate::subject::{Programs, Running, Subject, Suite};
use crate::{cpu, say};

/// What arrived, as the receiving end's iperf3 counts it: TCP payload.
pub const THROUGHPUT: Metric = Metric {
    name: "throughput",
    unit: "Gbit/s",
};

/// CPU time of the processes that carry the packets, at all ends, by 10^9 octets of
/// TCP payload.
pub const CPU: Metric = Metric {
    name: "CPU time",
    unit: "s/GB",
};

/// A subject with its suite, up at both ends of its own network. What idles costs
/// nothing, so that all of them can stay up while one is measured.
#[derive(Debug)]
pub struct Entrant {
    pub subject: Subject,
    pub suite: Suite,
    // Ends before the networks do.
    running: Running,
    pub stage: Stage,
    files: String,
}

impl Entrant {
    /// Starts it.
    ///
    /// # Errors
    /// When its path does not come up; its logs are kept.
    pub fn start(subject: Subject, suite: Suite, programs: &Programs) -> Result<Self> {
        interrupt::check()?;
        say(&format!("starting {} {}", subject.name(), suite.name()));
        let files = format!("bench-{}-{}", subject.name(), suite.name().to_lowercase());
        let stage = Stage::unwatched(&files)?;
        let logs = workspace::directory(&files);
        let running = subject
            .start(programs, &stage, suite)
            .with_context(|| format!("its logs are in {}", logs.display()))?;
        Ok(Self {
            subject,
            suite,
            running,
            stage,
            files,
        })
    }

    /// Who it is, for messages.
    pub fn name(&self) -> String {
        format!("{} {}", self.subject.name(), self.suite.name())
    }

    /// Sends bulk data from the premises to the VPC; notes throughput and CPU time.
    ///
    /// # Errors
    /// When nothing arrives or a daemon has ended.
    pub fn transfer(&self, transfer: Transfer, case: &str, rounds: &mut Rounds) -> Result<()> {
        transfer_of(
            self.subject,
            &self.running.processes(),
            case,
            rounds,
            || transfer.to_vpc(&self.stage),
        )
    }

    /// Ends it and removes its files.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub fn end(self) -> Result<()> {
        let files = self.files.clone();
        drop(self);
        workspace::forget(&files)
    }
}

/// Starts them all; does without those that do not come up.
///
/// # Errors
/// When this process was asked to end.
pub fn start_all(
    plan: &Plan,
    which: impl Iterator<Item = (Subject, Suite)>,
    rounds: &mut Rounds,
) -> Result<Vec<Entrant>> {
    let mut entrants = Vec::new();
    for (subject, suite) in which {
        let entrant = Entrant::start(subject, suite, &plan.programs);
        entrants.extend(rounds.keep(entrant)?);
    }
    Ok(entrants)
}

/// Measures one after the other, as [`Rounds::each`]; the logs of one that fails are kept.
///
/// # Errors
/// When this process was asked to end.
pub fn each(
    entrants: &mut Vec<Entrant>,
    rounds: &mut Rounds,
    mut measure: impl FnMut(&Entrant, &mut Rounds) -> Result<()>,
) -> Result<()> {
    rounds.each(entrants, |entrant, rounds| {
        measure(entrant, rounds).with_context(|| {
            let logs = workspace::directory(&entrant.files);
            format!("{}, whose logs are in {}", entrant.name(), logs.display())
        })
    })
}

/// Runs a transfer that `processes` carry; notes throughput and CPU time.
///
/// # Errors
/// When nothing arrives or a process has ended.
pub fn transfer_of(
    subject: Subject,
    processes: &[u32],
    case: &str,
    rounds: &mut Rounds,
    run: impl FnOnce() -> Result<vgw_harness::iperf3::Arrived>,
) -> Result<()> {
    let failed = || format!("{}: {case}", subject.name());
    let before = cpu::used(processes).with_context(failed)?;
    let arrived = run().with_context(failed)?;
    let spent = cpu::used(processes).with_context(failed)?;
    let per_gb = spent.saturating_sub(before).as_secs_f64() / (arrived.octets / 1e9);
    say(&format!(
        "  {:10} {case}: {:.3} Gbit/s, {per_gb:.2} s/GB",
        subject.name(),
        arrived.gbps
    ));
    rounds.add(case, subject.name(), THROUGHPUT, arrived.gbps);
    rounds.add(case, subject.name(), CPU, per_gb);
    interrupt::check()
}
