//! Rules of whole gateways: each as a gateway that keeps it and one that does not.

use std::net::IpAddr;
use std::time::Duration;

use vgw_crypto::{Encryption, Group, Secret};
use vgw_ike::config::{Encapsulation, Psk};
use vgw_ike::identity::Identity;
use vgw_sa::{DfPolicy, GatewayId};

use super::{
    Code, DEFAULT_ENCRYPTION, DEFAULT_GROUPS, DEFAULT_INTEGRITY, Field, Subject, check, gateway,
};
use crate::domain::{
    Connection, CustomerGateway, DpdAction, FailureDetection, Gateway, OutsideAddress, Phase1,
    Phase2, Side, StartupAction, Tunnel, TunnelName,
};

fn tunnel(outside: &str, inside: &str) -> Tunnel {
    let outside_address: IpAddr = outside.parse().unwrap();
    Tunnel {
        outside_address,
        identity: Identity::Address(outside_address),
        inside_cidr: inside.parse().unwrap(),
        psk: Psk(Secret::from(b"abcdefgh".as_slice())),
        phase1: Phase1 {
            encryption: DEFAULT_ENCRYPTION.to_vec(),
            integrity: DEFAULT_INTEGRITY.to_vec(),
            groups: DEFAULT_GROUPS.to_vec(),
            lifetime: Duration::from_secs(28_800),
        },
        phase2: Phase2 {
            encryption: DEFAULT_ENCRYPTION.to_vec(),
            integrity: DEFAULT_INTEGRITY.to_vec(),
            groups: DEFAULT_GROUPS.to_vec(),
            esn: vec![true, false],
            lifetime: Duration::from_secs(3_600),
            lifetime_bytes: None,
            lifetime_packets: None,
        },
        rekey_margin: Duration::from_secs(270),
        rekey_fuzz_percent: 100,
        replay_window: 1_024,
        dpd_timeout: Duration::from_secs(40),
        dpd_action: DpdAction::Clear,
        failure_detection: FailureDetection::Fast,
        startup_action: StartupAction::Add,
        encapsulation: Encapsulation::Auto,
        df_policy: DfPolicy::Honor,
        copy_dscp: false,
        bandwidth_limit_mbps: None,
    }
}

fn connection(number: u8) -> Connection {
    let address: IpAddr = format!("198.51.100.{number}").parse().unwrap();
    Connection {
        id: format!("vpn-{number}"),
        customer_gateway: CustomerGateway {
            id: format!("cgw-{number}"),
            ip_address: Some(address),
            identity: Identity::Address(address),
            asn: 65_000,
        },
        static_routes: vec![format!("192.168.{number}.0/24").parse().unwrap()],
        vpc_cidrs: vec!["10.0.0.0/16".parse().unwrap()],
        local_network_cidrs: vec!["0.0.0.0/0".parse().unwrap()],
        remote_network_cidrs: vec!["0.0.0.0/0".parse().unwrap()],
        failback: false,
        source_check: true,
        tunnels: [
            tunnel("203.0.113.1", &format!("169.254.{}.0/30", number + 10)),
            tunnel("203.0.113.2", &format!("169.254.{}.4/30", number + 10)),
        ],
    }
}

fn outside(address: &str, public: Option<&str>) -> OutsideAddress {
    OutsideAddress {
        address: address.parse().unwrap(),
        public: public.map(|public| public.parse().unwrap()),
    }
}

fn good() -> Gateway {
    Gateway {
        id: GatewayId(0),
        side: Side::VirtualPrivateGateway,
        asn: 64_512,
        outside_addresses: vec![outside("203.0.113.1", None), outside("203.0.113.2", None)],
        cidrs: vec!["10.0.0.0/16".parse().unwrap()],
        outside_mtu: 1_500,
        cloudhub: false,
        host_services: Vec::new(),
        initiate_to_recover: true,
        connections: vec![connection(1), connection(2)],
    }
}

/// The fields that are refused once `change` was made to a good gateway.
fn refused(change: impl FnOnce(&mut Gateway)) -> Vec<String> {
    let mut changed = good();
    change(&mut changed);
    gateway(&changed)
        .into_iter()
        .map(|violation| said(&violation.subject, violation.field))
        .collect()
}

/// A subject and its field as these tests write them.
fn said(subject: &Subject, field: Field) -> String {
    match subject {
        Subject::Gateway => format!("gateway.{field}"),
        Subject::Vpc => format!("vpc.{field}"),
        Subject::CustomerGateway(id) | Subject::VpnConnection(id) => format!("{id}.{field}"),
        Subject::Tunnel(name) => format!("{name}.{field}"),
    }
}

/// As [`refused`], with a change to the first connection's first tunnel.
fn refused_tunnel(change: impl FnOnce(&mut Tunnel)) -> Vec<String> {
    let fields = refused(|gateway| change(&mut gateway.connections[0].tunnels[0]));
    let prefix = "vpn-1/1.";
    let own = fields
        .iter()
        .map(|field| field.strip_prefix(prefix).unwrap_or(field));
    own.map(str::to_owned).collect()
}

#[test]
fn a_gateway_that_keeps_every_rule_has_no_violations() {
    assert_eq!(gateway(&good()), []);
    assert_eq!(
        check(good()).map(|checked| checked.into_inner()),
        Ok(good())
    );
}

#[test]
fn a_connection_that_is_the_other_end_of_a_good_one_is_good_too() {
    let customer = Gateway {
        id: GatewayId(0),
        side: Side::CustomerGateway,
        asn: 65_000,
        outside_addresses: vec![outside("198.51.100.1", None)],
        cidrs: vec!["192.168.1.0/24".parse().unwrap()],
        outside_mtu: 1_500,
        cloudhub: false,
        host_services: Vec::new(),
        initiate_to_recover: true,
        connections: vec![connection(1)],
    };
    assert_eq!(gateway(&customer), []);
}

#[test]
fn a_public_address_is_of_its_familys_own_and_stands_for_one_address() {
    let with = |second: OutsideAddress| refused(|gateway| gateway.outside_addresses[1] = second);
    let accepted = with(outside("10.0.0.5", Some("203.0.113.2")));
    assert_eq!(accepted, [""; 0]);
    for (address, public) in [
        ("10.0.0.5", "203.0.113.1"),
        ("203.0.113.2", "203.0.113.2"),
        ("2001:db8::2", "203.0.113.2"),
        ("203.0.113.2", "224.0.0.1"),
    ] {
        let refused = with(outside(address, Some(public)));
        assert_eq!(refused[0], "gateway.outside_addresses[2]", "{public}");
    }
}

#[test]
fn each_value_outside_its_range_is_refused_in_its_own_field() {
    let seconds = Duration::from_secs;
    assert_eq!(
        refused_tunnel(|t| t.phase1.lifetime = seconds(28_801)),
        ["phase1_lifetime_seconds"]
    );
    assert_eq!(
        refused_tunnel(|t| t.phase2.lifetime = seconds(899)),
        ["phase2_lifetime_seconds"]
    );
    assert_eq!(
        refused_tunnel(|t| t.rekey_margin = seconds(59)),
        ["rekey_margin_time_seconds"]
    );
    assert_eq!(
        refused_tunnel(|t| t.rekey_fuzz_percent = 101),
        ["rekey_fuzz_percentage"]
    );
    assert_eq!(
        refused_tunnel(|t| t.replay_window = 63),
        ["replay_window_size"]
    );
    assert_eq!(
        refused_tunnel(|t| t.dpd_timeout = seconds(29)),
        ["dpd_timeout_seconds"]
    );
    assert_eq!(
        refused_tunnel(|t| t.phase2.lifetime_bytes = Some(1)),
        ["phase2_lifetime_bytes"]
    );
    assert_eq!(
        refused_tunnel(|t| t.phase2.lifetime_packets = Some(1)),
        ["phase2_lifetime_packets"]
    );
    assert_eq!(
        refused_tunnel(|t| t.bandwidth_limit_mbps = Some(0)),
        ["bandwidth_limit_mbps"]
    );
    assert_eq!(refused(|g| g.outside_mtu = 1_279), ["gateway.outside_mtu"]);
    assert_eq!(
        refused_tunnel(|t| t.psk = Psk(Secret::from(b"0bcdefgh".as_slice()))),
        ["pre_shared_key"]
    );
}

#[test]
fn sites_meet_at_a_virtual_private_gateway_only() {
    assert_eq!(refused(|g| g.cloudhub = true), Vec::<String>::new());
    let at_a_customers = |g: &mut Gateway| {
        g.cloudhub = true;
        g.side = Side::CustomerGateway;
    };
    assert!(refused(at_a_customers).contains(&"gateway.cloudhub".to_owned()));
}

#[test]
fn lists_of_algorithms_are_neither_empty_nor_repeat_themselves() {
    assert_eq!(
        refused_tunnel(|t| t.phase1.groups.clear()),
        ["phase1_dh_group_numbers"]
    );
    assert_eq!(
        refused_tunnel(|t| t.phase2.encryption.push(Encryption::AesGcm256)),
        ["phase2_encryption_algorithms[5]"]
    );
    assert_eq!(
        refused_tunnel(|t| t.phase1.groups.push(Group::Modp1536)),
        ["phase1_dh_group_numbers"]
    );
    assert!(refused_tunnel(|t| t.phase2.groups.push(Group::Modp1536)).is_empty());
}

#[test]
fn a_clash_names_the_later_field_and_the_earlier_one() {
    let mut gateways = good();
    gateways.connections[1].tunnels[1].inside_cidr = "169.254.11.0/30".parse().unwrap();
    let violations = gateway(&gateways);
    assert_eq!(violations.len(), 1);
    let tunnel = |connection: &str, number| {
        let connection = connection.to_owned();
        Subject::Tunnel(TunnelName { connection, number })
    };
    let field = Field::from("tunnel_inside_cidr");
    assert_eq!(violations[0].code, Code::InvalidCidrInUse);
    assert_eq!(violations[0].subject, tunnel("vpn-2", 2));
    assert_eq!(violations[0].field, field);
    let earlier = Some((tunnel("vpn-1", 1), field));
    assert_eq!(violations[0].clashes_with, earlier);
}

#[test]
fn what_connections_share_is_refused_in_the_later_one() {
    assert_eq!(
        refused(|g| g.connections[1].id = "vpn-1".to_owned()),
        ["vpn-1.id"]
    );
    assert_eq!(
        refused(|g| g.connections[1].static_routes = vec!["192.168.0.0/16".parse().unwrap()]),
        ["vpn-2.static_routes[1]"]
    );
    assert_eq!(
        refused(|g| g.connections[1].customer_gateway = connection(1).customer_gateway),
        ["vpn-2/1.outside_address", "vpn-2/2.outside_address"]
    );
}

#[test]
fn a_peer_that_may_come_from_anywhere_needs_an_identity_of_its_own() {
    let roaming = |gateway: &mut Gateway, identity: Identity| {
        gateway.connections[1].customer_gateway.ip_address = None;
        gateway.connections[1].customer_gateway.identity = identity;
    };
    let own = Identity::Fqdn("branch.example".to_owned());
    assert!(refused(|g| roaming(g, own)).is_empty());
    let first = good().connections[0].customer_gateway.identity.clone();
    assert_eq!(refused(|g| roaming(g, first)).len(), 2);
}

#[test]
fn the_two_ends_of_a_tunnel_need_different_identities() {
    let reflected = |g: &mut Gateway| {
        let connection = &mut g.connections[0];
        connection.tunnels[1].identity = connection.customer_gateway.identity.clone();
    };
    assert_eq!(refused(reflected), ["vpn-1/2.identity"]);
}

#[test]
fn a_violation_never_shows_a_pre_shared_key() {
    let mut gateways = good();
    gateways.connections[0].tunnels[0].psk = Psk(Secret::from(b"hunter2".as_slice()));
    let told = format!("{:?}", gateway(&gateways));
    assert!(
        told.contains("pre_shared_key") && !told.contains("hunter2"),
        "{told}"
    );
}
