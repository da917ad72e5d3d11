//! The bench: builds what is measured and what it is measured beside, then lets
//! `vgw-bench` measure.

use std::ops::RangeInclusive;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum, value_parser};

use crate::packages;
use crate::run::{cargo, command, finish, target_dir};

/// Those in which others are measured, too.
const BESIDE_OTHERS: RangeInclusive<u8> = 1..=5;
/// Criterion's own.
const CRITERION_CASE: u8 = 6;
/// Strangers, who need our daemon alone.
const STRANGERS_CASE: u8 = 7;
const QUICK_CASES: RangeInclusive<u8> = 1..=3;

#[derive(Args)]
pub struct Options {
    /// Cases 1 to 3 with one flow of AES-128-GCM, in under five minutes once all is built.
    #[arg(long)]
    quick: bool,
    /// Writes the results to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these cases; benches/README.md lists them.
    #[arg(long = "case", value_name = "N", num_args = 1.., value_parser = value_parser!(u8).range(1..=7))]
    cases: Vec<u8>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u8).range(1..))]
    rounds: u8,
    /// Leaves these out; otherwise the bench fails where one cannot be had.
    #[arg(long, value_name = "SUBJECT", num_args = 1..)]
    without: Vec<Without>,
}

/// What the bench can do without.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Without {
    VgwNative,
    Floor,
    Strongswan,
    Gotatun,
    Boringtun,
}

/// A peer from the registry; the version is part of what was measured.
struct Peer {
    subject: Without,
    package: &'static str,
    version: &'static str,
    binary: &'static str,
}

const PEERS: [Peer; 2] = [
    Peer {
        subject: Without::Gotatun,
        package: "gotatun-cli",
        version: "0.10.2",
        binary: "gotatun",
    },
    Peer {
        subject: Without::Boringtun,
        package: "boringtun-cli",
        version: "0.7.1",
        binary: "boringtun-cli",
    },
];

pub fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let target = target_dir();
    let (peers, release, floor) = (
        target.join("peers"),
        target.join("release"),
        target.join("floor"),
    );
    let beside_others = BESIDE_OTHERS.into_iter().any(|case| options.asks_for(case));
    if beside_others || options.asks_for(STRANGERS_CASE) {
        packages::install_for_bench()?;
        build("vgw", &["build", "--release", "-p", "vgw"])?;
    }
    if beside_others {
        for peer in &PEERS {
            if !options.without.contains(&peer.subject) {
                peer.install(&peers)?;
            }
        }
        if !options.without.contains(&Without::Floor) {
            build_floor(&floor)?;
        }
    }
    build("vgw-bench", &["build", "--release", "-p", "vgw-benches"])?;
    if options.asks_for(CRITERION_CASE) {
        let benches = ["bench", "--no-run", "-p", "vgw-benches"];
        build("Criterion's benches", &benches)?;
    }
    let took = start.elapsed().as_secs();
    println!("all is installed and built, in {took} s; now it is measured");
    let mut bench = command(&release.join("vgw-bench").to_string_lossy(), &[]);
    bench
        .arg("--vgw")
        .arg(release.join("vgw"))
        .arg("--floor")
        .arg(floor.join("release/vgw"))
        .arg("--peers")
        .arg(&peers)
        .arg("--criterion")
        .arg(target.join("bench-criterion"))
        .args(["--rounds", &options.rounds.to_string()]);
    options.pass_on(&mut bench)?;
    // It takes our place, so that ^C reaches it alone and it can clear up.
    Err(bench.exec()).context("starting vgw-bench")
}

impl Options {
    fn asks_for(&self, case: u8) -> bool {
        match self.cases.as_slice() {
            [] if self.quick => QUICK_CASES.contains(&case),
            [] => true,
            cases => cases.contains(&case),
        }
    }

    fn pass_on(&self, bench: &mut Command) -> Result<()> {
        if self.quick {
            bench.arg("--quick");
        }
        if let Some(file) = &self.json {
            // It is meant from where we were started; the bench starts at the root.
            bench.arg("--json").arg(std::path::absolute(file)?);
        }
        for case in &self.cases {
            bench.args(["--case", &case.to_string()]);
        }
        for subject in &self.without {
            if let Some(value) = subject.to_possible_value() {
                bench.args(["--without", value.get_name()]);
            }
        }
        Ok(())
    }
}

impl Peer {
    /// Builds it below `root`, where it is not yet.
    fn install(&self, root: &Path) -> Result<()> {
        if root.join("bin").join(self.binary).is_file() {
            return Ok(());
        }
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let arguments = ["-n", "10", &cargo, "install", "--locked", "--root"];
        let mut install = command("nice", &arguments);
        install
            .arg(root)
            .args(["--version", self.version, self.package]);
        let what = format!("{} {}", self.package, self.version);
        timed(&what, &mut install)
            .with_context(|| format!("{what} cannot be installed; --without leaves it out"))
    }
}

/// Has cargo build something and says how long that took.
fn build(what: &str, arguments: &[&str]) -> Result<()> {
    timed(what, &mut cargo(arguments))
}

fn timed(what: &str, command: &mut Command) -> Result<()> {
    println!("building {what}");
    let start = Instant::now();
    finish(command)?;
    println!("built {what} in {} s", start.elapsed().as_secs());
    Ok(())
}

/// The release binary with the cryptography left out: a feature that takes effect only
/// with this `--cfg`, so that no build that merely enables features has it.
fn build_floor(target: &Path) -> Result<()> {
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let mut build = cargo(&["build", "--release", "-p", "vgw", "--features", "floor"]);
    build
        .arg("--target-dir")
        .arg(target)
        .env("RUSTFLAGS", format!("{flags} --cfg vgw_floor").trim());
    timed("the floor", &mut build)
        .context("the floor cannot be built; --without floor leaves it out")
}
