use std::collections::BTreeMap;

use vgw_admin::wire::{
    Awaited, Child, Connection, Counters, DataPlane, Gateway, IkeMessages, Last, Log, Misplaced,
    Refusal, Side, Status, Traffic, Tunnel,
};

use super::{octets, render, span};

/// As it also stands in docs/troubleshooting.md.
const SENTENCE: &str = "4 handshakes begun by 198.51.100.7 since 1m02s, the last 12s ago, \
                        and no IKE_AUTH came: is UDP 4500 let through, both ways?";

fn tunnel(number: u8) -> Tunnel {
    Tunnel {
        name: format!("vpn-office/{number}"),
        number,
        state: "down".to_owned(),
        up: false,
        active: false,
        since_seconds: 7.9,
        why: "configured".to_owned(),
        waits_for: Some("the peer to initiate".to_owned()),
        awaited: None,
        outside_address: format!("203.0.113.{number}").parse().unwrap(),
        inside_address: "169.254.10.1".parse().unwrap(),
        mtu: None,
        mss_ipv4: None,
        mss_ipv6: None,
        outside_mtu: None,
        df_policy: "honor".to_owned(),
        copy_dscp: false,
        bandwidth_limit_mbps: None,
        peer: Some("198.51.100.7".to_owned()),
        ike: None,
        children: Vec::new(),
        traffic: Traffic::default(),
        dropped: BTreeMap::new(),
        counters: Counters::default(),
        last: None,
        algorithms: None,
        rekey_refused: None,
        problems: Vec::new(),
        suspect: None,
        one_way: None,
        udp_fallback: None,
    }
}

fn status(connections: Vec<Connection>) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        uptime_seconds: 11_100,
        gateway: Gateway {
            side: Side::VirtualPrivateGateway,
            asn: 64512,
            outside_addresses: vec![
                "203.0.113.1".parse().unwrap(),
                "203.0.113.2".parse().unwrap(),
            ],
            cidrs: vec!["10.0.0.0/16".to_owned()],
            outside_mtu: 1500,
            cloudhub: false,
        },
        connections,
        data_plane: DataPlane::default(),
        half_open: 0,
        denied: BTreeMap::from([("cookie_asked".to_owned(), 4), ("no_peer".to_owned(), 0)]),
        drops: BTreeMap::from(
            [("no_sa", 0), ("replayed", 2), ("link_local", 9)]
                .map(|(reason, packets)| (reason.to_owned(), packets)),
        ),
        misplaced: Vec::new(),
        ike_messages: IkeMessages {
            begin: 12,
            unknown_spi: 3,
            received: BTreeMap::from([
                ("established".to_owned(), 100),
                ("handshake".to_owned(), 20),
                ("stranger".to_owned(), 3),
            ]),
            dropped: BTreeMap::from([
                ("malformed".to_owned(), 7),
                ("stranger_queue_full".to_owned(), 0),
            ]),
        },
        log: Log {
            lines_lost: 3,
            lines_held_back: 0,
        },
        problems: Vec::new(),
        refusals: Vec::new(),
    }
}

fn child(suite: &str) -> Child {
    Child {
        spi_in: "0x00000001".to_owned(),
        spi_out: "0x00000002".to_owned(),
        suite: suite.to_owned(),
        udp_encapsulation: true,
        outbound: true,
        age_seconds: 1.0,
        local_selectors: Vec::new(),
        remote_selectors: Vec::new(),
    }
}

#[test]
fn the_table_shows_what_carries_traffic_and_why_the_rest_does_not() {
    let up = Tunnel {
        state: "up".to_owned(),
        up: true,
        active: true,
        since_seconds: 11_000.0,
        mtu: Some(1438),
        peer: Some("198.51.100.7:4500".to_owned()),
        children: vec![child("AES256-GCM-16/ESN"), child("AES128")],
        traffic: Traffic {
            bytes_in: 3 << 30,
            bytes_out: 1_900_000,
            ..Traffic::default()
        },
        last: Some(Last {
            ago_seconds: 11_001.0,
            why: "of no interest any more".to_owned(),
        }),
        ..tunnel(1)
    };
    let down = Tunnel {
        last: Some(Last {
            ago_seconds: 7.0,
            why: "peer does not answer".to_owned(),
        }),
        awaited: Some(Awaited {
            what: "peer_to_begin".to_owned(),
            from: Some("198.51.100.7".parse().unwrap()),
            finding: "no_auth".to_owned(),
            sentence: Some(SENTENCE.to_owned()),
            noted_seconds: 100.0,
            last_came: None,
            handshakes_begun: None,
            init_repeated: 0,
            init_unanswered: None,
            auth_unanswered: None,
            unknown: None,
        }),
        ..tunnel(2)
    };
    let connection = Connection {
        id: "vpn-office".to_owned(),
        customer_gateway: "cgw-office".to_owned(),
        active_tunnel: Some(1),
        last_move: None,
        tunnels: vec![up, down],
    };
    assert_eq!(
        render(&status(vec![connection])),
        "\
vgw 0.1.0, virtual private gateway, AS 64512, outside 203.0.113.1 203.0.113.2, inside 10.0.0.0/16
1 of 2 tunnels up, running for 3h05m

CONNECTION  TUNNEL  STATE  SENDS  SINCE  PEER               CIPHER             MTU   IN       OUT
vpn-office  1       up     <--    3h03m  198.51.100.7:4500  AES256-GCM-16/ESN  1438  3.0 GiB  1.8 MiB
            2       down          7s     198.51.100.7       -                  -     0 B      0 B
    7s ago: peer does not answer; waits for the peer to initiate
    4 handshakes begun by 198.51.100.7 since 1m02s, the last 12s ago, and no IKE_AUTH came: is UDP 4500 let through, both ways?

packets dropped: replayed 2

IKE messages: established 100, handshake 20, stranger 3; dropped unread: malformed 7

IKE messages refused or dropped: cookie_asked 4

log lines missing: 3 lost, 0 held back as too many
"
    );
}

#[test]
fn a_tunnel_that_was_taken_down_by_hand_says_so_and_not_what_was_wrong_before() {
    let shown = |last_ago| {
        let taken_down = Tunnel {
            state: "admin-down".to_owned(),
            why: "taken down by hand".to_owned(),
            waits_for: Some("`vgw tunnel up vpn-office/1`".to_owned()),
            last: Some(Last {
                ago_seconds: last_ago,
                why: "deleted by the peer".to_owned(),
            }),
            ..tunnel(1)
        };
        let table = render(&status(vec![Connection {
            id: "vpn-office".to_owned(),
            customer_gateway: "cgw-office".to_owned(),
            active_tunnel: None,
            last_move: None,
            tunnels: vec![taken_down],
        }]));
        table.lines().nth(5).unwrap().to_owned()
    };
    assert_eq!(
        shown(20.0),
        "    taken down by hand; waits for `vgw tunnel up vpn-office/1`"
    );
    assert!(shown(2.0).starts_with("    2s ago: deleted by the peer; "));
}

#[test]
fn a_tunnel_that_is_up_and_cannot_be_rekeyed_says_so() {
    let up = Tunnel {
        state: "up".to_owned(),
        up: true,
        last: Some(Last {
            ago_seconds: 100.0,
            why: "peer does not answer".to_owned(),
        }),
        rekey_refused: Some(Last {
            ago_seconds: 41.0,
            why: "rekey of a CHILD SA: no common key exchange".to_owned(),
        }),
        ..tunnel(1)
    };
    let connection = Connection {
        id: "vpn-office".to_owned(),
        customer_gateway: "cgw-office".to_owned(),
        active_tunnel: Some(1),
        last_move: None,
        tunnels: vec![up],
    };
    let text = render(&status(vec![connection]));
    let note = "\n    rekey refused 41s ago: rekey of a CHILD SA: no common key exchange\n";
    assert!(text.contains(note), "{text}");
    assert!(!text.contains("does not answer"), "{text}");
}

#[test]
fn a_tunnel_that_is_up_and_goes_one_way_or_in_udp_for_that_says_so() {
    let last = |why: &str| {
        Some(Last {
            ago_seconds: 41.0,
            why: why.to_owned(),
        })
    };
    let [first, second] = [1, 2].map(|number| Tunnel {
        state: "up".to_owned(),
        up: true,
        udp_fallback: last("ESP goes in UDP"),
        ..tunnel(number)
    });
    let first = Tunnel {
        one_way: last("9 packets sent and none came back"),
        ..first
    };
    let connection = Connection {
        id: "vpn-office".to_owned(),
        customer_gateway: "cgw-office".to_owned(),
        active_tunnel: Some(1),
        last_move: None,
        tunnels: vec![first, second],
    };
    let text = render(&status(vec![connection]));
    for note in [
        "\n    one way for 41s: 9 packets sent and none came back\n",
        "\n    in UDP for 41s: ESP goes in UDP\n",
    ] {
        assert!(text.contains(note), "{text}");
    }
}

#[test]
fn who_is_suspect_and_why_traffic_moved_stand_below_the_tunnels_concerned() {
    let last = |ago_seconds, why: &str| {
        Some(Last {
            ago_seconds,
            why: why.to_owned(),
        })
    };
    let [first, second] = [1, 2].map(|number| Tunnel {
        state: "up".to_owned(),
        up: true,
        active: number == 2,
        ..tunnel(number)
    });
    let first = Tunnel {
        suspect: last(3.0, "the peer does not answer"),
        ..first
    };
    let connection = Connection {
        id: "vpn-office".to_owned(),
        customer_gateway: "cgw-office".to_owned(),
        active_tunnel: Some(2),
        last_move: last(2.9, "from tunnel 1: its peer does not answer"),
        tunnels: vec![first, second],
    };
    let text = render(&status(vec![connection]));
    let suspect = "\n    suspect for 3s: the peer does not answer\n      ";
    assert!(text.contains(suspect), "{text}");
    let moved = "\n    traffic moved here 2s ago, from tunnel 1: its peer does not answer\n";
    assert!(text.contains(moved), "{text}");
}

#[test]
fn what_a_tunnel_that_is_up_does_not_carry_stands_below_it() {
    let up = Tunnel {
        state: "up".to_owned(),
        up: true,
        problems: vec!["the peer's networks are others".to_owned()],
        ..tunnel(1)
    };
    let connection = Connection {
        id: "vpn-office".to_owned(),
        customer_gateway: "cgw-office".to_owned(),
        active_tunnel: Some(1),
        last_move: None,
        tunnels: vec![up, tunnel(2)],
    };
    let text = render(&status(vec![connection]));
    let below = "\n    the peer's networks are others\n            2       down ";
    assert!(text.contains(below), "{text}");
}

#[test]
fn what_needs_attention_stands_below_the_table() {
    let troubled = Status {
        problems: vec!["adding the route to 10.1.0.0/16: File exists".to_owned()],
        refusals: vec![Refusal {
            ago_seconds: 61.0,
            remote: "192.0.2.9:500".parse().unwrap(),
            why: "no tunnel has this peer".to_owned(),
        }],
        drops: BTreeMap::new(),
        ike_messages: IkeMessages::default(),
        denied: BTreeMap::new(),
        log: Log::default(),
        ..status(Vec::new())
    };
    let text = render(&troubled);
    let (_, below) = text.split_once("\n\n").unwrap();
    assert_eq!(
        below,
        "\
no VPN connection is configured

ATTENTION: adding the route to 10.1.0.0/16: File exists

refused, of no configured tunnel:
    1m01s ago from 192.0.2.9:500: no tunnel has this peer
"
    );
}

#[test]
fn drops_by_networks_that_differ_are_explained_in_the_words_of_either_side() {
    let mut dropping = status(Vec::new());
    dropping.drops = [("source_not_routed", 2), ("unknown_destination", 0)]
        .map(|(reason, packets)| (reason.to_owned(), packets))
        .into();
    let text = render(&dropping);
    let below = "\npackets dropped: source_not_routed 2\n    source_not_routed: a peer sends \
                 from what is not in its static_routes; add it here, or correct it there\n";
    assert!(text.contains(below), "{text}");
    assert!(!text.contains("unknown_destination"), "{text}");
    dropping.misplaced = vec![Misplaced {
        reason: "source_not_routed".to_owned(),
        tunnel: "vpn-office/1".to_owned(),
        source: "192.168.5.7".parse().unwrap(),
        destination: "10.0.0.10".parse().unwrap(),
    }];
    let example = "; add it here, or correct it there (as a packet from 192.168.5.7 to 10.0.0.10 \
                   by vpn-office/1)\n";
    let text = render(&dropping);
    assert!(text.contains(example), "{text}");
    dropping.gateway.side = Side::CustomerGateway;
    let text = render(&dropping);
    assert!(
        text.contains("what is not in vpc_cidrs; add it here"),
        "{text}"
    );
}

#[test]
fn spans_and_octets_are_short() {
    for (seconds, text) in [
        (0.4, "0s"),
        (59.9, "59s"),
        (60.0, "1m00s"),
        (3_600.0, "1h00m"),
        (90_000.0, "1d01h"),
        (f64::NAN, "0s"),
        (-1.0, "0s"),
    ] {
        assert_eq!(span(seconds), text);
    }
    for (count, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_048_575, "1023.9 KiB"),
        (1_048_576, "1.0 MiB"),
        (u64::MAX, "15.9 EiB"),
    ] {
        assert_eq!(octets(count), text);
    }
}
