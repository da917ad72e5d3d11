//! Commands of the supervisor to the data plane, the kernel and the key log.

use std::net::IpAddr;

use ipnet::IpNet;
use vgw_ike::event::IkeKeyLog;
use vgw_sa::{
    Changes, ChildSa, GatewayId, HostService, Inside, InsideAddress, NextHop, Path, TunnelId,
    TunnelPolicy,
};

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
    /// Send every packet of this tunnel by this path from now on.
    SetPath {
        /// Whose.
        tunnel: TunnelId,
        /// The way.
        path: Path,
    },
    /// Treat every packet of this tunnel so from now on. It may have no CHILD
    /// SA yet, and keeps this for those to come.
    SetPolicy {
        /// Whose.
        tunnel: TunnelId,
        /// How.
        policy: TunnelPolicy,
    },
    /// Let a gateway's tunnels reach these services of the host and no others, beside
    /// what routing needs.
    SetHostServices(GatewayId, Vec<HostService>),
    /// Change our inside addresses.
    ChangeInside(Changes<Inside<IpAddr>, InsideAddress>),
    /// Whether packets from one tunnel of a gateway may go into another; at first they may
    /// not.
    SetCloudHub(GatewayId, bool),
    /// Change the forwarding tables: which tunnel carries which inside destination,
    /// and may have packets from there.
    ChangeForwarding(Changes<Inside<IpNet>, NextHop>),
    /// Change the sets of prefixes that decrypted packets may go to: the
    /// networks behind us and our inside addresses.
    ChangeLocalPrefixes(Changes<Inside<IpNet>, ()>),
    /// Change what the kernel's routing table of each VPC leads to the TUN device.
    ChangeKernelRoutes(Changes<Inside<IpNet>, ()>),
    /// Change the inside addresses (each with its /30) of the TUN devices.
    ChangeInsideAddresses(Changes<Inside<(IpAddr, u8)>, ()>),
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

/// A command that the data plane refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedCommand {
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
    pub fn if_refused(&self) -> Option<RefusedCommand> {
        match self {
            Self::InstallChild { child, .. } => Some(RefusedCommand::Install(child.spi_in)),
            Self::UseOutbound { spi_in, .. } => Some(RefusedCommand::Use(*spi_in)),
            Self::SetPath { tunnel, .. } => Some(RefusedCommand::Path(*tunnel)),
            Self::StopOutbound { .. }
            | Self::RemoveChild { .. }
            | Self::SetPolicy { .. }
            | Self::SetHostServices(..)
            | Self::ChangeInside(_)
            | Self::SetCloudHub(..)
            | Self::ChangeForwarding(_)
            | Self::ChangeLocalPrefixes(_)
            | Self::ChangeKernelRoutes(_)
            | Self::ChangeInsideAddresses(_)
            | Self::LogIkeKeys { .. } => None,
        }
    }
}
