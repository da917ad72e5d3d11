//! Dead peers, failover and return.

use vgw_gateway::domain::{DpdAction, FailureDetection};
use vgw_gateway::status::{State, TunnelIndex};
use vgw_gateway::supervisor::FAILBACK_HOLD;
use vgw_sa::NextHop;

use crate::rig::{CGW, VGW, active, both_up, cut, flows, missing, restore, seconds, tunnel, up};

#[test]
fn traffic_moves_to_the_other_tunnel_within_the_dpd_timeout_and_stays_there() {
    for timeout in [40, 30] {
        let mut world = up(|_, connection| {
            for tunnel in &mut connection.tunnels {
                tunnel.failure_detection = FailureDetection::Dpd;
                tunnel.dpd_timeout = seconds(timeout);
            }
        });
        flows(&mut world);
        world.run(seconds(60));
        assert_eq!(active(&world, VGW), Some(TunnelIndex::First));
        cut(&mut world, 1);
        world.run(seconds(timeout + 15));
        for end in [VGW, CGW] {
            assert_eq!(active(&world, end), Some(TunnelIndex::Second));
            let trouble = tunnel(&world, end, 1).last_error.unwrap();
            assert!(trouble.text.contains("does not answer"), "{trouble:?}");
        }
        for flow in &world.flows {
            assert!(flow.longest_gap <= seconds(timeout + 1), "{flow:?}");
            assert!(flow.longest_gap >= seconds(timeout - 11), "{flow:?}");
        }
        restore(&mut world, 1);
        assert!(world.run_until(seconds(60), both_up));
        let before = missing(&world);
        world.run(seconds(120));
        assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
        assert_eq!(missing(&world), before);
        assert!(world.violations.is_empty(), "{:?}", world.violations);
    }
}

#[test]
fn what_is_routed_to_a_connection_may_come_by_either_of_its_tunnels() {
    let mut world = up(|_, _| {});
    for (carrier, standby) in [(1, 2), (2, 1)] {
        for (end, other) in [(VGW, CGW), (CGW, VGW)] {
            let id = |number| tunnel(&world, end, number).id;
            let hop = NextHop {
                carrier: id(carrier),
                standby: Some(id(standby)),
            };
            let node = &world.nodes[end];
            assert_eq!(node.plane.next_hop(world.nodes[other].host), Some(hop));
            for number in [1, 2] {
                let which = usize::from(number) - 1;
                let tunnel = &node.config.connections[0].tunnels[which];
                let (_, peer) = node.config.inside_addresses(tunnel);
                let own = NextHop {
                    carrier: id(number),
                    standby: None,
                };
                assert_eq!(node.plane.next_hop(peer), Some(own));
            }
        }
        cut(&mut world, 1);
        world.run(seconds(60));
    }
}

#[test]
fn with_failback_traffic_returns_once_the_first_tunnel_has_been_well_for_a_while() {
    let mut world = up(|_, connection| connection.failback = true);
    flows(&mut world);
    cut(&mut world, 1);
    world.run(seconds(60));
    assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
    restore(&mut world, 1);
    assert!(world.run_until(seconds(60), both_up));
    assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
    let before = missing(&world);
    world.run(FAILBACK_HOLD + seconds(1));
    for end in [VGW, CGW] {
        assert_eq!(active(&world, end), Some(TunnelIndex::First));
    }
    assert_eq!(missing(&world), before, "the return loses nothing");
}

#[test]
fn a_tunnel_whose_peer_died_is_left_alone_or_restarted_as_configured() {
    for action in [DpdAction::Clear, DpdAction::Restart] {
        let mut world = up(|end, connection| {
            if end == VGW {
                connection
                    .tunnels
                    .iter_mut()
                    .for_each(|t| t.dpd_action = action);
            }
        });
        let established = tunnel(&world, VGW, 1).counters.ike_established;
        world.nodes[CGW].crash();
        world.run(seconds(70));
        let ours = tunnel(&world, VGW, 1);
        let expected = match action {
            DpdAction::Restart => State::Connecting,
            DpdAction::Clear | DpdAction::None => State::Down,
        };
        assert_eq!(ours.state, expected);
        assert_eq!(ours.counters.ike_established, established);
        world.start(CGW);
        assert!(world.run_until(seconds(10), both_up));
        assert_eq!(tunnel(&world, VGW, 1).retry_in, None);
    }
}

#[test]
fn with_dpd_off_a_silent_peer_keeps_its_tunnel() {
    let mut world = up(|end, connection| {
        if end == VGW {
            connection
                .tunnels
                .iter_mut()
                .for_each(|t| t.dpd_action = DpdAction::None);
        }
    });
    world.nodes[CGW].crash();
    world.run(seconds(600));
    assert_eq!(tunnel(&world, VGW, 1).state, State::Up);
}

#[test]
fn attempts_go_on_at_least_every_thirty_seconds_however_long_the_peer_is_away() {
    let mut world = up(|_, _| {});
    world.nodes[VGW].crash();
    world.run(seconds(3600));
    let mut begun = vec![world.now];
    for _ in 0..6000 {
        world.run(seconds(1) / 10);
        let status = tunnel(&world, CGW, 1);
        assert!(status.state != State::Up);
        assert!(status.retry_in.is_some() || status.state == State::Connecting);
        if status.state == State::Connecting && status.since < seconds(1) / 10 {
            begun.push(world.now);
        }
    }
    let longest = begun.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(begun.len() > 20, "{} attempts", begun.len());
    assert!(longest <= Some(seconds(30)), "{longest:?}");
    world.start(VGW);
    assert!(world.run_until(seconds(35), both_up));
}

#[test]
fn a_restarted_peer_is_followed_at_once() {
    let mut world = up(|_, _| {});
    flows(&mut world);
    world.run(seconds(100));
    world.nodes[CGW].crash();
    world.run(seconds(3));
    world.start(CGW);
    world.run(seconds(2));
    assert!(both_up(&world));
    let before = missing(&world);
    world.run(seconds(120));
    assert_eq!(missing(&world), before);
    let ours = tunnel(&world, VGW, 1);
    assert_eq!((ours.ike.len(), ours.children.len()), (1, 1));
    assert!(world.violations.is_empty(), "{:?}", world.violations);
}
