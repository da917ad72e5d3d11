//! A changed configuration, applied as a difference.

use vgw_crypto::{Encryption, Secret};
use vgw_gateway::domain::Gateway;
use vgw_gateway::status::{State, TunnelIndex};
use vgw_gateway::supervisor::{Change, LONGEST_WAIT};
use vgw_ike::config::Psk;
use vgw_sa::{DfPolicy, HostService, TunnelPolicy};
use vgw_sim::setup;
use vgw_sim::world::World;

use crate::rig::{
    CGW, VGW, active, both_up, cut, flows, missing, name, seconds, spis, tunnel, up, world,
};

fn reload(world: &mut World, place: usize, change: impl FnOnce(&mut Gateway)) -> Vec<Change> {
    let mut config = world.nodes[place].config.clone();
    change(&mut config);
    world.nodes[place].config = config.clone();
    world.reload(place, config).unwrap()
}

#[test]
fn an_unchanged_file_gives_no_command_and_no_message() {
    let mut world = up(|_, _| {});
    world.run(seconds(1));
    let node = &world.nodes[VGW];
    let before = (node.plane.commands, node.ike_sent);
    assert_eq!(reload(&mut world, VGW, |_| {}), []);
    let node = &world.nodes[VGW];
    assert_eq!((node.plane.commands, node.ike_sent), before);
}

#[test]
fn a_changed_connection_leaves_the_other_one_as_it_is() {
    let mut world = world(2, |_, _| {});
    world.start_all();
    world.run(seconds(5));
    let flow = world.flow(VGW, 2, seconds(1) / 10);
    world.flow(2, VGW, seconds(1) / 10);
    let other = |world: &World| [1, 2].map(|n| spis(&world.tunnel(VGW, "vpn-1-2", n).unwrap()));
    let before = other(&world);
    let [own, sibling] = [1, 2].map(|number| spis(&tunnel(&world, VGW, number)));
    for (place, count) in [(VGW, 1), (CGW, 1)] {
        let changes = reload(&mut world, place, |gateway| {
            gateway.connections[0].tunnels[0].psk = Psk(Secret::new(b"new.key.8".to_vec()));
        });
        assert_eq!(changes.len(), count);
        assert_eq!(
            changes[0].to_string(),
            "vpn-1-1/1: changed pre_shared_key, restarts"
        );
    }
    world.run(seconds(60));
    assert!(both_up(&world));
    assert_ne!(spis(&tunnel(&world, VGW, 1)), own);
    assert_eq!(spis(&tunnel(&world, VGW, 2)), sibling);
    assert_eq!(other(&world), before);
    let tally = world.flows[flow].tally;
    assert_eq!((tally.lost, tally.not_sent, tally.stale), (0, 0, 0));
}

#[test]
fn a_changed_tunnel_that_carries_is_drained_first() {
    let mut world = up(|_, _| {});
    flows(&mut world);
    world.run(seconds(5));
    for place in [VGW, CGW] {
        reload(&mut world, place, |gateway| {
            gateway.connections[0].tunnels[0].phase2.encryption = vec![Encryption::AesCbc256];
        });
    }
    assert_eq!(tunnel(&world, VGW, 1).state, State::Draining);
    assert_eq!(active(&world, VGW), Some(TunnelIndex::Second));
    world.run(seconds(60));
    assert!(both_up(&world));
    let suite = tunnel(&world, VGW, 1).children[0].suite;
    assert_eq!(suite.encryption, Encryption::AesCbc256);
    assert_eq!(missing(&world), 0);
    assert!(world.violations.is_empty(), "{:?}", world.violations);
}

/// Makes both tunnels of the connection begin anew.
fn other_ciphers(gateway: &mut Gateway) {
    for tunnel in &mut gateway.connections[0].tunnels {
        tunnel.phase2.encryption = vec![Encryption::AesCbc256];
    }
}

fn ciphers(world: &World) -> [Option<Encryption>; 2] {
    [1, 2].map(|number| {
        let tunnel = tunnel(world, VGW, number);
        tunnel.children.first().map(|child| child.suite.encryption)
    })
}

#[test]
fn what_both_tunnels_begin_anew_for_takes_one_after_the_other_and_no_packet_is_lost() {
    // The other end follows at once, or while the carrier waits.
    for later in [0, 90] {
        let mut world = up(|_, _| {});
        flows(&mut world);
        world.run(seconds(5));
        let changes = reload(&mut world, VGW, other_ciphers);
        let printed: Vec<String> = changes.iter().map(Change::to_string).collect();
        assert_eq!(
            printed,
            [
                "vpn-1-1/1: changed phase2_encryption_algorithms, restarts when the other tunnel \
                 has and is up, in 120 seconds at the latest",
                "vpn-1-1/2: changed phase2_encryption_algorithms, restarts"
            ]
        );
        world.run(seconds(later));
        reload(&mut world, CGW, other_ciphers);
        world.run(seconds(60));
        assert!(both_up(&world), "{later}");
        assert_eq!(ciphers(&world), [Some(Encryption::AesCbc256); 2]);
        assert_eq!(missing(&world), 0, "{later}");
        assert!(world.violations.is_empty(), "{:?}", world.violations);
    }
}

#[test]
fn a_tunnel_does_not_wait_for_one_that_was_not_up_before() {
    let mut world = up(|_, _| {});
    cut(&mut world, 2);
    world.run(seconds(120));
    assert_eq!(
        (active(&world, VGW), both_up(&world)),
        (Some(TunnelIndex::First), false)
    );
    let changes = reload(&mut world, VGW, other_ciphers);
    for (change, number) in changes.iter().zip([1, 2]) {
        let restarts = format!("vpn-1-1/{number}: changed phase2_encryption_algorithms, restarts");
        assert_eq!(change.to_string(), restarts);
    }
    reload(&mut world, CGW, other_ciphers);
    world.run(seconds(30));
    assert_eq!(ciphers(&world)[0], Some(Encryption::AesCbc256));
}

#[test]
fn a_peer_that_keeps_the_old_configuration_carries_until_the_wait_is_over() {
    let mut world = up(|_, _| {});
    flows(&mut world);
    reload(&mut world, VGW, other_ciphers);
    world.run(LONGEST_WAIT - seconds(1));
    assert_eq!(tunnel(&world, VGW, 1).state, State::Up);
    assert_eq!(missing(&world), 0);
    world.run(seconds(2));
    assert_ne!(tunnel(&world, VGW, 1).state, State::Up);
    reload(&mut world, CGW, other_ciphers);
    assert!(world.run_until(seconds(300), both_up));
    assert_eq!(ciphers(&world), [Some(Encryption::AesCbc256); 2]);
}

#[test]
fn a_tunnel_that_waits_for_its_turn_takes_part_in_what_happens_meanwhile() {
    // What is changed back while it waits leaves it as it was.
    let mut world = up(|_, _| {});
    let before = spis(&tunnel(&world, VGW, 1));
    reload(&mut world, VGW, other_ciphers);
    world.run(seconds(10));
    reload(&mut world, VGW, |gateway| {
        gateway.connections[0] = setup::connection(1, 1);
    });
    assert!(world.run_until(seconds(300), both_up));
    assert_eq!(spis(&tunnel(&world, VGW, 1)), before);
    assert_ne!(ciphers(&world), [Some(Encryption::AesCbc256); 2]);

    // Taken down by hand and brought up again, it has the changed configuration.
    for number in [1, 2] {
        let mut world = up(|_, _| {});
        reload(&mut world, VGW, other_ciphers);
        world.run(seconds(10));
        world.operate(VGW, |s, now| s.tunnel_down(now, &name(number)).unwrap());
        world.run(seconds(10));
        assert_eq!(tunnel(&world, VGW, number).state, State::AdminDown);
        world.operate(VGW, |s, now| s.tunnel_up(now, &name(number)).unwrap());
        reload(&mut world, CGW, other_ciphers);
        assert!(world.run_until(seconds(300), |world| {
            both_up(world) && ciphers(world) == [Some(Encryption::AesCbc256); 2]
        }));
    }
}

#[test]
fn lifetimes_and_dead_peer_detection_change_while_the_tunnels_stay_up_and_no_packet_is_lost() {
    let mut world = up(|_, _| {});
    flows(&mut world);
    world.run(seconds(2_000));
    let before = [1, 2].map(|number| spis(&tunnel(&world, VGW, number)));
    let changes = reload(&mut world, VGW, |gateway| {
        let [first, second] = &mut gateway.connections[0].tunnels;
        first.phase1.lifetime = seconds(3_000);
        first.phase2.lifetime = seconds(900);
        second.dpd_timeout = seconds(300);
    });
    let printed: Vec<String> = changes.iter().map(Change::to_string).collect();
    assert_eq!(
        printed,
        [
            "vpn-1-1/1: changed phase1_lifetime_seconds, phase2_lifetime_seconds, stays up",
            "vpn-1-1/2: changed dpd_timeout_seconds, stays up"
        ]
    );
    let after = [1, 2].map(|number| spis(&tunnel(&world, VGW, number)));
    assert_eq!(after, before);
    // The CHILD SA is older than that, the IKE SA will be.
    world.run(seconds(270 / 2 + 1));
    let counters = |world: &World, number| tunnel(world, VGW, number).counters;
    assert_eq!(counters(&world, 1).child_rekeys, 1);
    assert_eq!(counters(&world, 1).ike_rekeys, 0);
    world.run(seconds(850));
    assert_eq!(counters(&world, 1).ike_rekeys, 1);
    assert_eq!(counters(&world, 1).child_rekeys, 2);
    assert_eq!(
        counters(&world, 2).ike_rekeys + counters(&world, 2).child_rekeys,
        0
    );
    assert_eq!(missing(&world), 0);
    assert!(world.violations.is_empty(), "{:?}", world.violations);

    cut(&mut world, 1);
    cut(&mut world, 2);
    world.run(seconds(60));
    assert_ne!(tunnel(&world, VGW, 1).state, State::Up);
    assert_eq!(tunnel(&world, VGW, 2).state, State::Up);
    let changes = reload(&mut world, VGW, |gateway| {
        gateway.connections[0].tunnels[1].dpd_timeout = seconds(30);
    });
    assert_eq!(changes.len(), 1);
    world.run(seconds(30));
    assert_ne!(tunnel(&world, VGW, 2).state, State::Up);
}

#[test]
fn routes_and_failback_change_while_the_tunnels_stay_up() {
    let mut world = up(|_, _| {});
    let before = [1, 2].map(|number| spis(&tunnel(&world, VGW, number)));
    let more = "192.0.2.0/24".parse().unwrap();
    let changes = reload(&mut world, VGW, |gateway| {
        gateway.connections[0].static_routes.push(more);
        gateway.connections[0].failback = true;
        gateway.connections[0].tunnels[1].replay_window = 64;
    });
    let printed: Vec<String> = changes.iter().map(Change::to_string).collect();
    assert_eq!(
        printed,
        [
            "vpn-1-1: changed static_routes, failback",
            "vpn-1-1/2: changed replay_window_size, stays up"
        ]
    );
    world.run(seconds(60));
    assert_eq!(
        [1, 2].map(|number| spis(&tunnel(&world, VGW, number))),
        before
    );
    assert!(world.nodes[VGW].plane.kernel_routes().contains(&more));
    let host: std::net::IpAddr = "192.0.2.7".parse().unwrap();
    assert_eq!(
        world.nodes[VGW].plane.leads_to(host),
        Some(tunnel(&world, VGW, 1).id)
    );
}

#[test]
fn the_treatment_of_packets_changes_while_the_tunnels_stay_up_and_no_packet_is_lost() {
    let mut world = up(|_, _| {});
    flows(&mut world);
    let before = [1, 2].map(|number| spis(&tunnel(&world, VGW, number)));
    let changes = reload(&mut world, VGW, |gateway| {
        gateway.outside_mtu = 9_000;
        gateway.cloudhub = true;
        gateway.host_services = vec![HostService::All];
        gateway.connections[0].source_check = false;
        let [first, _] = &mut gateway.connections[0].tunnels;
        first.df_policy = DfPolicy::Ignore;
        first.copy_dscp = true;
        first.bandwidth_limit_mbps = Some(1_250);
    });
    let printed: Vec<String> = changes.iter().map(Change::to_string).collect();
    assert_eq!(
        printed,
        [
            "gateway: changed outside_mtu, cloudhub, host_services",
            "vpn-1-1: changed source_check",
            "vpn-1-1/1: changed df_policy, copy_dscp, bandwidth_limit_mbps, stays up"
        ]
    );
    world.run(seconds(60));
    let after = [1, 2].map(|number| spis(&tunnel(&world, VGW, number)));
    assert_eq!(after, before);
    assert_eq!(missing(&world), 0);
    let plane = &world.nodes[VGW].plane;
    assert!(plane.cloudhub());
    let policy = |number| plane.policy(tunnel(&world, VGW, number).id);
    let plain = TunnelPolicy {
        outside_mtu: 9_000,
        df_policy: DfPolicy::Honor,
        copy_dscp: false,
        bandwidth_limit: None,
        source_check: false,
    };
    assert_eq!(policy(2), Some(plain));
    let changed = TunnelPolicy {
        df_policy: DfPolicy::Ignore,
        copy_dscp: true,
        bandwidth_limit: Some(1_250_000_000),
        ..plain
    };
    assert_eq!(policy(1), Some(changed));
}

#[test]
fn connections_come_and_go_and_numbers_of_tunnels_stay() {
    let mut world = world(2, |_, _| {});
    world.start_all();
    world.run(seconds(5));
    let id = |world: &World| world.tunnel(VGW, "vpn-1-2", 1).unwrap().id;
    let before = id(&world);
    let changes = reload(&mut world, VGW, |gateway| {
        gateway.connections.remove(0);
    });
    assert_eq!(changes, [Change::ConnectionRemoved("vpn-1-1".to_owned())]);
    world.run(seconds(5));
    assert_eq!(world.nodes[VGW].plane.spis().count(), 2);
    assert_eq!(world.nodes[VGW].plane.kernel_routes(), [setup::site(2)]);
    assert_eq!(id(&world), before);
    let changes = reload(&mut world, VGW, |gateway| {
        gateway.connections.insert(0, setup::connection(1, 1));
    });
    assert_eq!(changes, [Change::ConnectionAdded("vpn-1-1".to_owned())]);
    assert!(world.run_until(seconds(60), both_up));
    assert_eq!(id(&world), before);
    let fresh = tunnel(&world, VGW, 1);
    assert_eq!(fresh.counters.ike_established, 1, "counted anew");
}

#[test]
fn a_tunnel_that_was_taken_down_by_hand_stays_down_over_a_reload() {
    let mut world = up(|_, _| {});
    world.operate(VGW, |s, now| s.tunnel_down(now, &name(1)).unwrap());
    world.run(seconds(3));
    let changed = |gateway: &mut Gateway| {
        gateway.connections[0].tunnels[0].psk = Psk(Secret::new(b"new.key.8".to_vec()));
    };
    reload(&mut world, VGW, changed);
    reload(&mut world, CGW, changed);
    world.run(seconds(60));
    assert_eq!(tunnel(&world, VGW, 1).state, State::AdminDown);
    world.operate(VGW, |s, now| s.tunnel_up(now, &name(1)).unwrap());
    assert!(world.run_until(seconds(60), both_up));
}

#[test]
fn what_was_changed_during_a_drain_is_in_force_however_the_drain_ends() {
    let changed = |gateway: &mut Gateway| {
        gateway.connections[0].tunnels[0].psk = Psk(Secret::new(b"new.key.8".to_vec()));
    };
    for change_first in [true, false] {
        let mut world = up(|_, _| {});
        let before = spis(&tunnel(&world, VGW, 1));
        if change_first {
            reload(&mut world, VGW, changed);
        }
        world.operate(VGW, |s, now| s.tunnel_down(now, &name(1)).unwrap());
        if !change_first {
            reload(&mut world, VGW, changed);
        }
        assert_eq!(tunnel(&world, VGW, 1).state, State::Draining);
        world.operate(VGW, |s, now| s.tunnel_up(now, &name(1)).unwrap());
        reload(&mut world, CGW, changed);
        world.run(seconds(60));
        assert!(both_up(&world));
        assert_ne!(spis(&tunnel(&world, VGW, 1)), before);
    }
}
