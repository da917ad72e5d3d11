//! The VPC is a network namespace of its own: the daemon's sockets are outside it, the
//! TUN device and the routes are in it.
//!
//! Seen: a host behind that namespace and the premises reach each other; the outside
//! namespace got no device and no route to the premises.

use anyhow::{Context, Result, ensure};
use vgw_interop::gateway::Gateway;
use vgw_interop::stage::{CHILDREN, SOON, Stage};
use vgw_interop::tools::run as tool;
use vgw_lab::Lab;
use vgw_lab::probe::ping;
use vgw_lab::topology::{ON_PREMISES_HOST, host_behind};

pub fn run() -> Result<()> {
    let stage = Stage::new("vpc_namespace")?;
    let lab = Lab::new("vpc-namespace")?;
    let private = lab.namespace("private")?;
    let address = "10.0.7.1".parse()?;
    let host = host_behind(&lab, &private, "privatehost", &[address])?;
    let config = std::fs::read_to_string(stage.workspace.file("vgw.toml")?)?;
    let config = config.replace("@VPC@", private.name());
    let config = stage.workspace.write("vgw.toml", &config)?;
    let mut gateway = Gateway::start(&stage.topology.vpc, &config)?;
    let peer = stage.start_peer()?;
    for child in CHILDREN {
        peer.initiate(child)?;
    }
    gateway.await_both(SOON)?;
    let answered = ping(&host, address, ON_PREMISES_HOST, SOON)?;
    answered.context("no answer to a ping from behind the VPC's namespace")?;
    let answered = ping(&stage.topology.on_premises_host, ON_PREMISES_HOST, address, SOON)?;
    answered.context("no answer to a ping from the premises")?;

    let outside = tool(&stage.topology.vpc, "ip", &["address"])?;
    ensure!(!outside.contains("vgw0"), "the TUN device is outside: {outside}");
    let routes = tool(&private, "ip", &["route"])?;
    ensure!(routes.contains("192.168.10.0/24 dev vgw0"), "{routes}");
    Ok(())
}
