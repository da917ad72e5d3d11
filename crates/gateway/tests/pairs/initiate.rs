//! Who initiates, and when: after a start, after being taken down by hand, and again
//! after a failure.

use std::time::Duration;

use vgw_gateway::domain::{Connection, DpdAction, StartupAction};
use vgw_gateway::status::State;
use vgw_ike::drop_reason::DropReason;
use vgw_sim::world::World;

use crate::rig::{
    CGW, VGW, active, both_up, cut, flows, name, restore, seconds, spis, tunnel, up, world,
};

/// Both ends wait for each other.
fn waiting(_: usize, connection: &mut Connection) {
    for tunnel in &mut connection.tunnels {
        tunnel.startup_action = StartupAction::Add;
    }
}

fn taken_down(world: &World) -> u64 {
    world.status(VGW).unwrap().denied.get(DropReason::TakenDown)
}

#[test]
fn a_peer_gets_no_answer_while_its_tunnel_is_down_by_hand_and_status_says_so() {
    let mut world = up(|_, _| {});
    world.operate(VGW, |s, now| s.tunnel_down(now, &name(1)).unwrap());
    world.run(seconds(5));
    let sent = world.nodes[VGW].ike_sent;
    // The second tunnel is cut as well, so that nothing else is sent.
    world.operate(VGW, |s, now| s.tunnel_down(now, &name(2)).unwrap());
    world.run(seconds(5));
    let after = world.nodes[VGW].ike_sent;
    world.run(seconds(120));
    assert!(after > sent, "the DELETE");
    assert_eq!(world.nodes[VGW].ike_sent, after);
    assert!(taken_down(&world) > 10);
    for number in [1, 2] {
        let down = tunnel(&world, VGW, number);
        assert_eq!(down.state, State::AdminDown);
        let why = down.last_error.unwrap().text;
        assert!(why.contains("asks and gets no answer"), "{why}");
        let waits = down.waits_for.unwrap();
        assert_eq!(waits, format!("`vgw tunnel up vpn-1-1/{number}`"));
        let theirs = tunnel(&world, CGW, number).last_error.unwrap().text;
        assert_eq!(theirs, "peer does not answer");
    }
}

#[test]
fn a_tunnel_brought_up_by_hand_initiates_whoever_is_to_at_a_start() {
    for end in [VGW, CGW] {
        let mut world = up(waiting);
        world.operate(end, |s, now| s.tunnel_down(now, &name(1)).unwrap());
        world.run(seconds(60));
        assert_eq!(tunnel(&world, end, 1).state, State::AdminDown);
        world.operate(end, |s, now| s.tunnel_up(now, &name(1)).unwrap());
        assert!(world.run_until(seconds(1), both_up));
    }
}

#[test]
fn a_tunnel_that_begins_anew_with_other_options_initiates_whoever_is_to_at_a_start() {
    let mut world = up(waiting);
    world.run(seconds(30));
    let both = |world: &World| [1, 2].map(|number| spis(&tunnel(world, VGW, number)));
    let before = both(&world);
    let mut config = world.nodes[VGW].config.clone();
    for tunnel in &mut config.connections[0].tunnels {
        tunnel.phase2.groups.pop();
    }
    world.reload(VGW, config);
    // One after the other, each after a drain.
    assert!(world.run_until(seconds(3), |world| {
        let now = both(world);
        both_up(world) && now[0] != before[0] && now[1] != before[1]
    }));
}

#[test]
fn after_a_crash_the_tunnel_is_back_at_once_though_both_ends_wait_for_each_other() {
    for end in [VGW, CGW] {
        let mut world = up(waiting);
        world.nodes[end].crash();
        world.run(seconds(1));
        world.start(end);
        assert!(world.run_until(seconds(1), both_up));
        world.run(seconds(60));
        for at in [VGW, CGW] {
            let kept = tunnel(&world, at, 1);
            assert_eq!((kept.ike.len(), kept.children.len()), (1, 1));
        }
        assert!(world.violations.is_empty(), "{:?}", world.violations);
    }
}

#[test]
fn where_it_is_not_wanted_nobody_initiates_after_a_start() {
    let mut world = world(1, waiting);
    for end in [VGW, CGW] {
        world.nodes[end].config.initiate_to_recover = false;
    }
    world.start_all();
    world.run(seconds(600));
    for end in [VGW, CGW] {
        assert_eq!(world.nodes[end].ike_sent, 0);
        let waits = tunnel(&world, end, 1).waits_for;
        assert_eq!(waits.as_deref(), Some("the peer to initiate"));
    }
}

#[test]
fn initiating_once_in_vain_is_no_fault_and_is_not_repeated() {
    let mut world = world(1, waiting);
    world.start(VGW);
    world.run(seconds(30));
    let asked = world.nodes[VGW].ike_sent;
    assert!(asked > 0);
    world.run(seconds(600));
    assert_eq!(world.nodes[VGW].ike_sent, asked);
    let down = tunnel(&world, VGW, 1);
    assert_eq!((down.state, down.failed_attempts), (State::Down, 0));
    assert_eq!(down.last_error, None);
    assert!(down.why.contains("peer does not answer"), "{}", down.why);
    assert_eq!(down.waits_for.as_deref(), Some("the peer to initiate"));
    // Nor is it where the peer refuses.
    world.start(CGW);
    assert!(
        world.run_until(seconds(1), both_up),
        "the peer asks once as well"
    );
}

#[test]
fn a_tunnel_whose_outside_address_comes_late_initiates_once_more() {
    let mut world = world(1, waiting);
    world.nodes[CGW].config.initiate_to_recover = false;
    world.start(VGW);
    world.run(seconds(600));
    world.start(CGW);
    world.run(seconds(60));
    assert_eq!(tunnel(&world, VGW, 1).state, State::Down);
    for address in world.nodes[VGW].config.outside_addresses.clone() {
        world.operate(VGW, |s, now| s.note_outside_address(now, address.address));
    }
    assert!(world.run_until(seconds(2), both_up));
}

#[test]
fn a_thousand_tunnels_do_not_initiate_all_at_once_after_a_start() {
    let mut world = world(250, waiting);
    world.start(VGW);
    let at_first = world.nodes[VGW].ike_sent;
    assert!(at_first <= 2, "{at_first} at once");
    world.run(seconds(3));
    let status = world.status(VGW).unwrap();
    let mut tunnels = status.connections.iter().flat_map(|c| &c.tunnels);
    assert!(tunnels.all(|tunnel| tunnel.state == State::Connecting));
}

#[test]
fn after_a_cut_of_any_length_the_tunnel_is_back_within_half_a_minute() {
    for length in (60..600).step_by(20).chain([7200]).map(seconds) {
        let mut world = up(|_, _| {});
        for number in [1, 2] {
            cut(&mut world, number);
        }
        world.run(length);
        for number in [1, 2] {
            restore(&mut world, number);
        }
        let limit = Duration::from_secs(31);
        assert!(world.run_until(limit, both_up), "after {length:?}");
    }
}

#[test]
fn a_peer_sees_by_our_token_that_we_lost_its_sas_and_is_back_at_once() {
    fn keeping(_: usize, _: &mut Connection) {}
    for change in [keeping, waiting] {
        for token in [true, false] {
            let mut world = world(1, change);
            world.nodes[VGW].config.initiate_to_recover = false;
            if !token {
                world.nodes[VGW].token_key = None;
            }
            world.start_all();
            assert!(world.run_until(seconds(5), both_up));
            flows(&mut world);
            world.run(seconds(60));
            world.nodes[VGW].crash();
            world.run(seconds(2));
            world.start(VGW);
            let back = world.run_until(seconds(15), |world| {
                tunnel(world, VGW, 1).state == State::Up
            });
            assert_eq!(back, token);
            if token {
                let trouble = tunnel(&world, CGW, 1).last_error.unwrap();
                assert!(trouble.text.contains("restarted"), "{}", trouble.text);
                assert!(trouble.age < seconds(3), "{:?}", trouble.age);
            }
            assert!(world.violations.is_empty(), "{:?}", world.violations);
        }
    }
}

#[test]
fn packets_of_an_sa_that_we_gave_up_make_us_initiate_though_we_wait_for_the_peer() {
    let mut world = up(|end, connection| {
        waiting(end, connection);
        if end == CGW {
            for tunnel in &mut connection.tunnels {
                tunnel.dpd_action = DpdAction::None;
            }
        }
    });
    // As a peer that does not know RFC 6290 and does not ask whether we live.
    for end in [VGW, CGW] {
        world.operate(end, |s, _| s.set_token_key(None));
    }
    flows(&mut world);
    world.run(seconds(30));
    for number in [1, 2] {
        cut(&mut world, number);
    }
    world.run(seconds(60));
    assert_eq!(tunnel(&world, VGW, 1).state, State::Down);
    assert_eq!(tunnel(&world, CGW, 1).state, State::Up);
    for number in [1, 2] {
        restore(&mut world, number);
    }
    let carrier = active(&world, CGW).unwrap().number();
    let back = |world: &World| tunnel(world, VGW, carrier).state == State::Up;
    assert!(world.run_until(seconds(2), back));
    assert!(world.violations.is_empty(), "{:?}", world.violations);
}

#[test]
fn an_attempt_that_waits_is_made_at_once_when_something_comes_from_the_peer() {
    let mut world = up(|end, connection| {
        if end == CGW {
            for tunnel in &mut connection.tunnels {
                tunnel.dpd_timeout = seconds(30);
            }
        } else {
            for tunnel in &mut connection.tunnels {
                tunnel.dpd_action = DpdAction::None;
            }
        }
    });
    flows(&mut world);
    for number in [1, 2] {
        cut(&mut world, number);
    }
    let pauses = |world: &World| {
        let waits = tunnel(world, CGW, 1).retry_in;
        waits.is_some_and(|pause| pause > seconds(6))
    };
    world.run(seconds(600));
    assert!(world.run_until(seconds(60), pauses));
    for number in [1, 2] {
        restore(&mut world, number);
    }
    let carrier = active(&world, VGW).unwrap().number();
    let back = |world: &World| tunnel(world, CGW, carrier).state == State::Up;
    assert!(world.run_until(seconds(2), back));
}
