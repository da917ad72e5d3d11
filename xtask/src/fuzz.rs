//! Fuzzing with libFuzzer on the stable toolchain: the coverage that cargo-fuzz
//! asks of nightly is also to be had by plain code generation options.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::run::{cargo, finish, root, target_dir};

/// SanitizerCoverage as libFuzzer reads it.
const COVERAGE: &str = "--cfg fuzzing \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cdebug-assertions=yes -Coverflow-checks=yes -Ccodegen-units=1";

#[derive(Args)]
pub struct Options {
    /// Seconds in all, shared by the targets.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Only this target.
    #[arg(long)]
    pub target: Option<String>,
}

pub fn run(options: &Options) -> Result<()> {
    let targets = targets(options.target.as_deref())?;
    let build_dir = target_dir().join("fuzz");
    let triple = "x86_64-unknown-linux-gnu";
    finish(
        cargo(&[
            "build",
            "--release",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target",
            triple,
        ])
        .env("CARGO_TARGET_DIR", &build_dir)
        .env("RUSTFLAGS", COVERAGE),
    )?;
    let share = (options.seconds / u64::try_from(targets.len())?).max(1);
    for target in &targets {
        println!("fuzzing {target} for {:?}", Duration::from_secs(share));
        let corpus = root().join("fuzz/corpus").join(target);
        let artifacts = root().join("fuzz/artifacts").join(target);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artifacts)?;
        let binary = build_dir.join(triple).join("release").join(target);
        let binary = binary
            .to_str()
            .context("the target directory is not UTF-8")?;
        let mut fuzzer = crate::run::command(binary, &[]);
        fuzzer
            .arg(&corpus)
            .arg(format!("-max_total_time={share}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args([
                "-timeout=5",
                "-rss_limit_mb=2048",
                "-print_final_stats=1",
                "-verbosity=0",
            ]);
        finish(&mut fuzzer)
            .with_context(|| format!("{target} failed; the input is in {}", artifacts.display()))?;
    }
    Ok(())
}

fn targets(only: Option<&str>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str());
        names.extend(name.map(str::to_owned));
    }
    names.retain(|name| only.is_none_or(|only| only == name));
    names.sort();
    if names.is_empty() {
        bail!("no such fuzz target; see fuzz/fuzz_targets");
    }
    Ok(names)
}
