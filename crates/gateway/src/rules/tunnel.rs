//! Rules of one tunnel.

use std::fmt::Display;
use std::time::Duration;

use vgw_crypto::Group;

use super::customer_gateway::identity;
use super::defaults::{PHASE1_GROUPS, PHASE2_GROUPS};
use super::options::{
    BANDWIDTH_LIMIT_MBPS, Bounds, DPD_TIMEOUT_SECONDS, PHASE1_LIFETIME_SECONDS,
    PHASE2_LIFETIME_BYTES, PHASE2_LIFETIME_PACKETS, PHASE2_LIFETIME_SECONDS, REKEY_FUZZ_PERCENTAGE,
    REKEY_MARGIN_TIME_SECONDS, REPLAY_WINDOW_SIZE, psk,
};
use super::{Violations, field, item, network};
use crate::domain::{Connection, DpdAction, Gateway, Side, StartupAction, Tunnel};

/// Checks everything that one tunnel alone can get wrong.
pub(super) fn check(
    violations: &mut Violations,
    place: &str,
    gateway: &Gateway,
    connection: &Connection,
    tunnel: &Tunnel,
) {
    ends(violations, place, gateway, connection, tunnel);
    violations.check(
        &field(place, "tunnel_inside_cidr"),
        network::inside_cidr(tunnel.inside_cidr),
    );
    violations.check(&field(place, "identity"), identity(&tunnel.identity));
    // Both ends know the key, so only their identities tell them apart: with one
    // for both, our own messages sent back to us would authenticate.
    if tunnel.identity == connection.customer_gateway.identity {
        violations.refuse(
            &field(place, "identity"),
            format!("{}, which is its customer gateway's too", tunnel.identity),
            "another identity than the customer gateway's",
        );
    }
    violations.check(&field(place, "pre_shared_key"), psk(tunnel.psk.0.expose()));
    algorithms(violations, place, tunnel);
    lifetimes(violations, place, tunnel);
    violations.check(
        &field(place, "replay_window_size"),
        REPLAY_WINDOW_SIZE.check(u64::from(tunnel.replay_window)),
    );
    seconds(
        violations,
        &field(place, "dpd_timeout_seconds"),
        DPD_TIMEOUT_SECONDS,
        tunnel.dpd_timeout,
    );
    if let Some(limit) = tunnel.bandwidth_limit_mbps {
        violations.check(
            &field(place, "bandwidth_limit_mbps"),
            BANDWIDTH_LIMIT_MBPS.check(u64::from(limit)),
        );
    }
    initiating(violations, place, gateway, connection, tunnel);
}

fn ends(
    violations: &mut Violations,
    place: &str,
    gateway: &Gateway,
    connection: &Connection,
    tunnel: &Tunnel,
) {
    let place = field(place, "outside_address");
    let address = tunnel.outside_address;
    violations.check(&place, network::outside_address(address));
    let same_family = |other: &std::net::IpAddr| other.is_ipv4() == address.is_ipv4();
    if gateway.side == Side::VirtualPrivateGateway && gateway.outside(address).is_none() {
        let ours = ours(gateway);
        violations.clash(
            &place,
            "gateway.outside_addresses",
            address.to_string(),
            format!("one of gateway.outside_addresses ({ours})"),
        );
    }
    let mut own = gateway.outside_addresses.iter().map(|ours| ours.address);
    if gateway.side == Side::CustomerGateway && !own.any(|ours| same_family(&ours)) {
        let ours = ours(gateway);
        violations.clash(
            &place,
            "gateway.outside_addresses",
            address.to_string(),
            format!("an address of the same family as one of ours ({ours})"),
        );
    }
    if let Some(customer) = connection.customer_gateway.ip_address
        && !same_family(&customer)
    {
        violations.refuse(
            &place,
            address.to_string(),
            format!("an address of the same family as the customer gateway's {customer}"),
        );
    }
}

fn algorithms(violations: &mut Violations, place: &str, tunnel: &Tunnel) {
    let (phase1, phase2) = (&tunnel.phase1, &tunnel.phase2);
    list(
        violations,
        place,
        "phase1_encryption_algorithms",
        &phase1.encryption,
    );
    list(
        violations,
        place,
        "phase1_integrity_algorithms",
        &phase1.integrity,
    );
    list(violations, place, "phase1_dh_group_numbers", &phase1.groups);
    list(
        violations,
        place,
        "phase2_encryption_algorithms",
        &phase2.encryption,
    );
    list(
        violations,
        place,
        "phase2_integrity_algorithms",
        &phase2.integrity,
    );
    // None of them: no PFS.
    each_once(violations, place, "phase2_dh_group_numbers", &phase2.groups);
    groups(
        violations,
        place,
        "phase1_dh_group_numbers",
        &phase1.groups,
        PHASE1_GROUPS,
    );
    groups(
        violations,
        place,
        "phase2_dh_group_numbers",
        &phase2.groups,
        PHASE2_GROUPS,
    );
}

/// A list that is set must offer something, and each thing once.
fn list<T: Display + PartialEq>(
    violations: &mut Violations,
    place: &str,
    name: &str,
    values: &[T],
) {
    if values.is_empty() {
        violations.refuse(&field(place, name), "an empty list", "at least one");
    }
    each_once(violations, place, name, values);
}

fn each_once<T: Display + PartialEq>(
    violations: &mut Violations,
    place: &str,
    name: &str,
    values: &[T],
) {
    let place = field(place, name);
    for (index, value) in values.iter().enumerate() {
        let earlier = values
            .iter()
            .take(index)
            .rposition(|earlier| earlier == value);
        if let Some(earlier) = earlier {
            violations.clash(
                &item(&place, index),
                &item(&place, earlier),
                format!("{value} twice"),
                "each of them once",
            );
        }
    }
}

fn groups(
    violations: &mut Violations,
    place: &str,
    name: &str,
    groups: &[Group],
    allowed: &[Group],
) {
    for group in groups.iter().filter(|group| !allowed.contains(group)) {
        violations.refuse(
            &field(place, name),
            group.to_string(),
            format!("groups of {}", join(allowed)),
        );
    }
}

fn lifetimes(violations: &mut Violations, place: &str, tunnel: &Tunnel) {
    let phase1 = field(place, "phase1_lifetime_seconds");
    let phase2 = field(place, "phase2_lifetime_seconds");
    let margin = field(place, "rekey_margin_time_seconds");
    seconds(
        violations,
        &phase1,
        PHASE1_LIFETIME_SECONDS,
        tunnel.phase1.lifetime,
    );
    seconds(
        violations,
        &phase2,
        PHASE2_LIFETIME_SECONDS,
        tunnel.phase2.lifetime,
    );
    seconds(
        violations,
        &margin,
        REKEY_MARGIN_TIME_SECONDS,
        tunnel.rekey_margin,
    );
    if tunnel.phase2.lifetime >= tunnel.phase1.lifetime {
        violations.clash(
            &phase2,
            &phase1,
            tunnel.phase2.lifetime.as_secs().to_string(),
            format!(
                "less than phase1_lifetime_seconds ({})",
                tunnel.phase1.lifetime.as_secs()
            ),
        );
    }
    let half = tunnel.phase2.lifetime / 2;
    if tunnel.rekey_margin > half {
        violations.clash(
            &margin,
            &phase2,
            tunnel.rekey_margin.as_secs().to_string(),
            format!(
                "at most half of phase2_lifetime_seconds ({})",
                half.as_secs()
            ),
        );
    }
    violations.check(
        &field(place, "rekey_fuzz_percentage"),
        REKEY_FUZZ_PERCENTAGE.check(u64::from(tunnel.rekey_fuzz_percent)),
    );
    let by_amount = [
        (
            "phase2_lifetime_bytes",
            PHASE2_LIFETIME_BYTES,
            tunnel.phase2.lifetime_bytes,
        ),
        (
            "phase2_lifetime_packets",
            PHASE2_LIFETIME_PACKETS,
            tunnel.phase2.lifetime_packets,
        ),
    ];
    for (name, bounds, value) in by_amount {
        if let Some(value) = value {
            violations.check(&field(place, name), bounds.check(value));
        }
    }
}

fn seconds(violations: &mut Violations, place: &str, bounds: Bounds, value: Duration) {
    violations.check(place, bounds.check(value.as_secs()));
}

/// AWS: StartupAction start needs the customer gateway's address; so does a
/// restart after a dead peer.
fn initiating(
    violations: &mut Violations,
    place: &str,
    gateway: &Gateway,
    connection: &Connection,
    tunnel: &Tunnel,
) {
    if gateway.remote_address(connection, tunnel).is_some() {
        return;
    }
    let expected = |alternative: &str| {
        format!(
            "{alternative}, as customer gateway {:?} has no ip_address to initiate to",
            connection.customer_gateway.id
        )
    };
    if tunnel.startup_action == StartupAction::Start {
        violations.refuse(&field(place, "startup_action"), "start", expected("add"));
    }
    if tunnel.dpd_action == DpdAction::Restart {
        violations.refuse(
            &field(place, "dpd_timeout_action"),
            "restart",
            expected("clear or none"),
        );
    }
}

/// Our outside addresses, as others reach them.
fn ours(gateway: &Gateway) -> String {
    let seen = gateway.outside_addresses.iter().map(|ours| ours.seen());
    join(&seen.collect::<Vec<_>>())
}

fn join<T: Display>(values: &[T]) -> String {
    let words: Vec<String> = values.iter().map(T::to_string).collect();
    words.join(", ")
}
