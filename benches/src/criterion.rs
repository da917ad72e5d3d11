//! Case 6: what Criterion measures of seal and open alone, taken from its files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Plan;
use crate::rounds::{Metric, Rounds, Row, Spread, spread};
use crate::say;

/// The name of every bench of ring alone begins with this.
const BARE: &str = "bare ";

const COST: Metric = Metric {
    name: "cost",
    unit: "cycles/packet",
};
/// Of inner packet.
const THROUGHPUT: Metric = Metric {
    name: "throughput",
    unit: "bytes/cycle",
};
const TIME: Metric = Metric {
    name: "time",
    unit: "ns",
};

/// The part that we read of `benchmark.json`.
#[derive(Deserialize)]
struct Identity {
    group_id: String,
    function_id: Option<String>,
}

/// The part that we read of `estimates.json`.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// The part that we read of `sample.json`: so many iterations took so much.
#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// Runs the benches by cargo, so that their results are of this run and complete.
pub fn run(plan: &Plan, rounds: &mut Rounds) -> Result<()> {
    let directory = std::path::absolute(&plan.criterion)?;
    if directory.exists() {
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("removing {}", directory.display()))?;
    }
    say("Criterion's benches");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["bench", "-p", "vgw-benches"])
        .env("CRITERION_HOME", &directory)
        .status()
        .context("starting cargo")?;
    // Even of a run that was cut short, some benches may be whole.
    let rows = rows(&directory);
    if let Ok(rows) = &rows {
        rounds.append(rows.clone());
        plan.save(rounds)?;
    }
    ensure!(status.success(), "cargo bench -p vgw-benches: {status}");
    rows.map(drop)
}

/// The results below `directory`.
///
/// # Errors
/// When there are none or a file is not what Criterion writes.
fn rows(directory: &Path) -> Result<Vec<Row>> {
    let mut found = Vec::new();
    find(directory, &mut found)
        .with_context(|| format!("looking for Criterion's results in {}", directory.display()))?;
    ensure!(
        !found.is_empty(),
        "{} holds no results of Criterion",
        directory.display()
    );
    found.sort();
    let mut rows = Vec::new();
    for new in found {
        let measured = rows_of(&new).with_context(|| format!("in {}", new.display()))?;
        rows.extend(measured);
    }
    Ok(rows)
}

/// Every `new` folder of a bench, in which Criterion keeps its last run.
fn find(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        if path.ends_with("new") && path.join("benchmark.json").is_file() {
            found.push(path);
        } else {
            find(&path, found)?;
        }
    }
    Ok(())
}

/// What one bench gave: of the packet transform cycles, and octets by cycle; of all
/// others time.
fn rows_of(new: &Path) -> Result<Vec<Row>> {
    let identity: Identity = read(&new.join("benchmark.json"))?;
    let estimates: Estimates = read(&new.join("estimates.json"))?;
    let sample: Sample = read(&new.join("sample.json"))?;
    let each = sample.times.iter().zip(&sample.iters).map(|(t, n)| t / n);
    let spread = spread(each.collect()).context("a sample of nothing")?;
    let spread = Spread {
        median: estimates.median.point_estimate,
        ..spread
    };
    let (case, subject) = name(&identity);
    let row = |metric: Metric, spread: Spread| Row {
        case: case.clone(),
        subject: subject.to_owned(),
        metric: metric.name.to_owned(),
        unit: metric.unit.to_owned(),
        median: spread.median,
        min: spread.min,
        max: spread.max,
        rounds: spread.count,
    };
    let Some(octets) = octets(&identity.group_id) else {
        return Ok(vec![row(TIME, spread)]);
    };
    let by_cycle = Spread {
        median: octets / spread.median,
        min: octets / spread.max,
        max: octets / spread.min,
        ..spread
    };
    Ok(vec![row(COST, spread), row(THROUGHPUT, by_cycle)])
}

/// The case and the subject: group `seal/1400`, function `bare AES-128-GCM`.
fn name(identity: &Identity) -> (String, &'static str) {
    let group = &identity.group_id;
    match identity.function_id.as_deref() {
        None => (group.clone(), "vgw"),
        Some(function) => match function.strip_prefix(BARE) {
            Some(cipher) => (format!("{group}, {cipher}"), "ring"),
            None => (format!("{group}, {function}"), "vgw"),
        },
    }
}

/// Octets of inner packet, if the group is one of the packet transform: `seal/1400`.
fn octets(group: &str) -> Option<f64> {
    let (direction, octets) = group.split_once('/')?;
    ["seal", "open"].contains(&direction).then_some(())?;
    octets.parse().ok()
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_of_bare_ring_is_rings() {
        let of = |function: Option<&str>| {
            let identity = Identity {
                group_id: "seal/1400".to_owned(),
                function_id: function.map(str::to_owned),
            };
            name(&identity)
        };
        let ring = ("seal/1400, AES-128-GCM".to_owned(), "ring");
        assert_eq!(of(Some("bare AES-128-GCM")), ring);
        let ours = ("seal/1400, AES128-GCM-16/ESN".to_owned(), "vgw");
        assert_eq!(of(Some("AES128-GCM-16/ESN")), ours);
        assert_eq!(of(None), ("seal/1400".to_owned(), "vgw"));
    }

    #[test]
    fn what_criterion_wrote_becomes_rows() {
        let directory = std::env::temp_dir().join(format!("vgw-criterion-{}", std::process::id()));
        let new = directory.join("seal_1400/bare AES-128-GCM/new");
        std::fs::create_dir_all(&new).unwrap();
        let write = |name, text| std::fs::write(new.join(name), text).unwrap();
        write(
            "benchmark.json",
            r#"{"group_id":"seal/1400","function_id":"bare AES-128-GCM","value_str":null}"#,
        );
        write(
            "estimates.json",
            r#"{"median":{"point_estimate":560.0,"standard_error":1}}"#,
        );
        write(
            "sample.json",
            r#"{"sampling_mode":"Linear","iters":[1,2,4],"times":[700,1000,2240]}"#,
        );
        let rows = rows(&directory);
        std::fs::remove_dir_all(&directory).unwrap();
        let row = |metric: Metric, [median, min, max]: [f64; 3]| Row {
            case: "seal/1400, AES-128-GCM".to_owned(),
            subject: "ring".to_owned(),
            metric: metric.name.to_owned(),
            unit: metric.unit.to_owned(),
            median,
            min,
            max,
            rounds: 3,
        };
        let expected = [
            row(COST, [560.0, 500.0, 700.0]),
            row(THROUGHPUT, [2.5, 2.0, 2.8]),
        ];
        assert_eq!(rows.unwrap(), expected);
    }

    #[test]
    fn only_seal_and_open_are_of_packets() {
        assert_eq!(octets("seal/1400"), Some(1400.0));
        assert_eq!(octets("open/64"), Some(64.0));
        assert_eq!(octets("key exchange/group 19"), None);
        assert_eq!(octets("look-up/1000"), None);
    }

    #[test]
    fn a_folder_without_results_is_an_error() {
        let empty = std::env::temp_dir().join(format!("vgw-no-criterion-{}", std::process::id()));
        std::fs::create_dir_all(&empty).unwrap();
        let error = rows(&empty).unwrap_err().to_string();
        std::fs::remove_dir_all(&empty).unwrap();
        assert!(error.contains("no results"), "{error}");
    }
}
