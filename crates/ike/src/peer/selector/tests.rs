use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use vgw_sa::TrafficSelector;

use super::{check_narrowed, narrow};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn all(texts: &[&str]) -> Vec<TrafficSelector> {
    texts.iter().map(|t| net(t).into()).collect()
}

#[test]
fn a_wider_offer_is_narrowed_to_what_is_configured() {
    let narrowed = narrow(
        &all(&["0.0.0.0/0"]),
        &[net("10.0.0.0/16"), net("10.2.0.0/16")],
    )
    .unwrap();
    assert_eq!(narrowed, all(&["10.0.0.0/16", "10.2.0.0/16"]));
}

#[test]
fn a_narrower_offer_is_taken_as_it_is() {
    let narrowed = narrow(&all(&["10.0.7.0/24", "10.9.0.0/24"]), &[net("10.0.0.0/16")]).unwrap();
    assert_eq!(narrowed, all(&["10.0.7.0/24"]));
}

#[test]
fn a_single_packet_selector_before_its_range_does_not_stay_beside_it() {
    // RFC 7296 section 2.9: the first selector may be that of the packet that triggered the
    // request.
    let mut offered = all(&["10.0.0.5/32", "10.0.0.0/8"]);
    offered[0].protocol = 6;
    offered[0].first_port = 443;
    offered[0].last_port = 443;
    let narrowed = narrow(&offered, &[net("10.0.0.0/16")]).unwrap();
    assert_eq!(narrowed, all(&["10.0.0.0/16"]));
}

#[test]
fn protocol_and_ports_of_the_offer_are_kept() {
    let mut offered = all(&["0.0.0.0/0"]);
    offered[0].protocol = 17;
    offered[0].first_port = 53;
    offered[0].last_port = 53;
    let narrowed = narrow(&offered, &[net("10.0.0.0/16")]).unwrap();
    assert_eq!(
        narrowed[0].to_string(),
        "10.0.0.0/16 protocol 17 port 53-53"
    );
}

#[test]
fn opaque_ports_are_within_any_port_and_within_no_other() {
    let any = all(&["10.0.0.0/8"])[0];
    let opaque = TrafficSelector {
        first_port: u16::MAX,
        last_port: 0,
        ..any
    };
    let one = TrafficSelector {
        first_port: 80,
        last_port: 80,
        ..any
    };
    assert_eq!(any.intersection(&opaque), Some(opaque));
    assert_eq!(one.intersection(&opaque), None);
}

#[test]
fn ipv4_and_ipv6_have_nothing_in_common() {
    let why = narrow(&all(&["::/0"]), &[net("10.0.0.0/8"), net("10.1.0.0/16")]).unwrap_err();
    assert_eq!(
        why.to_string(),
        "no common traffic: peer offers ::/0; we accept 10.0.0.0/8, 10.1.0.0/16"
    );
}

#[test]
fn a_response_may_narrow_but_not_widen() {
    let offered = all(&["10.0.0.0/16", "10.9.0.0/16"]);
    check_narrowed(&offered, &all(&["10.0.1.0/24", "10.9.0.0/16"])).unwrap();
    let why = check_narrowed(&offered, &all(&["10.0.0.0/15"])).unwrap_err();
    assert_eq!(
        why.to_string(),
        "peer answers with traffic 10.0.0.0/15; we offered 10.0.0.0/16, 10.9.0.0/16"
    );
    check_narrowed(&offered, &[]).unwrap_err();
}

#[test]
fn a_range_that_is_no_prefix_prints_as_a_range() {
    let selector = TrafficSelector {
        last: "10.0.0.9".parse().unwrap(),
        ..net("10.0.0.0/24").into()
    };
    assert_eq!(selector.to_string(), "10.0.0.0-10.0.0.9");
    assert_eq!(
        TrafficSelector::from(net("10.1.2.3/16")).to_string(),
        "10.1.0.0/16"
    );
}

fn selector() -> impl Strategy<Value = TrafficSelector> {
    // A small space, so that the ranges often meet.
    (0_u8..3, 0_u16..6, 0_u16..6, 0_u8..12, 0_u8..12).prop_map(|(protocol, p, q, a, b)| {
        let address = |low: u8| IpAddr::from([10, 0, 0, low]);
        TrafficSelector {
            protocol,
            first_port: p.min(q),
            last_port: p.max(q),
            first: address(a.min(b)),
            last: address(a.max(b)),
        }
    })
}

/// The model: whether a selector covers one packet.
fn matches(s: &TrafficSelector, protocol: u8, port: u16, address: IpAddr) -> bool {
    (s.protocol == 0 || s.protocol == protocol)
        && (s.first_port..=s.last_port).contains(&port)
        && s.contains(address)
}

proptest! {
    #[test]
    fn a_packet_is_of_the_intersection_when_it_is_of_both(
        a in selector(), b in selector(), protocol in 1_u8..3, port in 0_u16..6, low in 0_u8..12,
    ) {
        let address = IpAddr::from([10, 0, 0, low]);
        let of = |s: &TrafficSelector| matches(s, protocol, port, address);
        let of_common = a.intersection(&b).is_some_and(|c| of(&c));
        prop_assert_eq!(of_common, of(&a) && of(&b));
    }

    #[test]
    fn what_is_narrowed_passes_the_initiators_check(
        offered in proptest::collection::vec(selector(), 1..6), bits in 24_u8..=32, low in 0_u8..12,
    ) {
        let configured = [IpNet::new([10, 0, 0, low].into(), bits).unwrap()];
        if let Ok(narrowed) = narrow(&offered, &configured) {
            prop_assert!(check_narrowed(&offered, &narrowed).is_ok());
        }
    }
}
