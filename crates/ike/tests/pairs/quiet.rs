//! What those who have not authenticated can write into the log: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use vgw_crypto::Group;
use vgw_ike::wire::ExchangeType;

use crate::rig::{A, B, Load, Pair, seconds};

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
        tracing::subscriber::with_default(lines.clone(), || pair.run(seconds(5)));
        assert!(lines.0.load(Ordering::Relaxed) > 0, "a peer is heard of");
    }
}
