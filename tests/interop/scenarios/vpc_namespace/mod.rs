//! The VPC is a network namespace of its own: the daemon's sockets are outside it, the
//! TUN device and the routes are in it.
//!
//! Seen: a host behind that namespace and the premises reach each other; the outside
//! namespace got no device and no route to the premises; the gateway's own address in
//! the VPC answers a ping from the premises, and a service there gets nothing until it
//! is opened.

use std::net::{IpAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::stage::{CHILDREN, SOON, Stage};
use vgw_harness::tools::run as tool;
use vgw_lab::probe::ping;
use vgw_lab::topology::{ON_PREMISES_HOST, host_behind, router};
use vgw_lab::{Lab, Namespace, wait_until};

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
    let answered = ping(
        &stage.topology.on_premises_host,
        ON_PREMISES_HOST,
        address,
        SOON,
    )?;
    answered.context("no answer to a ping from the premises")?;

    let outside = tool(&stage.topology.vpc, "ip", &["address"])?;
    ensure!(
        !outside.contains("vgw0"),
        "the TUN device is outside: {outside}"
    );
    let routes = tool(&private, "ip", &["route"])?;
    ensure!(routes.contains("192.168.10.0/24 dev vgw0"), "{routes}");
    closed_until_opened(&stage, &gateway, &private, router(address))
}

/// Sees what the premises reach at the gateway's `own` address in the VPC.
fn closed_until_opened(
    stage: &Stage,
    gateway: &Gateway,
    private: &Namespace,
    own: IpAddr,
) -> Result<()> {
    const PORT: u16 = 7000;
    let premises = &stage.topology.on_premises_host;
    let answered = ping(premises, ON_PREMISES_HOST, own, SOON)?;
    answered.context("the gateway's own address does not answer a ping")?;
    let service = private.run(|| UdpSocket::bind((own, PORT)))??;
    service.set_nonblocking(true)?;
    let sender = premises.run(|| UdpSocket::bind((ON_PREMISES_HOST, 0)))??;
    let arrived = || service.recv(&mut [0; 16]).is_ok();
    wait_until("host_closed", SOON, || {
        sender.send_to(b"hello", (own, PORT))?;
        Ok((gateway.dropped("host_closed")? > 0).then_some(()))
    })?;
    ensure!(!arrived(), "a service that is not open got a packet");

    let config = std::fs::read_to_string(stage.workspace.directory().join("vgw.toml"))?;
    let opened = config.replace("[gateway]", "[gateway]\nhost_services = [\"udp/7000\"]");
    stage.workspace.write("vgw.toml", &opened)?;
    gateway.reload()?;
    wait_until("a packet at the opened service", SOON, || {
        sender.send_to(b"hello", (own, PORT))?;
        Ok(arrived().then_some(()))
    })
}
