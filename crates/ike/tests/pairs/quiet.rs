//! What others can write into the log: nothing. What the negotiator has to say
//! are events, so that one place decides how many become lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use vgw_crypto::Group;
use vgw_ike::wire::ExchangeType;

use crate::rig::{A, B, DELAY, Jobs, Load, Pair, seconds};

/// Counts the lines that an operator sees.
#[derive(Clone, Default)]
struct Lines(Arc<AtomicUsize>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn no_number_of_requests_in_the_clear_writes_a_line() {
    for theirs in [Group::Curve25519, Group::Ecp256] {
        let mut pair = Pair::with(7, |side, config| {
            config.ike.groups = match side {
                A => vec![theirs, Group::Curve25519],
                _ => vec![Group::Curve25519],
            };
        });
        pair.jobs = Jobs::AtOnce;
        pair.initiate(A);
        let mut request = pair.log[0].clone();
        assert!(request.is(A, ExchangeType::IKE_SA_INIT, false));
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            for number in 0..100 {
                let Load::Ike(message) = &mut request.load else {
                    panic!("not IKE");
                };
                // Another initiator's SPI each time.
                message[0] = number;
                let (local, remote) = (request.destination, request.source);
                pair.call(B, |endpoint, now| {
                    endpoint.handle_datagram(now, local, remote, message);
                });
            }
        });
        assert!(pair.count(B, ExchangeType::IKE_SA_INIT, true) >= 100);
        assert_eq!(lines.0.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn an_authenticated_peer_writes_no_line_whatever_it_does() {
    let lines = Lines::default();
    let pair = tracing::subscriber::with_default(lines.clone(), || {
        let mut pair = Pair::up(21);
        for _ in 0..3 {
            // At once, so that they collide.
            pair.rekey_child(A);
            pair.rekey_child(B);
            pair.run(seconds(1));
            pair.rekey_ike(A);
            pair.rekey_ike(B);
            pair.run(seconds(1));
        }
        let sa = pair.sides[A].ike().0;
        pair.call(A, |endpoint, now| endpoint.delete(now, sa));
        pair.run(DELAY * 3);
        pair
    });
    assert_eq!(pair.sides[B].ends.len(), 4, "of three rekeys and a DELETE");
    assert!(!pair.sides[A].diagnostics.is_empty(), "collisions are told");
    assert_eq!(lines.0.load(Ordering::Relaxed), 0);
}
