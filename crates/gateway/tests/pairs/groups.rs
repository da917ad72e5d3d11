//! Ends that differ about PFS, which shows at the first rekey.

use vgw_gateway::domain::Connection;
use vgw_gateway::status::{State, Telemetry};
use vgw_sim::judge;

use crate::rig::{CGW, VGW, both_up, flows, missing, seconds, tunnel, up};

fn short_lived(connection: &mut Connection) {
    for (tunnel, lifetime) in connection.tunnels.iter_mut().zip([900, 1_100]) {
        tunnel.phase2.lifetime = seconds(lifetime);
        tunnel.rekey_margin = seconds(60);
    }
}

#[test]
fn without_pfs_at_both_ends_tunnels_are_rekeyed_and_lose_nothing() {
    let mut world = up(|_, connection| {
        short_lived(connection);
        for tunnel in &mut connection.tunnels {
            tunnel.phase2.groups.clear();
        }
    });
    flows(&mut world);
    world.run(seconds(7_200));
    assert_eq!(missing(&world), 0);
    for number in [1, 2] {
        let ours = tunnel(&world, VGW, number);
        assert!(ours.counters.child_rekeys >= 5, "{:?}", ours.counters);
        assert_eq!(ours.rekey_refused.map(|remark| remark.text), None);
    }
}

#[test]
fn tunnels_whose_ends_differ_about_pfs_say_so_and_come_back_after_every_lifetime() {
    for bare in [VGW, CGW] {
        let mut world = up(|end, connection| {
            short_lived(connection);
            if end == bare {
                for tunnel in &mut connection.tunnels {
                    tunnel.phase2.groups.clear();
                }
            }
        });
        flows(&mut world);
        world.run(seconds(890));
        for end in [VGW, CGW] {
            let ours = tunnel(&world, end, 1);
            assert_eq!(ours.telemetry(), Telemetry::Up);
            assert!(ours.counters.rekeys_refused > 0);
            let said = ours.rekey_refused.unwrap().text;
            assert!(said.contains("PFS"), "{said}");
        }
        assert_eq!(missing(&world), 0);
        let mut down = 0;
        for _ in 0..7_200 {
            world.run(seconds(1));
            down += usize::from(!both_up(&world));
        }
        assert!(down < 50, "a tunnel was down for {down} s");
        assert_eq!(tunnel(&world, VGW, 1).state, State::Up);
        assert!(tunnel(&world, VGW, 1).counters.ike_established >= 8);
        for flow in &world.flows {
            assert!(flow.longest_gap <= seconds(1), "{flow:?}");
        }
        world.run(seconds(30));
        assert_eq!(judge::at_rest(&world), Vec::<String>::new());
    }
}
