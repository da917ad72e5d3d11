//! What `vgw status --json` prints.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The whole gateway; what `vgw status --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Itself.
    pub gateway: Gateway,
    /// VPN connections, in the order of the file.
    pub connections: Vec<Connection>,
    /// The threads that carry packets.
    #[serde(default)]
    pub data_plane: DataPlane,
    /// IKE SAs whose peer has not authenticated yet.
    pub half_open: usize,
    /// IKE messages that were refused, dropped or answered by a question since the start,
    /// whoever sent them, by reason; every reason is there.
    #[serde(default)]
    pub denied: BTreeMap<String, u64>,
    /// Packets dropped since the start, by reason; every reason is there. With ESN,
    /// packets later than the replay window count as `not_authentic`.
    pub drops: BTreeMap<String, u64>,
    /// Of packets that were dropped because the networks of the two ends differ, the latest
    /// example of each reason.
    #[serde(default)]
    pub misplaced: Vec<Misplaced>,
    /// IKE messages that arrived, whoever sent them.
    #[serde(default)]
    pub ike_messages: IkeMessages,
    /// What became of log lines.
    #[serde(default)]
    pub log: Log,
    /// What needs somebody's attention now; empty when all is well.
    pub problems: Vec<String>,
    /// Datagrams of no tunnel that were refused or dropped last, newest first.
    pub refusals: Vec<Refusal>,
}

/// A packet that was dropped because the networks of the two ends differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misplaced {
    /// Why, as in `drops`: `source_not_routed` or `unknown_destination`.
    pub reason: String,
    /// The tunnel that it came by, as in `vpn-office/1`.
    pub tunnel: String,
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
}

/// IKE messages since the start, before any was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeMessages {
    /// Well-formed ones, IKEv1 included: `established` name an IKE SA with a peer, `handshake` one
    /// whose peer has yet to authenticate, or come from a configured address;
    /// `stranger` are all others.
    pub received: BTreeMap<String, u64>,
    /// Requests for a new IKE SA among them.
    pub begin: u64,
    /// Those among them that name no IKE SA of ours.
    pub unknown_spi: u64,
    /// Dropped unread, by reason; every reason is there.
    pub dropped: BTreeMap<String, u64>,
}

/// Log lines that were not written since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Lost, because the log was read too slowly or could not be written.
    pub lines_lost: u64,
    /// Held back, because there were too many in a short time.
    pub lines_held_back: u64,
}

/// This end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Which end we are.
    pub side: Side,
    /// BGP autonomous system number.
    pub asn: u32,
    /// Outside addresses, as others reach them: of those behind a NAT that is configured,
    /// the public ones.
    pub outside_addresses: Vec<IpAddr>,
    /// Networks behind us.
    pub cidrs: Vec<String>,
    /// The largest packet that the outside carries whole, octets, as configured;
    /// a link or route may carry less, see the tunnels'.
    #[serde(default)]
    pub outside_mtu: u16,
    /// Whether sites reach each other through this gateway.
    #[serde(default)]
    pub cloudhub: bool,
}

/// The threads that carry packets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPlane {
    /// Threads that receive from the outside.
    pub workers_in: usize,
    /// Threads that receive from the TUN device.
    pub workers_out: usize,
    /// What the kernel does for them.
    pub offloads: Offloads,
    /// Algorithms that this CPU has wide instructions for. A daemon of another
    /// version may not tell.
    #[serde(default)]
    pub accelerated: Vec<String>,
    /// The TUN device's MTU, octets, whoever set it, or `tun.mtu` if that is less.
    #[serde(default)]
    pub tun_mtu: Option<usize>,
    /// Batches that the kernel refused and whose packets then went one by one, by
    /// where: `send` of ESP packets to be cut by the kernel, `tun_write` of packets
    /// joined for the TUN device.
    #[serde(default)]
    pub refused_batches: BTreeMap<String, u64>,
}

/// What is in use; each is false where it is switched off or the kernel lacks
/// it. Their names are those of `[data_plane]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offloads {
    /// Packets of the TUN device have a header of their own.
    pub tun_vnet_header: bool,
    /// TCP super-packets from and to the TUN device.
    pub tun_tso: bool,
    /// UDP super-packets from the TUN device.
    pub tun_uso: bool,
    /// A queue of the TUN device for each thread.
    pub tun_multi_queue: bool,
    /// Several ESP packets in one send.
    pub udp_gso: bool,
    /// Several ESP packets in one receive.
    pub udp_gro: bool,
}

/// Which end a daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The cloud side.
    VirtualPrivateGateway,
    /// The on-premises side.
    CustomerGateway,
}

/// One VPN connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Its name.
    pub id: String,
    /// The customer gateway's name.
    pub customer_gateway: String,
    /// Which of its tunnels sends: 1, 2, or null when none can.
    pub active_tunnel: Option<u8>,
    /// When and why the traffic last moved from one tunnel to the other; null if it never did.
    #[serde(default)]
    pub last_move: Option<Last>,
    /// Both tunnels.
    pub tunnels: Vec<Tunnel>,
}

/// One tunnel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tunnel {
    /// `vpn-office/1`.
    pub name: String,
    /// 1 or 2.
    pub number: u8,
    /// `up`, or what keeps it from it.
    pub state: String,
    /// Whether it is up: has a CHILD SA that carries traffic either way.
    pub up: bool,
    /// Whether the connection's outbound traffic goes through it.
    pub active: bool,
    /// Seconds in this state.
    pub since_seconds: f64,
    /// Why it is in this state.
    pub why: String,
    /// What it waits for; null while it is up. A daemon of another version may not tell.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// What is known of that: who is awaited, what came last, what would explain it; null
    /// while it is up.
    #[serde(default)]
    pub awaited: Option<Awaited>,
    /// The virtual private gateway's outside address.
    pub outside_address: IpAddr,
    /// Our inside address.
    pub inside_address: IpAddr,
    /// The largest packet inside that is not fragmented outside, octets; null
    /// while there is no CHILD SA to send with.
    #[serde(default)]
    pub mtu: Option<usize>,
    /// What the MSS of TCP over IPv4 is lowered to: what the tunnel and the TUN
    /// device carry.
    #[serde(default)]
    pub mss_ipv4: Option<usize>,
    /// What the MSS of TCP over IPv6 is lowered to.
    #[serde(default)]
    pub mss_ipv6: Option<usize>,
    /// The largest outer packet that goes whole, octets: the least of what the
    /// configuration, the link and the route to the peer say. Null while there is
    /// no CHILD SA to send with.
    #[serde(default)]
    pub outside_mtu: Option<usize>,
    /// `honor` or `ignore`: what becomes of packets that do not fit.
    #[serde(default)]
    pub df_policy: String,
    /// Whether the outer header has the inner one's DSCP.
    #[serde(default)]
    pub copy_dscp: bool,
    /// The most that it carries in each direction; null: no limit.
    #[serde(default)]
    pub bandwidth_limit_mbps: Option<u32>,
    /// The peer: where its IKE SA is, or where it is expected.
    pub peer: Option<String>,
    /// Its IKE SA.
    pub ike: Option<Ike>,
    /// Its CHILD SAs, the one that sends first.
    pub children: Vec<Child>,
    /// Traffic since the daemon started.
    pub traffic: Traffic,
    /// Counted since the daemon started.
    pub counters: Counters,
    /// IKE messages of its SAs that were dropped, by reason; reasons without any are left
    /// out.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
    /// What last went wrong, be it over or not: why it went down or did not
    /// come up, what was refused.
    pub last: Option<Last>,
    /// What it offers and accepts, by the options' names; null while nothing has gone wrong.
    #[serde(default)]
    pub algorithms: Option<Algorithms>,
    /// Why the last rekey was refused, if nothing has come up since.
    pub rekey_refused: Option<Last>,
    /// Packets that it does not carry though it is up, as its traffic selectors and the
    /// configured networks do not meet: a sentence each.
    #[serde(default)]
    pub problems: Vec<String>,
    /// That the peer seems not to be there: it is being asked, or does not answer; null once it
    /// answers or something comes back.
    #[serde(default)]
    pub suspect: Option<Last>,
    /// That packets are sent and none comes back though the peer answers IKE, and what
    /// may be the reason; null once something does.
    #[serde(default)]
    pub one_way: Option<Last>,
    /// That ESP is in UDP, because nothing came back by IP protocol 50.
    #[serde(default)]
    pub udp_fallback: Option<Last>,
}

/// The algorithms of a tunnel, most wanted first, as the configuration names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Algorithms {
    /// Ciphers of the IKE SA.
    pub phase1_encryption_algorithms: Vec<String>,
    /// Its integrity algorithms, for ciphers that are not AEAD; the pseudorandom functions
    /// use the same hashes.
    pub phase1_integrity_algorithms: Vec<String>,
    /// Its key exchange groups.
    pub phase1_dh_group_numbers: Vec<u16>,
    /// Ciphers of CHILD SAs.
    pub phase2_encryption_algorithms: Vec<String>,
    /// Their integrity algorithms, for ciphers that are not AEAD.
    pub phase2_integrity_algorithms: Vec<String>,
    /// Their groups for PFS; empty: no PFS.
    pub phase2_dh_group_numbers: Vec<u16>,
    /// `prefer`, `require` or `off`.
    pub phase2_extended_sequence_numbers: String,
}

/// What a tunnel that is not up waits for. Nothing of what came is authentic, as an
/// address can be forged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Awaited {
    /// `peer_to_begin`, `next_attempt`, `init_response`, `auth_response`, `child_sa` or
    /// `operator`.
    pub what: String,
    /// The address from which it is awaited; null: none is configured.
    pub from: Option<IpAddr>,
    /// What the facts amount to: `nothing_came`, `something_came`, `init_unanswered`,
    /// `auth_unanswered`, `no_auth`, `answers_lost`, `unknown_asks`, `ike_v1`, `no_child_sa`
    /// or `taken_down`.
    pub finding: String,
    /// The same as a sentence, with what may be the cause; null: there is nothing to say.
    pub sentence: Option<String>,
    /// Seconds for which notes have been taken: since the peer was configured as it is.
    pub noted_seconds: f64,
    /// What came last from that address, or, if it is null, from any that is no peer's.
    pub last_came: Option<LastCame>,
    /// Handshakes in a row that were begun from there, and no IKE_AUTH came.
    pub handshakes_begun: Option<Row>,
    /// IKE_SA_INIT requests that came again although they had been answered.
    pub init_repeated: u32,
    /// Our IKE_SA_INIT requests in a row to which no answer came.
    pub init_unanswered: Option<Row>,
    /// Our IKE_AUTH requests in a row to which none came.
    pub auth_unanswered: Option<Row>,
    /// Somebody who may be the peer at another address than is configured; null: nobody.
    #[serde(default)]
    pub unknown: Option<Unknown>,
}

/// Somebody whose address is not configured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Unknown {
    /// From where.
    pub remote: IpAddr,
    /// Handshakes that it began, all of them refused.
    pub handshakes: Row,
}

/// Messages in a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// How many.
    pub count: u32,
    /// Seconds since the first.
    pub first_ago_seconds: f64,
    /// Seconds since the last.
    pub last_ago_seconds: f64,
}

/// What came last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastCame {
    /// `init_request`, `init_response`, `auth_request`, `auth_response`, `of_unknown_sa`,
    /// `esp_of_unknown_sa`, `ike_v1`, `not_ike` or `authentic`.
    pub what: String,
    /// From where; null for `authentic`.
    pub remote: Option<SocketAddr>,
    /// Seconds ago.
    pub ago_seconds: f64,
}

/// An established IKE SA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ike {
    /// `initiator` or `responder`.
    pub role: String,
    /// Initiator's SPI, 16 hex digits.
    pub spi_i: String,
    /// Responder's SPI, 16 hex digits.
    pub spi_r: String,
    /// Algorithms.
    pub suite: String,
    /// Seconds since it was established.
    pub age_seconds: f64,
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// Who the peer is, authenticated.
    pub remote_id: String,
    /// Whether we are behind NAT, or pretend to be.
    pub nat_local: bool,
    /// Whether the peer is.
    pub nat_remote: bool,
}

/// A CHILD SA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// Inbound SPI, `0x` and 8 hex digits.
    pub spi_in: String,
    /// Outbound SPI.
    pub spi_out: String,
    /// Algorithms.
    pub suite: String,
    /// ESP in UDP; otherwise IP protocol 50.
    pub udp_encapsulation: bool,
    /// Whether we send with it.
    pub outbound: bool,
    /// Seconds since it was installed.
    pub age_seconds: f64,
    /// What may travel, our side.
    pub local_selectors: Vec<String>,
    /// What may travel, the peer's side.
    pub remote_selectors: Vec<String>,
}

/// Packets and octets since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets that passed authentication.
    pub packets_in: u64,
    /// Octets of them after decryption (AWS: TunnelDataIn).
    pub bytes_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Octets of them before encryption (AWS: TunnelDataOut).
    pub bytes_out: u64,
}

/// What negotiator and supervisor counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// IKE SAs established.
    pub ike_established: u64,
    /// IKE SAs rekeyed, by either side.
    pub ike_rekeys: u64,
    /// CHILD SAs rekeyed, by either side.
    pub child_rekeys: u64,
    /// Rekeys refused, by either side.
    pub rekeys_refused: u64,
    /// Requests sent again.
    pub retransmissions: u64,
    /// Requests of the peer seen again.
    pub duplicates: u64,
    /// IKE messages dropped.
    pub dropped: u64,
    /// Moves of the peer to another address or port.
    pub path_changes: u64,
    /// SAs and paths that the data plane refused.
    pub changes_refused: u64,
    /// How often traffic moved here from the connection's other tunnel.
    #[serde(default)]
    pub takeovers: u64,
}

/// What happened last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Last {
    /// Seconds ago.
    pub ago_seconds: f64,
    /// One line.
    pub why: String,
}

/// A datagram that was refused before a tunnel could be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// Seconds ago.
    pub ago_seconds: f64,
    /// Whose datagram.
    pub remote: SocketAddr,
    /// One line.
    pub why: String,
}
