//! What the supervisor tells its surroundings to do.

use std::net::IpAddr;

use ipnet::IpNet;
use vgw_ike::event::{ChildSa, IkeKeyLog, Path};

use crate::domain::{DfPolicy, HostService};

/// Numbers a tunnel for as long as it is configured; small and dense, equal to
/// the negotiator's `PeerId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId(pub u32);

/// Entries of a table as they are to be from now on; None is to be no more. What is not
/// named stays, and at first there is nothing.
pub type Changes<K, V> = Vec<(K, Option<V>)>;

/// One thing to do, in order.
#[derive(Debug, Clone)]
pub enum Command {
    /// Accept packets of this CHILD SA. Its outbound keys are kept for [`Command::UseOutbound`].
    InstallChild {
        /// Whose.
        tunnel: TunnelId,
        /// Both directions' SPIs and keys.
        child: Box<ChildSa>,
        /// Anti-replay window, packets.
        replay_window: u32,
    },
    /// Send this tunnel's packets with this CHILD SA; an older one of the same
    /// tunnel and selectors sends no more but stays open for what is on the way.
    UseOutbound {
        /// Whose.
        tunnel: TunnelId,
        /// The inbound SPI, which names the CHILD SA.
        spi_in: u32,
    },
    /// Send no more with this CHILD SA, but accept what arrives with it.
    StopOutbound {
        /// Whose.
        tunnel: TunnelId,
        /// The inbound SPI.
        spi_in: u32,
    },
    /// Forget both directions of a CHILD SA.
    RemoveChild {
        /// Whose.
        tunnel: TunnelId,
        /// The inbound SPI.
        spi_in: u32,
    },
    /// Send every packet of this tunnel this way from now on.
    SetPath {
        /// Whose.
        tunnel: TunnelId,
        /// The way.
        path: Path,
    },
    /// Treat every packet of this tunnel so from now on. It may have no CHILD
    /// SA yet, and keeps this for those to come.
    SetTreatment {
        /// Whose.
        tunnel: TunnelId,
        /// How.
        treatment: Treatment,
    },
    /// Let tunnels reach these services of the gateway's own host and no others, beside
    /// what routing needs.
    SetHostServices(Vec<HostService>),
    /// Change our inside addresses.
    ChangeInside(Changes<IpAddr, InsideAddress>),
    /// Let what comes out of one tunnel into another, or not; at first it may not.
    SetCloudHub(bool),
    /// Change the forwarding table: which tunnel carries which inside destination,
    /// and may have packets from there.
    ChangeForwarding(Changes<IpNet, NextHop>),
    /// Change the set of prefixes that decrypted packets may go to: the
    /// networks behind us and our inside addresses.
    ChangeLocalPrefixes(Changes<IpNet, ()>),
    /// Change what the kernel's routing table of the VPC leads to the TUN device.
    ChangeKernelRoutes(Changes<IpNet, ()>),
    /// Change the inside addresses (each with its /30) of the TUN device.
    ChangeInsideAddresses(Changes<(IpAddr, u8), ()>),
    /// The keys of a new IKE SA; only if the key log is on.
    LogIkeKeys {
        /// Initiator's SPI.
        spi_i: u64,
        /// Responder's SPI.
        spi_r: u64,
        /// The algorithms.
        suite: vgw_crypto::IkeSuite,
        /// The keys.
        keys: IkeKeyLog,
    },
}

/// What leads to an inside prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The tunnel that packets to there leave by.
    pub carrier: TunnelId,
    /// The other tunnel that packets from there may come by.
    pub standby: Option<TunnelId>,
}

/// A command that the data plane did not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// [`Command::InstallChild`] of this inbound SPI; it is not installed.
    Install(u32),
    /// [`Command::UseOutbound`] of this inbound SPI; it is installed still.
    Use(u32),
    /// [`Command::SetPath`] of this tunnel; its packets go where they went before.
    Path(TunnelId),
}

impl Command {
    /// What the supervisor is to be told if this is not taken. None for what is always
    /// taken, and for what stops or removes an SA: one that is not there needs neither.
    #[must_use]
    pub fn if_refused(&self) -> Option<Refused> {
        match self {
            Self::InstallChild { child, .. } => Some(Refused::Install(child.spi_in)),
            Self::UseOutbound { spi_in, .. } => Some(Refused::Use(*spi_in)),
            Self::SetPath { tunnel, .. } => Some(Refused::Path(*tunnel)),
            Self::StopOutbound { .. }
            | Self::RemoveChild { .. }
            | Self::SetTreatment { .. }
            | Self::SetHostServices(_)
            | Self::ChangeInside(_)
            | Self::SetCloudHub(_)
            | Self::ChangeForwarding(_)
            | Self::ChangeLocalPrefixes(_)
            | Self::ChangeKernelRoutes(_)
            | Self::ChangeInsideAddresses(_)
            | Self::LogIkeKeys { .. } => None,
        }
    }
}

/// An inside address of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InsideAddress {
    /// Ours.
    pub ours: IpAddr,
    /// That of the tunnel's other end.
    pub peer: IpAddr,
    /// The tunnel, as the carrier, and the other one of its connection.
    pub tunnels: NextHop,
}

/// How a tunnel's packets are treated, beside being sealed and opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Treatment {
    /// The largest packet that the outside carries whole, octets.
    pub outside_mtu: u16,
    /// What becomes of packets that do not fit.
    pub df_policy: DfPolicy,
    /// Whether the outer header has the inner one's DSCP.
    pub copy_dscp: bool,
    /// Bits of inner packets per second in each direction; None: no limit.
    pub bandwidth_limit: Option<u64>,
    /// Whether what the peer sends must have a source that its routes lead to.
    pub source_check: bool,
}

/// What the data plane counted for one tunnel, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TunnelTraffic {
    /// Packets that passed authentication.
    pub packets_in: u64,
    /// Octets after decryption (AWS: TunnelDataIn).
    pub bytes_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Octets before encryption (AWS: TunnelDataOut).
    pub bytes_out: u64,
}

/// What the data plane counted for one CHILD SA, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChildTraffic {
    /// The inbound SPI.
    pub spi_in: u32,
    /// Packets received and accepted.
    pub packets_in: u64,
    /// Octets received, after decryption.
    pub bytes_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Octets sent, before encryption.
    pub bytes_out: u64,
    /// Last sequence number sent.
    pub sequence: u64,
}
