//! What there is to see of a gateway at one moment: plain values, for status
//! output and metrics to draw from. Ages and times are relative to that moment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use vgw_crypto::{EspSuite, IkeSuite};
use vgw_ike::config::{EspAlgorithms, IkeAlgorithms};
use vgw_ike::drop_reason::DropCounts;
use vgw_ike::event::{Nat, PeerCounters, Role};
use vgw_ike::identity::Identity;
use vgw_sa::{ChildTraffic, DfPolicy, Path, TrafficSelector, TunnelId, TunnelTraffic};

use crate::domain::{Side, TunnelName};
pub use crate::supervisor::{State, TunnelIndex};
use crate::why_not_up::WhyNotUp;

/// A gateway.
#[derive(Debug, Clone)]
pub struct Status {
    /// Which end it is.
    pub side: Side,
    /// Its BGP autonomous system number.
    pub asn: u32,
    /// Its outside addresses, as others reach them.
    pub outside_addresses: Vec<IpAddr>,
    /// The networks behind it.
    pub cidrs: Vec<IpNet>,
    /// The largest packet that the outside carries whole, octets.
    pub outside_mtu: u16,
    /// Whether sites reach each other through it.
    pub cloudhub: bool,
    /// IKE SAs that are being set up by peers not yet authenticated.
    pub half_open: usize,
    /// IKE messages that came to nothing, by reason, whoever sent them.
    pub denied: DropCounts,
    /// Key pairs made for key exchanges.
    pub key_pairs: u64,
    /// In the order of the configuration.
    pub connections: Vec<ConnectionStatus>,
    /// The last datagrams that were refused or dropped and belong to no configured peer, newest
    /// first, one per address.
    pub unknown_peers: Vec<UnknownPeerStatus>,
}

/// Somebody unknown who was refused.
#[derive(Debug, Clone)]
pub struct UnknownPeerStatus {
    /// Where its datagram came from.
    pub remote: SocketAddr,
    /// Why it was refused.
    pub refused: AgedText,
}

/// A line of text, and how old it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgedText {
    /// One line.
    pub text: String,
    /// How long ago.
    pub age: Duration,
}

/// A VPN connection.
#[derive(Debug, Clone)]
pub struct ConnectionStatus {
    /// Its name.
    pub id: String,
    /// The customer gateway's name.
    pub customer_gateway: String,
    /// What is sent into its tunnels.
    pub remote_prefixes: Vec<IpNet>,
    /// Whether traffic returns to the first tunnel.
    pub failback: bool,
    /// The tunnel that carries the outbound traffic; None while neither can.
    pub active: Option<TunnelIndex>,
    /// Why that changed last, if ever.
    pub last_move: Option<AgedText>,
    /// Both tunnels.
    pub tunnels: [TunnelStatus; 2],
}

/// AWS's telemetry of a tunnel: its status and the TunnelState metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telemetry {
    /// A CHILD SA is up; TunnelState 1.
    Up,
    /// TunnelState 0.
    Down,
}

/// The ends of a tunnel outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelEnds {
    /// The tunnel's name.
    pub name: TunnelName,
    /// Whether a CHILD SA is up.
    pub up: bool,
    /// Our outside address.
    pub local: IpAddr,
    /// The peer's: as its packets show it, else as configured.
    pub remote: IpAddr,
}

/// A tunnel.
#[derive(Debug, Clone)]
pub struct TunnelStatus {
    /// Its number.
    pub id: TunnelId,
    /// Its name.
    pub name: TunnelName,
    /// Its state.
    pub state: State,
    /// For how long it has had that state.
    pub since: Duration,
    /// Why it has that state.
    pub why: String,
    /// The last thing that went wrong, be it over or not.
    pub last_error: Option<AgedText>,
    /// What it offers and accepts; None while nothing has gone wrong.
    pub algorithms: Option<(IkeAlgorithms, EspAlgorithms)>,
    /// Why the last rekey was refused, if nothing has come up since: the tunnel is up,
    /// but not beyond the lifetime of its SAs.
    pub rekey_refused: Option<AgedText>,
    /// Where its traffic selectors and the configured networks do not meet while it is up,
    /// a sentence each.
    pub mismatches: Vec<String>,
    /// That the peer seems not to be there, and what is known of it; None once it answers or
    /// something comes back.
    pub suspect: Option<AgedText>,
    /// That nothing comes back through it though the peer answers IKE, and what may be
    /// the reason; None once something does.
    pub one_way: Option<AgedText>,
    /// That ESP is in UDP because nothing came back without.
    pub udp_fallback: Option<AgedText>,
    /// Our outside address.
    pub outside_local: IpAddr,
    /// The peer's outside address: as its packets show it, else as configured.
    pub outside_remote: Option<IpAddr>,
    /// The virtual private gateway's outside address, whichever end we are:
    /// AWS's name of the tunnel in metrics.
    pub outside_address: IpAddr,
    /// Who we say we are.
    pub local_id: Identity,
    /// Who the peer must say it is.
    pub remote_id: Identity,
    /// Our inside address.
    pub inside_local: Ipv4Addr,
    /// The peer's inside address.
    pub inside_remote: Ipv4Addr,
    /// What becomes of packets that do not fit.
    pub df_policy: DfPolicy,
    /// Whether the outer header has the inner one's DSCP.
    pub copy_dscp: bool,
    /// The most that it carries in each direction, in 1,000,000 bits per second.
    pub bandwidth_limit_mbps: Option<u32>,
    /// What it waits for, in words; None while it carries.
    pub waits_for: Option<String>,
    /// What is known of that; None while it carries.
    pub why_not_up: Option<WhyNotUp>,
    /// When we next initiate.
    pub retry_in: Option<Duration>,
    /// Attempts that failed in a row.
    pub failed_attempts: u32,
    /// IKE SAs, oldest first; more than one only for moments.
    pub ike: Vec<IkeStatus>,
    /// CHILD SAs, by inbound SPI.
    pub children: Vec<ChildStatus>,
    /// Since the tunnel was configured (AWS: TunnelDataIn and TunnelDataOut).
    pub traffic: TunnelTraffic,
    /// Times that its connection's traffic moved to it, since it was configured.
    pub takeovers: u64,
    /// SAs and paths of it that the data plane refused, since it was configured.
    pub changes_refused: u64,
    /// How long ago an authenticated packet was last seen to have come in.
    pub last_in: Option<Duration>,
    /// The negotiator's counters since the tunnel was configured.
    pub counters: PeerCounters,
}

impl TunnelStatus {
    /// What AWS calls UP and DOWN; with static routing the CHILD SA decides.
    #[must_use]
    pub const fn telemetry(&self) -> Telemetry {
        if self.state.carries() {
            Telemetry::Up
        } else {
            Telemetry::Down
        }
    }
}

/// An IKE SA.
#[derive(Debug, Clone)]
pub struct IkeStatus {
    /// Initiator's SPI.
    pub spi_i: u64,
    /// Responder's SPI.
    pub spi_r: u64,
    /// Who began it.
    pub role: Role,
    /// Algorithms.
    pub suite: IkeSuite,
    /// NATs on the way.
    pub nat: Nat,
    /// The way of its packets.
    pub path: Path,
    /// The peer's authenticated identity.
    pub remote_id: Identity,
    /// Since it was established or rekeyed.
    pub age: Duration,
    /// We rekey it no later than this, the peer perhaps earlier.
    pub rekeyed_within: Duration,
}

/// A CHILD SA.
#[derive(Debug, Clone)]
pub struct ChildStatus {
    /// SPI of packets that we receive.
    pub spi_in: u32,
    /// SPI of packets that we send.
    pub spi_out: u32,
    /// Algorithms.
    pub suite: EspSuite,
    /// Our side of what may travel.
    pub local_selectors: Vec<TrafficSelector>,
    /// The peer's side of what may travel.
    pub remote_selectors: Vec<TrafficSelector>,
    /// Whether outbound traffic uses it; an older one only receives.
    pub sends: bool,
    /// Since it was installed.
    pub age: Duration,
    /// We rekey it no later than this, for its age.
    pub rekeyed_within: Duration,
    /// What it carried.
    pub traffic: ChildTraffic,
}
