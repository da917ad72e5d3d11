//! Throughput, packets per second, latency and memory of the gateway beside others, and
//! what strangers cost it, in network namespaces over veth. `cargo xtask bench` builds what is measured and runs
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
mod strangers;
mod strongswan;
mod subject;
mod targets;
mod throughput;
mod wireguard;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
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
    /// Where Criterion is to leave its results; what is there goes.
    #[arg(long, value_name = "DIR", default_value = "target/bench-criterion")]
    criterion: PathBuf,
    /// Cases 1 to 3, one flow, AES-128-GCM, short runs.
    #[arg(long)]
    quick: bool,
    /// Writes the results to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these cases.
    #[arg(long = "case", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=7))]
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
    criterion: PathBuf,
    json: Option<PathBuf>,
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

    /// Writes what is known so far, so that whatever ends the run does not lose it.
    fn save(&self, rounds: &Rounds) -> Result<()> {
        match &self.json {
            Some(path) => report::write_json(path, &rounds.rows()),
            None => Ok(()),
        }
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
        criterion: arguments.criterion,
        json: arguments.json,
    };
    let mut lines = machine::describe();
    let beside_others = (1..=5).any(|case| plan.includes(case));
    let needed = |subject: &Subject| {
        beside_others || *subject == Subject::Vgw && plan.includes(strangers::CASE)
    };
    for subject in plan.subjects().filter(needed) {
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
    let mut rounds = Rounds::default();
    let ended = measure(&plan, &mut rounds);
    let rows = rounds.rows();
    let table = report::table(&rows, &targets::all(&rows))?;
    println!("{}\n\n{table}", lines.join("\n"));
    plan.save(&rounds)?;
    if let Some(path) = &plan.json {
        println!("results are in {}", path.display());
    }
    for failure in rounds.failures() {
        println!("FAILED: {failure}");
    }
    ended?;
    let failed = rounds.failures().len();
    ensure!(failed == 0, "not everything was measured; failed: {failed}");
    Ok(())
}

/// A part of the run.
type Part = fn(&Plan, &mut Rounds) -> Result<()>;

/// Measures all that is asked for. What fails is noted, and the rest goes on.
fn measure(plan: &Plan, rounds: &mut Rounds) -> Result<()> {
    let parts: [(&str, &[u8], Part); 6] = [
        ("cases 1 to 3", &[1, 2, 3], throughput::run),
        ("case 4", &[4], packets::run),
        ("case 5, 1,000 tunnels", &[5], many::run),
        ("case 5, site to site", &[5], sites::run),
        ("case 6", &[6], criterion::run),
        ("case 7", &[strangers::CASE], strangers::run),
    ];
    for (name, cases, run) in parts {
        if !cases.iter().any(|case| plan.includes(*case)) {
            continue;
        }
        let start = Instant::now();
        let outcome = run(plan, rounds).with_context(|| name.to_owned());
        rounds.keep(outcome)?;
        plan.save(rounds)?;
        say(&format!("{name} took {}", clock(start.elapsed())));
    }
    Ok(())
}

/// A line about what goes on, and since when, for whoever waits.
fn say(line: &str) {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    eprintln!("[{}] {line}", clock(START.elapsed()));
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}
