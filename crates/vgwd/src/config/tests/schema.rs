//! What the tables mean.

use std::time::Duration;

use vgw_crypto::{Encryption, Group, Integrity};
use vgw_dataplane::Features;
use vgw_gateway::domain::{DpdAction, Side, StartupAction};
use vgw_ike::config::Encapsulation;
use vgw_ike::identity::Identity;
use vgw_sa::DfPolicy;

use super::{OTHER_END, SECOND_SITE, SMALLEST, accepted, refused, with, with_option};

#[test]
fn what_is_not_set_has_awss_defaults() {
    let gateway = accepted(SMALLEST).gateway;
    assert_eq!(
        (gateway.side, gateway.asn),
        (Side::VirtualPrivateGateway, 64_512)
    );
    assert_eq!((gateway.outside_mtu, gateway.cloudhub), (1_500, false));
    assert_eq!(gateway.host_services, []);
    let connection = &gateway.connections[0];
    assert_eq!(connection.customer_gateway.asn, 65_000);
    assert_eq!(
        connection.customer_gateway.identity,
        Identity::Address("198.51.100.7".parse().unwrap())
    );
    assert_eq!(
        connection.local_network_cidrs,
        ["0.0.0.0/0".parse().unwrap()]
    );
    assert_eq!(
        connection.remote_network_cidrs,
        ["0.0.0.0/0".parse().unwrap()]
    );
    assert!(!connection.failback);
    assert!(connection.source_check);
    for tunnel in &connection.tunnels {
        assert_eq!(tunnel.identity, Identity::Address(tunnel.outside_address));
        assert_eq!(tunnel.phase1.lifetime, Duration::from_secs(28_800));
        assert_eq!(tunnel.phase2.lifetime, Duration::from_secs(3_600));
        assert_eq!(tunnel.rekey_margin, Duration::from_secs(270));
        assert_eq!(tunnel.rekey_fuzz_percent, 100);
        assert_eq!(tunnel.replay_window, 1_024);
        assert_eq!(tunnel.dpd_timeout, Duration::from_secs(40));
        assert_eq!(tunnel.dpd_action, DpdAction::Clear);
        assert_eq!(tunnel.startup_action, StartupAction::Add);
        assert_eq!(tunnel.encapsulation, Encapsulation::Auto);
        assert_eq!(tunnel.df_policy, DfPolicy::Honor);
        assert!(!tunnel.copy_dscp);
        assert_eq!(tunnel.bandwidth_limit_mbps, None);
    }
}

#[test]
fn tunnels_end_on_the_first_and_the_second_outside_address() {
    let gateway = accepted(SMALLEST).gateway;
    let ends = gateway.connections[0]
        .tunnels
        .each_ref()
        .map(|t| t.outside_address);
    let ours: Vec<_> = gateway.outside_addresses.iter().map(|o| o.seen()).collect();
    assert_eq!(ends.as_slice(), ours);
}

#[test]
fn behind_a_nat_that_is_named_a_tunnel_ends_on_the_public_address_for_everybody_else() {
    let cloud = with(
        SMALLEST,
        "\"203.0.113.1\"",
        "{ address = \"10.0.0.5\", public = \"203.0.113.1\" }",
    );
    // Either name will do.
    for named in ["203.0.113.1", "10.0.0.5"] {
        let cloud = with_option(&cloud, &format!("outside_address = {named:?}"));
        let cloud = accepted(&cloud).gateway;
        let connection = &cloud.connections[0];
        let [first, second] = &connection.tunnels;
        let ours = cloud.local_outside(connection, first);
        assert_eq!(ours.address.to_string(), "10.0.0.5");
        assert_eq!(ours.seen(), first.outside_address);
        assert_eq!(first.outside_address.to_string(), "203.0.113.1");
        assert_eq!(first.identity, Identity::Address(first.outside_address));
        assert_eq!(cloud.local_outside(connection, second).public, None);
    }
    let customer = accepted(&with(
        OTHER_END,
        "side = \"customer-gateway\"",
        "side = \"customer-gateway\"\n\
         outside_addresses = [{ address = \"192.168.9.2\", public = \"198.51.100.7\" }]",
    ));
    let connection = &customer.gateway.connections[0];
    for tunnel in &connection.tunnels {
        let ours = customer.gateway.local_outside(connection, tunnel);
        assert_eq!(ours.address.to_string(), "192.168.9.2");
        let (identity, _) = customer.gateway.identities(connection, tunnel);
        assert_eq!(identity.to_string(), "198.51.100.7");
    }
}

#[test]
fn both_ends_of_a_connection_agree_on_what_is_whose() {
    let cloud = accepted(SMALLEST).gateway;
    let customer = accepted(OTHER_END).gateway;
    let (here, there) = (&cloud.connections[0], &customer.connections[0]);
    assert_eq!(customer.asn, here.customer_gateway.asn);
    for (ours, theirs) in here.tunnels.iter().zip(&there.tunnels) {
        let local = cloud.local_address(here, ours);
        assert_eq!(customer.remote_address(there, theirs), Some(local));
        let remote = customer.local_address(there, theirs);
        assert_eq!(cloud.remote_address(here, ours), Some(remote));
        let (our_id, peer_id) = cloud.identities(here, ours);
        assert_eq!(customer.identities(there, theirs), (peer_id, our_id));
        let (near, far) = cloud.inside_addresses(ours);
        assert_eq!(customer.inside_addresses(theirs), (far, near));
        assert_eq!(ours.psk, theirs.psk);
    }
    assert_eq!(cloud.remote_prefixes(here), customer.cidrs);
    assert_eq!(customer.remote_prefixes(there), cloud.cidrs);
    let (near, far) = cloud.selectors(here);
    assert_eq!(customer.selectors(there), (far, near));
}

#[test]
fn a_customer_gateway_initiates_unless_told_otherwise() {
    let loaded = accepted(OTHER_END);
    let tunnel = &loaded.gateway.connections[0].tunnels[0];
    assert_eq!(tunnel.startup_action, StartupAction::Start);
    assert_eq!(tunnel.dpd_action, DpdAction::Restart);
    assert!(loaded.warnings.is_empty());
    let told = accepted(&with_option(OTHER_END, "startup_action = \"add\""));
    assert!(told.warnings[0].to_string().contains("neither end does"));
}

#[test]
fn a_customer_gateway_behind_nat_has_an_address_that_its_connection_does_not_name() {
    let behind = with(
        OTHER_END,
        "side = \"customer-gateway\"",
        "side = \"customer-gateway\"\noutside_addresses = [\"192.168.9.2\"]",
    );
    let gateway = accepted(&behind).gateway;
    let connection = &gateway.connections[0];
    assert_eq!(
        gateway.local_address(connection, &connection.tunnels[0]),
        "192.168.9.2".parse::<std::net::IpAddr>().unwrap()
    );
}

#[test]
fn a_peer_without_an_address_is_known_by_its_identity() {
    let gateway = accepted(&format!("{SMALLEST}{SECOND_SITE}")).gateway;
    let connection = &gateway.connections[1];
    assert_eq!(
        gateway.remote_address(connection, &connection.tunnels[0]),
        None
    );
    assert_eq!(
        connection.customer_gateway.identity,
        Identity::Fqdn("branch.example".to_owned())
    );
}

#[test]
fn every_tunnel_option_reaches_the_domain() {
    let options = r#"
identity = "fqdn:vgw.example"
ike_versions = ["ikev2"]
phase1_encryption_algorithms = ["AES128", "aes256-gcm-16"]
phase1_integrity_algorithms = ["SHA1"]
phase1_dh_group_numbers = [2, 14]
phase1_lifetime_seconds = 3600
phase2_encryption_algorithms = ["AES256"]
phase2_integrity_algorithms = ["SHA2-512"]
phase2_dh_group_numbers = [5, 18]
phase2_extended_sequence_numbers = "off"
phase2_lifetime_seconds = 900
phase2_lifetime_bytes = 1_048_576
phase2_lifetime_packets = 1000
rekey_margin_time_seconds = 450
rekey_fuzz_percentage = 0
replay_window_size = 8192
dpd_timeout_seconds = 30
dpd_timeout_action = "none"
startup_action = "start"
encapsulation = "native"
df_policy = "ignore"
copy_dscp = true
bandwidth_limit_mbps = 1250
"#;
    let gateway = accepted(&with_option(SMALLEST, options)).gateway;
    let tunnel = &gateway.connections[0].tunnels[0];
    assert_eq!(tunnel.identity, Identity::Fqdn("vgw.example".to_owned()));
    let (phase1, phase2) = (&tunnel.phase1, &tunnel.phase2);
    assert_eq!(
        phase1.encryption,
        [Encryption::AesCbc128, Encryption::AesGcm256]
    );
    assert_eq!(phase1.integrity, [Integrity::HmacSha1_96]);
    assert_eq!(phase1.groups, [Group::Modp1024, Group::Modp2048]);
    assert_eq!(phase1.lifetime, Duration::from_secs(3_600));
    assert_eq!(phase2.encryption, [Encryption::AesCbc256]);
    assert_eq!(phase2.integrity, [Integrity::HmacSha512_256]);
    assert_eq!(phase2.groups, [Group::Modp1536, Group::Modp8192]);
    assert_eq!(phase2.esn, [false]);
    assert_eq!(phase2.lifetime, Duration::from_secs(900));
    assert_eq!(phase2.lifetime_bytes, Some(1_048_576));
    assert_eq!(phase2.lifetime_packets, Some(1_000));
    assert_eq!(tunnel.rekey_margin, Duration::from_secs(450));
    assert_eq!(tunnel.rekey_fuzz_percent, 0);
    assert_eq!(tunnel.replay_window, 8_192);
    assert_eq!(tunnel.dpd_timeout, Duration::from_secs(30));
    assert_eq!(tunnel.dpd_action, DpdAction::None);
    assert_eq!(tunnel.startup_action, StartupAction::Start);
    assert_eq!(tunnel.encapsulation, Encapsulation::Native);
    assert_eq!(tunnel.df_policy, DfPolicy::Ignore);
    assert!(tunnel.copy_dscp);
    assert_eq!(tunnel.bandwidth_limit_mbps, Some(1_250));
}

#[test]
fn ipv6_is_negotiated_where_there_is_any() {
    let routed = with(
        SMALLEST,
        "\"192.168.0.0/24\"",
        "\"192.168.0.0/24\", \"fd00:1::/48\"",
    );
    let gateway = accepted(&routed).gateway;
    let both = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    assert_eq!(gateway.connections[0].local_network_cidrs, both);
    assert_eq!(gateway.connections[0].remote_network_cidrs, both);
}

#[test]
fn the_daemons_tables_reach_its_settings() {
    let text = format!(
        "{SMALLEST}
[tun]
name = \"tun9\"
mtu = 1280
[data_plane]
workers = 3
tun_uso = false
udp_gro = false
[log]
level = \"debug\"
format = \"journal\"
[metrics]
listen = \"[::1]:9469\"
[control]
socket = \"/run/other.sock\"
mode = 0o600
[key_log]
ike = \"/tmp/ike\"
esp = \"/tmp/esp\"
[state]
directory = \"/var/lib/other\"
[limits]
half_open = 10
cookie_threshold = 10
strangers_percent = 5
failed_authentications_per_minute = 3
"
    );
    let loaded = accepted(&with(&text, "[vpc]", "[vpc]\nnetns = \"blue\""));
    let settings = loaded.settings;
    assert_eq!(
        (settings.tun.name.as_str(), settings.tun.mtu),
        ("tun9", 1_280)
    );
    let data_plane = settings.data_plane;
    assert_eq!(data_plane.workers, Some(3));
    let all_but_two = Features {
        tun_uso: false,
        udp_gro: false,
        ..Features::ALL
    };
    assert_eq!(data_plane.features, all_but_two);
    assert_eq!(settings.metrics, Some("[::1]:9469".parse().unwrap()));
    assert_eq!(settings.control.mode, 0o600);
    assert_eq!(settings.control.socket.to_str(), Some("/run/other.sock"));
    let state = settings.state_directory.unwrap();
    assert_eq!(state.to_str(), Some("/var/lib/other"));
    assert_eq!(settings.limits.half_open, 10);
    assert_eq!(settings.limits.cookie_threshold, 10);
    assert_eq!(settings.limits.strangers_percent, 5);
    assert_eq!(settings.limits.failed_authentications, 3);
    assert_eq!(settings.network_namespace.unwrap().to_string(), "blue");
    assert_eq!(loaded.warnings.len(), 2, "one for each key log");
}

#[test]
fn the_network_behind_us_has_the_name_of_our_side() {
    let wrong = refused(&with(SMALLEST, "[vpc]", "[on_premises]"));
    assert!(
        wrong.contains("vgw.toml:5: on_premises: is for a customer gateway"),
        "{wrong}"
    );
    let wrong = refused(&with(OTHER_END, "[on_premises]", "[vpc]"));
    assert!(
        wrong.contains("vgw.toml:5: vpc: is for a virtual private gateway"),
        "{wrong}"
    );
}
