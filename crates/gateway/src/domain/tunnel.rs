//! A tunnel with AWS's tunnel options and ours.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;
use vgw_crypto::{Encryption, Group, Integrity};
use vgw_ike::config::{Encapsulation, Psk};
use vgw_ike::identity::Identity;
use vgw_sa::DfPolicy;

/// One of the two tunnels, with AWS's tunnel options.
#[derive(Debug, Clone, PartialEq)]
pub struct Tunnel {
    /// The virtual private gateway's end, as its peers reach it.
    pub outside_address: IpAddr,
    /// What the virtual private gateway says in its ID payload; by default `outside_address`.
    pub identity: Identity,
    /// TunnelInsideCidr: first host is the gateway, second the customer gateway.
    pub inside_cidr: Ipv4Net,
    /// PreSharedKey.
    pub psk: Psk,
    /// Phase1 algorithms.
    pub phase1: Phase1,
    /// Phase2 algorithms.
    pub phase2: Phase2,
    /// RekeyMarginTimeSeconds.
    pub rekey_margin: Duration,
    /// RekeyFuzzPercentage.
    pub rekey_fuzz_percent: u32,
    /// ReplayWindowSize, packets.
    pub replay_window: u32,
    /// DPDTimeoutSeconds.
    pub dpd_timeout: Duration,
    /// DPDTimeoutAction.
    pub dpd_action: DpdAction,
    /// How soon traffic leaves it when its peer is not there any more.
    pub failure_detection: FailureDetection,
    /// StartupAction.
    pub startup_action: StartupAction,
    /// ESP in UDP or as protocol 50.
    pub encapsulation: Encapsulation,
    /// What becomes of packets that do not fit.
    pub df_policy: DfPolicy,
    /// Whether the outer header has the inner one's DSCP.
    pub copy_dscp: bool,
    /// The most that it carries in each direction, in 1,000,000 bits of inner
    /// packets per second; None: no limit.
    pub bandwidth_limit_mbps: Option<u32>,
}

impl Tunnel {
    /// The gateway's and the customer gateway's inside addresses.
    #[must_use]
    pub fn inside_addresses(&self) -> (Ipv4Addr, Ipv4Addr) {
        let network = u32::from(self.inside_cidr.network());
        (
            Ipv4Addr::from(network.wrapping_add(1)),
            Ipv4Addr::from(network.wrapping_add(2)),
        )
    }
}

/// Algorithms and lifetime of the IKE SA, lists most wanted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase1 {
    /// Phase1EncryptionAlgorithms.
    pub encryption: Vec<Encryption>,
    /// Phase1IntegrityAlgorithms; the PRF follows them.
    pub integrity: Vec<Integrity>,
    /// Phase1DHGroupNumbers.
    pub groups: Vec<Group>,
    /// Phase1LifetimeSeconds.
    pub lifetime: Duration,
}

/// Algorithms and lifetimes of the CHILD SA, lists most wanted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase2 {
    /// Phase2EncryptionAlgorithms.
    pub encryption: Vec<Encryption>,
    /// Phase2IntegrityAlgorithms.
    pub integrity: Vec<Integrity>,
    /// Phase2DHGroupNumbers, for PFS; none of them: no PFS.
    pub groups: Vec<Group>,
    /// Extended sequence numbers, most wanted first.
    pub esn: Vec<bool>,
    /// Phase2LifetimeSeconds.
    pub lifetime: Duration,
    /// Rekey after this many octets, either way.
    pub lifetime_bytes: Option<u64>,
    /// Rekey after this many packets, either way.
    pub lifetime_packets: Option<u64>,
}

/// What follows when a peer is found dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DpdAction {
    /// Take the tunnel down and wait for the peer.
    #[default]
    Clear,
    /// Nothing: keep the SAs.
    None,
    /// Take the tunnel down and initiate anew.
    Restart,
}

/// How soon traffic leaves a tunnel whose peer is not there any more. Dead peer detection takes
/// the tunnel down in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailureDetection {
    /// The peer is asked as soon as packets leave and none comes back, and traffic moves within
    /// a fraction of a second. Without effect where DPDTimeoutAction is none.
    #[default]
    Fast,
    /// By dead peer detection alone.
    Dpd,
}

/// Whether we initiate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartupAction {
    /// Wait for the peer.
    #[default]
    Add,
    /// Initiate at start.
    Start,
}
