//! What `vgw status --json` prints, as far as scenarios look at it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The whole gateway.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    /// VPN connections.
    pub connections: Vec<Connection>,
    /// IKE messages that came to nothing, by reason.
    pub denied: BTreeMap<String, u64>,
    /// Packets dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// What needs attention.
    pub problems: Vec<String>,
    /// What was refused before a tunnel could be told.
    pub refusals: Vec<Why>,
}

/// One VPN connection.
#[derive(Debug, Clone, Deserialize)]
pub struct Connection {
    /// Which tunnel sends.
    pub active_tunnel: Option<u8>,
    /// Both tunnels.
    pub tunnels: Vec<Tunnel>,
}

/// One tunnel.
#[derive(Debug, Clone, Deserialize)]
pub struct Tunnel {
    /// `vpn-office/1`.
    pub name: String,
    /// `up`, or what keeps it from it.
    pub state: String,
    /// Whether it is up.
    pub up: bool,
    /// The largest packet inside that is not fragmented outside, octets.
    pub mtu: Option<usize>,
    /// The MSS that TCP over IPv4 in it is held to.
    pub mss_ipv4: Option<usize>,
    /// What the link and the route outside carry of it, octets.
    pub outside_mtu: Option<usize>,
    /// Its IKE SA.
    pub ike: Option<Ike>,
    /// Its CHILD SAs.
    pub children: Vec<Child>,
    /// Traffic since the daemon started.
    pub traffic: Traffic,
    /// What the negotiator counted.
    pub counters: Counters,
    /// Why it last went down or did not come up, or what was refused.
    pub last: Option<Why>,
    /// Why the last rekey was refused, if nothing has come up since.
    pub rekey_refused: Option<Why>,
    /// What is known of what it waits for.
    pub awaited: Option<Awaited>,
    /// That nothing comes back through it.
    pub one_way: Option<Why>,
    /// That ESP is in UDP because nothing came back without.
    pub udp_fallback: Option<Why>,
    /// What it does not carry though it is up.
    pub problems: Vec<String>,
}

/// What a tunnel that is not up waits for.
#[derive(Debug, Clone, Deserialize)]
pub struct Awaited {
    /// What the facts amount to: `no_auth` and so on.
    pub finding: String,
    /// The same as a sentence.
    pub sentence: Option<String>,
}

/// An IKE SA.
#[derive(Debug, Clone, Deserialize)]
pub struct Ike {
    /// `initiator` or `responder`.
    pub role: String,
    /// Initiator's SPI.
    pub spi_i: String,
    /// Algorithms.
    pub suite: String,
    /// The peer's address and port.
    pub remote: std::net::SocketAddr,
    /// Whether the peer is behind NAT.
    pub nat_remote: bool,
}

/// A CHILD SA.
#[derive(Debug, Clone, Deserialize)]
pub struct Child {
    /// Inbound SPI.
    pub spi_in: String,
    /// Algorithms.
    pub suite: String,
    /// In UDP, or protocol 50.
    pub udp_encapsulation: bool,
    /// Whether the gateway sends with it.
    pub outbound: bool,
}

/// Packets of a tunnel.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Traffic {
    /// Authenticated packets.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
}

/// What the negotiator counted.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Counters {
    /// IKE SAs rekeyed.
    pub ike_rekeys: u64,
    /// CHILD SAs rekeyed.
    pub child_rekeys: u64,
    /// Rekeys refused.
    pub rekeys_refused: u64,
    /// Requests sent again.
    pub retransmissions: u64,
    /// Moves of the peer to another address or port.
    pub path_changes: u64,
}

/// A line that says why.
#[derive(Debug, Clone, Deserialize)]
pub struct Why {
    /// The line.
    pub why: String,
}

impl Status {
    /// Every line that says why something is not as it should be.
    #[must_use]
    pub fn reasons(&self) -> Vec<&str> {
        let tunnels = self.connections.iter().flat_map(|c| &c.tunnels);
        let last = tunnels.filter_map(|tunnel| tunnel.last.as_ref());
        let refused = last.chain(&self.refusals).map(|why| why.why.as_str());
        refused
            .chain(self.problems.iter().map(String::as_str))
            .collect()
    }
}
