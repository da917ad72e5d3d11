//! Fast failure detection: traffic leaves a tunnel whose peer does not answer within a fraction of
//! a second.

use std::time::Duration;

use vgw_gateway::domain::{DpdAction, FailureDetection};
use vgw_gateway::status::{State, TunnelIndex};
use vgw_sa::Activity;
use vgw_sim::dice::Dice;
use vgw_sim::network::{Load, Packet};
use vgw_sim::setup;
use vgw_sim::world::World;

use crate::rig::{
    CGW, VGW, active, both_up, cut, missing, name, restore, seconds, tunnel, up, world,
};

/// What the traffic may be out for.
const BLINK: Duration = Duration::from_millis(300);
const PACE: Duration = Duration::from_millis(10);

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A hundred packets a second either way, for a while.
fn busy(change: impl Fn(usize, &mut vgw_gateway::domain::Connection)) -> World {
    busy_at(ms(20), change)
}

/// The same, where the round trip takes so long.
fn busy_at(
    round_trip: Duration,
    change: impl Fn(usize, &mut vgw_gateway::domain::Connection),
) -> World {
    let mut world = up_at(round_trip, change);
    world.flow(VGW, CGW, PACE);
    world.flow(CGW, VGW, PACE);
    world.run(seconds(12));
    assert_eq!(missing(&world), 0);
    world
}

fn up_at(
    round_trip: Duration,
    change: impl Fn(usize, &mut vgw_gateway::domain::Connection),
) -> World {
    let mut world = world(1, change);
    world.network.faults.delay = round_trip / 2;
    world.start_all();
    assert!(world.run_until(seconds(10), both_up));
    world
}

fn assert_quick(world: &World) {
    for flow in &world.flows {
        assert!(flow.longest_gap < BLINK, "{flow:?}");
    }
    assert!(world.violations.is_empty(), "{:?}", world.violations);
}

fn outward(packet: &Packet) -> bool {
    packet.source.ip() == setup::outside(1, 1)
}

fn inward(packet: &Packet) -> bool {
    packet.destination.ip() == setup::outside(1, 1)
}

fn is_ike(packet: &Packet) -> bool {
    matches!(packet.load, Load::Ike(_)) && (outward(packet) || inward(packet))
}

/// The path of tunnel 1 is cut both ways, from the gateway, to the gateway.
const CUTS: [fn(&mut World); 3] = [
    |world| cut(world, 1),
    |world| world.network.drops = Some(outward),
    |world| world.network.drops = Some(inward),
];

/// How often the traffic of an end moved in this time.
fn moves(world: &mut World, end: usize, time: Duration) -> u32 {
    let (mut carrier, mut moves) = (active(world, end), 0);
    let until = world.now + time;
    while world.now < until {
        world.run(ms(50));
        let now = active(world, end);
        moves += u32::from(now != carrier);
        carrier = now;
    }
    moves
}

#[test]
fn a_path_that_is_cut_costs_less_than_three_tenths_of_a_second() {
    for (way, cut) in CUTS.into_iter().enumerate() {
        let mut world = busy(|_, _| {});
        cut(&mut world);
        world.run(seconds(60));
        assert_quick(&world);
        assert_eq!(active(&world, VGW), Some(TunnelIndex::Second), "way {way}");
        let status = world.status(VGW).unwrap();
        let moved = status.connections[0].last_move.clone().unwrap();
        assert_eq!(moved.text, "from tunnel 1: its peer does not answer");
        let before = missing(&world);
        world.run(seconds(60));
        assert_eq!(missing(&world), before);
    }
}

#[test]
fn a_host_that_asks_across_a_path_that_is_cut_gets_answers_as_soon() {
    for [asks, answers] in [[VGW, CGW], [CGW, VGW]] {
        for (way, cut) in CUTS.into_iter().enumerate() {
            let mut world = up(|_, _| {});
            let asked = world.flow(asks, answers, PACE);
            let answered = world.answering_flow(asked).unwrap();
            world.run(seconds(30));
            cut(&mut world);
            world.run(seconds(60));
            let gap = world.flows[answered].longest_gap;
            // The end that answers learns of it half a round trip later.
            assert!(gap < BLINK + ms(20), "way {way}, {asks} asks: {gap:?}");
            assert!(world.violations.is_empty(), "{:?}", world.violations);
        }
    }
}

#[test]
fn where_the_answers_come_by_the_other_tunnel_a_cut_shows_by_their_end() {
    // The customer gateway stays with tunnel 2, to which it moved, and asks and follows nobody.
    let mut world = up(|end, connection| {
        connection.failback = end == VGW;
        for tunnel in connection.tunnels.iter_mut().filter(|_| end == CGW) {
            tunnel.dpd_action = DpdAction::None;
        }
    });
    world.operate(CGW, |s, now| s.tunnel_down(now, &name(1)).unwrap());
    world.run(seconds(5));
    world.operate(CGW, |s, now| s.tunnel_up(now, &name(1)).unwrap());
    let asked = world.flow(VGW, CGW, PACE);
    let answered = world.answering_flow(asked).unwrap();
    world.run(seconds(60));
    let carriers = [VGW, CGW].map(|end| active(&world, end));
    let [first, second] = TunnelIndex::BOTH.map(Some);
    assert_eq!(carriers, [first, second]);
    world.network.drops = Some(outward);
    world.run(seconds(30));
    assert_eq!(active(&world, VGW), second);
    let gap = world.flows[answered].longest_gap;
    // Packets that keep coming are told of five times a second.
    assert!(gap < BLINK + ms(200), "{gap:?}");
}

#[test]
fn while_the_peer_is_being_asked_and_does_not_answer_status_says_so() {
    let mut world = busy(|_, _| {});
    cut(&mut world, 1);
    world.run(ms(200));
    let said = tunnel(&world, VGW, 1).suspect.unwrap();
    assert!(said.text.contains("is being asked"), "{said:?}");
    world.run(seconds(3));
    let said = tunnel(&world, VGW, 1).suspect.unwrap();
    assert!(said.text.contains("does not answer"), "{said:?}");
    assert!((2..=3).contains(&said.age.as_secs()), "{said:?}");
    assert_eq!(tunnel(&world, VGW, 1).state, State::Up);
    assert_eq!(tunnel(&world, VGW, 2).suspect, None);
}

#[test]
fn dead_peer_detection_takes_the_tunnel_down_as_if_nothing_had_been_asked() {
    let mut world = busy(|_, _| {});
    cut(&mut world, 1);
    world.run(seconds(39));
    assert_eq!(tunnel(&world, VGW, 1).state, State::Up);
    world.run(seconds(3));
    assert_ne!(tunnel(&world, VGW, 1).state, State::Up);
    restore(&mut world, 1);
    assert!(world.run_until(seconds(60), both_up));
    assert_quick(&world);
}

#[test]
fn a_path_that_drops_only_ike_is_left_to_dead_peer_detection() {
    let mut world = busy(|_, _| {});
    world.network.drops = Some(is_ike);
    assert_eq!(moves(&mut world, VGW, seconds(25)), 0);
    assert_eq!(missing(&world), 0);
}

#[test]
fn with_dpd_traffic_moves_when_the_tunnel_goes_down_and_nobody_is_asked_before() {
    let mut world = busy(|_, connection| {
        for tunnel in &mut connection.tunnels {
            tunnel.failure_detection = FailureDetection::Dpd;
        }
    });
    cut(&mut world, 1);
    world.run(seconds(35));
    assert_eq!(active(&world, VGW), Some(TunnelIndex::First));
    assert_eq!(tunnel(&world, VGW, 1).suspect, None);
    world.run(seconds(10));
    assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
}

#[test]
fn a_peer_that_stands_still_for_a_while_is_not_left_and_nothing_flaps() {
    for pause in [ms(200), seconds(2), seconds(20)] {
        let mut world = busy(|_, _| {});
        cut(&mut world, 1);
        cut(&mut world, 2);
        assert_eq!(moves(&mut world, VGW, pause), 0, "{pause:?}");
        restore(&mut world, 1);
        restore(&mut world, 2);
        let moved = moves(&mut world, VGW, seconds(120));
        assert!(moved <= 1, "{pause:?}: {moved} moves");
        for flow in &world.flows {
            assert!(flow.longest_gap < pause + seconds(5), "{flow:?}");
        }
        let before = missing(&world);
        world.run(seconds(60));
        assert_eq!(missing(&world), before);
    }
}

#[test]
fn whichever_path_comes_back_first_carries() {
    for number in [1, 2] {
        let mut world = busy(|_, _| {});
        cut(&mut world, 1);
        cut(&mut world, 2);
        world.run(seconds(10));
        restore(&mut world, number);
        world.run(seconds(5));
        let before = missing(&world);
        world.run(seconds(10));
        assert_eq!(missing(&world), before, "by tunnel {number}");
    }
}

#[test]
fn loss_that_is_no_cut_moves_traffic_seldom_and_costs_nothing_more() {
    for loss in [10, 100, 300] {
        let mut world = busy(|_, connection| connection.failback = true);
        for flow in 0..2 {
            world.set_pace(flow, ms(40));
        }
        world.network.faults.loss = loss;
        let moved = moves(&mut world, VGW, seconds(600));
        assert!(moved <= 10, "{loss} of a thousand lost: {moved} moves");
        let offered: u64 = world.flows.iter().map(|flow| flow.tally.offered).sum();
        let expected = offered * u64::from(loss) / 1000;
        let lost = missing(&world);
        assert!(
            lost < expected * 11 / 10 + 20,
            "{lost} lost, {expected} expected"
        );
        assert!(world.violations.is_empty(), "{:?}", world.violations);
    }
}

#[test]
fn failback_waits_longer_each_time_for_a_path_that_comes_and_goes() {
    let mut world = busy(|_, connection| connection.failback = true);
    let mut moved = 0;
    for _ in 0..20 {
        cut(&mut world, 1);
        moved += moves(&mut world, VGW, seconds(2));
        restore(&mut world, 1);
        moved += moves(&mut world, VGW, seconds(28));
    }
    assert!((3..=12).contains(&moved), "{moved} moves in 20 cuts");
}

#[test]
fn a_stream_that_goes_one_way_by_nature_costs_a_question_now_and_then() {
    let mut world = up(|_, _| {});
    world.flow(VGW, CGW, PACE);
    world.run(seconds(60));
    let before = world.nodes[VGW].ike_sent;
    world.run(seconds(600));
    // Each question goes to both tunnels' peers, which also ask on their own.
    let sent = world.nodes[VGW].ike_sent - before;
    assert!(sent < 600, "{sent} messages in ten minutes");
    assert_eq!(missing(&world), 0);
}

#[test]
fn an_idle_tunnel_is_asked_no_more_than_by_dead_peer_detection() {
    let asked = [FailureDetection::Fast, FailureDetection::Dpd].map(|how| {
        let mut world = up(|_, connection| {
            for tunnel in &mut connection.tunnels {
                tunnel.failure_detection = how;
            }
        });
        world.run(seconds(600));
        world.nodes[VGW].ike_sent
    });
    // Either end measures the round trip of either tunnel once.
    assert!(asked[0] <= asked[1] + 4, "{asked:?}");
}

#[test]
fn with_the_other_tunnel_down_traffic_stays() {
    let mut world = busy(|_, _| {});
    world.operate(VGW, |s, now| s.tunnel_down(now, &name(2)));
    world.run(seconds(5));
    cut(&mut world, 1);
    assert_eq!(moves(&mut world, VGW, seconds(20)), 0);
    restore(&mut world, 1);
    world.run(seconds(10));
    assert_eq!(tunnel(&world, VGW, 1).suspect, None);
}

/// How long traffic may be out where the round trip takes so long: until the silence is noticed,
/// four round trips, three questions, and one more until the first packet arrives by the other
/// tunnel.
fn blink_at(round_trip: Duration) -> Duration {
    ms(100).max(4 * round_trip) + 3 * ms(50).max(2 * round_trip) + round_trip + ms(30)
}

const ROUND_TRIPS: [Duration; 3] = [ms(60), ms(200), ms(400)];

#[test]
fn a_path_that_is_long_and_cut_is_left_as_soon_as_its_length_allows() {
    for round_trip in ROUND_TRIPS {
        for (way, cut) in CUTS.into_iter().enumerate() {
            let mut world = busy_at(round_trip, |_, _| {});
            cut(&mut world);
            world.run(seconds(15));
            for flow in &world.flows {
                let gap = flow.longest_gap;
                assert!(
                    gap < blink_at(round_trip),
                    "{round_trip:?}, way {way}: {gap:?}"
                );
            }
            assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
        }
    }
}

#[test]
fn who_asks_across_a_path_that_is_long_and_cut_gets_answers_as_soon() {
    for round_trip in ROUND_TRIPS {
        for [asks, answers] in [[VGW, CGW], [CGW, VGW]] {
            for (way, cut) in CUTS.into_iter().enumerate() {
                let mut world = up_at(round_trip, |_, _| {});
                let asked = world.flow(asks, answers, ms(20));
                let answered = world.answering_flow(asked).unwrap();
                world.run(seconds(12));
                cut(&mut world);
                world.run(seconds(15));
                let gap = world.flows[answered].longest_gap;
                let blink = blink_at(round_trip) + round_trip;
                assert!(
                    gap < blink,
                    "{round_trip:?}, way {way}, {asks} asks: {gap:?}"
                );
            }
        }
    }
}

#[test]
fn a_long_path_on_which_traffic_pauses_is_not_left() {
    for round_trip in ROUND_TRIPS {
        for [asks, answers] in [[VGW, CGW], [CGW, VGW]] {
            let mut world = up_at(round_trip, |_, _| {});
            // The two of them never send together, so that one is silent again and again.
            world.flow(asks, answers, ms(700));
            world.flow(answers, asks, ms(1900));
            world.run(seconds(10));
            let before = tunnel(&world, VGW, 1).counters.retransmissions;
            for end in [VGW, CGW] {
                assert_eq!(moves(&mut world, end, seconds(60)), 0, "{round_trip:?}");
            }
            let after = tunnel(&world, VGW, 1).counters.retransmissions;
            assert_eq!(after, before, "{round_trip:?}");
            assert_eq!(missing(&world), 0);
        }
    }
}

#[test]
fn a_path_that_becomes_long_is_not_left_and_asked_no_more_than_before() {
    let mut world = up(|_, _| {});
    world.flow(VGW, CGW, ms(700));
    world.flow(CGW, VGW, ms(1900));
    world.run(seconds(30));
    world.network.faults.delay = ms(180);
    assert_eq!(moves(&mut world, VGW, seconds(60)), 0);
    let before = tunnel(&world, VGW, 1).counters.retransmissions;
    assert_eq!(moves(&mut world, CGW, seconds(60)), 0);
    assert_eq!(tunnel(&world, VGW, 1).counters.retransmissions, before);
    assert_eq!(missing(&world), 0);
}

#[test]
fn traffic_moves_to_a_tunnel_whose_peer_may_not_be_asked_as_long_as_it_is_up() {
    let mut world = busy(|_, connection| {
        connection.tunnels[1].failure_detection = FailureDetection::Dpd;
    });
    cut(&mut world, 1);
    world.run(seconds(10));
    assert_quick(&world);
    assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
}

#[test]
fn a_conversation_that_pauses_asks_about_the_tunnel_that_carries_it_alone() {
    let mut world = up(|_, _| {});
    world.flow(VGW, CGW, ms(700));
    world.flow(CGW, VGW, ms(1900));
    world.run(seconds(30));
    let sent = |world: &World| world.nodes[VGW].ike_sent;
    let before = sent(&world);
    world.run(seconds(300));
    // Both ends ask every two seconds, and each answers the other.
    let sent = sent(&world) - before;
    assert!(sent < 2 * 150 + 2 * 30, "{sent} messages in five minutes");
}

#[test]
fn a_path_that_loses_only_ike_is_not_given_up_while_packets_come_by_it() {
    let mut world = busy(|_, _| {});
    world.network.drops = Some(is_ike);
    // Both ends ask, and get no answer.
    cut(&mut world, 1);
    world.run(ms(130));
    restore(&mut world, 1);
    let before = missing(&world);
    assert_eq!(moves(&mut world, VGW, seconds(300)), 0);
    assert_eq!(tunnel(&world, VGW, 1).state, State::Up);
    assert_eq!(missing(&world), before);
}

#[test]
fn a_doubt_is_void_once_a_tunnel_is_left_to_dead_peer_detection() {
    let mut world = busy(|_, _| {});
    cut(&mut world, 1);
    cut(&mut world, 2);
    world.run(seconds(1));
    assert!(tunnel(&world, VGW, 1).suspect.is_some());
    let mut config = world.nodes[VGW].config.clone();
    for tunnel in &mut config.connections[0].tunnels {
        tunnel.failure_detection = FailureDetection::Dpd;
    }
    world.reload(VGW, config);
    assert_eq!(tunnel(&world, VGW, 1).suspect, None);
    restore(&mut world, 2);
    assert_eq!(moves(&mut world, VGW, seconds(20)), 0);
}

/// What the gateway's data plane notices of a peer that sends by these tunnels, each time after a
/// pause; gives how often the gateway's traffic moved.
fn moves_of(world: &mut World, sends: impl Iterator<Item = (TunnelIndex, Duration)>) -> u32 {
    let hop = world.nodes[VGW]
        .plane
        .next_hop(setup::site_host(1))
        .unwrap();
    let tunnels = [hop.carrier, hop.standby.unwrap()];
    let (mut carrier, mut moved) = (active(world, VGW), 0);
    for (by, pause) in sends {
        world.run(pause);
        let heard = [(*by.of(&tunnels), Activity::Heard)];
        world.operate(VGW, |s, now| s.handle_activity(now, &heard));
        let now = active(world, VGW);
        moved += u32::from(now != carrier);
        carrier = now;
    }
    moved
}

#[test]
fn a_peer_that_sends_by_both_tunnels_all_the_time_is_followed_once_at_most() {
    let mut dice = Dice::new(1);
    for longest in [20, 200, 2000] {
        let mut world = up(|_, _| {});
        world.run(seconds(20));
        let count = 300_000 / longest;
        let sends = (0..count).map(|_| {
            let by = *dice.pick(&TunnelIndex::BOTH).unwrap();
            (by, dice.between(ms(1), ms(longest)))
        });
        // As it begins, chance may have it look like one that moves.
        let moved = moves_of(&mut world, sends);
        assert!(moved <= 1, "{longest}: {moved} moves");
    }
}

#[test]
fn a_peer_whose_streams_come_and_go_by_both_tunnels_is_followed_ever_more_seldom() {
    let mut dice = Dice::new(2);
    let mut world = up(|_, _| {});
    world.run(seconds(20));
    // One stream at a time: for a while by one tunnel, then after a pause by either.
    let streams = (0..60).flat_map(|_| {
        let by = *dice.pick(&TunnelIndex::BOTH).unwrap();
        let pause = dice.between(ms(300), ms(5_000));
        let length = 1 + dice.below(150);
        (0..length).map(move |packet| (by, if packet == 0 { pause } else { ms(200) }))
    });
    let sends: Vec<_> = streams.collect();
    let moved = moves_of(&mut world, sends.into_iter());
    assert!(moved <= 12, "{moved} moves");
}

#[test]
fn an_end_that_only_answers_fails_back_and_its_peer_follows() {
    let mut world = up(|end, connection| connection.failback = end == VGW);
    let asked = world.flow(CGW, VGW, PACE);
    world.answering_flow(asked).unwrap();
    world.run(seconds(15));
    cut(&mut world, 1);
    world.run(seconds(5));
    for end in [VGW, CGW] {
        assert_eq!(active(&world, end), Some(TunnelIndex::Second));
    }
    restore(&mut world, 1);
    let before = missing(&world);
    world.run(seconds(60));
    for end in [VGW, CGW] {
        assert_eq!(active(&world, end), Some(TunnelIndex::First));
        assert_eq!(moves(&mut world, end, seconds(60)), 0);
    }
    assert_eq!(missing(&world), before);
}
