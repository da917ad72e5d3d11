//! Tunnels that are up, and through which nothing comes.

use vgw_gateway::domain::DpdAction;
use vgw_gateway::status::{State, TunnelIndex, TunnelStatus};
use vgw_gateway::supervisor::PATIENCE;
use vgw_ike::config::Encapsulation;
use vgw_sim::setup;
use vgw_sim::world::World;

use crate::rig::{
    CGW, VGW, active, both_up, cut, flows, missing, name, restore, seconds, tunnel, up,
};

/// Which way ESP of protocol 50 does not pass, from the gateway and to it.
type Blocked = (bool, bool);
const BOTH_WAYS: Blocked = (true, true);
const WAYS: [Blocked; 3] = [BOTH_WAYS, (true, false), (false, true)];

fn block(world: &mut World, number: u8, (from, to): Blocked) {
    let (ours, theirs) = (setup::outside(1, number), setup::customer_address(1));
    if from {
        world.network.block_native_esp(ours, theirs);
    }
    if to {
        world.network.block_native_esp(theirs, ours);
    }
}

fn with(encapsulation: Encapsulation) -> World {
    up(|_, connection| {
        for tunnel in &mut connection.tunnels {
            tunnel.encapsulation = encapsulation;
        }
    })
}

/// IKE SAs that either tunnel has had at the gateway.
fn established(world: &World) -> [u64; 2] {
    [1, 2].map(|number| tunnel(world, VGW, number).counters.ike_established)
}

fn in_udp(tunnel: &TunnelStatus) -> bool {
    tunnel.ike.iter().all(|ike| ike.path.udp_encapsulation)
}

/// Nothing is lost from here on.
fn is_well(world: &mut World) {
    let before = missing(world);
    world.run(seconds(300));
    assert_eq!(missing(world), before);
    assert!(world.violations.is_empty(), "{:?}", world.violations);
}

#[test]
fn where_protocol_50_is_dropped_traffic_moves_to_the_other_tunnel_and_status_says_why() {
    for way in WAYS {
        let mut world = with(Encapsulation::Native);
        flows(&mut world);
        world.run(seconds(60));
        block(&mut world, 1, way);
        world.run(seconds(30));
        for end in [VGW, CGW] {
            assert_eq!(active(&world, end), Some(TunnelIndex::Second), "{way:?}");
            assert_eq!(tunnel(&world, end, 1).state, State::Up);
            assert_eq!(tunnel(&world, end, 2).one_way, None);
        }
        let said = [VGW, CGW].map(|end| tunnel(&world, end, 1).one_way);
        let said = said.into_iter().flatten().next().unwrap().text;
        assert!(said.contains("IP protocol 50"), "{said}");
        assert!(said.contains("encapsulation = \"udp\""), "{said}");
        for flow in &world.flows {
            // If it is lost one way, the other end notices once this one has moved.
            assert!(flow.longest_gap < 2 * (PATIENCE + seconds(4)), "{flow:?}");
        }
        is_well(&mut world);
        assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
    }
}

#[test]
fn where_protocol_50_is_dropped_on_both_paths_esp_goes_in_udp() {
    for way in WAYS {
        let mut world = with(Encapsulation::Auto);
        flows(&mut world);
        world.run(seconds(60));
        block(&mut world, 1, way);
        block(&mut world, 2, way);
        world.run(seconds(40));
        for flow in &world.flows {
            assert!(flow.longest_gap < 2 * (PATIENCE + seconds(4)), "{flow:?}");
        }
        is_well(&mut world);
        let carries = |end| tunnel(&world, end, active(&world, end).unwrap().number());
        for end in [VGW, CGW] {
            // An end whose packets pass as protocol 50 may go on so.
            assert!(in_udp(&carries(end)) || way != BOTH_WAYS);
            assert_eq!(carries(end).one_way, None);
        }
        let said = |end| [1, 2].map(|number| tunnel(&world, end, number).udp_fallback);
        let said = [said(VGW), said(CGW)].concat().into_iter().flatten().next();
        assert!(said.unwrap().text.contains("UDP"));
    }
}

#[test]
fn the_only_tunnel_goes_to_udp_without_being_taken_down() {
    let mut world = with(Encapsulation::Auto);
    world.operate(VGW, |s, now| s.tunnel_down(now, &name(2)));
    flows(&mut world);
    world.run(seconds(60));
    block(&mut world, 1, BOTH_WAYS);
    world.run(seconds(20));
    for flow in &world.flows {
        assert!(flow.longest_gap < PATIENCE + seconds(4), "{flow:?}");
    }
    is_well(&mut world);
    let ours = tunnel(&world, VGW, 1);
    assert!(in_udp(&ours));
    assert_eq!((ours.ike.len(), ours.children.len()), (1, 1));
    assert!(ours.since > seconds(300));
}

#[test]
fn a_peer_without_a_configured_address_goes_to_udp_too() {
    let mut world = up(|end, connection| {
        if end == VGW {
            connection.customer_gateway.ip_address = None;
        }
    });
    flows(&mut world);
    world.run(seconds(60));
    for number in [1, 2] {
        block(&mut world, number, (false, true));
    }
    world.run(seconds(40));
    is_well(&mut world);
    assert!(tunnel(&world, VGW, 1).udp_fallback.is_some());
}

#[test]
fn traffic_that_goes_one_way_by_nature_loses_nothing_and_settles() {
    for encapsulation in [
        Encapsulation::Auto,
        Encapsulation::Native,
        Encapsulation::Udp,
    ] {
        for failback in [false, true] {
            let mut world = up(|_, connection| {
                connection.failback = failback;
                for tunnel in &mut connection.tunnels {
                    tunnel.encapsulation = encapsulation;
                }
            });
            let before = established(&world);
            world.flow(VGW, CGW, seconds(1));
            let (mut carrier, mut moves) = (active(&world, VGW), 0);
            for _ in 0..3600 {
                world.run(seconds(1));
                let now = active(&world, VGW);
                moves += u32::from(now != carrier);
                carrier = now;
            }
            assert_eq!(missing(&world), 0, "{encapsulation:?}");
            assert!((1..16).contains(&moves), "{encapsulation:?}: {moves} moves");
            let again = u64::from(encapsulation == Encapsulation::Auto);
            assert_eq!(established(&world), before.map(|before| before + again));
            for number in [1, 2] {
                let udp = in_udp(&tunnel(&world, VGW, number));
                assert_eq!(udp, encapsulation != Encapsulation::Native);
            }
            assert!(world.violations.is_empty(), "{:?}", world.violations);
        }
    }
}

#[test]
fn a_peer_that_takes_no_udp_is_asked_ever_more_rarely_and_loses_nothing() {
    let mut world = up(|end, connection| {
        if end == CGW {
            for tunnel in &mut connection.tunnels {
                tunnel.encapsulation = Encapsulation::Native;
            }
        }
    });
    let before = established(&world);
    world.flow(VGW, CGW, seconds(1));
    world.run(seconds(2 * 3600));
    assert_eq!(missing(&world), 0);
    assert_eq!(established(&world), before);
    for number in [1, 2] {
        let ours = tunnel(&world, VGW, number);
        assert!(!in_udp(&ours));
        assert_eq!(ours.udp_fallback, None);
    }
    assert!(world.violations.is_empty(), "{:?}", world.violations);
}

#[test]
fn what_comes_back_through_a_tunnel_ends_the_finding() {
    let mut world = with(Encapsulation::Native);
    flows(&mut world);
    block(&mut world, 1, BOTH_WAYS);
    world.run(seconds(30));
    assert!(tunnel(&world, VGW, 1).one_way.is_some());
    world.network.restore_all();
    // The other tunnel goes, so that this one carries.
    world.operate(VGW, |s, now| s.tunnel_down(now, &name(2)));
    world.run(seconds(3));
    for end in [VGW, CGW] {
        assert_eq!(tunnel(&world, end, 1).one_way, None);
    }
    is_well(&mut world);
}

#[test]
fn with_failback_traffic_does_not_return_to_a_tunnel_that_goes_one_way() {
    let mut world = up(|_, connection| {
        connection.failback = true;
        for tunnel in &mut connection.tunnels {
            tunnel.encapsulation = Encapsulation::Native;
        }
    });
    flows(&mut world);
    block(&mut world, 1, BOTH_WAYS);
    world.run(seconds(30));
    is_well(&mut world);
    assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
}

#[test]
fn udp_is_remembered_while_the_peer_answers_and_no_longer() {
    let mut world = with(Encapsulation::Auto);
    flows(&mut world);
    for number in [1, 2] {
        block(&mut world, number, BOTH_WAYS);
    }
    world.run(seconds(60));
    let chosen = |world: &World, number| {
        let ours = tunnel(world, VGW, number).udp_fallback.is_some();
        ours || tunnel(world, CGW, number).udp_fallback.is_some()
    };
    assert!(chosen(&world, 1));
    // Both ends forget it with their options.
    cut(&mut world, 1);
    world.run(seconds(60));
    assert!(!chosen(&world, 1));
    restore(&mut world, 1);
    world.network.restore_all();
    assert!(world.run_until(seconds(60), both_up));
    assert!(!in_udp(&tunnel(&world, VGW, 1)));
    is_well(&mut world);
}

#[test]
fn an_ike_sa_that_begins_later_is_in_udp_from_the_start() {
    let mut world = with(Encapsulation::Auto);
    flows(&mut world);
    for number in [1, 2] {
        block(&mut world, number, (false, true));
    }
    world.run(seconds(60));
    assert!(tunnel(&world, VGW, 1).udp_fallback.is_some());
    world.nodes[CGW].crash();
    world.start(CGW);
    assert!(world.run_until(seconds(10), both_up));
    assert!(in_udp(&tunnel(&world, VGW, 1)));
}

#[test]
fn with_dpd_off_the_peer_is_not_asked() {
    let mut world = up(|_, connection| {
        for tunnel in &mut connection.tunnels {
            tunnel.dpd_action = DpdAction::None;
        }
    });
    flows(&mut world);
    block(&mut world, 1, BOTH_WAYS);
    world.run(seconds(600));
    assert_eq!(tunnel(&world, VGW, 1).one_way, None);
    assert_eq!(active(&world, VGW), Some(TunnelIndex::First));
}
