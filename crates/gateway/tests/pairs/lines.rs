//! What is written into the log: whoever reads a line's message alone knows what it is
//! about.

use std::net::SocketAddr;

use tracing::Level;
use vgw_crypto::Encryption;
use vgw_gateway::domain::{DpdAction, StartupAction};
use vgw_gateway::supervisor::RekeyTarget;
use vgw_ike::config::Psk;
use vgw_sim::error_log::{ErrorLog, Line};
use vgw_sim::setup;
use vgw_sim::world::World;

use crate::rig::{CGW, VGW, both_up, cut, name, restore, seconds, tunnel, world};

/// Fields whose value stands in the message, too: it is what the line is about.
const SUBJECTS: [&str; 6] = ["tunnel", "connection", "peer", "remote", "error", "reason"];

/// All that becomes of tunnels in a day, one after the other.
fn live(world: &mut World) {
    // The keys of the first tunnel differ.
    let config = world.nodes[CGW].config.clone();
    let key = Psk(vgw_crypto::Secret::new(b"another.key".to_vec()));
    world.nodes[CGW].config.connections[0].tunnels[0].psk = key;
    world.start_all();
    world.run(seconds(60));
    world.nodes[CGW].config = config.clone();
    world.reload(CGW, config);
    assert!(world.run_until(seconds(60), both_up));
    for what in [RekeyTarget::Child, RekeyTarget::Ike] {
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
                // Of one remote end, whatever its ports.
                let address = value.parse().map(|to: SocketAddr| to.ip().to_string());
                let value = address.as_ref().unwrap_or(value);
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

/// Lets something happen; gives what both ends say of the first tunnel.
fn lines_of(world: &mut World, happen: impl FnOnce(&mut World)) -> Vec<String> {
    let log = ErrorLog::up_to(Level::INFO);
    log.watch(None, || happen(world));
    let lines = log.take().into_iter();
    let of_first = lines.filter(|line| line.message.starts_with("vpn-1-1/1: "));
    of_first
        .map(|line| format!("{} {}", line.level, line.message))
        .collect()
}

/// That these lines begin so.
fn assert_said(said: &[String], expected: &[&str]) {
    let begins = |(said, expected): (&String, &&str)| said.starts_with(expected);
    let alike = said.len() == expected.len() && said.iter().zip(expected).all(begins);
    assert!(alike, "{said:#?}");
}

#[test]
fn each_event_of_a_tunnel_is_one_line_at_each_end_that_it_concerns() {
    const UP: [&str; 2] = [
        "INFO vpn-1-1/1: up, the peer initiated: IKE SA with ",
        "INFO vpn-1-1/1: up in ",
    ];
    let mut world = world(1, |_, _| {});
    world.nodes[VGW].config.initiate_to_recover = false;
    let said = lines_of(&mut world, |world| {
        world.start_all();
        assert!(world.run_until(seconds(5), both_up));
        world.run(seconds(60));
    });
    assert_said(&said, &UP);
    let whole = "s, we initiated: IKE SA with 203.0.1.1 at 203.0.1.1:500, AES128-GCM-16/PRF-SHA2-256/\
        group 31; CHILD SA AES128-GCM-16/ESN, ESP as protocol 50";
    assert!(said[1].ends_with(whole), "{said:#?}");
    let said = lines_of(&mut world, |world| world.run(seconds(10 * 3600)));
    assert_said(&said, &[]);
    let rekeyed = tunnel(&world, VGW, 1).counters;
    assert!(rekeyed.child_rekeys > 5 && rekeyed.ike_rekeys > 0);
    let said = lines_of(&mut world, |world| {
        cut(world, 1);
        world.run(seconds(300));
    });
    let dead = [
        "WARN vpn-1-1/1: down after 10h01m: peer does not answer; waits for the peer to initiate",
        "WARN vpn-1-1/1: down after 10h01m: peer does not answer; waits for our next attempt in ",
        "WARN vpn-1-1/1: not up, attempt 1 failed: peer does not answer (is it there, at this \
         address, and UDP 500 and 4500 open at both ends?); waits for our next attempt in ",
    ];
    assert_said(&said, &dead);
    let said = lines_of(&mut world, |world| {
        restore(world, 1);
        assert!(world.run_until(seconds(60), both_up));
        world.run(seconds(60));
    });
    assert_said(&said, &UP);
    let said = lines_of(&mut world, |world| {
        world.operate(VGW, |s, now| s.tunnel_down(now, &name(1)).unwrap());
        world.run(seconds(5));
    });
    let by_hand = [
        "INFO vpn-1-1/1: down after 1m01s: taken down by hand, with no traffic of the peer; waits for `vgw tunnel up vpn-1-1/1`",
        "WARN vpn-1-1/1: down after 1m01s: deleted by the peer; waits for our next attempt in ",
        "WARN vpn-1-1/1: refused 198.51.100.1: the peer asks and gets no answer: taken down by hand",
    ];
    assert_said(&said, &by_hand);
}

#[test]
fn a_line_says_which_end_refused_and_status_what_we_accept_in_full() {
    let mut world = world(1, |end, connection| {
        if end == CGW {
            connection.tunnels[0].phase2.encryption = vec![Encryption::AesGcm256];
        }
    });
    let said = lines_of(&mut world, |world| {
        world.start_all();
        world.run(seconds(10));
    });
    let begins = |words: &str| said.iter().filter(|line| line.starts_with(words)).count();
    let ours = "WARN vpn-1-1/1: refused 203.0.1.1: CHILD SA (phase 2): no common encryption: ";
    assert_eq!(begins(ours), 1, "{said:#?}");
    let theirs =
        "WARN vpn-1-1/1: refused by 203.0.1.1: the peer refused the CHILD SA by NO_PROPOSAL_CHOSEN";
    assert_eq!(begins(theirs), 1, "{said:#?}");
    let (_, esp) = tunnel(&world, CGW, 1).algorithms.unwrap();
    assert_eq!(esp.encryption, [Encryption::AesGcm256]);
}

#[test]
fn a_tunnel_that_is_asked_for_again_at_once_goes_down_by_what_ended_it() {
    let mut world = world(1, |end, connection| {
        if end == VGW {
            connection.tunnels[0].dpd_action = DpdAction::Restart;
        }
    });
    world.start_all();
    assert!(world.run_until(seconds(30), both_up));
    let said = lines_of(&mut world, |world| {
        cut(world, 1);
        world.run(seconds(60));
    });
    let down = said.iter().filter(|line| line.contains(": down after"));
    let whys = down.filter(|line| line.contains("s: peer does not answer; waits for "));
    assert_eq!(whys.count(), 2, "{said:#?}");
}

#[test]
fn a_failure_that_is_repeated_is_one_line_at_each_end_in_ten_minutes() {
    let mut world = world(1, |end, connection| {
        if end == CGW {
            connection.tunnels[0].psk = Psk(vgw_crypto::Secret::new(b"another.key".to_vec()));
        }
    });
    world.nodes[VGW].config.initiate_to_recover = false;
    let said = lines_of(&mut world, |world| {
        world.start_all();
        world.run(seconds(300));
    });
    let failed = [
        "WARN vpn-1-1/1: refused 198.51.100.1: the peer's AUTH does not match our pre-shared key",
        "WARN vpn-1-1/1: not up, attempt 1 failed: authentication failed: the peer did not accept us",
    ];
    assert_said(&said, &failed);
    let attempts = tunnel(&world, CGW, 1).failed_attempts;
    assert!(attempts >= 10, "{attempts}");
    let said = lines_of(&mut world, |world| world.run(seconds(400)));
    assert_eq!(said.len(), 2, "{said:#?}");
    let told = |line: &String| line.ends_with("other lines held back before)");
    assert!(said.iter().all(told), "{said:#?}");
}

#[test]
fn keys_that_are_swapped_are_found_and_said_until_they_are_put_right() {
    let mut world = world(1, |end, connection| {
        let [first, second] = &mut connection.tunnels;
        match end {
            CGW => std::mem::swap(&mut first.psk, &mut second.psk),
            _ => first.startup_action = StartupAction::Start,
        }
    });
    let said = lines_of(&mut world, |world| {
        world.start_all();
        world.run(seconds(60));
    });
    let of_second = "made with the pre-shared key of vpn-1-1/2, not with that of vpn-1-1/1: at the \
                     peer the two keys are swapped, or the addresses that its tunnels go to";
    let refused = format!("refused 198.51.100.1: the peer's AUTH was {of_second}");
    let line = format!("WARN vpn-1-1/1: {refused}");
    assert!(said.contains(&line), "{said:#?}");
    // Also when our own attempt was the last that failed.
    for _ in 0..20 {
        for (number, other) in [(1, 2), (2, 1)] {
            let why = tunnel(&world, VGW, number).last_error.unwrap().text;
            let key = format!("AUTH was made with the pre-shared key of vpn-1-1/{other},");
            assert!(why.contains(&key), "{why}");
        }
        world.run(seconds(7));
    }
    // By a reload at the virtual private gateway, which alone has to learn of it.
    let mut config = world.nodes[VGW].config.clone();
    let [first, second] = &mut config.connections[0].tunnels;
    std::mem::swap(&mut first.psk, &mut second.psk);
    world.reload(VGW, config);
    assert!(world.run_until(seconds(60), both_up));
}
