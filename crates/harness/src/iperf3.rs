//! Bulk data over TCP by iperf3.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use vgw_lab::topology::{ON_PREMISES_HOST, VPC_HOST};
use vgw_lab::{Namespace, Process, wait_until};

use crate::stage::{SOON, Stage};
use crate::tools::run;

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// TCP connections at once.
    pub flows: u8,
    /// For how long.
    pub seconds: u8,
}

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrived {
    /// Gbit/s of TCP payload over all flows.
    pub gbps: f64,
    /// Octets of TCP payload over all flows.
    pub octets: f64,
}

impl Transfer {
    /// Sends from the premises to the VPC.
    ///
    /// # Errors
    /// When iperf3 gives no figure.
    pub fn to_vpc(&self, stage: &Stage) -> Result<Arrived> {
        let client = (&stage.topology.on_premises_host, ON_PREMISES_HOST);
        let server = (&stage.topology.vpc_host, VPC_HOST);
        self.run(client, server, stage.workspace.directory())
    }

    /// Sends from an address of `client` to one of `server`; the server's log is kept
    /// in `directory`.
    ///
    /// # Errors
    /// As [`Self::to_vpc`].
    pub fn run(
        &self,
        client: (&Namespace, IpAddr),
        server: (&Namespace, IpAddr),
        directory: &Path,
    ) -> Result<Arrived> {
        let (from, to) = (client.1.to_string(), server.1.to_string());
        let mut listen = server.0.command("iperf3");
        listen.args(["--server", "--one-off", "--bind", &to]);
        let mut listening = Process::start("iperf3", listen, &directory.join("iperf3.log"))?;
        let (flows, seconds) = (self.flows.to_string(), self.seconds.to_string());
        let arguments = [
            "--client",
            &to,
            "--bind",
            &from,
            "--parallel",
            &flows,
            "--time",
            &seconds,
            "--json",
            // Whatever the machine's default is, the figures shall be comparable.
            "--congestion",
            "cubic",
            "--connect-timeout",
            "3000",
        ];
        // Without a server yet, it fails or reports no figure, as it likes.
        let mut said = String::new();
        let arrived = wait_until("iperf3's figure", SOON, || {
            listening.check()?;
            match run(client.0, "iperf3", &arguments) {
                Ok(text) => said = text,
                Err(error) => {
                    said = error.to_string();
                    return Ok(None);
                }
            }
            arrived(&said)
        });
        arrived.with_context(|| format!("iperf3 from {from} to {to} said {said}"))
    }
}

/// What an iperf3 report says of the receiving end.
fn arrived(report: &str) -> Result<Option<Arrived>> {
    let report: Value = serde_json::from_str(report)?;
    let number = |name: &str| {
        let at = format!("/end/sum_received/{name}");
        report.pointer(&at).and_then(Value::as_f64)
    };
    let figures = number("bits_per_second").zip(number("bytes"));
    Ok(figures.map(|(bits, octets)| Arrived {
        gbps: bits / 1e9,
        octets,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiving_end_counts() {
        let report = r#"{"end": {"sum_sent": {"bytes": 9, "bits_per_second": 9},
            "sum_received": {"bytes": 250000000, "bits_per_second": 1000000000.0}}}"#;
        let expected = Arrived {
            gbps: 1.0,
            octets: 250_000_000.0,
        };
        assert_eq!(arrived(report).unwrap(), Some(expected));
    }

    #[test]
    fn a_report_of_an_error_has_no_figure() {
        let report = r#"{"end": {}, "error": "unable to connect"}"#;
        assert_eq!(arrived(report).unwrap(), None);
    }
}
