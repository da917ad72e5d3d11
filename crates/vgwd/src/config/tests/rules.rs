//! Each rule from its accepting and from its refusing side, through the file.

use super::{OTHER_END, SECOND_SITE, SMALLEST, accepted, refused, with, with_option};

/// `option` is a line of tunnel 1; the refusal must be in `field` of it.
fn edge(good: &[&str], bad: &[&str]) {
    for line in good {
        accepted(&with_option(SMALLEST, line));
    }
    for line in bad {
        let key = line.split(' ').next().unwrap();
        let problems = refused(&with_option(SMALLEST, line));
        assert!(
            problems.contains(&format!("vpn_connection[1].tunnel[1].{key}")),
            "{line}: {problems}"
        );
    }
}

#[test]
fn numbers_lie_within_awss_ranges() {
    edge(
        &[
            "phase1_lifetime_seconds = 28800",
            "phase1_lifetime_seconds = 3601",
        ],
        &[
            "phase1_lifetime_seconds = 899",
            "phase1_lifetime_seconds = 28801",
        ],
    );
    edge(
        &[
            "phase2_lifetime_seconds = 900",
            "phase2_lifetime_seconds = 3600",
        ],
        &[
            "phase2_lifetime_seconds = 899",
            "phase2_lifetime_seconds = 3601",
        ],
    );
    edge(
        &[
            "rekey_margin_time_seconds = 60",
            "rekey_margin_time_seconds = 1800",
        ],
        &[
            "rekey_margin_time_seconds = 59",
            "rekey_margin_time_seconds = 1801",
        ],
    );
    edge(
        &["rekey_fuzz_percentage = 0", "rekey_fuzz_percentage = 100"],
        &["rekey_fuzz_percentage = -1", "rekey_fuzz_percentage = 101"],
    );
    edge(
        &["replay_window_size = 64", "replay_window_size = 8192"],
        &["replay_window_size = 63", "replay_window_size = 8193"],
    );
    edge(
        &["dpd_timeout_seconds = 30", "dpd_timeout_seconds = 86400"],
        &["dpd_timeout_seconds = 29", "dpd_timeout_seconds = 86401"],
    );
    edge(
        &[
            "phase2_lifetime_bytes = 1048576",
            "phase2_lifetime_packets = 1000",
            "bandwidth_limit_mbps = 1",
            "bandwidth_limit_mbps = 100000",
        ],
        &[
            "phase2_lifetime_bytes = 1048575",
            "phase2_lifetime_packets = 999",
            "bandwidth_limit_mbps = 0",
            "bandwidth_limit_mbps = 100001",
        ],
    );
}

#[test]
fn the_phase_2_lifetime_is_less_than_phase_1s() {
    let lifetimes = |one, two| {
        let lines = format!("phase1_lifetime_seconds = {one}\nphase2_lifetime_seconds = {two}");
        with_option(SMALLEST, &lines)
    };
    accepted(&lifetimes(1_801, 1_800));
    let problems = refused(&lifetimes(1_800, 1_800));
    assert!(
        problems.contains("less than phase1_lifetime_seconds (1800) (see line"),
        "{problems}"
    );
}

#[test]
fn the_rekey_margin_is_at_most_half_of_the_phase_2_lifetime() {
    let lines = |margin| {
        let lines = format!("phase2_lifetime_seconds = 1000\nrekey_margin_time_seconds = {margin}");
        with_option(SMALLEST, &lines)
    };
    accepted(&lines(500));
    let problems = refused(&lines(501));
    assert!(
        problems.contains("at most half of phase2_lifetime_seconds (500)"),
        "{problems}"
    );
}

#[test]
fn words_and_algorithms_are_the_known_ones() {
    edge(
        &[
            "dpd_timeout_action = \"restart\"",
            "startup_action = \"start\"",
            "encapsulation = \"udp\"",
            "df_policy = \"ignore\"",
        ],
        &[
            "dpd_timeout_action = \"hold\"",
            "startup_action = \"stop\"",
            "encapsulation = \"tcp\"",
            "df_policy = \"clear\"",
        ],
    );
    edge(
        &["phase1_encryption_algorithms = [\"AES256\"]"],
        &[
            "phase1_encryption_algorithms = [\"AES192\"]",
            "phase1_encryption_algorithms = []",
            "phase1_encryption_algorithms = [\"AES256\", \"AES256\"]",
            "phase1_encryption_algorithms = \"AES256\"",
        ],
    );
    edge(
        &["phase2_integrity_algorithms = [\"SHA1\", \"SHA2-384\"]"],
        &["phase2_integrity_algorithms = [\"MD5\"]"],
    );
    edge(
        &[
            "phase1_dh_group_numbers = [2, 14]",
            "phase2_dh_group_numbers = [5]",
            "phase2_dh_group_numbers = []",
        ],
        &[
            "phase1_dh_group_numbers = [5]",
            "phase1_dh_group_numbers = [22]",
            "phase1_dh_group_numbers = []",
            "phase2_dh_group_numbers = [35]",
            "phase2_dh_group_numbers = [14, 14]",
            "phase2_dh_group_numbers = [\"14\"]",
        ],
    );
    edge(
        &["phase2_extended_sequence_numbers = \"require\""],
        &["phase2_extended_sequence_numbers = true"],
    );
}

#[test]
fn ikev1_is_refused_with_the_reason() {
    for versions in ["[\"ikev1\"]", "[\"ikev2\", \"ikev1\"]"] {
        let problems = refused(&with_option(
            SMALLEST,
            &format!("ike_versions = {versions}"),
        ));
        assert!(
            problems.contains("IKEv1 is not supported yet"),
            "{problems}"
        );
    }
    edge(
        &["ike_versions = [\"ikev2\"]"],
        &["ike_versions = []", "ike_versions = [\"ikev3\"]"],
    );
}

#[test]
fn inside_cidrs_are_free_slash_30s_and_differ_within_the_gateway() {
    for reserved in [
        "169.254.0.0/30",
        "169.254.169.252/30",
        "10.0.0.0/30",
        "169.254.10.0/29",
    ] {
        let problems = refused(&with(SMALLEST, "169.254.10.0/30", reserved));
        assert!(
            problems.contains("vgw.toml:18: vpn_connection[1].tunnel[1].tunnel_inside_cidr"),
            "{problems}"
        );
    }
    let problems = refused(&with(SMALLEST, "169.254.10.4/30", "169.254.10.0/30"));
    assert!(
        problems.contains("tunnel[2].tunnel_inside_cidr"),
        "{problems}"
    );
    assert!(problems.contains("(see line 18)"), "{problems}");
    let two = format!("{SMALLEST}{SECOND_SITE}");
    accepted(&two);
    let problems = refused(&with(&two, "169.254.11.4/30", "169.254.10.4/30"));
    assert!(
        problems.contains("vpn_connection[2].tunnel[2].tunnel_inside_cidr"),
        "{problems}"
    );
}

#[test]
fn the_outside_carries_what_ipv6_needs_and_no_more_than_jumbo_frames() {
    let gateway = |line: &str| with(SMALLEST, "[gateway]", &format!("[gateway]\n{line}"));
    for mtu in [1280, 9216] {
        accepted(&gateway(&format!("outside_mtu = {mtu}")));
    }
    for mtu in [1279, 9217] {
        let problems = refused(&gateway(&format!("outside_mtu = {mtu}")));
        assert!(problems.contains("1280 to 9216"), "{problems}");
    }
}

#[test]
fn sites_meet_at_a_virtual_private_gateway_only() {
    let hub = |text| with(text, "[gateway]", "[gateway]\ncloudhub = true");
    assert!(accepted(&hub(SMALLEST)).gateway.cloudhub);
    let problems = refused(&hub(OTHER_END));
    assert!(
        problems.contains("gateway.cloudhub: found true, expected false"),
        "{problems}"
    );
}

#[test]
fn services_of_the_host_are_protocols_and_ports_or_all() {
    let gateway = |line: &str| with(SMALLEST, "[gateway]", &format!("[gateway]\n{line}"));
    let open = gateway("host_services = [\"tcp/22\", \"all\"]");
    assert_eq!(accepted(&open).gateway.host_services.len(), 2);
    let problems = refused(&gateway("host_services = [\"tcp/22\", \"ssh\"]"));
    assert!(
        problems.contains("gateway.host_services[2]: found \"ssh\", expected \"all\""),
        "{problems}"
    );
}

#[test]
fn asns_come_from_their_ranges_and_differ_between_the_two_ends() {
    let gateway = |asn: &str| with(SMALLEST, "[gateway]", &format!("[gateway]\nasn = {asn}"));
    for asn in ["64512", "65534", "4200000000", "4294967294"] {
        accepted(&gateway(asn));
    }
    for asn in [
        "0",
        "64511",
        "65535",
        "4199999999",
        "4294967295",
        "4294967296",
        "-1",
    ] {
        assert!(
            refused(&gateway(asn)).contains("vgw.toml:3: gateway.asn"),
            "{asn}"
        );
    }
    let customer = |asn: &str| {
        with(
            SMALLEST,
            "id = \"cgw-office\"",
            &format!("id = \"cgw-office\"\nbgp_asn = {asn}"),
        )
    };
    for asn in ["1", "4294967295"] {
        accepted(&customer(asn));
    }
    for asn in ["0", "4294967296"] {
        assert!(
            refused(&customer(asn)).contains("customer_gateway[1].bgp_asn"),
            "{asn}"
        );
    }
    let problems = refused(&customer("64512"));
    assert!(
        problems.contains("another ASN than the gateway's own"),
        "{problems}"
    );
}

#[test]
fn a_customer_gateways_own_asn_is_its_bgp_asn() {
    let own = |asn: &str| with(OTHER_END, "[gateway]", &format!("[gateway]\nasn = {asn}"));
    accepted(&own("65000"));
    assert!(refused(&own("65001")).contains("our own ASN, 65001"));
}

#[test]
fn outside_addresses_are_two_and_ours_and_differ_between_the_tunnels() {
    let problems = refused(&with(SMALLEST, ", \"203.0.113.2\"", ""));
    assert!(
        problems.contains("gateway.outside_addresses: found 1 addresses, expected two"),
        "{problems}"
    );
    let problems = refused(&with(SMALLEST, "203.0.113.2", "203.0.113.1"));
    assert!(
        problems.contains("gateway.outside_addresses[2]: found 203.0.113.1 again"),
        "{problems}"
    );
    let problems = refused(&with_option(SMALLEST, "outside_address = \"203.0.113.2\""));
    assert!(
        problems.contains("another outside address than tunnel 1 has"),
        "{problems}"
    );
    let problems = refused(&with_option(SMALLEST, "outside_address = \"203.0.113.3\""));
    assert!(
        problems.contains("one of gateway.outside_addresses (203.0.113.1, 203.0.113.2)"),
        "{problems}"
    );
    let problems = refused(&with(SMALLEST, "203.0.113.1", "224.0.0.1"));
    assert!(problems.contains("a unicast address"), "{problems}");
    let three = with(
        SMALLEST,
        "\"203.0.113.2\"]",
        "\"203.0.113.2\", \"203.0.113.3\"]",
    );
    accepted(&with_option(&three, "outside_address = \"203.0.113.3\""));
}

#[test]
fn an_outside_address_is_written_alone_or_with_its_public_one() {
    for (table, found) in [
        (
            "{ public = \"203.0.113.1\" }",
            "found a table without address",
        ),
        ("{ address = \"10.0.0.5\" }", "found a table without public"),
        (
            "{ address = \"10.0.0.5\", pulbic = \"203.0.113.1\" }",
            "found a table with pulbic",
        ),
        (
            "{ address = \"10.0.0.5\", public = 7 }",
            "found 7, expected an IPv4 or IPv6 address in quotes",
        ),
        (
            "7",
            "found 7, expected an address in quotes, or { address =",
        ),
    ] {
        let problems = refused(&with(SMALLEST, "\"203.0.113.1\"", table));
        let place = "gateway.outside_addresses[1]: ";
        assert!(problems.contains(&format!("{place}{found}")), "{problems}");
    }
}

#[test]
fn both_ends_of_a_tunnel_are_of_one_family() {
    let v6 = with(
        SMALLEST,
        "\"203.0.113.1\", \"203.0.113.2\"",
        "\"2001:db8::1\", \"2001:db8::2\"",
    );
    assert!(refused(&v6).contains("of the same family as the customer gateway's 198.51.100.7"));
    accepted(&with(&v6, "198.51.100.7", "2001:db8::7"));
    let other = with(OTHER_END, "198.51.100.7", "2001:db8::7");
    assert!(refused(&other).contains("of the same family as one of ours"));
}

#[test]
fn at_most_100_static_routes_come_from_one_customer_gateway() {
    let routes = |count: u32| {
        let list: Vec<String> = (0..count)
            .map(|n| format!("\"192.168.{n}.0/24\""))
            .collect();
        with(SMALLEST, "\"192.168.0.0/24\"", &list.join(", "))
    };
    accepted(&routes(100));
    let problems = refused(&routes(101));
    assert!(
        problems.contains("static_routes: found 101 prefixes, expected at most 100"),
        "{problems}"
    );
}

#[test]
fn static_routes_are_networks_outside_the_vpc() {
    let route = |net: &str| with(SMALLEST, "192.168.0.0/24", net);
    for good in ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "fd00::/8"] {
        accepted(&route(good));
    }
    for bad in [
        "10.0.0.0/16",
        "10.0.1.0/24",
        "192.168.0.1/24",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "x",
    ] {
        let problems = refused(&route(bad));
        assert!(
            problems.contains("vgw.toml:15: vpn_connection[1].static_routes[1]"),
            "{problems}"
        );
    }
    let twice = with(
        SMALLEST,
        "[\"192.168.0.0/24\"]",
        "[\"192.168.0.0/24\", \"192.168.0.0/24\"]",
    );
    assert!(refused(&twice).contains("static_routes[2]: found 192.168.0.0/24 again"));
}

#[test]
fn prefixes_of_two_connections_do_not_overlap() {
    let two = format!("{SMALLEST}{SECOND_SITE}");
    for bad in ["192.168.0.0/24", "192.168.0.0/16", "192.168.0.128/25"] {
        let problems = refused(&with(&two, "192.168.1.0/24", bad));
        assert!(
            problems.contains("vpn_connection[2].static_routes[1]")
                && problems.contains("no overlap with 192.168.0.0/24 of connection \"vpn-office\""),
            "{problems}"
        );
    }
}

#[test]
fn vpc_prefixes_are_networks_that_do_not_overlap() {
    let vpc = |list: &str| with(SMALLEST, "[\"10.0.0.0/16\"]", list);
    accepted(&vpc("[\"10.0.0.0/16\", \"10.1.0.0/16\", \"fd00:2::/56\"]"));
    for bad in [
        "[\"10.0.0.0/16\", \"10.0.1.0/24\"]",
        "[\"0.0.0.0/0\"]",
        "[\"10.0.0.1/16\"]",
    ] {
        assert!(
            refused(&vpc(bad)).contains("vgw.toml:6: vpc.cidrs["),
            "{bad}"
        );
    }
}

#[test]
fn a_customer_gateway_must_know_the_vpcs_prefixes() {
    let problems = refused(&with(OTHER_END, "vpc_cidrs = [\"10.0.0.0/16\"]\n", ""));
    assert!(
        problems.contains("vpn_connection[1].vpc_cidrs: found nothing"),
        "{problems}"
    );
    let problems = refused(&with(OTHER_END, "\"10.0.0.0/16\"", "\"192.168.0.128/25\""));
    assert!(problems.contains("outside on_premises.cidrs"), "{problems}");
}

#[test]
fn a_copied_connection_may_name_the_vpcs_prefixes_here_too() {
    let copied = |net: &str| {
        with(
            SMALLEST,
            "[[vpn_connection.tunnel]]",
            &format!("vpc_cidrs = [\"{net}\"]\n[[vpn_connection.tunnel]]"),
        )
    };
    accepted(&copied("10.0.0.0/16"));
    accepted(&copied("10.0.1.0/24"));
    assert!(refused(&copied("10.0.0.0/15")).contains("one of vpc.cidrs or a part of it"));
}

#[test]
fn to_initiate_the_customer_gateways_address_is_needed() {
    let anywhere = with(
        SMALLEST,
        "ip_address = \"198.51.100.7\"",
        "identity = \"fqdn:a.example\"",
    );
    accepted(&anywhere);
    let problems = refused(&with_option(&anywhere, "startup_action = \"start\""));
    assert!(
        problems.contains("startup_action: found start, expected add"),
        "{problems}"
    );
    let problems = refused(&with_option(&anywhere, "dpd_timeout_action = \"restart\""));
    assert!(
        problems.contains("dpd_timeout_action: found restart"),
        "{problems}"
    );
}

#[test]
fn a_customer_gateway_has_an_address_or_an_identity() {
    let problems = refused(&with(SMALLEST, "ip_address = \"198.51.100.7\"\n", ""));
    assert!(
        problems.contains("customer_gateway[1].identity: is missing"),
        "{problems}"
    );
}

#[test]
fn peers_on_one_outside_address_can_be_told_apart() {
    let two = format!("{SMALLEST}{SECOND_SITE}");
    let same = with(
        &two,
        "identity = \"fqdn:branch.example\"",
        "ip_address = \"198.51.100.7\"",
    );
    assert!(refused(&same).contains("could not be told apart"));
    accepted(&with(
        &same,
        "id = \"cgw-branch\"",
        "id = \"cgw-branch\"\nidentity = \"fqdn:b.example\"",
    ));
}

#[test]
fn names_are_well_formed_and_each_is_used_once() {
    for bad in ["", "a b", "-a", "a/1"] {
        let problems = refused(&with(
            SMALLEST,
            "id = \"vpn-office\"",
            &format!("id = {bad:?}"),
        ));
        assert!(problems.contains("vpn_connection[1].id"), "{problems}");
    }
    let two = format!("{SMALLEST}{SECOND_SITE}");
    let problems = refused(&with(&two, "id = \"vpn-branch\"", "id = \"vpn-office\""));
    assert!(
        problems.contains("vpn_connection[2].id: found \"vpn-office\" again"),
        "{problems}"
    );
    let problems = refused(&with(&two, "id = \"cgw-branch\"", "id = \"cgw-office\""));
    assert!(
        problems.contains("customer_gateway[2].id: found \"cgw-office\" again"),
        "{problems}"
    );
}

#[test]
fn a_connection_names_a_customer_gateway_that_there_is() {
    let problems = refused(&with(
        SMALLEST,
        "customer_gateway = \"cgw-office\"",
        "customer_gateway = \"cgw-offce\"",
    ));
    assert!(
        problems.contains("vgw.toml:14: vpn_connection[1].customer_gateway: found \"cgw-offce\""),
        "{problems}"
    );
    assert_eq!(problems.lines().count(), 1, "{problems}");
}

#[test]
fn a_connection_has_exactly_two_tunnels() {
    let one = SMALLEST.rfind("[[vpn_connection.tunnel]]").unwrap();
    let problems = refused(&SMALLEST[..one]);
    assert!(
        problems.contains("found 1 tunnels, expected two"),
        "{problems}"
    );
    let three = format!("{SMALLEST}[[vpn_connection.tunnel]]\n");
    assert!(refused(&three).contains("found 3 tunnels, expected two"));
}

#[test]
fn the_daemons_own_options_are_checked_too() {
    let bad = [
        ("[tun]\nname = \"vgw0123456789abc\"", "tun.name"),
        ("[tun]\nname = \"a/b\"", "tun.name"),
        (
            "[tun]\nmtu = 1279",
            "tun.mtu: found 1279, expected 1280 to 9000",
        ),
        ("[log]\nlevel = \"loud\"", "log.level"),
        ("[metrics]\nlisten = \"localhost\"", "metrics.listen"),
        ("[control]\nsocket = \"run/x\"", "control.socket"),
        ("[control]\nmode = 0o666", "control.mode"),
        ("[control]\nmode = 0o1660", "control.mode"),
        ("[key_log]\nike = \"x\"", "key_log.ike"),
        ("[limits]\nhalf_open = 0", "limits.half_open"),
        (
            "[limits]\nstrangers_percent = 101",
            "limits.strangers_percent",
        ),
        (
            "[limits]\nfailed_authentications_per_minute = 0",
            "limits.failed_authentications_per_minute",
        ),
        (
            "[limits]\nhalf_open = 5",
            "limits.cookie_threshold: found 32, expected no more than half_open (5)",
        ),
    ];
    for (table, expected) in bad {
        let problems = refused(&format!("{SMALLEST}{table}\n"));
        assert!(problems.contains(expected), "{table}: {problems}");
    }
    for netns in ["", "a/b", ".", ".."] {
        let problems = refused(&with(
            SMALLEST,
            "[vpc]",
            &format!("[vpc]\nnetns = {netns:?}"),
        ));
        assert!(problems.contains("vpc.netns"), "{problems}");
    }
}
