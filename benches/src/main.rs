//! Throughput, packets per second, latency and memory of the gateway beside others, in
//! network namespaces over veth. `cargo xtask bench` builds what is measured and runs
//! this; `benches/README.md` says what each case is.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench drives real daemons in real time"
)]

mod cpu;
mod criterion;
mod entrant;
mod machine;
mod many;
mod packets;
mod report;
mod rounds;
mod search;
mod sites;
mod strongswan;
mod subject;
mod targets;
mod throughput;
mod wireguard;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use vgw_lab::interrupt;

use crate::rounds::Rounds;
use crate::subject::{ALL, Programs, Subject};

/// Measures the gateway beside others.
#[derive(Debug, Parser)]
#[command(name = "vgw-bench")]
struct Arguments {
    /// The release binary.
    #[arg(long, value_name = "PATH")]
    vgw: PathBuf,
    /// The same without cryptography.
    #[arg(long, value_name = "PATH")]
    floor: PathBuf,
    /// Where peers were installed, with a folder `bin`.
    #[arg(long, value_name = "DIR")]
    peers: PathBuf,
    /// Where Criterion left its results, to be folded in.
    #[arg(long, value_name = "DIR")]
    criterion: Option<PathBuf>,
    /// Cases 1 to 3, one flow, AES-128-GCM, short runs.
    #[arg(long)]
    quick: bool,
    /// Writes the results to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these cases.
    #[arg(long = "case", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=6))]
    cases: Vec<u8>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Leaves a subject out.
    #[arg(long, value_name = "SUBJECT")]
    without: Vec<Subject>,
}

/// What is to be measured, and how.
#[derive(Debug)]
struct Plan {
    programs: Programs,
    quick: bool,
    cases: Vec<u8>,
    rounds: u8,
    /// Of a TCP transfer.
    seconds: u8,
    without: Vec<Subject>,
}

impl Plan {
    /// Whether a case is asked for.
    fn includes(&self, case: u8) -> bool {
        match self.cases.as_slice() {
            [] if self.quick => (1..=3).contains(&case),
            [] => true,
            cases => cases.contains(&case),
        }
    }

    /// Who is measured, in the order of a round.
    fn subjects(&self) -> impl Iterator<Item = Subject> {
        let left_out = |subject: &Subject| !self.without.contains(subject);
        ALL.into_iter().filter(left_out)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    interrupt::watch()?;
    let plan = Plan {
        programs: Programs {
            vgw: arguments.vgw,
            floor: arguments.floor,
            peers: arguments.peers,
        },
        quick: arguments.quick,
        cases: arguments.cases,
        rounds: arguments.rounds,
        seconds: if arguments.quick { 3 } else { 5 },
        without: arguments.without,
    };
    let mut lines = machine::describe();
    for subject in plan.subjects() {
        subject.find(&plan.programs).with_context(|| {
            format!(
                "to measure without it, say --without {name}",
                name = subject.name()
            )
        })?;
        let version = subject.version(&plan.programs);
        lines.push(format!("{}: {version}", subject.name()));
    }
    for line in &lines {
        say(line);
    }
    let mut rows = measure(&plan)?.rows();
    if let Some(directory) = arguments.criterion.filter(|_| plan.includes(6)) {
        rows.extend(criterion::rows(&directory)?);
    }
    let table = report::table(&rows, &targets::all(&rows))?;
    println!("{}\n\n{table}", lines.join("\n"));
    if let Some(path) = arguments.json {
        report::write_json(&path, &rows)?;
        println!("results are in {}", path.display());
    }
    Ok(())
}

fn measure(plan: &Plan) -> Result<Rounds> {
    let mut rounds = Rounds::default();
    if (1..=3).any(|case| plan.includes(case)) {
        throughput::run(plan, &mut rounds)?;
    }
    if plan.includes(4) {
        packets::run(plan, &mut rounds)?;
    }
    if plan.includes(5) {
        many::run(plan, &mut rounds)?;
        sites::run(plan, &mut rounds)?;
    }
    Ok(rounds)
}

/// A line about what goes on, for whoever waits.
fn say(line: &str) {
    eprintln!("{line}");
}
