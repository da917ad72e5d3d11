//! What a new configuration changes, in words for `vgw reload`.

use std::fmt;

use super::LONGEST_WAIT;
use crate::domain::{Connection, Gateway, Tunnel, TunnelName};

/// One difference between the configuration before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The gateway itself; names the fields.
    Gateway(Vec<&'static str>),
    /// A connection that was not there.
    ConnectionAdded(String),
    /// A connection that is there no more; its SAs are deleted.
    ConnectionRemoved(String),
    /// A connection's own fields; none of them restarts a tunnel by itself.
    Connection {
        /// Which.
        id: String,
        /// Its fields.
        fields: Vec<&'static str>,
    },
    /// Options of a tunnel that take effect while it stays up.
    TunnelAdjusted {
        /// Which.
        tunnel: TunnelName,
        /// Its fields.
        fields: Vec<&'static str>,
    },
    /// Options of a tunnel, or its connection's, that make it begin anew.
    TunnelRestarted {
        /// Which.
        tunnel: TunnelName,
        /// Its fields; the connection's that both tunnels depend on are among them.
        fields: Vec<&'static str>,
        /// Whether it waits until the other tunnel, which begins anew first, is up.
        waits: bool,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(fields) => write!(f, "gateway: changed {}", fields.join(", ")),
            Self::ConnectionAdded(id) => write!(f, "{id}: added"),
            Self::ConnectionRemoved(id) => write!(f, "{id}: removed"),
            Self::Connection { id, fields } => write!(f, "{id}: changed {}", fields.join(", ")),
            Self::TunnelAdjusted { tunnel, fields } => {
                write!(f, "{tunnel}: changed {}, stays up", fields.join(", "))
            }
            Self::TunnelRestarted {
                tunnel,
                fields,
                waits,
            } => {
                write!(f, "{tunnel}: changed {}, restarts", fields.join(", "))?;
                if *waits {
                    let longest = LONGEST_WAIT.as_secs();
                    write!(
                        f,
                        " when the other tunnel has and is up, in {longest} seconds at the latest"
                    )?;
                }
                Ok(())
            }
        }
    }
}

/// The names of the fields that differ.
fn names<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    let differing = fields.into_iter().filter(|(_, same)| !same);
    differing.map(|(name, _)| name).collect()
}

/// The gateway's own fields that differ.
pub(crate) fn gateway_fields(old: &Gateway, new: &Gateway) -> Vec<&'static str> {
    names([
        ("side", old.side == new.side),
        ("asn", old.asn == new.asn),
        (
            "outside_addresses",
            old.outside_addresses == new.outside_addresses,
        ),
        ("cidrs", old.cidrs == new.cidrs),
        ("outside_mtu", old.outside_mtu == new.outside_mtu),
        ("cloudhub", old.cloudhub == new.cloudhub),
        ("host_services", old.host_services == new.host_services),
        (
            "initiate_to_recover",
            old.initiate_to_recover == new.initiate_to_recover,
        ),
    ])
}

/// The connection's own fields that differ.
pub(super) fn connection_fields(old: &Connection, new: &Connection) -> Vec<&'static str> {
    names([
        (
            "customer_gateway",
            old.customer_gateway == new.customer_gateway,
        ),
        ("static_routes", old.static_routes == new.static_routes),
        ("vpc_cidrs", old.vpc_cidrs == new.vpc_cidrs),
        (
            "local_network_cidrs",
            old.local_network_cidrs == new.local_network_cidrs,
        ),
        (
            "remote_network_cidrs",
            old.remote_network_cidrs == new.remote_network_cidrs,
        ),
        ("failback", old.failback == new.failback),
        ("source_check", old.source_check == new.source_check),
    ])
}

/// The tunnel options that differ.
pub(super) fn tunnel_fields(old: &Tunnel, new: &Tunnel) -> Vec<&'static str> {
    let (p1, q1) = (&old.phase1, &new.phase1);
    let (p2, q2) = (&old.phase2, &new.phase2);
    names([
        (
            "outside_address",
            old.outside_address == new.outside_address,
        ),
        ("identity", old.identity == new.identity),
        ("tunnel_inside_cidr", old.inside_cidr == new.inside_cidr),
        ("pre_shared_key", old.psk == new.psk),
        (
            "phase1_encryption_algorithms",
            p1.encryption == q1.encryption,
        ),
        ("phase1_integrity_algorithms", p1.integrity == q1.integrity),
        ("phase1_dh_group_numbers", p1.groups == q1.groups),
        ("phase1_lifetime_seconds", p1.lifetime == q1.lifetime),
        (
            "phase2_encryption_algorithms",
            p2.encryption == q2.encryption,
        ),
        ("phase2_integrity_algorithms", p2.integrity == q2.integrity),
        ("phase2_dh_group_numbers", p2.groups == q2.groups),
        ("extended_sequence_numbers", p2.esn == q2.esn),
        ("phase2_lifetime_seconds", p2.lifetime == q2.lifetime),
        (
            "phase2_lifetime_bytes",
            p2.lifetime_bytes == q2.lifetime_bytes,
        ),
        (
            "phase2_lifetime_packets",
            p2.lifetime_packets == q2.lifetime_packets,
        ),
        (
            "rekey_margin_time_seconds",
            old.rekey_margin == new.rekey_margin,
        ),
        (
            "rekey_fuzz_percentage",
            old.rekey_fuzz_percent == new.rekey_fuzz_percent,
        ),
        ("replay_window_size", old.replay_window == new.replay_window),
        ("dpd_timeout_seconds", old.dpd_timeout == new.dpd_timeout),
        ("dpd_timeout_action", old.dpd_action == new.dpd_action),
        ("startup_action", old.startup_action == new.startup_action),
        ("encapsulation", old.encapsulation == new.encapsulation),
        ("df_policy", old.df_policy == new.df_policy),
        ("copy_dscp", old.copy_dscp == new.copy_dscp),
        (
            "bandwidth_limit_mbps",
            old.bandwidth_limit_mbps == new.bandwidth_limit_mbps,
        ),
    ])
}
