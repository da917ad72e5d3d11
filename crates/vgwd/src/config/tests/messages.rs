//! What the operator is told.

use super::{SECOND_SITE, SMALLEST, accepted, refused, with, with_option};
use crate::config::load_str;

#[test]
fn every_error_is_told_not_only_the_first() {
    let text = with(
        SMALLEST,
        "cidrs = [\"10.0.0.0/16\"]",
        "cidrs = [\"10.0.0.1/16\"]\ncolour = 1",
    );
    let text = with(&text, "169.254.10.0/30", "169.254.0.0/30");
    let text = with(&text, "abcdefgh.2", "short");
    let text = with_option(&text, "dpd_timeout_seconds = 3\nreplay_window = 64");
    let problems = refused(&text);
    let starts = [
        "vgw.toml:6: vpc.cidrs[1]: found 10.0.0.1/16, expected its network, 10.0.0.0/16",
        "vgw.toml:7: vpc.colour: is not a known key here; known are cidrs, netns",
        "vgw.toml:19: vpn_connection[1].tunnel[1].dpd_timeout_seconds: found 3, expected 30 to 86400",
        "vgw.toml:20: vpn_connection[1].tunnel[1].replay_window: is not a known key; did you mean \"replay_window_size\"?",
        "vgw.toml:21: vpn_connection[1].tunnel[1].tunnel_inside_cidr: found 169.254.0.0/30, expected a /30 that is not reserved",
        "vgw.toml:26: vpn_connection[1].tunnel[2].pre_shared_key: found a key of 5 octets, expected 8 to 64 characters",
    ];
    let found: Vec<&str> = problems.lines().collect();
    assert_eq!(found.len(), starts.len(), "{problems}");
    for (line, start) in found.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}\n  is not\n{start}");
    }
}

#[test]
fn what_cannot_be_read_causes_no_further_complaints() {
    let text = with(
        SMALLEST,
        "ip_address = \"198.51.100.7\"",
        "ip_address = \"198.51.100\"",
    );
    let text = with_option(&text, "startup_action = \"start\"");
    let problems = refused(&text);
    assert_eq!(problems.lines().count(), 1, "{problems}");
    let problems = refused(&with(SMALLEST, "[\"203.0.113.1\", \"203.0.113.2\"]", "7"));
    assert_eq!(problems.lines().count(), 1, "{problems}");
    let problems = refused(&with(SMALLEST, "\"169.254.10.0/30\"", "true"));
    assert_eq!(problems.lines().count(), 1, "{problems}");
}

#[test]
fn a_missing_field_is_told_on_the_line_of_its_table() {
    let problems = refused(&with(
        SMALLEST,
        "tunnel_inside_cidr = \"169.254.10.4/30\"\n",
        "",
    ));
    assert_eq!(
        problems,
        "vgw.toml:21: vpn_connection[1].tunnel[2].tunnel_inside_cidr: is missing, \
         expected a /30 in 169.254.0.0/16"
    );
}

#[test]
fn an_empty_file_says_what_a_gateway_needs() {
    let problems = refused("");
    assert!(
        problems.contains("vgw.toml: gateway.outside_addresses: found 0 addresses"),
        "{problems}"
    );
}

#[test]
fn awss_own_spelling_of_an_option_finds_ours() {
    let problems = refused(&with_option(SMALLEST, "DPDTimeoutSeconds = 30"));
    assert!(
        problems.contains("did you mean \"dpd_timeout_seconds\"?"),
        "{problems}"
    );
    let problems = refused(&with(SMALLEST, "[vpc]", "[vcp]"));
    assert!(
        problems.contains("vcp: is not a known key; did you mean \"vpc\"?"),
        "{problems}"
    );
}

#[test]
fn a_table_of_the_wrong_kind_says_which_is_meant() {
    let problems = refused(&with(
        SMALLEST,
        "[[customer_gateway]]",
        "[customer_gateway]",
    ));
    assert!(
        problems.contains("tables headed [[customer_gateway]], with two brackets"),
        "{problems}"
    );
    let problems = refused(&with(SMALLEST, "[vpc]", "[[vpc]]"));
    assert!(problems.contains("expected a table, [vpc]"), "{problems}");
}

#[test]
fn no_message_shows_a_line_that_may_hold_a_key() {
    let secret = "hunter2.hunter2";
    let key = |value: &str| with(SMALLEST, "pre_shared_key = \"abcdefgh.1\"", value);
    let bad = [
        key(&format!("pre_shared_key = {secret}")),
        key(&format!("pre_shared_key = \"{secret}")),
        key(&format!("pre_shared_key = \"{secret}!\"")),
        key(&format!("pre_shared_key = [\"{secret}\"]")),
        key(&format!(
            "pre_shared_key = \"{secret}\"\npre_shared_key = \"{secret}\""
        )),
        key(&format!("pre_shared_keys = \"{secret}\"")),
        key(&format!("pre_shared_key_file = \"{secret}\"")),
        key(&format!("pre_shared_key_credential = \"/{secret}\"")),
        key(&format!("pre_shared_key \"{secret}\"")),
        key(&format!("\"{secret}")),
    ];
    for text in bad {
        let problems = load_str(&text, "vgw.toml").unwrap_err();
        let told = format!("{problems:?}\n{}", super::lines(&problems));
        assert!(!told.contains("hunter2"), "{told}");
    }
    let shown = format!("{:?}", accepted(SMALLEST));
    assert!(!shown.contains("abcdefgh"), "{shown}");
}

#[test]
fn errors_of_syntax_name_their_lines() {
    let problems = refused("[gateway]\nasn = \n\n[vpc\ncidrs = []\n");
    assert!(problems.contains("vgw.toml:2: "), "{problems}");
    assert!(problems.contains("vgw.toml:4: "), "{problems}");
}

#[test]
fn what_is_allowed_but_hardly_meant_is_a_warning() {
    let warned = |text: &str| super::lines(&accepted(text).warnings);
    assert_eq!(warned(SMALLEST), "");
    let unused =
        format!("{SMALLEST}[[customer_gateway]]\nid = \"cgw-x\"\nidentity = \"fqdn:x.example\"\n");
    assert!(warned(&unused).contains("customer_gateway[2]: no vpn_connection uses"));
    let empty = with(SMALLEST, "[\"192.168.0.0/24\"]", "[]");
    assert!(warned(&empty).contains("static_routes: is empty"));
    let narrow = with(
        SMALLEST,
        "static_routes",
        "local_ipv4_network_cidr = \"172.16.0.0/12\"\nstatic_routes",
    );
    assert!(warned(&narrow).contains("static_routes[1]: 192.168.0.0/24 is not within"));
    let bare = with_option(SMALLEST, "phase2_dh_group_numbers = []");
    let bare = warned(&bare);
    assert!(
        bare.contains("phase2_dh_group_numbers: is empty: no perfect forward secrecy"),
        "{bare}"
    );
}

#[test]
fn a_tun_device_that_lets_through_what_no_suite_carries_is_a_warning() {
    let warned = |text: &str| super::lines(&accepted(text).warnings);
    let with_mtu = |mtu: u16, text: &str| format!("{text}\n[tun]\nmtu = {mtu}\n");
    // AES-GCM without UDP leaves this much.
    assert_eq!(warned(&with_mtu(1446, SMALLEST)), "");
    let both = warned(&with_mtu(1447, SMALLEST));
    assert!(
        both.contains("tun.mtu: is 1447, but vpn-office/1 has at most 1446,")
            && both.contains("(2 tunnels are too small)")
            && both.contains("1446 would fit"),
        "{both}"
    );
    let hmac = "phase2_encryption_algorithms = [\"AES256\"]\nencapsulation = \"udp\"\n\
                phase2_integrity_algorithms = [\"SHA2-512\", \"SHA2-256\"]";
    let one = warned(&with_mtu(1438, &with_option(SMALLEST, hmac)));
    assert!(
        one.contains("vpn-office/1 has at most 1422, whatever it negotiates: larger"),
        "{one}"
    );
}

#[test]
fn the_default_of_the_tun_device_is_what_every_tunnel_carries_at_its_best() {
    let mtu = |text: &str| {
        let loaded = accepted(text);
        assert_eq!(super::lines(&loaded.warnings), "");
        loaded.settings.tun.mtu
    };
    // AES-GCM, in UDP and never in UDP; and over a path of another size.
    assert_eq!(mtu(SMALLEST), 1438);
    let everywhere = |option: &str| {
        SMALLEST.replace(
            "tunnel_inside_cidr",
            &format!("{option}\ntunnel_inside_cidr"),
        )
    };
    assert_eq!(mtu(&everywhere("encapsulation = \"native\"")), 1446);
    let with_path =
        |text: &str, mtu: u16| with(text, "[vpc]", &format!("outside_mtu = {mtu}\n[vpc]"));
    assert_eq!(mtu(&with_path(SMALLEST, 1460)), 1398);
    assert_eq!(mtu(&with_path(SMALLEST, 9216)), 9000);
    // The least of all tunnels: of HMAC-SHA-512 alone in one of two.
    let hmac = "phase2_encryption_algorithms = [\"AES256\"]\n\
                phase2_integrity_algorithms = [\"SHA2-512\"]";
    assert_eq!(mtu(&with_option(SMALLEST, hmac)), 1406);
    let ipv6 = SMALLEST
        .replace("203.0.113.", "2001:db8::")
        .replace("198.51.100.7", "2001:db8::7");
    assert_eq!(mtu(&ipv6), 1418);
    // IPv6 inside needs this much, whatever the tunnels carry.
    assert_eq!(mtu(&with_path(&ipv6, 1300)), 1280);
}

#[test]
fn tunnels_that_cannot_be_told_apart_and_have_nothing_in_common_are_warned_of() {
    let warned = |text: &str| super::lines(&accepted(text).warnings);
    let two = format!("{SMALLEST}{SECOND_SITE}");
    let anywhere = with(
        &two,
        "ip_address = \"198.51.100.7\"",
        "identity = \"fqdn:office.example\"",
    );
    let old = "phase1_dh_group_numbers = [2]";
    // The second has an address, so that its peer is known before it says who it is.
    assert_eq!(warned(&with_option(&two, old)), "");
    assert_eq!(warned(&anywhere), "");
    let warnings = warned(&with_option(&anywhere, old));
    assert!(
        warnings.contains("vpn_connection[2].tunnel[1]: vpn-branch/1 and vpn-office/1 cannot")
            && warnings.contains("no key exchange group in common: vpn-office/1 has 2, vpn-br"),
        "{warnings}"
    );
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
    let common = "phase1_dh_group_numbers = [2, 16]";
    assert_eq!(warned(&with_option(&anywhere, common)), "");

    let udp = with_option(&anywhere, "encapsulation = \"udp\"");
    assert_eq!(warned(&udp), "");
    let branch = "tunnel_inside_cidr = \"169.254.11.0/30\"";
    let native = with(
        &udp,
        branch,
        &format!("{branch}\nencapsulation = \"native\""),
    );
    assert!(warned(&native).contains("encapsulation"));
}

#[test]
fn a_default_route_that_the_machine_shares_with_the_vpc_is_warned_of() {
    let text = with(SMALLEST, "192.168.0.0/24", "0.0.0.0/0");
    let warned = super::lines(&accepted(&text).warnings);
    assert!(
        warned.starts_with("vgw.toml:15: vpn_connection[1].static_routes[1]: is 0.0.0.0/0, and"),
        "{warned}"
    );
    let apart = with(&text, "[vpc]", "[vpc]\nnetns = \"vpc\"");
    assert_eq!(super::lines(&accepted(&apart).warnings), "");
    assert_eq!(super::lines(&accepted(SMALLEST).warnings), "");
}
