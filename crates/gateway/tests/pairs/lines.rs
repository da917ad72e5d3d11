//! What is written into the log: whoever reads a line's message alone knows what it is
//! about.

use tracing::Level;
use vgw_gateway::supervisor::What;
use vgw_ike::config::Psk;
use vgw_sim::error_log::{ErrorLog, Line};
use vgw_sim::setup;
use vgw_sim::world::World;

use crate::rig::{CGW, VGW, both_up, cut, name, restore, seconds, world};

/// Fields whose value stands in the message, too: it is what the line is about.
const SUBJECTS: [&str; 6] = ["tunnel", "connection", "peer", "remote", "error", "reason"];

/// All that becomes of tunnels in a day, one after the other.
fn live(world: &mut World) {
    // The keys of the first tunnel differ.
    let config = world.nodes[CGW].config.clone();
    let key = Psk(vgw_crypto::Secret::new(b"another".to_vec()));
    world.nodes[CGW].config.connections[0].tunnels[0].psk = key;
    world.start_all();
    world.run(seconds(60));
    world.nodes[CGW].config = config.clone();
    world.operate(CGW, |s, now| s.apply(now, config));
    assert!(world.run_until(seconds(60), both_up));
    for what in [What::Child, What::Ike] {
        world.operate(VGW, |s, now| s.rekey(now, &name(1), what).unwrap());
        world.run(seconds(10));
    }
    cut(world, 1);
    world.run(seconds(120));
    restore(world, 1);
    assert!(world.run_until(seconds(60), both_up));
    world.operate(VGW, |s, now| s.tunnel_down(now, &name(2)).unwrap());
    world.run(seconds(60));
    world.operate(VGW, |s, now| s.tunnel_up(now, &name(2)).unwrap());
    assert!(world.run_until(seconds(60), both_up));
    world.nodes[CGW].crash();
    world.run(seconds(5));
    world.start(CGW);
    assert!(world.run_until(seconds(60), both_up));
    world.run(seconds(2 * 3600));
    // What belongs to nobody.
    let local = (setup::outside(1, 1), 500).into();
    for message in [vec![0; 10], vec![7; 40]] {
        let remote = "192.0.2.9:500".parse().unwrap();
        world.operate(VGW, |s, now| {
            s.handle_datagram(now, local, remote, &message);
        });
    }
}

fn said(level: Level) -> Vec<Line> {
    let log = ErrorLog::up_to(level);
    let mut world = world(1, |_, _| {});
    log.watch(None, || live(&mut world));
    log.take()
}

#[test]
fn every_message_names_its_tunnel_or_the_stranger_without_the_fields() {
    let lines = said(Level::DEBUG);
    let mut seen = [0; SUBJECTS.len()];
    for line in &lines {
        for (subject, seen) in SUBJECTS.iter().zip(&mut seen) {
            if let Some(value) = line.fields.get(*subject) {
                assert!(line.message.contains(value), "no {subject}: {line}");
                *seen += 1;
            }
        }
        let whose = ["tunnel", "connection", "peer", "remote"];
        let owned = whose.iter().any(|field| line.fields.contains_key(*field));
        assert!(owned, "about nobody: {line}");
        let about = ["tunnel", "connection"]
            .iter()
            .find_map(|f| line.fields.get(*f));
        if let Some(name) = about {
            let begins = line.message.starts_with(&format!("{name}: "));
            assert!(begins, "does not begin with {name}: {line}");
        }
    }
    assert!(seen.iter().all(|seen| *seen > 0), "{SUBJECTS:?} {seen:?}");
}
