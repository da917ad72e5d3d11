//! `[[vpn_connection.tunnel]]`: AWS's tunnel options and ours.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;
use toml::de::DeValue;
use vgw_crypto::{Encryption, Group, Integrity};
use vgw_gateway::domain::{DpdAction, Gateway, Phase1, Phase2, Side, StartupAction, Tunnel};
use vgw_gateway::rules::{self, Bounds, Refusal};
use vgw_ike::config::Encapsulation;
use vgw_ike::identity::Identity;
use vgw_sa::DfPolicy;

use super::document::{Notes, Table};
use super::keys::{self, KeySource};
use super::values::{self, default_number};

const DPD_ACTIONS: &[(&str, DpdAction)] = &[
    ("clear", DpdAction::Clear),
    ("none", DpdAction::None),
    ("restart", DpdAction::Restart),
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
    mut table: Table<'_>,
    notes: &mut Notes,
    keys: &mut dyn KeySource,
    gateway: &Gateway,
    place: Place,
) -> Tunnel {
    let outside_address = outside_address(&mut table, notes, gateway, place);
    let identity = table
        .read(notes, "identity", values::identity)
        .unwrap_or(Identity::Address(outside_address));
    let inside_cidr = table
        .require(
            notes,
            "tunnel_inside_cidr",
            values::inside_cidr,
            "a /30 in 169.254.0.0/16",
        )
        .unwrap_or_else(|| stand_in_cidr(notes, &table, place));
    let psk = keys::read(&mut table, notes, keys);
    ike_versions(&mut table, notes);
    let phase1 = phase1(&mut table, notes);
    let phase2 = phase2(&mut table, notes);
    let (dpd_default, startup_default) = actions(gateway.side);
    let tunnel = Tunnel {
        outside_address,
        identity,
        inside_cidr,
        psk,
        phase1,
        phase2,
        rekey_margin: seconds(
            &mut table,
            notes,
            "rekey_margin_time_seconds",
            rules::REKEY_MARGIN_TIME_SECONDS,
        ),
        rekey_fuzz_percent: number_32(
            &mut table,
            notes,
            "rekey_fuzz_percentage",
            rules::REKEY_FUZZ_PERCENTAGE,
        ),
        replay_window: number_32(
            &mut table,
            notes,
            "replay_window_size",
            rules::REPLAY_WINDOW_SIZE,
        ),
        dpd_timeout: seconds(
            &mut table,
            notes,
            "dpd_timeout_seconds",
            rules::DPD_TIMEOUT_SECONDS,
        ),
        dpd_action: table
            .read(notes, "dpd_timeout_action", values::word(DPD_ACTIONS))
            .unwrap_or(dpd_default),
        startup_action: table
            .read(notes, "startup_action", values::word(STARTUP_ACTIONS))
            .unwrap_or(startup_default),
        encapsulation: table
            .read(notes, "encapsulation", values::word(ENCAPSULATIONS))
            .unwrap_or_default(),
        df_policy: table
            .read(notes, "df_policy", values::word(DF_POLICIES))
            .unwrap_or_default(),
        copy_dscp: table
            .read(notes, "copy_dscp", values::boolean)
            .unwrap_or_default(),
        bandwidth_limit_mbps: table.read(
            notes,
            "bandwidth_limit_mbps",
            values::number_32(rules::BANDWIDTH_LIMIT_MBPS),
        ),
    };
    if gateway.side == Side::CustomerGateway && tunnel.startup_action == StartupAction::Add {
        let message = "is \"add\": unless the virtual private gateway starts, neither end does";
        notes.warn(&table.field("startup_action"), message);
    }
    table.finish(notes);
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
fn outside_address(
    table: &mut Table<'_>,
    notes: &mut Notes,
    gateway: &Gateway,
    place: Place,
) -> IpAddr {
    let key = "outside_address";
    let ours = match gateway.side {
        // Which is whose cannot be told of a list that was not read whole.
        Side::VirtualPrivateGateway if !notes.is_doubtful("gateway.outside_addresses") => {
            gateway.outside_addresses.get(place.number)
        }
        Side::VirtualPrivateGateway | Side::CustomerGateway => None,
    };
    let ours = ours.map(|ours| ours.seen());
    let given = match (gateway.side, ours) {
        (Side::CustomerGateway, _) => table.require(
            notes,
            key,
            values::address,
            "the virtual private gateway's address for this tunnel",
        ),
        (Side::VirtualPrivateGateway, _) => table
            .read(notes, key, values::address)
            .map(|given| gateway.outside(given).map_or(given, |ours| ours.seen())),
    };
    given
        .or(ours.filter(|_| !table.has(key)))
        .unwrap_or_else(|| {
            notes.stand_in(&table.field(key));
            let number = u8::try_from(place.number).unwrap_or_default();
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, number))
        })
}

/// A /30 that no other stand-in has.
fn stand_in_cidr(notes: &mut Notes, table: &Table<'_>, place: Place) -> Ipv4Net {
    notes.stand_in(&table.field("tunnel_inside_cidr"));
    let third = u8::try_from(place.slot % 256).unwrap_or_default();
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, third), 32)
}

/// The option is AWS's; only one of its values can be had so far.
fn ike_versions(table: &mut Table<'_>, notes: &mut Notes) {
    let versions = table.list(notes, "ike_versions", &(), ike_version);
    if versions.is_some_and(|versions| versions.is_empty()) {
        let message = "found an empty list, expected [\"ikev2\"]";
        notes.refuse(&table.field("ike_versions"), message);
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

fn phase1(table: &mut Table<'_>, notes: &mut Notes) -> Phase1 {
    Phase1 {
        encryption: encryption(table, notes, "phase1_encryption_algorithms"),
        integrity: integrity(table, notes, "phase1_integrity_algorithms"),
        groups: groups(
            table,
            notes,
            "phase1_dh_group_numbers",
            rules::PHASE1_GROUPS,
        ),
        lifetime: seconds(
            table,
            notes,
            "phase1_lifetime_seconds",
            rules::PHASE1_LIFETIME_SECONDS,
        ),
    }
}

fn phase2(table: &mut Table<'_>, notes: &mut Notes) -> Phase2 {
    let groups = groups(
        table,
        notes,
        "phase2_dh_group_numbers",
        rules::PHASE2_GROUPS,
    );
    if groups.is_empty() {
        let message = "is empty: no perfect forward secrecy between rekeys of the IKE SA, \
                       and a peer that wants it cannot rekey";
        notes.warn(&table.field("phase2_dh_group_numbers"), message);
    }
    let esn = table
        .read(
            notes,
            "phase2_extended_sequence_numbers",
            values::word(SEQUENCE_NUMBERS),
        )
        .unwrap_or(&[true, false]);
    Phase2 {
        encryption: encryption(table, notes, "phase2_encryption_algorithms"),
        integrity: integrity(table, notes, "phase2_integrity_algorithms"),
        groups,
        esn: esn.to_vec(),
        lifetime: seconds(
            table,
            notes,
            "phase2_lifetime_seconds",
            rules::PHASE2_LIFETIME_SECONDS,
        ),
        lifetime_bytes: table.read(
            notes,
            "phase2_lifetime_bytes",
            values::number(rules::PHASE2_LIFETIME_BYTES),
        ),
        lifetime_packets: table.read(
            notes,
            "phase2_lifetime_packets",
            values::number(rules::PHASE2_LIFETIME_PACKETS),
        ),
    }
}

fn encryption(table: &mut Table<'_>, notes: &mut Notes, key: &'static str) -> Vec<Encryption> {
    table
        .list(notes, key, &Encryption::AesGcm256, values::encryption)
        .unwrap_or_else(|| rules::DEFAULT_ENCRYPTION.to_vec())
}

fn integrity(table: &mut Table<'_>, notes: &mut Notes, key: &'static str) -> Vec<Integrity> {
    table
        .list(notes, key, &Integrity::HmacSha256_128, values::integrity)
        .unwrap_or_else(|| rules::DEFAULT_INTEGRITY.to_vec())
}

fn groups(
    table: &mut Table<'_>,
    notes: &mut Notes,
    key: &'static str,
    allowed: &'static [Group],
) -> Vec<Group> {
    table
        .list(notes, key, &Group::Curve25519, values::group(allowed))
        .unwrap_or_else(|| rules::DEFAULT_GROUPS.to_vec())
}

fn number_32(table: &mut Table<'_>, notes: &mut Notes, key: &'static str, bounds: Bounds) -> u32 {
    table
        .read(notes, key, values::number_32(bounds))
        .unwrap_or_else(|| default_number(bounds))
}

fn seconds(
    table: &mut Table<'_>,
    notes: &mut Notes,
    key: &'static str,
    bounds: Bounds,
) -> Duration {
    Duration::from_secs(u64::from(number_32(table, notes, key, bounds)))
}
