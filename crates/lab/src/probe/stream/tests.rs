use super::*;
use crate::Lab;
use crate::topology::{CUSTOMER_OUTSIDE, GATEWAY_OUTSIDE, Topology};

fn arrivals(sent: u64, received: u64, delays: Vec<u64>) -> Arrivals {
    Arrivals {
        sent,
        received,
        overtaken: 0,
        elapsed: Duration::from_millis(500),
        delays,
    }
}

/// From the premises to the VPC, around every tunnel.
fn send(topology: &Topology, stream: Stream) -> Arrivals {
    let [outside, _] = GATEWAY_OUTSIDE;
    let from = (&topology.on_premises, (CUSTOMER_OUTSIDE, 7000).into());
    let to = (&topology.vpc, (outside, 7000).into());
    stream.run(from, to).unwrap()
}

const SLOW: Stream = Stream {
    rate: 2000,
    payload: 36,
    train: 1,
    duration: Duration::from_millis(250),
    patience: None,
};

#[test]
fn rates_and_losses_are_of_what_was_sent() {
    let some = arrivals(1000, 999, Vec::new());
    assert_eq!((some.offered(), some.rate()), (2000, 1998));
    assert_eq!(some.lost_per_mille(), 1);
    assert_eq!(arrivals(10_000, 9_989, Vec::new()).lost_per_mille(), 2);
    assert_eq!(arrivals(0, 0, Vec::new()).lost_per_mille(), 0);
}

#[test]
fn a_share_of_the_delays_lies_at_or_below_the_one_given() {
    let some = arrivals(4, 4, vec![1, 2, 3, 40]);
    let delay = |per_mille| some.delay(per_mille).unwrap().as_nanos();
    assert_eq!([delay(0), delay(500), delay(990)], [1, 3, 40]);
    assert_eq!(arrivals(0, 0, Vec::new()).delay(500), None);
}

#[test]
#[ignore = "needs root"]
fn slow_streams_arrive_whole_and_in_order_one_by_one_and_in_trains() {
    let lab = Lab::new("stream").unwrap();
    let topology = Topology::build(&lab).unwrap();
    for train in [1, 16] {
        let arrivals = send(&topology, Stream { train, ..SLOW });
        assert!(arrivals.received > 0, "{arrivals:?}");
        assert_eq!(arrivals.received, arrivals.sent);
        assert_eq!(arrivals.overtaken, 0);
        assert_eq!(arrivals.delay(0).is_some(), train == 1);
    }
}

#[test]
#[ignore = "needs root"]
fn what_a_cut_path_swallows_is_lost() {
    let lab = Lab::new("streamcut").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let [outside, _] = GATEWAY_OUTSIDE;
    let _cut = topology.internet.cut(outside).unwrap();
    let arrivals = send(&topology, SLOW);
    assert_eq!(arrivals.received, 0);
    assert_eq!(arrivals.lost_per_mille(), 1000);
}

#[test]
#[ignore = "needs root"]
fn a_train_of_more_octets_than_a_datagram_can_have_is_refused() {
    let lab = Lab::new("streamlong").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let long = Stream {
        payload: 1372,
        train: 48,
        ..SLOW
    };
    let place = (&topology.vpc, (GATEWAY_OUTSIDE[0], 7000).into());
    let error = long.run(place, place).unwrap_err().to_string();
    assert!(error.contains("48 datagrams"), "{error}");
}

#[test]
#[ignore = "needs root"]
fn a_stream_that_its_sender_cannot_give_ends_early() {
    let lab = Lab::new("streamearly").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let impossible = Stream {
        rate: 50_000_000,
        duration: Duration::from_hours(1),
        patience: Some(Patience {
            missing: u64::MAX,
            forgone: 1000,
        }),
        ..SLOW
    };
    let arrivals = send(&topology, impossible);
    assert!(arrivals.elapsed < impossible.duration);
    assert!(arrivals.offered() < impossible.rate);
}
