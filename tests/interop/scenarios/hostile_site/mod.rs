//! A site's gateway turns on the other site, the VPC and our gateway's own host, with
//! traffic selectors that admit everything.
//!
//! Seen: what it sends as the other site or as the VPC reaches nobody and is counted as
//! such; no service of our gateway's host gets anything from it, neither at the host's
//! address in the VPC, nor at that network's broadcast address, nor at an inside address;
//! another connection's inside address does not even answer a ping. Its own address, and
//! BGP, pass.

use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vgw_harness::stage::SOON;
use vgw_harness::tools::run as tool;
use vgw_harness::two_sites::Sites;
use vgw_lab::probe::ping;
use vgw_lab::topology::{BRANCH_HOST, ON_PREMISES_HOST, VPC_HOST, router};
use vgw_lab::{Namespace, wait_until};

/// Of the datagrams' receivers.
const PORT: u16 = 7000;
/// Of a TCP service that is none of the tunnels' business.
const CLOSED: u16 = 7001;
const BGP: u16 = 179;
/// How long an attempt that is to fail waits before the next.
const ATTEMPT: Duration = Duration::from_millis(200);

/// Both ends of the site's first tunnel.
const OURS: [u8; 4] = [169, 254, 10, 1];
const PEER: [u8; 4] = [169, 254, 10, 2];
/// Our end of the branch's first tunnel.
const OF_BRANCH: [u8; 4] = [169, 254, 20, 1];
/// All of the network between our gateway and the host behind it.
const BROADCAST: [u8; 4] = [10, 0, 0, 255];
/// Whom the site speaks as, beside itself.
const AS_BRANCH: [u8; 4] = [192, 168, 20, 7];
const AS_VPC: [u8; 4] = [10, 0, 9, 9];

pub fn run() -> Result<()> {
    let sites = Sites::start("hostile_site")?;
    let site = &sites.stage.topology.on_premises;
    sites.peers[0].lead("169.254.0.0/16".parse()?)?;
    tool(
        site,
        "ip",
        &["address", "add", "169.254.10.2/30", "dev", "ipsec0"],
    )?;
    for address in [AS_BRANCH, AS_VPC] {
        let address = format!("{}/32", IpAddr::from(address));
        tool(site, "ip", &["address", "add", &address, "dev", "lo"])?;
    }
    let own = router(ON_PREMISES_HOST);
    other_sources_reach_nobody(&sites, own)?;
    the_host_is_closed(&sites, own)?;
    routing_gets_what_it_needs(&sites)
}

fn other_sources_reach_nobody(sites: &Sites, own: IpAddr) -> Result<()> {
    let topology = &sites.stage.topology;
    let hosts = [
        (&topology.vpc_host, VPC_HOST),
        (&sites.branch.host, BRANCH_HOST),
    ];
    for (namespace, host) in hosts {
        let receiver = receiver(namespace, host)?;
        wait_until("a datagram from the site's own address", SOON, || {
            send(&topology.on_premises, own, host)?;
            Ok((received(&receiver)? == Some(own)).then_some(()))
        })?;
        for source in [AS_BRANCH, AS_VPC] {
            dropped(sites, "source_not_routed", || {
                send(&topology.on_premises, source.into(), host)
            })?;
        }
        // Of its own there may be more on the way.
        while let Some(source) = received(&receiver)? {
            ensure!(
                source == own,
                "{host} got a datagram that the site sent as {source}"
            );
        }
    }
    Ok(())
}

fn the_host_is_closed(sites: &Sites, own: IpAddr) -> Result<()> {
    let topology = &sites.stage.topology;
    let (site, host) = (&topology.on_premises, router(VPC_HOST));
    let receiver = receiver(&topology.vpc, [0; 4].into())?;
    let service = topology
        .vpc
        .run(|| TcpListener::bind(("0.0.0.0", CLOSED)))??;
    service.set_nonblocking(true)?;
    for to in [host, BROADCAST.into(), OURS.into(), OF_BRANCH.into()] {
        for from in [own, PEER.into()] {
            dropped(sites, "host_closed", || send(site, from, to))
                .with_context(|| format!("from {from} to {to}"))?;
        }
    }
    for to in [host, OURS.into(), OF_BRANCH.into()] {
        dropped(sites, "host_closed", || {
            let connected =
                site.run(|| TcpStream::connect_timeout(&(to, CLOSED).into(), ATTEMPT))?;
            ensure!(connected.is_err(), "{to} took a connection");
            Ok(())
        })?;
    }
    dropped(sites, "host_closed", || {
        let answered = ping(site, PEER.into(), OF_BRANCH.into(), ATTEMPT)?;
        ensure!(
            answered.is_none(),
            "another connection's inside address answers"
        );
        Ok(())
    })?;
    let datagram = received(&receiver)?;
    ensure!(
        datagram.is_none(),
        "a service of the host got a datagram: {datagram:?}"
    );
    let accepted = service.accept().map(|(_, from)| from);
    let none = accepted
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    ensure!(none, "a service of the host got a connection: {accepted:?}");
    Ok(())
}

fn routing_gets_what_it_needs(sites: &Sites) -> Result<()> {
    let topology = &sites.stage.topology;
    let site = &topology.on_premises;
    for to in [router(VPC_HOST), OURS.into()] {
        let answered = ping(site, PEER.into(), to, SOON)?;
        answered.with_context(|| format!("{to} does not answer a ping"))?;
    }
    let _speaker = topology
        .vpc
        .run(|| TcpListener::bind((IpAddr::from(OURS), BGP)))??;
    let to = (IpAddr::from(OURS), BGP).into();
    let session = site.run(|| TcpStream::connect_timeout(&to, SOON))?;
    session.context("no BGP between the tunnel's inside addresses")?;
    Ok(())
}

/// Attempts it until it is counted for this reason.
fn dropped(sites: &Sites, reason: &str, attempt: impl Fn() -> Result<()>) -> Result<()> {
    let before = sites.gateway.dropped(reason)?;
    wait_until(reason, SOON, || {
        attempt()?;
        Ok((sites.gateway.dropped(reason)? > before).then_some(()))
    })
}

fn receiver(namespace: &Namespace, address: IpAddr) -> Result<UdpSocket> {
    let receiver = namespace.run(|| UdpSocket::bind((address, PORT)))??;
    receiver.set_nonblocking(true)?;
    Ok(receiver)
}

fn send(namespace: &Namespace, from: IpAddr, to: IpAddr) -> Result<()> {
    let sender = namespace.run(|| UdpSocket::bind((from, 0)))??;
    sender.send_to(b"hello", (to, PORT))?;
    Ok(())
}

/// Whom the next datagram is from, if there is one.
fn received(receiver: &UdpSocket) -> Result<Option<IpAddr>> {
    match receiver.recv_from(&mut [0; 16]) {
        Ok((_, from)) => Ok(Some(from.ip())),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}
