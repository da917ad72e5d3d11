//! The negotiator's configuration of each peer.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use vgw_crypto::{Encryption, Group, Integrity, Prf, Secret};

use crate::peer::identity::Identity;

/// One tunnel's other end, as the negotiator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerConfig {
    /// For logs: `vpn-office/1`.
    pub name: String,
    /// Our outside address.
    pub local: IpAddr,
    /// The public address of a NAT before us that maps it to `local` alone, as clouds do. None
    /// without such a NAT.
    pub public: Option<IpAddr>,
    /// The peer's outside address. None: the peer may be anywhere, only its identity is known, and
    /// we cannot initiate.
    pub remote: Option<IpAddr>,
    /// The identity that we send in IDi or IDr.
    pub local_id: Identity,
    /// The identity that the peer must send.
    pub remote_id: Identity,
    /// Pre-shared key.
    pub psk: Psk,
    /// Keys that somebody may have given the peer by mistake. We accept none of them, but we report
    /// it if one matches.
    pub mistakable: Vec<OtherKey>,
    /// Algorithms of the IKE SA.
    pub ike: IkeAlgorithms,
    /// Algorithms of the CHILD SA.
    pub esp: EspAlgorithms,
    /// Our side of the traffic that is allowed.
    pub local_selectors: Vec<IpNet>,
    /// The peer's side of the traffic that is allowed.
    pub remote_selectors: Vec<IpNet>,
    /// Advice on how to configure the peer's networks; shown when traffic selectors do not match.
    pub network_advice: String,
    /// Whether ESP is encapsulated in UDP.
    pub encapsulation: Encapsulation,
    /// When the IKE SA is rekeyed.
    pub ike_lifetime: Lifetime,
    /// When the CHILD SA is rekeyed.
    pub child_lifetime: Lifetime,
    /// Dead peer detection; None: off.
    pub liveness: Option<Liveness>,
}

impl PeerConfig {
    /// Whether SAs that were negotiated with this configuration are also valid under the other one:
    /// the two differ only in how SAs are used, not in how they are made.
    #[must_use]
    pub fn negotiates_as(&self, other: &Self) -> bool {
        let timed_as_other = Self {
            ike_lifetime: other.ike_lifetime,
            child_lifetime: other.child_lifetime,
            liveness: other.liveness,
            ..self.clone()
        };
        timed_as_other.differs_in_words(other)
    }

    /// Whether the two differ at most in texts about the peer.
    #[must_use]
    pub fn differs_in_words(&self, other: &Self) -> bool {
        self.with_words_of(other) == *other
    }

    /// This configuration, with the other one's texts about the peer.
    pub(crate) fn with_words_of(&self, other: &Self) -> Self {
        Self {
            mistakable: other.mistakable.clone(),
            network_advice: other.network_advice.clone(),
            ..self.clone()
        }
    }
}

/// A pre-shared key. It is never printed, and compared only to notice a change of configuration.
#[derive(Debug, Clone)]
pub struct Psk(pub Secret);

impl PartialEq for Psk {
    fn eq(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.0.expose().ct_eq(other.0.expose()).into()
    }
}

/// The pre-shared key of another peer.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherKey {
    /// The [name](PeerConfig::name) of that peer.
    pub of: String,
    /// Its key.
    pub psk: Psk,
}

/// Whether keys of IKE SAs are reported, for a log that decrypts a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyLog {
    /// Keys are not reported; no copy is made.
    #[default]
    Off,
    /// Keys are reported by [`crate::core::event::Event::IkeKeys`].
    On,
}

/// Each list in our order of preference, most wanted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeAlgorithms {
    /// Ciphers, AEAD or not.
    pub encryption: Vec<Encryption>,
    /// Used with the ciphers that are not AEAD.
    pub integrity: Vec<Integrity>,
    /// Pseudorandom functions.
    pub prf: Vec<Prf>,
    /// Key exchange methods.
    pub groups: Vec<Group>,
}

/// Each list in our order of preference, most wanted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspAlgorithms {
    /// Ciphers, AEAD or not.
    pub encryption: Vec<Encryption>,
    /// Used with the ciphers that are not AEAD.
    pub integrity: Vec<Integrity>,
    /// Groups for PFS at a rekey; empty: no PFS.
    pub groups: Vec<Group>,
    /// Extended sequence numbers, most wanted first: `[true, false]` prefers them, but also accepts
    /// an SA without them.
    pub esn: Vec<bool>,
}

/// Whether ESP travels in UDP port 4500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encapsulation {
    /// In UDP where NAT detection finds a NAT (RFC 7296 section 2.23).
    #[default]
    Auto,
    /// As [`Self::Auto`], but we make NAT detection find a NAT if the peer supports detection. Not
    /// configurable; see [`crate::endpoint::Endpoint::set_encapsulation`].
    PreferUdp,
    /// Always in UDP: we make NAT detection find a NAT.
    Udp,
    /// Always as IP protocol 50. A NAT on the way is then an error.
    Native,
}

impl Encapsulation {
    /// Whether we pretend to be behind a NAT, so that ESP goes in UDP.
    pub(crate) const fn pretends(self) -> bool {
        match self {
            Self::PreferUdp | Self::Udp => true,
            Self::Auto | Self::Native => false,
        }
    }
}

/// When an SA is replaced. It is rekeyed at `time - margin * (1 + random(0..=fuzz_percent) / 100)`
/// and ends at `time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Hard end.
    pub time: Duration,
    /// AWS's RekeyMarginTimeSeconds.
    pub margin: Duration,
    /// AWS's RekeyFuzzPercentage.
    pub fuzz_percent: u32,
}

/// Dead peer detection by empty INFORMATIONAL exchanges (RFC 7296 section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// Ask the peer after this long without an authenticated packet from it.
    pub idle: Duration,
    /// The peer is dead after this long without an authenticated packet; more than `idle`.
    pub timeout: Duration,
}

/// Limits on what peers may cost before they authenticate, and timings that are the same for every
/// peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// With this many handshakes under way or recently refused, IKE_SA_INIT needs a cookie. Known
    /// peers and strangers are counted apart.
    pub cookie_threshold: usize,
    /// Places for half-open IKE SAs; a quarter of them are only for known peers.
    pub half_open: usize,
    /// The share of one core's time for the handshakes of all strangers, in percent.
    pub strangers_percent: u32,
    /// How many authentications of one source may fail in a minute before the next one has to wait.
    pub failed_authentications: u32,
    /// A key exchange that takes this long or longer is a job
    /// ([`crate::endpoint::Endpoint::poll_job`]); shorter ones are computed at once.
    pub job_from: Duration,
    /// A half-open IKE SA is forgotten after this long.
    pub half_open_timeout: Duration,
    /// The pause before the first retransmission; it doubles up to `retransmit_max`.
    pub retransmit_first: Duration,
    /// Longest pause between retransmissions.
    pub retransmit_max: Duration,
    /// A handshake is given up after this long without an answer.
    pub handshake_timeout: Duration,
    /// Behind a NAT, a keepalive is sent this often (RFC 3948 section 4).
    pub nat_keepalive: Duration,
    /// The old inbound SA is kept this long after a rekey for packets still on the way.
    pub rekeyed_linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cookie_threshold: 32,
            half_open: 1024,
            strangers_percent: 25,
            failed_authentications: 10,
            // This is a fifth of a turn of the control loop, and more than handing over to another
            // thread takes. In benches/results groups 31 and 19 take 0.12 and 0.7 ms, groups 14, 20
            // and 21 2.4 ms, group 18 62 ms.
            job_from: Duration::from_millis(1),
            half_open_timeout: Duration::from_secs(30),
            retransmit_first: Duration::from_millis(500),
            retransmit_max: Duration::from_secs(4),
            handshake_timeout: Duration::from_secs(20),
            nat_keepalive: Duration::from_secs(20),
            rekeyed_linger: Duration::from_secs(5),
        }
    }
}
