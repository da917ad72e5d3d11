//! What was measured, for machines.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use vgw_lab::probe::{FlowReport, Throughput};

/// What changing the keys cost.
#[derive(Debug)]
pub(super) struct Rekeys {
    pub(super) count: u64,
    pub(super) flow: FlowReport,
}

/// The content of `--json FILE`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) tunnels_up_ms: u64,
    pub(super) failover: Failover,
    pub(super) rekey: Rekey,
    pub(super) throughput_gbps: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Failover {
    pub(super) outage_ms: u64,
    pub(super) lost: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Rekey {
    pub(super) count: u64,
    pub(super) lost: u64,
}

impl Report {
    pub(super) fn new(
        tunnels_up: Duration,
        throughput: &Throughput,
        failover: &FlowReport,
        rekeys: &Rekeys,
    ) -> Self {
        Self {
            tunnels_up_ms: milliseconds(tunnels_up),
            failover: Failover {
                outage_ms: milliseconds(failover.longest_gap),
                lost: failover.lost(),
            },
            rekey: Rekey {
                count: rekeys.count,
                lost: rekeys.flow.lost(),
            },
            throughput_gbps: throughput.gbps(),
        }
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_the_documented_fields() {
        let flow = FlowReport {
            sent: 100,
            answered: 90,
            echoed: 95,
            longest_gap: Duration::from_millis(1234),
            longest_gap_there: Duration::from_millis(1234),
        };
        let throughput = Throughput {
            octets: 250_000_000,
            elapsed: Duration::from_secs(1),
        };
        let rekeys = Rekeys { count: 20, flow };
        let report = Report::new(Duration::from_millis(56), &throughput, &flow, &rekeys);
        let expected = serde_json::json!({
            "tunnels_up_ms": 56,
            "failover": {"outage_ms": 1234, "lost": 10},
            "rekey": {"count": 20, "lost": 10},
            "throughput_gbps": 2.0,
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    }
}
