//! The one entrance to everything that is done with this workspace.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a build tool measures wall time; it is no part of the gateway"
)]

mod bench;
mod edges;
mod fuzz;
mod packages;
mod run;
mod test;

use clap::{Parser, Subcommand};

/// Tests, benches, fuzzing and checks of vgw.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that must pass: packages, format, edges, clippy, units,
    /// simulation, demo, scenarios against real peers, a minute of fuzzing.
    Test(test::Options),
    /// Checks that no crate depends on what its place forbids.
    Edges,
    /// Fuzzes every parser.
    Fuzz(fuzz::Options),
    /// Simulated days with more seeds than the tests take.
    Sim(test::SimOptions),
    /// Measures the gateway beside others, in rounds; for an idle machine.
    Bench(bench::Options),
    /// Measures how long a failover takes; for an idle machine.
    Figures,
    /// Installs the Debian packages that tests and scenarios need.
    Packages,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Test(options) => test::everything(&options),
        Task::Edges => edges::check(),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Sim(options) => test::simulation(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Figures => test::figures(),
        Task::Packages => packages::install(),
    }
}
