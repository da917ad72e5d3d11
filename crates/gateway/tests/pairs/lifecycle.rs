//! Coming up, drain, rekeys, refusals.

use std::time::Duration;

use vgw_crypto::{Group, Secret};
use vgw_gateway::command::RefusedCommand;
use vgw_gateway::domain::{FailureDetection, StartupAction};
use vgw_gateway::status::{State, Telemetry, TunnelIndex};
use vgw_gateway::supervisor::{LONGEST_DRAIN, OperationError, RekeyTarget};
use vgw_ike::config::Psk;
use vgw_ike::event::Role;
use vgw_sim::judge;
use vgw_sim::world::World;

use crate::rig::{
    CGW, VGW, active, both_up, flows, missing, name, seconds, spis, tunnel, up, world,
};

/// A hundred packets a second.
const PACE: Duration = Duration::from_millis(10);

#[test]
fn both_tunnels_come_up_and_each_end_shows_the_same() {
    let mut world = up(|_, _| {});
    world.run(seconds(30));
    assert_eq!(judge::at_rest(&world), Vec::<String>::new());
    let ours = tunnel(&world, VGW, 1);
    assert_eq!(ours.telemetry(), Telemetry::Up);
    assert_eq!(ours.ike[0].role, Role::Responder);
    assert_eq!(
        ours.outside_remote,
        Some(vgw_sim::setup::customer_address(1))
    );
    assert_eq!(active(&world, VGW), active(&world, CGW));
    assert_eq!(
        world.nodes[VGW].plane.kernel_routes(),
        [vgw_sim::setup::site(1)]
    );
    assert_eq!(
        world.nodes[CGW].plane.kernel_routes(),
        [vgw_sim::setup::vpc(1)]
    );
}

#[test]
fn ends_that_both_initiate_settle_on_one_sa_and_lose_nothing() {
    let mut world = world(1, |_, connection| {
        for tunnel in &mut connection.tunnels {
            tunnel.startup_action = StartupAction::Start;
        }
    });
    world.start_all();
    assert!(world.run_until(seconds(5), both_up));
    flows(&mut world);
    world.run(seconds(60));
    assert_eq!(judge::at_rest(&world), Vec::<String>::new());
    assert_eq!(missing(&world), 0);
}

#[test]
fn a_tunnel_whose_sa_the_data_plane_refuses_is_not_left_half_installed() {
    let kinds: [fn(RefusedCommand) -> bool; 2] = [
        |refused| matches!(refused, RefusedCommand::Install(_)),
        |refused| matches!(refused, RefusedCommand::Use(_)),
    ];
    for (end, which) in [VGW, CGW]
        .into_iter()
        .flat_map(|end| kinds.map(|kind| (end, kind)))
    {
        // While it comes up, and then while it rekeys.
        let mut world = world(1, |_, _| {});
        world.nodes[end].refuse_next = Some(which);
        world.start_all();
        let flows = flows(&mut world);
        for refusals in [1, 2] {
            let came_back = |world: &World| world.nodes[end].refused == refusals && both_up(world);
            assert!(world.run_until(seconds(120), came_back));
            let wrong = judge::always(&world);
            assert_eq!(wrong, Vec::<String>::new());
            world.run(seconds(60));
            assert_eq!(judge::at_rest(&world), Vec::<String>::new());
            let said = [1, 2].map(|number| tunnel(&world, end, number).last_error);
            assert!(format!("{said:?}").contains("the data plane refused a change"));
            // Some packets are on the way at every moment of it.
            for flow in flows {
                world.set_pace(flow, Duration::from_millis(3));
            }
            world.run(seconds(1));
            let carrier = name(active(&world, end).unwrap().number());
            world.nodes[end].refuse_next = Some(which);
            world.operate(end, |s, now| {
                s.rekey(now, &carrier, RekeyTarget::Child).unwrap()
            });
            world.run(seconds(1));
            for flow in flows {
                world.set_pace(flow, seconds(1));
            }
        }
        assert_eq!(world.violations, Vec::<String>::new());
    }
}

#[test]
fn the_inside_address_of_a_peer_is_reached_through_its_own_tunnel() {
    let world = up(|_, _| {});
    for number in [1, 2] {
        let ours = tunnel(&world, VGW, number);
        let leads_to = world.nodes[VGW].plane.leads_to(ours.inside_remote);
        assert_eq!(leads_to, Some(ours.id));
    }
}

#[test]
fn rekeys_by_hand_under_load_move_no_traffic_and_lose_no_packet() {
    let mut world = up(|_, _| {});
    flows(&mut world);
    world.run(seconds(5));
    for round in 0..50 {
        let end = [VGW, CGW][round % 2];
        let what = if round % 5 == 0 {
            RekeyTarget::Ike
        } else {
            RekeyTarget::Child
        };
        world.operate(end, |s, now| s.rekey(now, &name(1), what).unwrap());
        world.run(seconds(7));
    }
    assert_eq!(active(&world, VGW), Some(TunnelIndex::First));
    let counters = tunnel(&world, VGW, 1).counters;
    assert_eq!((counters.ike_rekeys, counters.child_rekeys), (10, 40));
    assert_eq!(missing(&world), 0);
    assert!(world.violations.is_empty(), "{:?}", world.violations);
}

#[test]
fn a_child_sa_is_rekeyed_for_its_packets_before_they_are_used_up() {
    let mut world = up(|_, connection| {
        connection
            .tunnels
            .iter_mut()
            .for_each(|t| t.phase2.lifetime_packets = Some(1_000));
    });
    flows(&mut world);
    world.run(seconds(500));
    assert!(tunnel(&world, VGW, 1).counters.child_rekeys >= 4);
    assert!(
        tunnel(&world, VGW, 1)
            .children
            .iter()
            .all(|c| c.traffic.sequence < 1_250)
    );
    assert_eq!(missing(&world), 0);
}

#[test]
fn a_tunnel_is_drained_before_it_is_taken_down_and_nothing_is_lost() {
    for end in [VGW, CGW] {
        let mut world = up(|_, _| {});
        flows(&mut world);
        world.run(seconds(5));
        world.operate(end, |s, now| s.tunnel_down(now, &name(1)).unwrap());
        assert_eq!(tunnel(&world, end, 1).state, State::Draining);
        assert_eq!(active(&world, end), Some(TunnelIndex::Second));
        world.run(seconds(5));
        assert_eq!(tunnel(&world, end, 1).state, State::AdminDown);
        assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
        assert_eq!(active(&world, CGW), Some(TunnelIndex::Second));
        world.run(seconds(300));
        assert_eq!(tunnel(&world, end, 1).state, State::AdminDown);
        world.operate(end, |s, now| s.tunnel_up(now, &name(1)).unwrap());
        assert!(world.run_until(seconds(60), both_up));
        world.run(seconds(60));
        assert_eq!(active(&world, VGW), Some(TunnelIndex::Second), "sticky");
        assert_eq!(missing(&world), 0);
        assert!(world.violations.is_empty(), "{:?}", world.violations);
    }
}

#[test]
fn a_drain_waits_until_the_peers_traffic_has_moved_and_says_whether_it_had() {
    let cases = [
        (
            FailureDetection::Fast,
            PACE,
            "taken down by hand, after the peer's traffic had moved",
        ),
        (
            FailureDetection::Dpd,
            PACE,
            "taken down by hand, though the peer still sent by it",
        ),
        (
            FailureDetection::Fast,
            seconds(3600),
            "taken down by hand, with no traffic of the peer",
        ),
    ];
    for (how, pace, why) in cases {
        let mut world = up(|_, connection| {
            for tunnel in &mut connection.tunnels {
                tunnel.failure_detection = how;
            }
        });
        for flow in flows(&mut world) {
            world.set_pace(flow, pace);
        }
        world.run(seconds(30));
        world.operate(VGW, |s, now| s.tunnel_down(now, &name(1)).unwrap());
        let ended = |world: &World| tunnel(world, VGW, 1).state == State::AdminDown;
        assert!(world.run_until(LONGEST_DRAIN, ended));
        assert_eq!(tunnel(&world, VGW, 1).why, why);
        world.run(seconds(5));
        assert_eq!(missing(&world), 0, "{why}");
    }
}

#[test]
fn taking_the_only_tunnel_down_needs_no_drain() {
    let mut world = up(|_, _| {});
    for number in [2, 1] {
        world.operate(VGW, |s, now| s.tunnel_down(now, &name(number)).unwrap());
        world.run(seconds(2));
    }
    assert_eq!(active(&world, VGW), None);
    world.operate(VGW, |s, now| {
        let refused = s.rekey(now, &name(1), RekeyTarget::Child).unwrap_err();
        assert_eq!(refused, OperationError::NotUp(name(1), State::AdminDown));
    });
}

#[test]
fn a_wrong_pre_shared_key_is_named_at_both_ends_and_the_other_tunnel_is_well() {
    let mut world = world(1, |end, connection| {
        if end == CGW {
            connection.tunnels[0].psk = Psk(Secret::new(b"another.key".to_vec()));
        }
    });
    world.start_all();
    world.run(seconds(60));
    for end in [VGW, CGW] {
        let wrong = tunnel(&world, end, 1);
        let trouble = wrong.last_error.unwrap();
        assert!(trouble.text.contains("pre-shared key"), "{trouble:?}");
        assert!(wrong.state != State::Up);
        assert_eq!(tunnel(&world, end, 2).state, State::Up);
        assert_eq!(active(&world, end), Some(TunnelIndex::Second));
    }
    assert!(tunnel(&world, CGW, 1).failed_attempts >= 3);
}

#[test]
fn no_common_proposal_is_explained_by_what_was_offered_and_accepted() {
    let mut world = world(1, |end, connection| {
        let group = if end == VGW {
            Group::Ecp384
        } else {
            Group::Curve25519
        };
        connection.tunnels[0].phase1.groups = vec![group];
    });
    world.start_all();
    world.run(seconds(30));
    let trouble = tunnel(&world, VGW, 1).last_error.unwrap();
    assert!(
        trouble.text.contains("20") && trouble.text.contains("31"),
        "{trouble:?}"
    );
    assert!(tunnel(&world, CGW, 1).last_error.is_some());
}

#[test]
fn a_hundred_customers_come_up_on_one_gateway() {
    let mut world = world(100, |_, _| {});
    world.start_all();
    // Half-open IKE SAs of those that initiated at once with us expire.
    world.run(seconds(40));
    assert_eq!(judge::at_rest(&world), Vec::<String>::new());
    let first = spis(&tunnel(&world, VGW, 1));
    world.run(seconds(20));
    assert_eq!(spis(&tunnel(&world, VGW, 1)), first);
}
