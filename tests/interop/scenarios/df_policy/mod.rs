//! Packets from the VPC that are larger than the tunnel's MTU, by a tunnel that honors
//! DF and by one that ignores it.
//!
//! Seen, for IPv4 with DF and for IPv6: where it is honored, the sender's kernel is told
//! the MTU that the status says, the packet does not arrive and is counted, and one of
//! just that size arrives; where it is ignored, nobody is told anything and the packet
//! arrives, in outer fragments and still with DF. Without DF it arrives so by either.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use vgw_harness::gateway::Gateway;
use vgw_harness::stage::{SOON, Stage};
use vgw_harness::tools::{count_packets, counted_packets, told_mtu};
use vgw_lab::topology::{HOST_LINK, VPC_HOST, VPC_HOST_V6};
use vgw_lab::wait_until;

/// The MTU of every link and of the TUN device: the largest packet that reaches it.
const LARGEST: usize = 1500;
/// Of AES-GCM in UDP over IPv4 (AWS's user guide, "MTU and MSS").
const MTU: usize = 1438;

/// Hosts of either family for each tunnel: a kernel remembers what it is told of one.
const SITE_HOSTS: [[&str; 2]; 2] = [
    ["192.168.10.1", "fd00:192::1"],
    ["192.168.10.2", "fd00:192::2"],
];

const FRAGMENTS: &str = "ip daddr 192.0.2.1 ip frag-off & 0x3fff != 0";
const WHOLE_WITH_DF: &str = "iifname eth0 ip length 1500 ip frag-off & 0x4000 != 0";

pub fn run() -> Result<()> {
    let stage = Stage::new("df_policy")?;
    let site = &stage.topology.on_premises_host;
    for address in ["192.168.10.2/24", "fd00:192::2/64"] {
        site.add_address(HOST_LINK, address.parse()?)?;
    }
    count_packets(&stage.topology.internet, "fragments", "forward", FRAGMENTS)?;
    count_packets(site, "whole", "input", WHOLE_WITH_DF)?;
    let (mut gateway, peer) = stage.both_up()?;
    peer.lead("fd00:10::/64".parse()?)?;
    for number in [1, 2] {
        ensure!(
            gateway.tunnel(number)?.mtu == Some(MTU),
            "{:?}",
            gateway.tunnel(number)?
        );
    }

    let [honored, ignored] = SITE_HOSTS;
    travels_in_fragments(&stage, &gateway, &Way::without_df(&stage, honored)?)?;
    for way in Way::of_both_families(&stage, honored)? {
        is_answered(&stage, &gateway, &way)?;
    }

    gateway.ask(&["tunnel", "down", "vpn-site/1"])?;
    gateway.await_tunnel(1, false, SOON)?;
    travels_in_fragments(&stage, &gateway, &Way::without_df(&stage, ignored)?)?;
    ensure!(
        counted_packets(site, "whole")? == 0,
        "DF where the sender set none"
    );
    for way in Way::of_both_families(&stage, ignored)? {
        travels_in_fragments(&stage, &gateway, &way)?;
    }
    ensure!(
        counted_packets(site, "whole")? == 1,
        "the packet lost its DF"
    );
    Ok(())
}

/// Datagrams from the VPC to a host of the site.
struct Way {
    sender: UdpSocket,
    receiver: UdpSocket,
    to: SocketAddr,
    headers: usize,
}

impl Way {
    /// By IPv4 and by IPv6. The kernel sets DF on what it believes to fit.
    fn of_both_families(stage: &Stage, [v4, v6]: [&str; 2]) -> Result<[Self; 2]> {
        Ok([
            Self::open(stage, VPC_HOST, v4)?,
            Self::open(stage, VPC_HOST_V6, v6)?,
        ])
    }

    /// By IPv4, as a sender that sets no DF.
    fn without_df(stage: &Stage, [v4, _]: [&str; 2]) -> Result<Self> {
        let vpc = &stage.topology.vpc_host;
        vpc.set_parameter("ipv4/ip_no_pmtu_disc", "1")?;
        let way = Self::open(stage, VPC_HOST, v4);
        vpc.set_parameter("ipv4/ip_no_pmtu_disc", "0")?;
        way
    }

    fn open(stage: &Stage, from: IpAddr, to: &str) -> Result<Self> {
        let receiver = stage
            .topology
            .on_premises_host
            .run(|| UdpSocket::bind((to, 0)))??;
        receiver.set_read_timeout(Some(SOON))?;
        Ok(Self {
            sender: stage
                .topology
                .vpc_host
                .run(|| UdpSocket::bind((from, 0)))??,
            to: receiver.local_addr()?,
            receiver,
            headers: if from.is_ipv4() { 28 } else { 48 },
        })
    }

    fn send(&self, packet: usize) -> Result<()> {
        self.sender
            .send_to(&vec![0x5a; packet - self.headers], self.to)?;
        Ok(())
    }

    /// Sees that the next packet to arrive is of this size.
    fn arrives(&self, packet: usize) -> Result<()> {
        let mut datagram = vec![0; LARGEST];
        let arrived = self
            .receiver
            .recv(&mut datagram)
            .context("nothing arrived")?
            + self.headers;
        ensure!(
            arrived == packet,
            "expected {packet} octets, {arrived} arrived"
        );
        Ok(())
    }
}

fn is_answered(stage: &Stage, gateway: &Gateway, way: &Way) -> Result<()> {
    let dropped = gateway.dropped("too_big")?;
    let fragments = fragments(stage)?;
    way.send(LARGEST)?;
    let told = wait_until("the answer", SOON, || {
        told_mtu(&stage.topology.vpc_host, way.to.ip())
    })?;
    println!("too large for {}: told {told}", way.to.ip());
    ensure!(
        usize::try_from(told)? == MTU,
        "the sender was told {told}, expected {MTU}"
    );
    way.send(MTU)?;
    way.arrives(MTU)?;
    ensure!(gateway.dropped("too_big")? == dropped + 1);
    ensure!(
        self::fragments(stage)? == fragments,
        "what fits was fragmented"
    );
    Ok(())
}

fn travels_in_fragments(stage: &Stage, gateway: &Gateway, way: &Way) -> Result<()> {
    let dropped = gateway.dropped("too_big")?;
    let fragments = fragments(stage)?;
    way.send(LARGEST)?;
    way.arrives(LARGEST)?;
    let fragments = self::fragments(stage)? - fragments;
    println!("too large for {}: {fragments} fragments", way.to.ip());
    ensure!(fragments == 2, "{fragments} fragments");
    ensure!(
        told_mtu(&stage.topology.vpc_host, way.to.ip())?.is_none(),
        "the sender was told"
    );
    ensure!(gateway.dropped("too_big")? == dropped);
    Ok(())
}

/// Fragments on their way to the site so far.
fn fragments(stage: &Stage) -> Result<u64> {
    counted_packets(&stage.topology.internet, "fragments")
}
