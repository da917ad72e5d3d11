//! Fast failure detection: traffic leaves a tunnel whose peer does not answer within a fraction of
//! a second.

use std::time::Duration;

use vgw_gateway::domain::FailureDetection;
use vgw_gateway::status::{State, TunnelIndex};
use vgw_sim::network::{Load, Packet};
use vgw_sim::setup;
use vgw_sim::world::World;

use crate::rig::{CGW, VGW, active, both_up, cut, missing, name, restore, seconds, tunnel, up};

/// What the traffic may be out for.
const BLINK: Duration = Duration::from_millis(300);
const PACE: Duration = Duration::from_millis(10);

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A hundred packets a second either way, for a while.
fn busy(change: impl Fn(usize, &mut vgw_gateway::domain::Connection)) -> World {
    let mut world = up(change);
    world.flow(VGW, CGW, PACE);
    world.flow(CGW, VGW, PACE);
    world.run(seconds(30));
    assert_eq!(missing(&world), 0);
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
        assert!(moved <= 6, "{loss} of a thousand lost: {moved} moves");
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
    assert_eq!(asked[0], asked[1]);
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
