//! Every IKE SA is taken as plain data and built again after whatever happens, and the
//! same messages are sent, octet by octet.

use std::time::Duration;

use vgw_crypto::Group;
use vgw_ike::config::PeerConfig;

use crate::rig::{A, B, DELAY, Load, PEER, Pair, fair, lifetime, seconds};

/// What can be seen of a run from outside.
fn trace(pair: &Pair) -> Vec<String> {
    let messages = pair.log.iter().map(|datagram| match &datagram.load {
        Load::Ike(message) => format!("{} {} {message:02x?}", datagram.from, datagram.destination),
        Load::Esp { .. } => panic!("not IKE"),
    });
    let sides = pair.sides.iter().map(|side| {
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {:?}",
            side.ikes,
            side.children.keys(),
            side.outbound,
            side.ends,
            side.child_ends,
            side.diagnostics,
            side.dropped,
            side.alive,
            side.endpoint.counters(PEER),
        )
    });
    let counted = format!("{} {}", pair.delivered, pair.lost);
    messages.chain(sides).chain([counted]).collect()
}

/// Plays a scenario with and without the plain form, and compares what is seen.
fn compare(seed: u64, change: impl Fn(usize, &mut PeerConfig), play: impl Fn(&mut Pair)) {
    let [with, without] = [true, false].map(|rebuilds| {
        let mut pair = Pair::with(seed, &change);
        pair.rebuilds = rebuilds;
        pair.establish(A);
        pair.flow();
        play(&mut pair);
        pair.weather = fair();
        pair.run(seconds(30));
        assert!(pair.log.len() > 6, "messages after the handshake");
        trace(&pair)
    });
    assert!(with == without, "seed {seed}: {with:#?}\n{without:#?}");
}

fn unchanged(_: usize, _: &mut PeerConfig) {}

/// Loses the IKE message that is sent as the nth from now on.
fn lose(pair: &mut Pair, nth: usize) {
    let mut sent = 0;
    pair.weather = Box::new(move |datagram| {
        sent += usize::from(datagram.header().is_some());
        if datagram.header().is_some() && sent == nth {
            vec![]
        } else {
            vec![DELAY]
        }
    });
}

#[test]
fn rekeys_by_either_end_go_on_whatever_message_is_lost() {
    for lost in 0..6 {
        compare(2, unchanged, |pair| {
            lose(pair, lost);
            pair.rekey_child(A);
            pair.run(seconds(10));
            lose(pair, lost);
            pair.rekey_ike(B);
            pair.run(seconds(10));
        });
    }
}

#[test]
fn collisions_come_to_the_same_end() {
    let acts = [Pair::rekey_child, Pair::rekey_ike];
    for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for lost in 0..5 {
            compare(4, unchanged, |pair| {
                lose(pair, lost);
                acts[first](pair, A);
                pair.run(Duration::from_millis(10));
                acts[second](pair, B);
                pair.run(seconds(20));
            });
        }
    }
}

#[test]
fn a_request_under_way_keeps_its_private_value_in_every_kind_of_group() {
    for group in [Group::Modp1024, Group::Ecp256, Group::Ecp384, Group::Ecp521] {
        let change = |_: usize, config: &mut PeerConfig| {
            config.ike.groups.push(group);
            config.esp.groups = vec![Group::Curve25519, group];
        };
        let demanding = |side: usize, config: &mut PeerConfig| {
            change(side, config);
            if side == B {
                config.esp.groups = vec![group];
                config.ike.groups = vec![group];
            }
        };
        compare(6, demanding, |pair| {
            pair.rekey_child(A);
            pair.run(seconds(5));
            pair.rekey_ike(A);
            pair.run(seconds(5));
        });
    }
}

#[test]
fn deletes_and_their_answers_go_on_and_so_do_checks_of_liveness() {
    for lost in 0..3 {
        compare(8, unchanged, |pair| {
            lose(pair, lost);
            let (sa, _) = pair.sides[A].ike();
            pair.call(A, |endpoint, now| endpoint.check_liveness(now, sa));
            pair.run(seconds(5));
            lose(pair, lost);
            pair.call(A, |endpoint, now| endpoint.delete(now, sa));
            pair.run(seconds(20));
        });
    }
}

#[test]
fn a_peer_that_is_silent_is_found_dead_at_the_same_time() {
    compare(10, unchanged, |pair| {
        pair.traffic = None;
        pair.run(seconds(12));
        pair.weather = Box::new(|_| vec![]);
        pair.run(seconds(90));
    });
}

#[test]
fn lifetimes_end_when_they_would_have() {
    let short = |_: usize, config: &mut PeerConfig| {
        config.child_lifetime = lifetime(300);
        config.ike_lifetime = lifetime(1_000);
    };
    compare(12, short, |pair| {
        pair.traffic = None;
        pair.run(seconds(4_000));
    });
}
