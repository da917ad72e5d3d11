//! `[[vpn_connection.tunnel]]`: AWS's tunnel options and ours.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::Ipv4Net;
use toml::de::DeValue;
use vgw_crypto::{Encryption, Group, Integrity};
use vgw_gateway::domain::{
    DpdAction, FailureDetection, Gateway, Phase1, Phase2, Side, StartupAction, Tunnel,
};
use vgw_gateway::rules::{self, Bounds, Refusal};
use vgw_ike::config::Encapsulation;
use vgw_ike::identity::Identity;
use vgw_sa::DfPolicy;

use super::keys::KeySource;
use super::table::Table;
use super::{pre_shared_key, stand_in, values};

const DPD_ACTIONS: &[(&str, DpdAction)] = &[
    ("clear", DpdAction::Clear),
    ("none", DpdAction::None),
    ("restart", DpdAction::Restart),
];
const FAILURE_DETECTIONS: &[(&str, FailureDetection)] = &[
    ("fast", FailureDetection::Fast),
    ("dpd", FailureDetection::Dpd),
];
const STARTUP_ACTIONS: &[(&str, StartupAction)] =
    &[("add", StartupAction::Add), ("start", StartupAction::Start)];
const ENCAPSULATIONS: &[(&str, Encapsulation)] = &[
    ("auto", Encapsulation::Auto),
    ("udp", Encapsulation::Udp),
    ("native", Encapsulation::Native),
];
const DF_POLICIES: &[(&str, DfPolicy)] =
    &[("honor", DfPolicy::Honor), ("ignore", DfPolicy::Ignore)];
/// Each with the values that are offered, most wanted first.
const SEQUENCE_NUMBERS: &[(&str, &[bool])] = &[
    ("prefer", &[true, false]),
    ("require", &[true]),
    ("off", &[false]),
];

/// Which tunnel it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// 0 or 1 within its connection.
    pub number: usize,
    /// Counted over all connections.
    pub slot: usize,
}

/// Reads one tunnel.
pub(super) fn read(
    table: &mut Table<'_>,
    keys: &mut dyn KeySource,
    gateway: &Gateway,
    place: Place,
) -> Tunnel {
    let outside_address = outside_address(table, gateway, place);
    let (dpd_default, startup_default) = actions(gateway.side);
    let identity = table.read("identity", values::identity);
    let inside_cidr = inside_cidr(table, place);
    let psk = pre_shared_key::read(table, keys);
    ike_versions(table);
    let tunnel = Tunnel {
        outside_address,
        identity: identity.unwrap_or(Identity::Address(outside_address)),
        inside_cidr,
        psk,
        phase1: phase1(table),
        phase2: phase2(table),
        rekey_margin: seconds(
            table,
            "rekey_margin_time_seconds",
            rules::REKEY_MARGIN_TIME_SECONDS,
        ),
        rekey_fuzz_percent: table.number("rekey_fuzz_percentage", rules::REKEY_FUZZ_PERCENTAGE),
        replay_window: table.number("replay_window_size", rules::REPLAY_WINDOW_SIZE),
        dpd_timeout: seconds(table, "dpd_timeout_seconds", rules::DPD_TIMEOUT_SECONDS),
        dpd_action: table
            .read("dpd_timeout_action", values::word(DPD_ACTIONS))
            .unwrap_or(dpd_default),
        failure_detection: table
            .read("failure_detection", values::word(FAILURE_DETECTIONS))
            .unwrap_or_default(),
        startup_action: table
            .read("startup_action", values::word(STARTUP_ACTIONS))
            .unwrap_or(startup_default),
        encapsulation: table
            .read("encapsulation", values::word(ENCAPSULATIONS))
            .unwrap_or_default(),
        df_policy: table
            .read("df_policy", values::word(DF_POLICIES))
            .unwrap_or_default(),
        copy_dscp: table.flag("copy_dscp", false),
        bandwidth_limit_mbps: table.read(
            "bandwidth_limit_mbps",
            values::number(rules::BANDWIDTH_LIMIT_MBPS),
        ),
    };
    if gateway.side == Side::CustomerGateway && tunnel.startup_action == StartupAction::Add {
        let message = "is \"add\": unless the virtual private gateway starts, neither end does";
        table.warn("startup_action", message);
    }
    tunnel
}

/// AWS's defaults for the gateway; a customer gateway is who initiates.
fn actions(side: Side) -> (DpdAction, StartupAction) {
    match side {
        Side::VirtualPrivateGateway => (DpdAction::Clear, StartupAction::Add),
        Side::CustomerGateway => (DpdAction::Restart, StartupAction::Start),
    }
}

/// The virtual private gateway's end, as its peers reach it: by default our first
/// outside address for tunnel 1 and our second for tunnel 2.
fn outside_address(table: &mut Table<'_>, gateway: &Gateway, place: Place) -> IpAddr {
    const KEY: &str = "outside_address";
    let ours = gateway.outside_addresses.get(place.number);
    let (given, default) = match gateway.side {
        Side::VirtualPrivateGateway => {
            let given = table.read(KEY, values::address);
            let given = given.map(|given| gateway.outside(given).map_or(given, |o| o.seen()));
            // Which is whose cannot be told of a list that was not read whole.
            let doubtful = table.report().is_doubtful("gateway.outside_addresses");
            (given, ours.filter(|_| !doubtful && !table.has(KEY)))
        }
        Side::CustomerGateway => {
            let expected = "the virtual private gateway's address for this tunnel";
            (table.require(KEY, expected, values::address), None)
        }
    };
    let default = default.map(|ours| ours.seen());
    given.or(default).unwrap_or_else(|| {
        table.stand_in(KEY);
        stand_in::of(u8::try_from(place.number).unwrap_or_default()).into()
    })
}

fn inside_cidr(table: &mut Table<'_>, place: Place) -> Ipv4Net {
    const KEY: &str = "tunnel_inside_cidr";
    let given = table.require(KEY, "a /30 in 169.254.0.0/16", values::inside_cidr);
    given.unwrap_or_else(|| {
        table.stand_in(KEY);
        let number = u8::try_from(place.slot % 256).unwrap_or_default();
        Ipv4Net::new_assert(stand_in::of(number), 32)
    })
}

/// The option is AWS's; only one of its values can be had so far.
fn ike_versions(table: &mut Table<'_>) {
    let versions = table.list("ike_versions", &(), ike_version);
    if versions.is_some_and(|versions| versions.is_empty()) {
        let message = "found an empty list, expected [\"ikev2\"]";
        table.refuse("ike_versions", message);
    }
}

fn ike_version(value: &DeValue<'_>) -> Result<(), Refusal> {
    match value.as_str() {
        Some("ikev2") => Ok(()),
        Some("ikev1") => Err(Refusal::new(
            "\"ikev1\"",
            "\"ikev2\"; IKEv1 is not supported yet",
        )),
        _ => Err(Refusal::new(values::describe(value), "\"ikev2\"")),
    }
}

fn phase1(table: &mut Table<'_>) -> Phase1 {
    Phase1 {
        encryption: encryption(table, "phase1_encryption_algorithms"),
        integrity: integrity(table, "phase1_integrity_algorithms"),
        groups: groups(table, "phase1_dh_group_numbers", rules::PHASE1_GROUPS),
        lifetime: seconds(
            table,
            "phase1_lifetime_seconds",
            rules::PHASE1_LIFETIME_SECONDS,
        ),
    }
}

fn phase2(table: &mut Table<'_>) -> Phase2 {
    let groups = groups(table, "phase2_dh_group_numbers", rules::PHASE2_GROUPS);
    if groups.is_empty() {
        let message = "is empty: no perfect forward secrecy between rekeys of the IKE SA, \
                       and a peer that wants it cannot rekey";
        table.warn("phase2_dh_group_numbers", message);
    }
    let esn = table.read(
        "phase2_extended_sequence_numbers",
        values::word(SEQUENCE_NUMBERS),
    );
    Phase2 {
        encryption: encryption(table, "phase2_encryption_algorithms"),
        integrity: integrity(table, "phase2_integrity_algorithms"),
        groups,
        esn: esn.unwrap_or(&[true, false]).to_vec(),
        lifetime: seconds(
            table,
            "phase2_lifetime_seconds",
            rules::PHASE2_LIFETIME_SECONDS,
        ),
        lifetime_bytes: table.read(
            "phase2_lifetime_bytes",
            values::number(rules::PHASE2_LIFETIME_BYTES),
        ),
        lifetime_packets: table.read(
            "phase2_lifetime_packets",
            values::number(rules::PHASE2_LIFETIME_PACKETS),
        ),
    }
}

fn encryption(table: &mut Table<'_>, key: &'static str) -> Vec<Encryption> {
    let given = table.list(key, &Encryption::AesGcm256, values::encryption);
    given.unwrap_or_else(|| rules::DEFAULT_ENCRYPTION.to_vec())
}

fn integrity(table: &mut Table<'_>, key: &'static str) -> Vec<Integrity> {
    let given = table.list(key, &Integrity::HmacSha256_128, values::integrity);
    given.unwrap_or_else(|| rules::DEFAULT_INTEGRITY.to_vec())
}

fn groups(table: &mut Table<'_>, key: &'static str, allowed: &'static [Group]) -> Vec<Group> {
    let given = table.list(key, &Group::Curve25519, values::group(allowed));
    given.unwrap_or_else(|| rules::DEFAULT_GROUPS.to_vec())
}

fn seconds(table: &mut Table<'_>, key: &'static str, bounds: Bounds) -> Duration {
    Duration::from_secs(table.number(key, bounds))
}
