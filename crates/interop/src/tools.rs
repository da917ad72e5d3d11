//! Debian's own tools, run in a namespace.

use std::process::Output;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use vgw_lab::topology::{ON_PREMISES_HOST, Topology, VPC_HOST};
use vgw_lab::{Namespace, Process, wait_until};

use crate::stage::{SOON, Stage};

/// Runs a program in a namespace; gives what it prints.
///
/// # Errors
/// When it fails, with what it prints.
pub fn run(namespace: &Namespace, program: &str, arguments: &[&str]) -> Result<String> {
    let output = namespace
        .command(program)
        .args(arguments)
        .output()
        .with_context(|| format!("starting {program}"))?;
    succeeded(program, &output)
}

fn succeeded(program: &str, output: &Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}\n{text}{errors}", output.status);
    }
    Ok(text)
}

/// Applies nftables rules in a namespace.
///
/// # Errors
/// When `nft` refuses them.
pub fn nft(namespace: &Namespace, rules: &str) -> Result<()> {
    run(namespace, "nft", &[rules])?;
    Ok(())
}

/// The address translator before the customer: what the premises send gets its
/// outside address and a port of this range.
///
/// # Errors
/// When the topology has no NAT or `nft` refuses.
pub fn masquerade(topology: &Topology, ports: &str) -> Result<()> {
    let nat = topology.nat.as_ref().context("this stage has no NAT")?;
    let rules = format!(
        "add table ip nat; flush table ip nat; \
         add chain ip nat out {{ type nat hook postrouting priority srcnat; }}; \
         add rule ip nat out oifname wan meta l4proto udp masquerade to :{ports}"
    );
    nft(nat, &rules)
}

/// Drops this share of a router's packets at random, in percent; 0 ends it.
///
/// # Errors
/// When `nft` refuses.
pub fn lose(router: &Namespace, percent: u8) -> Result<()> {
    let rules = format!(
        "add table ip loss; flush table ip loss; \
         add chain ip loss forward {{ type filter hook forward priority 0; }}; \
         add rule ip loss forward numgen random mod 100 < {percent} drop"
    );
    nft(router, &rules)
}

/// Runs iperf3 for two seconds over TCP from the premises to the VPC; gives Gbit/s
/// received.
///
/// # Errors
/// When it fails.
pub fn iperf3(stage: &Stage) -> Result<f64> {
    let (vpc, site) = (VPC_HOST.to_string(), ON_PREMISES_HOST.to_string());
    let mut server = stage.topology.vpc.command("iperf3");
    server.args(["--server", "--one-off", "--bind", &vpc]);
    let log = stage.workspace.directory().join("iperf3.log");
    let _server = Process::start("iperf3", server, &log)?;
    let arguments = ["--client", &vpc, "--bind", &site, "--time", "2", "--json"];
    // Without a server yet, it fails or reports no figure, as it likes.
    let bits = wait_until("iperf3's figure", SOON, || {
        let Ok(text) = run(&stage.topology.on_premises, "iperf3", &arguments) else {
            return Ok(None);
        };
        let report: Value = serde_json::from_str(&text)?;
        let received = report.pointer("/end/sum_received/bits_per_second");
        Ok(received.and_then(Value::as_f64))
    })?;
    Ok(bits / 1e9)
}
