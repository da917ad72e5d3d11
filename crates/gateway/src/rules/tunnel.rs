//! Rules of one tunnel.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use vgw_crypto::Group;

use super::customer_gateway::identity;
use super::defaults::{PHASE1_GROUPS, PHASE2_GROUPS};
use super::options::{
    BANDWIDTH_LIMIT_MBPS, Bounds, DPD_TIMEOUT_SECONDS, OUTSIDE_ADDRESSES, PHASE1_LIFETIME_SECONDS,
    PHASE2_LIFETIME_BYTES, PHASE2_LIFETIME_PACKETS, PHASE2_LIFETIME_SECONDS, REKEY_FUZZ_PERCENTAGE,
    REKEY_MARGIN_TIME_SECONDS, REPLAY_WINDOW_SIZE, psk,
};
use super::{Code, Field, Findings, Refusal, Subject, Violation, addresses};
use crate::domain::{Connection, DpdAction, Gateway, Side, StartupAction, Tunnel, TunnelName};

/// Names everything that one tunnel alone gets wrong.
pub(super) fn check(
    gateway: &Gateway,
    connection: &Connection,
    number: u8,
    tunnel: &Tunnel,
) -> Vec<Violation> {
    let mut findings = Findings::about(Subject::Tunnel(TunnelName::of(connection, number)));
    ends(&mut findings, gateway, connection, tunnel);
    findings.check(
        "tunnel_inside_cidr",
        addresses::inside_cidr(tunnel.inside_cidr),
    );
    findings.check("identity", identity(&tunnel.identity));
    // Both ends know the key, so only their identities tell them apart: with one
    // for both, our own messages sent back to us would authenticate.
    if tunnel.identity == connection.customer_gateway.identity {
        findings.refuse(
            Code::InvalidParameterCombination,
            "identity",
            format!("{}, which is its customer gateway's too", tunnel.identity),
            "another identity than the customer gateway's",
        );
    }
    findings.check("pre_shared_key", psk(tunnel.psk.0.expose()));
    algorithms(&mut findings, tunnel);
    lifetimes(&mut findings, tunnel);
    findings.check(
        "replay_window_size",
        REPLAY_WINDOW_SIZE.check(u64::from(tunnel.replay_window)),
    );
    findings.check(
        "dpd_timeout_seconds",
        seconds(DPD_TIMEOUT_SECONDS, tunnel.dpd_timeout),
    );
    if let Some(limit) = tunnel.bandwidth_limit_mbps {
        findings.check(
            "bandwidth_limit_mbps",
            BANDWIDTH_LIMIT_MBPS.check(u64::from(limit)),
        );
    }
    initiating(&mut findings, gateway, connection, tunnel);
    findings.violations
}

fn ends(findings: &mut Findings, gateway: &Gateway, connection: &Connection, tunnel: &Tunnel) {
    const NAME: &str = "outside_address";
    let address = tunnel.outside_address;
    findings.check(NAME, addresses::outside_address(address));
    let same_family = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
    let mut own = gateway.outside_addresses.iter().map(|ours| ours.address);
    let expected = match gateway.side {
        Side::VirtualPrivateGateway if gateway.outside(address).is_none() => {
            let ours = ours(gateway);
            Some(format!("one of gateway.outside_addresses ({ours})"))
        }
        Side::CustomerGateway if !own.any(|ours| same_family(&ours)) => {
            let ours = ours(gateway);
            Some(format!(
                "an address of the same family as one of ours ({ours})"
            ))
        }
        _ => None,
    };
    if let Some(expected) = expected {
        findings.clash(
            Code::InvalidParameterCombination,
            NAME,
            (&Subject::Gateway, OUTSIDE_ADDRESSES),
            Refusal::new(address.to_string(), expected),
        );
    }
    if let Some(customer) = connection.customer_gateway.ip_address
        && !same_family(&customer)
    {
        findings.refuse(
            Code::InvalidParameterCombination,
            NAME,
            address.to_string(),
            format!("an address of the same family as the customer gateway's {customer}"),
        );
    }
}

fn algorithms(findings: &mut Findings, tunnel: &Tunnel) {
    let (phase1, phase2) = (&tunnel.phase1, &tunnel.phase2);
    list(findings, "phase1_encryption_algorithms", &phase1.encryption);
    list(findings, "phase1_integrity_algorithms", &phase1.integrity);
    list(findings, "phase1_dh_group_numbers", &phase1.groups);
    list(findings, "phase2_encryption_algorithms", &phase2.encryption);
    list(findings, "phase2_integrity_algorithms", &phase2.integrity);
    // None of them: no PFS.
    each_once(findings, "phase2_dh_group_numbers", &phase2.groups);
    groups(
        findings,
        "phase1_dh_group_numbers",
        &phase1.groups,
        PHASE1_GROUPS,
    );
    groups(
        findings,
        "phase2_dh_group_numbers",
        &phase2.groups,
        PHASE2_GROUPS,
    );
}

/// A list that is set must offer something, and each thing once.
fn list<T: Display + PartialEq>(findings: &mut Findings, name: &'static str, values: &[T]) {
    if values.is_empty() {
        findings.refuse(
            Code::InvalidParameterValue,
            name,
            "an empty list",
            "at least one",
        );
    }
    each_once(findings, name, values);
}

fn each_once<T: Display + PartialEq>(findings: &mut Findings, name: &'static str, values: &[T]) {
    for (index, value) in values.iter().enumerate() {
        let mut earlier = values.iter().take(index);
        if let Some(earlier) = earlier.rposition(|earlier| earlier == value) {
            findings.clash_within(
                Code::InvalidParameterValue,
                Field::item(name, index),
                Field::item(name, earlier),
                Refusal::new(format!("{value} twice"), "each of them once"),
            );
        }
    }
}

fn groups(findings: &mut Findings, name: &'static str, groups: &[Group], allowed: &[Group]) {
    for group in groups.iter().filter(|group| !allowed.contains(group)) {
        findings.refuse(
            Code::InvalidParameterValue,
            name,
            group.to_string(),
            format!("groups of {}", join(allowed)),
        );
    }
}

fn lifetimes(findings: &mut Findings, tunnel: &Tunnel) {
    const PHASE1: &str = "phase1_lifetime_seconds";
    const PHASE2: &str = "phase2_lifetime_seconds";
    const MARGIN: &str = "rekey_margin_time_seconds";
    let (phase1, phase2) = (&tunnel.phase1, &tunnel.phase2);
    let margin = tunnel.rekey_margin;
    findings.check(PHASE1, seconds(PHASE1_LIFETIME_SECONDS, phase1.lifetime));
    findings.check(PHASE2, seconds(PHASE2_LIFETIME_SECONDS, phase2.lifetime));
    findings.check(MARGIN, seconds(REKEY_MARGIN_TIME_SECONDS, margin));
    if phase2.lifetime >= phase1.lifetime {
        let expected = format!("less than {PHASE1} ({})", phase1.lifetime.as_secs());
        let refusal = Refusal::new(phase2.lifetime.as_secs().to_string(), expected);
        findings.clash_within(Code::InvalidParameterCombination, PHASE2, PHASE1, refusal);
    }
    let half = phase2.lifetime / 2;
    if margin > half {
        let expected = format!("at most half of {PHASE2} ({})", half.as_secs());
        let refusal = Refusal::new(margin.as_secs().to_string(), expected);
        findings.clash_within(Code::InvalidParameterCombination, MARGIN, PHASE2, refusal);
    }
    findings.check(
        "rekey_fuzz_percentage",
        REKEY_FUZZ_PERCENTAGE.check(u64::from(tunnel.rekey_fuzz_percent)),
    );
    if let Some(bytes) = phase2.lifetime_bytes {
        findings.check("phase2_lifetime_bytes", PHASE2_LIFETIME_BYTES.check(bytes));
    }
    if let Some(packets) = phase2.lifetime_packets {
        let verdict = PHASE2_LIFETIME_PACKETS.check(packets);
        findings.check("phase2_lifetime_packets", verdict);
    }
}

fn seconds(bounds: Bounds, value: Duration) -> Result<(), Refusal> {
    bounds.check(value.as_secs())
}

/// AWS: StartupAction start needs the customer gateway's address; so does a
/// restart after a dead peer.
fn initiating(
    findings: &mut Findings,
    gateway: &Gateway,
    connection: &Connection,
    tunnel: &Tunnel,
) {
    if gateway.remote_address(connection, tunnel).is_some() {
        return;
    }
    let start = tunnel.startup_action == StartupAction::Start;
    let restart = tunnel.dpd_action == DpdAction::Restart;
    for (broken, name, found, alternative) in [
        (start, "startup_action", "start", "add"),
        (restart, "dpd_timeout_action", "restart", "clear or none"),
    ] {
        if broken {
            let expected = format!(
                "{alternative}, as customer gateway {:?} has no ip_address to initiate to",
                connection.customer_gateway.id
            );
            findings.refuse(Code::InvalidParameterCombination, name, found, expected);
        }
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
