//! Case 6: what Criterion measured of seal and open alone, taken from its files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::rounds::{Row, spread};

/// The name of every bench of ring alone begins with this.
const BARE: &str = "bare ";

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

/// The results below `directory`, a row for every bench.
///
/// # Errors
/// When there are none or a file is not what Criterion writes.
pub fn rows(directory: &Path) -> Result<Vec<Row>> {
    let mut found = Vec::new();
    find(directory, &mut found)
        .with_context(|| format!("looking for Criterion's results in {}", directory.display()))?;
    ensure!(
        !found.is_empty(),
        "{} holds no results of Criterion",
        directory.display()
    );
    found.sort();
    found
        .iter()
        .map(|new| row(new).with_context(|| format!("in {}", new.display())))
        .collect()
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

fn row(new: &Path) -> Result<Row> {
    let identity: Identity = read(&new.join("benchmark.json"))?;
    let estimates: Estimates = read(&new.join("estimates.json"))?;
    let sample: Sample = read(&new.join("sample.json"))?;
    let each = sample.times.iter().zip(&sample.iters).map(|(t, n)| t / n);
    let spread = spread(each.collect()).context("a sample of nothing")?;
    let (case, subject) = name(&identity);
    let (metric, unit) = measured(&identity.group_id);
    Ok(Row {
        case,
        subject: subject.to_owned(),
        metric: metric.to_owned(),
        unit: unit.to_owned(),
        median: estimates.median.point_estimate,
        min: spread.min,
        max: spread.max,
        rounds: spread.count,
    })
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

/// Benches of the packet transform count reference cycles, all others time.
fn measured(group: &str) -> (&'static str, &'static str) {
    if group.starts_with("seal/") || group.starts_with("open/") {
        return ("cost", "cycles/packet");
    }
    ("time", "ns")
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
            r#"{"median":{"point_estimate":640.5,"standard_error":1}}"#,
        );
        write(
            "sample.json",
            r#"{"sampling_mode":"Linear","iters":[1,2,4],"times":[700,1280,2560]}"#,
        );
        let rows = rows(&directory);
        std::fs::remove_dir_all(&directory).unwrap();
        let expected = Row {
            case: "seal/1400, AES-128-GCM".to_owned(),
            subject: "ring".to_owned(),
            metric: "cost".to_owned(),
            unit: "cycles/packet".to_owned(),
            median: 640.5,
            min: 640.0,
            max: 700.0,
            rounds: 3,
        };
        assert_eq!(rows.unwrap(), [expected]);
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
