//! What differs between two configurations, by the names of the fields.

use crate::domain::{Connection, Gateway, Tunnel};

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
pub(crate) fn connection_fields(old: &Connection, new: &Connection) -> Vec<&'static str> {
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
pub(crate) fn tunnel_fields(old: &Tunnel, new: &Tunnel) -> Vec<&'static str> {
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
        (
            "failure_detection",
            old.failure_detection == new.failure_detection,
        ),
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
