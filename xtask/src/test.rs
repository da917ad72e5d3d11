//! The test command: everything, in the order in which failures are cheapest.

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::run::{cargo, command, finish, target_dir};
use crate::{edges, fuzz, packages};

#[derive(Args)]
pub struct Options {
    /// Seconds of fuzzing.
    #[arg(long, default_value_t = 60)]
    fuzz_seconds: u64,
}

#[derive(Args)]
pub struct SimOptions {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Replay this seed only.
    #[arg(long)]
    seed: Option<u64>,
}

/// A step's name and what it does.
type Step<'a> = (&'a str, Box<dyn Fn() -> Result<()> + 'a>);

pub fn everything(options: &Options) -> Result<()> {
    let steps: [Step<'_>; 10] = [
        ("Debian packages", Box::new(packages::install)),
        ("format", Box::new(format)),
        ("forbidden edges", Box::new(edges::check)),
        ("clippy", Box::new(clippy)),
        ("units, pairs and simulation", Box::new(units)),
        ("simulated days", Box::new(days)),
        ("release build", Box::new(release_build)),
        ("demo", Box::new(demo)),
        ("scenarios against real peers", Box::new(scenarios)),
        (
            "fuzzing",
            Box::new(|| {
                fuzz::run(&fuzz::Options {
                    seconds: options.fuzz_seconds,
                    target: None,
                })
            }),
        ),
    ];
    let start = Instant::now();
    for (name, step) in steps {
        let began = Instant::now();
        println!("\n=== {name}");
        step().with_context(|| format!("step failed: {name}"))?;
        println!("=== {name}: done in {:.0} s", began.elapsed().as_secs_f32());
    }
    println!("\nall passed in {:.0} s", start.elapsed().as_secs_f32());
    Ok(())
}

pub fn simulation(options: &SimOptions) -> Result<()> {
    let mut test = cargo(&["test", "--release", "-p", "vgw-sim", "--", "--nocapture"]);
    test.env("VGW_SIM_SEEDS", options.seeds.to_string());
    test.env("VGW_SIM_FIRST", options.first.to_string());
    if let Some(seed) = options.seed {
        test.env("VGW_SIM_SEED", seed.to_string());
    }
    finish(&mut test)
}

/// Figures that the bench does not take: how long a failover takes.
pub fn figures() -> Result<()> {
    packages::install()?;
    release_build()?;
    let arguments = ["test", "-p", "vgw-interop", "--test", "figures", "--"];
    let mut test = cargo(&arguments);
    test.args(["--ignored", "--nocapture", "--test-threads=1"]);
    finish(test.env("VGW_BIN", vgw_binary()?))
}

fn format() -> Result<()> {
    finish(&mut cargo(&["fmt", "--all", "--check"]))?;
    finish(&mut cargo(&[
        "fmt",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--check",
    ]))
}

fn clippy() -> Result<()> {
    finish(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Also what needs root, which `cargo test` alone leaves to us.
fn units() -> Result<()> {
    finish(&mut cargo(&[
        "test",
        "--workspace",
        "--exclude",
        "vgw-interop",
        "--",
        "--include-ignored",
    ]))
}

/// Some whole days, one of them by a seed of its own; the seeds are printed.
fn days() -> Result<()> {
    finish(&mut cargo(&[
        "test",
        "--release",
        "-p",
        "vgw-sim",
        "--test",
        "days",
        "--",
        "--nocapture",
    ]))
}

fn release_build() -> Result<()> {
    finish(&mut cargo(&[
        "build",
        "--release",
        "-p",
        "vgw",
        "-p",
        "vgwd",
    ]))
}

fn demo() -> Result<()> {
    let vgw = vgw_binary()?;
    finish(&mut command(&vgw, &["demo"]))
}

fn scenarios() -> Result<()> {
    let arguments = ["test", "-p", "vgw-interop", "--test", "scenarios", "--"];
    let mut test = cargo(&arguments);
    finish(test.arg("--include-ignored").env("VGW_BIN", vgw_binary()?))
}

/// The release binary that the demo and the scenarios run.
fn vgw_binary() -> Result<String> {
    let path = target_dir().join("release/vgw");
    Ok(path
        .to_str()
        .context("the target directory is not UTF-8")?
        .to_owned())
}
