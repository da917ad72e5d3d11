//! What those who have not authenticated can cost, counted.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vgw_crypto::{Group, Secret};
use vgw_ike::config::{Limits, PeerConfig, Psk};
use vgw_ike::drop_reason::DropReason;
use vgw_ike::endpoint::Endpoint;
use vgw_ike::event::{Content, Event};
use vgw_ike::identity::Identity;
use vgw_ike::refusal::RefusalReason;
use vgw_ike::wire::{
    ExchangeType, KeyExchange, Notify, NotifyType, Payload, Transform, TransformType,
    decode_cleartext, encode_cleartext,
};
use vgw_sa::{GatewayId, TunnelId};

use crate::rig::{A, B, DELAY, Jobs, Load, PEER, Pair, address, config, seconds, sources};

/// A gateway alone, and what it says.
struct Gateway {
    endpoint: Endpoint,
    now: Instant,
    refused: Vec<(Option<TunnelId>, RefusalReason)>,
}

impl Gateway {
    fn new(limits: Limits) -> Self {
        Self {
            endpoint: Endpoint::new(limits, sources(1, 2)),
            now: Instant::now(),
            refused: Vec::new(),
        }
    }

    fn add(&mut self, peer: u32, change: impl FnOnce(&mut PeerConfig)) {
        let mut config = config(B);
        config.name = format!("vpn-{peer}/1");
        config.remote = None;
        config.remote_id = Identity::Fqdn(format!("site-{peer}.example"));
        change(&mut config);
        self.endpoint
            .set_peer(self.now, GatewayId(0).tunnel(peer), config);
    }

    /// Lets a datagram arrive; gives the answer.
    fn hear(&mut self, remote: SocketAddr, message: &[u8]) -> Option<Vec<u8>> {
        let local = (address(B), 500).into();
        self.endpoint
            .handle_datagram(self.now, local, remote, message);
        while let Some((id, job)) = self.endpoint.poll_job() {
            self.endpoint.handle_job(self.now, id, job.run());
        }
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::Refused { peer, why, .. } = event {
                self.refused.push((peer, why));
            }
        }
        let mut answer = None;
        while let Some(transmit) = self.endpoint.poll_transmit() {
            if let Content::Ike(message) = transmit.content {
                answer = Some(message);
            }
        }
        answer
    }

    /// An IKE_SA_INIT from somebody who returns the cookie that is asked for.
    fn hear_from(&mut self, remote: SocketAddr, message: &[u8]) -> Option<Vec<u8>> {
        let answer = self.hear(remote, message)?;
        match cookie(&answer) {
            Some(cookie) => self.hear(remote, &with_cookie(message, cookie)),
            None => Some(answer),
        }
    }

    fn denied(&self, reason: DropReason) -> u64 {
        self.endpoint.drops().get(reason)
    }
}

/// An IKE_SA_INIT request of side A.
fn first_message() -> Vec<u8> {
    first_of(&mut Pair::new(15))
}

fn first_of(pair: &mut Pair) -> Vec<u8> {
    pair.initiate(A);
    let Load::Ike(first) = pair.log[0].load.clone() else {
        panic!("not IKE");
    };
    first
}

fn with_spi(message: &[u8], spi: u64) -> Vec<u8> {
    [&spi.to_be_bytes(), &message[8..]].concat()
}

/// The same message with another public value.
fn with_public(message: &[u8], data: &[u8]) -> Vec<u8> {
    change(message, |payload| {
        if let Payload::Ke(KeyExchange { data: public, .. }) = payload {
            *public = data.to_vec();
        }
    })
}

fn change(message: &[u8], change: impl FnMut(&mut Payload)) -> Vec<u8> {
    let mut clear = decode_cleartext(message).unwrap();
    clear.payloads.iter_mut().for_each(change);
    encode_cleartext(&clear.header, &clear.payloads)
}

fn with_cookie(message: &[u8], cookie: Vec<u8>) -> Vec<u8> {
    let mut clear = decode_cleartext(message).unwrap();
    let cookie = Notify::new(NotifyType::COOKIE, cookie);
    clear.payloads.insert(0, Payload::Notify(cookie));
    encode_cleartext(&clear.header, &clear.payloads)
}

fn cookie(answer: &[u8]) -> Option<Vec<u8>> {
    match decode_cleartext(answer).unwrap().payloads.as_slice() {
        [Payload::Notify(notify)] if notify.kind == NotifyType::COOKIE => Some(notify.data.clone()),
        _ => None,
    }
}

/// As many transforms as fit, none of a group that we have.
fn without_common_group(message: &[u8]) -> Vec<u8> {
    change(message, |payload| {
        let Payload::Sa(proposals) = payload else {
            return;
        };
        let groups = (1_000..1_060).map(|id| Transform {
            kind: TransformType::KEY_EXCHANGE,
            id,
            key_bits: None,
            unknown_attribute: false,
        });
        let mut proposal = proposals.remove(0);
        proposal
            .transforms
            .retain(|t| t.kind != TransformType::KEY_EXCHANGE);
        proposal.transforms.extend(groups);
        for number in 1..=7 {
            proposal.number = number;
            proposals.push(proposal.clone());
        }
        proposals.truncate(7);
    })
}

/// A host of a network of its own, for each number.
fn host(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::new([10, high, low, 9].into(), 500)
}

/// A datagram reaches a side from any address.
fn deliver(pair: &mut Pair, to: usize, remote: SocketAddr, message: &[u8]) {
    let local = (address(to), 500).into();
    pair.call(to, |endpoint, now| {
        endpoint.handle_datagram(now, local, remote, message);
    });
}

#[test]
fn a_handshake_takes_one_key_pair_at_each_side() {
    let mut pair = Pair::new(1);
    pair.establish(A);
    for side in &pair.sides {
        assert_eq!(side.endpoint.key_pairs(), 1);
    }
}

#[test]
fn for_a_public_value_without_use_no_key_pair_is_made() {
    for group in [Group::Curve25519, Group::Ecp256, Group::Modp2048] {
        let mut pair = Pair::with(2, |_, config| config.ike.groups = vec![group]);
        let first = first_of(&mut pair);
        let useless = with_public(&first, &vec![0; group.public_len()]);
        for spi in 1..=100 {
            let message = with_spi(&useless, spi);
            deliver(&mut pair, B, (address(A), 500).into(), &message);
        }
        assert_eq!(pair.sides[B].endpoint.key_pairs(), 0, "group {group}");
        assert_eq!(pair.sides[B].endpoint.half_open(), 0);
    }
}

#[test]
fn a_response_without_use_costs_the_initiator_nothing_and_does_not_end_the_attempt() {
    let mut pair = Pair::new(3);
    pair.jobs = Jobs::AtOnce;
    pair.initiate(A);
    pair.run(DELAY);
    let answer = pair.log.last().unwrap().clone();
    assert!(answer.is(B, ExchangeType::IKE_SA_INIT, true));
    let Load::Ike(message) = &answer.load else {
        panic!("not IKE");
    };
    let forged = with_public(message, &[0; 32]);
    for _ in 0..100 {
        deliver(&mut pair, A, answer.source, &forged);
    }
    assert_eq!(pair.sides[A].endpoint.counters(PEER).dropped.total(), 100);
    pair.run(seconds(1));
    pair.assert_agreement(1);
    assert_eq!(pair.sides[A].endpoint.key_pairs(), 1);
}

#[test]
fn who_has_some_half_open_must_return_a_cookie_and_gets_through_by_it() {
    let mut pair = Pair::new(5);
    let first = first_message();
    for spi in 1..=2_000 {
        deliver(
            &mut pair,
            B,
            (address(A), 500).into(),
            &with_spi(&first, spi),
        );
    }
    assert_eq!(pair.sides[B].endpoint.half_open(), 4);
    assert_eq!(pair.sides[B].endpoint.key_pairs(), 4);
    pair.establish(A);
    let sent = pair.count(A, ExchangeType::IKE_SA_INIT, false);
    assert_eq!(sent, 2, "once more, with the cookie");
    pair.run(seconds(31));
    assert_eq!(pair.sides[B].endpoint.half_open(), 0);
    let denials = pair.sides[B].endpoint.drops();
    assert_eq!(denials.get(DropReason::HalfOpenExpired), 4);
    assert_eq!(denials.get(DropReason::CookieAsked), 1_996 + 1);
}

#[test]
fn one_who_is_refused_again_and_again_is_asked_for_cookies_and_nobody_else_is() {
    let mut gateway = Gateway::new(Limits::default());
    gateway.add(1, |_| {});
    let first = first_message();
    let useless = with_public(&first, &[0; 32]);
    for spi in 1..=100 {
        gateway.hear(host(1), &with_spi(&useless, spi));
    }
    assert_eq!(gateway.denied(DropReason::BadPublicValue), 4);
    assert_eq!(gateway.denied(DropReason::CookieAsked), 96);
    let asked = |gateway: &mut Gateway, from, spi| {
        cookie(&gateway.hear(from, &with_spi(&first, spi)).unwrap()).is_some()
    };
    assert!(!asked(&mut gateway, host(2), 200), "another network");
    assert!(asked(&mut gateway, host(1), 201));
    gateway.now += seconds(31);
    assert!(!asked(&mut gateway, host(1), 202), "but not forever");
}

#[test]
fn what_strangers_do_makes_no_known_peer_return_a_cookie() {
    let mut gateway = Gateway::new(Limits::default());
    gateway.add(1, |_| {});
    gateway.add(2, |config| config.remote = Some(address(A)));
    let first = first_message();
    for number in 1..=1_000 {
        gateway.hear(host(number), &with_spi(&first, number.into()));
    }
    assert_eq!(gateway.endpoint.half_open(), 32, "without a cookie");
    let from = (address(A), 500).into();
    let answer = gateway.hear(from, &with_spi(&first, 5_000)).unwrap();
    assert!(cookie(&answer).is_none());
    assert_eq!(gateway.endpoint.half_open(), 33);
}

#[test]
fn forged_requests_of_any_number_bring_about_a_few_refusals_and_no_sentence() {
    for candidates in [1, 500] {
        let mut gateway = Gateway::new(Limits::default());
        for peer in 0..candidates {
            gateway.add(peer, |_| {});
        }
        let message = without_common_group(&first_message());
        for number in 1..=10_000 {
            gateway.hear(host(number), &with_spi(&message, number.into()));
        }
        assert_eq!(gateway.denied(DropReason::NoProposal), 32);
        assert_eq!(gateway.denied(DropReason::CookieAsked), 10_000 - 32);
        assert_eq!(gateway.refused.len(), 32);
        for (peer, why) in &gateway.refused {
            assert_eq!(*peer, None, "no tunnel is blamed");
            assert!(
                matches!(why, RefusalReason::NoProposal(_)),
                "not in words yet"
            );
        }
        let text = gateway.refused[0].1.to_string();
        assert!(text.len() < 200, "{text}");
        assert!(text.contains("offers 1000, 1001, 1002"), "{text}");
        assert!(text.contains("and 54 more; we accept 31"), "{text}");
        assert_eq!(text.contains("and 499 more)"), candidates == 500, "{text}");
    }
}

#[test]
fn who_returns_its_cookie_and_is_refused_without_pause_uses_up_its_share() {
    let mut gateway = Gateway::new(Limits::default());
    gateway.add(1, |_| {});
    let message = without_common_group(&first_message());
    for spi in 1..=20_000 {
        gateway.hear_from(host(1), &with_spi(&message, spi));
    }
    let served = gateway.denied(DropReason::NoProposal);
    assert!((1_700..2_300).contains(&served), "{served}");
    assert_eq!(gateway.denied(DropReason::OverBudget), 20_000 - served);
    gateway.hear_from(host(2), &message);
    assert_eq!(
        gateway.denied(DropReason::NoProposal),
        served + 1,
        "another"
    );
    gateway.now += seconds(1);
    gateway.hear_from(host(1), &with_spi(&message, 30_000));
    assert_eq!(gateway.denied(DropReason::NoProposal), served + 2, "again");
}

#[test]
fn key_exchanges_with_strangers_are_bounded_by_network_and_altogether() {
    let groups = |config: &mut PeerConfig| config.ike.groups = vec![Group::Modp2048];
    let first = first_of(&mut Pair::with(6, |_, config| groups(config)));
    let mut gateway = Gateway::new(Limits::default());
    gateway.add(1, groups);
    gateway.add(2, |config| {
        groups(config);
        config.remote = Some(address(A));
    });
    for spi in 1..=300 {
        gateway.hear_from(host(1), &with_spi(&first, spi));
    }
    // A hundred milliseconds' worth.
    let of_one = gateway.endpoint.key_pairs();
    assert!((40..=45).contains(&of_one), "{of_one}");
    for number in 2..=60 {
        for spi in 1..=20 {
            gateway.hear_from(host(number), &with_spi(&first, spi));
        }
    }
    let of_all = gateway.endpoint.key_pairs();
    assert!(of_all < 450, "{of_all}");
    gateway.hear_from((address(A), 500).into(), &first);
    assert_eq!(gateway.endpoint.key_pairs(), of_all + 1, "a known peer");
}

#[test]
fn a_cookie_is_good_for_a_few_half_open_sas() {
    let limits = Limits {
        half_open: 1,
        cookie_threshold: 0,
        ..Limits::default()
    };
    let mut gateway = Gateway::new(limits);
    gateway.add(1, |_| {});
    let first = first_message();
    let answer = gateway.hear(host(1), &first).unwrap();
    let message = with_cookie(&first, cookie(&answer).unwrap());
    let mut uses = 0;
    while gateway.hear(host(1), &message).is_some() {
        uses += 1;
        // Somebody else takes its place, so that it is not known again.
        gateway.now += seconds(2);
        gateway.hear_from(host(2), &with_spi(&first, uses)).unwrap();
        gateway.now += seconds(2);
    }
    assert_eq!(uses, 4);
    assert_eq!(gateway.denied(DropReason::CookieSpent), 1);
    assert_eq!(gateway.endpoint.half_open(), 1);
}

#[test]
fn a_flood_of_half_open_sas_from_eight_networks_keeps_no_honest_peer_out() {
    let mut gateway = Gateway::new(Limits::default());
    gateway.add(1, |_| {});
    gateway.add(2, |config| config.remote = Some(address(A)));
    let first = first_message();
    // Time passes, so that the places are what there is too little of.
    for spi in 1..=400 {
        for number in 1..=8 {
            gateway.now += Duration::from_millis(5);
            gateway.hear_from(host(number), &with_spi(&first, spi));
        }
    }
    assert_eq!(gateway.endpoint.half_open(), 768, "a quarter stays free");
    assert!(gateway.denied(DropReason::HalfOpenEvicted) > 2_000);
    let asked = gateway.hear(host(100), &first).unwrap();
    let honest = with_cookie(&first, cookie(&asked).unwrap());
    let known = (address(A), 500).into();
    for (from, message, sas) in [(host(100), &honest, 768), (known, &first, 769)] {
        let answer = gateway.hear(from, message).unwrap();
        assert!(decode_cleartext(&answer).unwrap().payloads.len() > 1);
        assert_eq!(gateway.endpoint.half_open(), sas);
    }
    for spi in 1_000..=1_400 {
        gateway.now += Duration::from_millis(20);
        gateway.hear_from(host(1), &with_spi(&first, spi));
    }
    let made = gateway.endpoint.key_pairs();
    assert!(gateway.hear(host(100), &honest).is_some(), "answered again");
    assert!(gateway.hear(known, &first).is_some());
    assert_eq!(gateway.endpoint.key_pairs(), made, "both kept their places");
    gateway.now += seconds(31);
    gateway.endpoint.handle_timeout(gateway.now);
    assert_eq!(gateway.endpoint.half_open(), 0);
    assert_eq!(gateway.denied(DropReason::HalfOpenExpired), 769);
}

/// Pairs whose initiators guess at a pre-shared key of `gateway`'s peer 1.
fn guess(gateway: &mut Gateway, from: SocketAddr, number: u64, psk: &[u8]) -> bool {
    let mut guesser = config(A);
    guesser.local = from.ip();
    guesser.remote = Some(address(B));
    guesser.local_id = Identity::Fqdn("site-1.example".to_owned());
    guesser.psk = Psk(Secret::new(psk.to_vec()));
    let mut attempt = Endpoint::new(Limits::default(), sources(2 * number, 2 * number + 1));
    attempt.set_peer(gateway.now, PEER, guesser);
    attempt.initiate(gateway.now, PEER).unwrap();
    while let Some(transmit) = attempt.poll_transmit() {
        let Content::Ike(message) = transmit.content else {
            continue;
        };
        if let Some(answer) = gateway.hear(from, &message) {
            let remote = (address(B), 500).into();
            attempt.handle_datagram(gateway.now, from, remote, &answer);
        }
    }
    let mut up = false;
    while let Some(event) = attempt.poll_event() {
        up |= matches!(event, Event::IkeUp { .. });
    }
    up
}

const RIGHT: &[u8] = b"a pre-shared key";

#[test]
fn guesses_at_a_pre_shared_key_are_slowed_down_by_network() {
    let mut gateway = Gateway::new(Limits::default());
    gateway.add(1, |_| {});
    for number in 0..100 {
        assert!(!guess(&mut gateway, host(1), number, b"a wrong guess"));
    }
    assert_eq!(gateway.denied(DropReason::AuthFailed), 10);
    assert_eq!(gateway.denied(DropReason::AuthHeld), 90);
    let (peer, why) = &gateway.refused[0];
    assert_eq!(
        *peer,
        Some(GatewayId(0).tunnel(1)),
        "it names a peer that may be anywhere"
    );
    assert!(why.to_string().contains("pre-shared key"), "{why}");
    assert!(!guess(&mut gateway, host(1), 200, RIGHT), "not even so");
    assert!(guess(&mut gateway, host(2), 201, RIGHT), "from elsewhere");
    gateway.now += seconds(6);
    assert!(guess(&mut gateway, host(1), 202, RIGHT), "later");
}

#[test]
fn guesses_from_many_networks_are_slowed_down_by_peer_and_do_not_lock_it_out() {
    let mut gateway = Gateway::new(Limits::default());
    gateway.add(1, |_| {});
    let home = host(5_000);
    assert!(guess(&mut gateway, home, 1_000, RIGHT));
    for number in 1..=200 {
        let up = guess(&mut gateway, host(number), number.into(), b"a wrong guess");
        assert!(!up);
    }
    assert_eq!(gateway.denied(DropReason::AuthFailed), 30);
    assert_eq!(gateway.denied(DropReason::AuthHeld), 170);
    assert!(!guess(&mut gateway, host(300), 1_001, RIGHT), "a lucky one");
    assert!(
        guess(&mut gateway, home, 1_002, RIGHT),
        "where it was before"
    );
}

#[test]
fn nobody_guesses_at_a_peer_with_an_address_from_another() {
    let mut gateway = Gateway::new(Limits::default());
    gateway.add(1, |config| config.remote = Some(host(5_000).ip()));
    for number in 1..=200 {
        guess(&mut gateway, host(number), number.into(), RIGHT);
    }
    assert_eq!(gateway.denied(DropReason::AuthFailed), 0);
    assert!(guess(&mut gateway, host(5_000), 1_000, RIGHT));
}

#[test]
fn a_stranger_is_blamed_on_no_tunnel_in_a_sentence_of_bounded_length() {
    let mut gateway = Gateway::new(Limits::default());
    for peer in 2..=2_000 {
        gateway.add(peer, |_| {});
    }
    assert!(!guess(&mut gateway, host(1), 1, RIGHT));
    let (peer, why) = &gateway.refused[0];
    assert_eq!(*peer, None);
    let text = why.to_string();
    assert!(text.len() < 400, "{text}");
    assert!(text.contains("says it is fqdn:site-1.example"), "{text}");
    assert!(text.contains("and 1993 more"), "{text}");
}

#[test]
fn a_wrong_identity_at_a_configured_address_is_blamed_on_its_tunnel() {
    let mut gateway = Gateway::new(Limits::default());
    gateway.add(3, |_| {});
    gateway.add(4, |config| config.remote = Some(host(1).ip()));
    assert!(!guess(&mut gateway, host(1), 1, RIGHT));
    assert_eq!(gateway.refused[0].0, Some(GatewayId(0).tunnel(4)));
    // With another tunnel at the address it is not clear whose it is.
    gateway.add(5, |config| config.remote = Some(host(1).ip()));
    assert!(!guess(&mut gateway, host(1), 2, RIGHT));
    assert_eq!(gateway.refused[1].0, None);
}

#[test]
fn what_is_no_message_of_ours_is_counted() {
    let mut gateway = Gateway::new(Limits::default());
    gateway.hear(host(1), b"garbage");
    gateway.hear(host(1), &first_message());
    let mut unknown = first_message();
    unknown[18] = 35;
    gateway.hear(host(1), &unknown);
    let mut late = first_message();
    late[15] = 1;
    gateway.hear(host(1), &late);
    for reason in [
        DropReason::Malformed,
        DropReason::NoPeer,
        DropReason::UnknownSa,
        DropReason::OutOfPlace,
    ] {
        assert_eq!(gateway.denied(reason), 1, "{}", reason.name());
    }
}
