//! Figures rather than verdicts: `cargo xtask figures` prints them. Nothing here
//! fails by being slow.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use vgw_interop::gateway::Gateway;
use vgw_interop::stage::{LATER, SOON, Stage, await_echoes};
use vgw_interop::tools::iperf3;
use vgw_lab::probe::FlowReport;
use vgw_lab::topology::GATEWAY_OUTSIDE;
use vgw_lab::wait_until;

const ROUNDS: usize = 5;
const CONNECTIONS: usize = 100;

/// Gives Gbit/s.
type Measurement = fn() -> Result<f64>;

/// One TCP flow through a tunnel, Gbit/s, between these pairs in turn.
#[test]
#[ignore = "a measurement for an otherwise idle machine"]
fn throughput() {
    let pairs: [(&str, Measurement); 3] = [
        ("vgw to vgw", between_ours),
        ("vgw to strongSwan", to_strongswan),
        ("strongSwan to strongSwan", between_strongswans),
    ];
    let mut figures = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for ((name, measure), figures) in pairs.iter().zip(&mut figures) {
            figures.push(measure().with_context(|| (*name).to_owned()).unwrap());
        }
    }
    println!("one TCP flow, AES-128-GCM in UDP, Gbit/s, {ROUNDS} rounds");
    for ((name, _), figures) in pairs.iter().zip(&mut figures) {
        figures.sort_by(f64::total_cmp);
        let [min, median, max] = [0, ROUNDS / 2, ROUNDS - 1].map(|at| figures[at]);
        println!("{name:26} median {median:.2}  min {min:.2}  max {max:.2}");
    }
}

/// Resident memory of the daemon with nothing configured but one connection that is
/// down, and with many connections whose tunnels are all up.
#[test]
#[ignore = "a measurement for an otherwise idle machine"]
fn memory() {
    for (connections, wanted_up) in [(1, 0), (CONNECTIONS, CONNECTIONS)] {
        let resident = resident(connections, wanted_up).unwrap();
        println!(
            "{connections} connections, {} tunnels up: {:.1} MiB resident",
            2 * wanted_up,
            f64::from(u32::try_from(resident).unwrap()) / 1024.0
        );
    }
}

/// How long traffic is out when the active tunnel's path drops everything, with the
/// shortest DPD timeout allowed and with AWS's default.
#[test]
#[ignore = "a measurement for an otherwise idle machine"]
fn failover() {
    for seconds in [30, 40] {
        let report = outage(seconds).unwrap();
        println!(
            "DPD timeout {seconds} s: outage {:.1} s, {} of {} packets lost",
            report.longest_gap.as_secs_f64(),
            report.lost(),
            report.sent
        );
    }
}

fn outage(dpd_timeout: u32) -> Result<FlowReport> {
    let stage = Stage::new("aes_gcm")?;
    let options = format!("dpd_timeout_seconds = {dpd_timeout}\n");
    let cloud = cloud_file(&stage, 1, &options)?;
    let customer = customer_file(&stage, 1, &options)?;
    let mut gateway = Gateway::start(&stage.topology.vpc, &cloud)?;
    let _customer = Gateway::start(&stage.topology.on_premises, &customer)?;
    gateway.await_both(SOON)?;
    let flow = stage.flow(Duration::from_millis(10))?;
    await_echoes(&flow, 100, SOON)?;
    let active = gateway
        .connection()?
        .active_tunnel
        .context("no tunnel sends")?;
    let [first, second] = GATEWAY_OUTSIDE;
    let cut = if active == 1 { first } else { second };
    let _cut = stage.topology.internet.cut(cut)?;
    wait_until("traffic on the other tunnel", LATER, || {
        Ok((gateway.connection()?.active_tunnel != Some(active)).then_some(()))
    })?;
    await_echoes(&flow, 100, LATER)?;
    flow.finish()
}

fn between_ours() -> Result<f64> {
    let stage = Stage::new("aes_gcm")?;
    let mut gateway = Gateway::start(&stage.topology.vpc, &cloud_file(&stage, 1, "")?)?;
    let _customer = Gateway::start(&stage.topology.on_premises, &customer_file(&stage, 1, "")?)?;
    gateway.await_both(SOON)?;
    iperf3(&stage)
}

fn to_strongswan() -> Result<f64> {
    let stage = Stage::new("aes_gcm")?;
    let (_gateway, _peer) = stage.both_up()?;
    iperf3(&stage)
}

fn between_strongswans() -> Result<f64> {
    let stage = Stage::new("strongswan_pair")?;
    let (_cloud, _customer) = stage.strongswan_pair()?;
    iperf3(&stage)
}

fn resident(connections: usize, wanted_up: usize) -> Result<u64> {
    let stage = Stage::new("aes_gcm")?;
    let gateway = Gateway::start(&stage.topology.vpc, &cloud_file(&stage, connections, "")?)?;
    if wanted_up == 0 {
        return gateway.resident_kib();
    }
    let config = customer_file(&stage, connections, "")?;
    let _customer = Gateway::start(&stage.topology.on_premises, &config)?;
    wait_until("every tunnel", LATER, || {
        let status = gateway.status()?;
        let tunnels = status.connections.iter().flat_map(|c| &c.tunnels);
        Ok((tunnels.filter(|tunnel| tunnel.up).count() == 2 * wanted_up).then_some(()))
    })?;
    gateway.resident_kib()
}

fn cloud_file(stage: &Stage, connections: usize, options: &str) -> Result<PathBuf> {
    let head = "[gateway]\noutside_addresses = [\"203.0.113.1\", \"198.51.100.1\"]\n\
                [vpc]\ncidrs = [\"10.0.0.0/16\"]\n\
                [control]\nsocket = \"@DIR@/control.sock\"\n";
    configuration(stage, "vgw.toml", head, connections, options)
}

fn customer_file(stage: &Stage, connections: usize, options: &str) -> Result<PathBuf> {
    let head = "[gateway]\nside = \"customer-gateway\"\nasn = 65000\n\
                outside_addresses = [\"192.0.2.1\"]\n\
                [on_premises]\ncidrs = [\"192.168.10.0/24\", \"10.128.0.0/9\"]\n\
                [control]\nsocket = \"@DIR@/customer/control.sock\"\n";
    std::fs::create_dir_all(stage.workspace.directory().join("customer"))?;
    configuration(stage, "customer/vgw.toml", head, connections, options)
}

/// The first connection leads to the premises, the others to networks of their own.
fn configuration(
    stage: &Stage,
    name: &str,
    head: &str,
    connections: usize,
    options: &str,
) -> Result<PathBuf> {
    let mut text = head.to_owned();
    for number in 0..connections {
        let route = match number {
            0 => "192.168.10.0/24".to_owned(),
            _ => format!("10.{}.0.0/16", 127 + number),
        };
        write!(
            text,
            "[[customer_gateway]]\nid = \"cgw-{number}\"\nidentity = \"fqdn:site{number}.example\"\n\
             ip_address = \"192.0.2.1\"\n\
             [[vpn_connection]]\nid = \"vpn-{number}\"\ncustomer_gateway = \"cgw-{number}\"\n\
             static_routes = [\"{route}\"]\nvpc_cidrs = [\"10.0.{number}.0/24\"]\n"
        )?;
        for (tunnel, outside) in ["203.0.113.1", "198.51.100.1"].iter().enumerate() {
            write!(
                text,
                "[[vpn_connection.tunnel]]\noutside_address = \"{outside}\"\n\
                 identity = \"fqdn:gateway{number}.example\"\n\
                 tunnel_inside_cidr = \"169.254.{}.{}/30\"\npre_shared_key = \"key_{number}_{tunnel}_x\"\n\
                 phase2_encryption_algorithms = [\"AES128-GCM-16\"]\nencapsulation = \"udp\"\n{options}",
                10 + number,
                4 * tunnel
            )?;
        }
    }
    stage.workspace.write(name, &text)
}
