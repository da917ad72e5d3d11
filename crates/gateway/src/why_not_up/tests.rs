use std::time::Duration;

use vgw_ike::progress::ReceivedKind;

use super::{Finding, LastHeard, PeerHandshakes, PossiblePeer, Streak, WaitsFor, WhyNotUp};

const PEER: &str = "203.0.113.9";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Nothing came of a peer that is to begin, in 5 minutes.
fn quiet() -> WhyNotUp {
    WhyNotUp {
        what: WaitsFor::Peer,
        from: Some(PEER.parse().unwrap()),
        at: "198.51.100.1".parse().unwrap(),
        noted: seconds(300),
        last: None,
        begun: None,
        init_unanswered: None,
        auth_unanswered: None,
        auth_floated: false,
        possible_peer: None,
    }
}

fn row(count: u32, since: u64, ago: u64) -> Streak {
    Streak {
        count,
        since: seconds(since),
        ago: seconds(ago),
    }
}

fn last(what: ReceivedKind, ago: u64) -> Option<LastHeard> {
    Some(LastHeard {
        what,
        remote: Some(format!("{PEER}:500").parse().unwrap()),
        ago: seconds(ago),
    })
}

fn begun(handshakes: Streak, repeated: u32) -> Option<PeerHandshakes> {
    Some(PeerHandshakes {
        handshakes,
        repeated,
        remote: format!("{PEER}:500").parse().unwrap(),
    })
}

#[track_caller]
fn says(facts: &WhyNotUp, finding: Finding, sentence: &str) {
    assert_eq!(facts.finding(), finding, "{facts:?}");
    assert_eq!(facts.sentence().as_deref(), Some(sentence));
}

#[test]
fn where_nothing_came_it_is_asked_whether_the_peer_begins() {
    says(
        &quiet(),
        Finding::NothingCame,
        "nothing came from 203.0.113.9 in 5m00s; we wait for it to begin (startup_action = \
         \"add\"): does it begin, or wait as well? is UDP 500 let through to 198.51.100.1?",
    );
    says(
        &WhyNotUp {
            from: None,
            ..quiet()
        },
        Finding::NothingCame,
        "nothing came from an address that is no peer's in 5m00s; the peer must begin, its \
         ip_address is not configured: does it begin, or wait as well? is UDP 500 let through \
         to 198.51.100.1?",
    );
    // Not at once.
    says(
        &WhyNotUp {
            noted: seconds(9),
            ..quiet()
        },
        Finding::NothingCame,
        "nothing came from 203.0.113.9 in 9s; we wait for it to begin (startup_action = \"add\")",
    );
    // We tried once after our start.
    says(
        &WhyNotUp {
            init_unanswered: Some(row(8, 300, 282)),
            ..quiet()
        },
        Finding::InitUnanswered,
        "no answer to 8 IKE_SA_INIT to 203.0.113.9 since 5m00s, the last 4m42s ago; nothing \
         came from 203.0.113.9 in 5m00s; we wait for it to begin (startup_action = \"add\"): \
         does it begin, or wait as well? is that its address? is it on? is UDP 500 let \
         through, both ways?",
    );
}

#[test]
fn where_our_first_message_is_not_answered_it_matters_what_else_came() {
    let asking = WhyNotUp {
        what: WaitsFor::InitResponse,
        noted: seconds(12),
        init_unanswered: Some(row(7, 12, 1)),
        ..quiet()
    };
    says(
        &asking,
        Finding::InitUnanswered,
        "no answer to 7 IKE_SA_INIT to 203.0.113.9 since 12s, the last 1s ago; nothing came \
         from 203.0.113.9 in 12s: is that its address? is it on? is UDP 500 let through, both \
         ways?",
    );
    says(
        &WhyNotUp {
            last: last(ReceivedKind::EspOfUnknownSa, 3),
            ..asking.clone()
        },
        Finding::InitUnanswered,
        "no answer to 7 IKE_SA_INIT to 203.0.113.9 since 12s, the last 1s ago; last came ESP \
         of an SA that we do not have from 203.0.113.9, 3s ago: is it on? is UDP 500 let \
         through, both ways?",
    );
    // No suspicion after a moment.
    says(
        &WhyNotUp {
            noted: seconds(1),
            init_unanswered: Some(row(2, 1, 0)),
            ..asking
        },
        Finding::InitUnanswered,
        "no answer yet to IKE_SA_INIT to 203.0.113.9; nothing came from 203.0.113.9 in 1s",
    );
}

#[test]
fn where_only_our_second_message_is_not_answered_its_port_is_asked_about() {
    let asking = WhyNotUp {
        what: WaitsFor::AuthResponse,
        last: last(ReceivedKind::InitResponse, 12),
        auth_unanswered: Some(row(7, 12, 2)),
        auth_floated: true,
        ..quiet()
    };
    says(
        &asking,
        Finding::AuthUnanswered,
        "203.0.113.9 answered IKE_SA_INIT, and none of 7 IKE_AUTH since 12s, the last 2s ago: \
         is UDP 4500 let through, both ways?",
    );
    // The next attempt begins; what is known of the last one still counts.
    let next = WhyNotUp {
        what: WaitsFor::InitResponse,
        init_unanswered: Some(row(1, 0, 0)),
        ..asking.clone()
    };
    assert_eq!(next.finding(), Finding::AuthUnanswered);
    // But not if now nothing comes at all.
    let gone = WhyNotUp {
        init_unanswered: Some(row(3, 2, 0)),
        ..next
    };
    assert_eq!(gone.finding(), Finding::InitUnanswered);
    says(
        &WhyNotUp {
            auth_floated: false,
            ..asking.clone()
        },
        Finding::AuthUnanswered,
        "203.0.113.9 answered IKE_SA_INIT, and none of 7 IKE_AUTH since 12s, the last 2s ago: \
         what does the log there say?",
    );
    says(
        &WhyNotUp {
            auth_unanswered: Some(row(1, 0, 0)),
            ..asking
        },
        Finding::AuthUnanswered,
        "203.0.113.9 answered IKE_SA_INIT, and not IKE_AUTH yet",
    );
}

#[test]
fn where_the_peer_begins_and_does_not_go_on_it_is_4500_or_our_answers() {
    let heard = |handshakes, repeated| WhyNotUp {
        last: last(ReceivedKind::InitRequest, 2),
        begun: begun(handshakes, repeated),
        ..quiet()
    };
    says(
        &heard(row(4, 62, 12), 0),
        Finding::NoAuth,
        "4 handshakes begun by 203.0.113.9 since 1m02s, the last 12s ago, and no IKE_AUTH came: \
         is UDP 4500 let through, both ways?",
    );
    says(
        &heard(row(1, 25, 25), 0),
        Finding::NoAuth,
        "1 handshake begun by 203.0.113.9 25s ago, and no IKE_AUTH came: is UDP 4500 let \
         through, both ways?",
    );
    says(
        &heard(row(1, 1, 1), 0),
        Finding::NoAuth,
        "answered the IKE_SA_INIT of 203.0.113.9 1s ago, no IKE_AUTH yet",
    );
    assert_eq!(heard(row(1, 25, 3), 1).finding(), Finding::NoAuth);
    says(
        &heard(row(1, 25, 3), 4),
        Finding::AnswersLost,
        "203.0.113.9 sends IKE_SA_INIT again and again although we answer it (5 times since 25s, \
         the last 3s ago): do our answers leave by the right interface? is UDP 500 let through \
         to it?",
    );
    says(
        &WhyNotUp {
            from: None,
            ..heard(row(4, 62, 12), 0)
        },
        Finding::NoAuth,
        "4 handshakes begun by strangers since 1m02s, the last 12s ago by 203.0.113.9, and no \
         IKE_AUTH came: is UDP 4500 let through, both ways?",
    );
}

#[test]
fn what_the_peer_does_counts_before_what_it_leaves_unanswered_while_it_is_recent() {
    let both = |ago| WhyNotUp {
        what: WaitsFor::InitResponse,
        begun: begun(row(4, ago + 60, ago), 0),
        init_unanswered: Some(row(20, 100, 1)),
        last: last(ReceivedKind::InitRequest, ago),
        ..quiet()
    };
    assert_eq!(both(100).finding(), Finding::NoAuth);
    assert_eq!(both(130).finding(), Finding::InitUnanswered);
    // Of what is long ago, the latest.
    let mut old = both(7_000);
    old.init_unanswered = Some(row(8, 9_000, 8_000));
    assert_eq!(old.finding(), Finding::NoAuth);
}

#[test]
fn ike_v1_is_named_while_it_is_the_last_that_came() {
    let facts = WhyNotUp {
        last: last(ReceivedKind::IkeV1, 3),
        init_unanswered: Some(row(7, 12, 1)),
        ..quiet()
    };
    says(
        &facts,
        Finding::IkeV1,
        "last came IKEv1 from 203.0.113.9, 3s ago; it gets no answer: set the peer to IKEv2",
    );
}

#[test]
fn where_something_else_came_it_is_said_and_nothing_is_guessed() {
    says(
        &WhyNotUp {
            what: WaitsFor::Pause(seconds(4)),
            last: last(ReceivedKind::AuthResponse, 7),
            ..quiet()
        },
        Finding::SomethingCame,
        "last came an answer to IKE_AUTH from 203.0.113.9, 7s ago",
    );
    // What was refused of it, the line above says.
    let refused = |ago| WhyNotUp {
        last: last(ReceivedKind::AuthRequest, ago),
        ..quiet()
    };
    says(
        &refused(11),
        Finding::SomethingCame,
        "last came IKE_AUTH from 203.0.113.9, 11s ago",
    );
    says(
        &refused(300),
        Finding::SomethingCame,
        "last came IKE_AUTH from 203.0.113.9, 5m00s ago; we wait for it to begin \
         (startup_action = \"add\"): does it begin, or wait as well?",
    );
    let authentic = LastHeard {
        what: ReceivedKind::Authentic,
        remote: None,
        ago: seconds(7_200),
    };
    says(
        &WhyNotUp {
            last: Some(authentic),
            ..quiet()
        },
        Finding::SomethingCame,
        "last came an authentic packet from 203.0.113.9, 2h00m ago; we wait for it to begin \
         (startup_action = \"add\"): does it begin, or wait as well?",
    );
    says(
        &WhyNotUp {
            what: WaitsFor::ChildSa,
            ..quiet()
        },
        Finding::NoChildSa,
        "the IKE SA with 203.0.113.9 is up",
    );
    let operator = WhyNotUp {
        what: WaitsFor::Operator,
        ..quiet()
    };
    assert_eq!(operator.finding(), Finding::TakenDown);
    assert_eq!(operator.sentence(), None);
}

#[test]
fn an_unknown_may_be_the_peer_while_nothing_comes_from_the_configured_address() {
    let unknown = PossiblePeer {
        remote: "192.0.2.9".parse().unwrap(),
        handshakes: row(4, 120, 12),
    };
    assert!(unknown.persists());
    let quiet = quiet();
    assert!(quiet.may_be(&unknown));
    let facts = WhyNotUp {
        possible_peer: Some(unknown),
        ..quiet.clone()
    };
    says(
        &facts,
        Finding::UnknownAsks,
        "nothing came from 203.0.113.9 in 5m00s, but 192.0.2.9, which is not configured, asked \
         4 times since 2m00s, the last 12s ago: is that its address instead?",
    );
    let heard = |ago| WhyNotUp {
        last: last(ReceivedKind::InitRequest, ago),
        ..quiet.clone()
    };
    assert!(!heard(119).may_be(&unknown), "it is there");
    assert!(heard(121).may_be(&unknown), "it had that address before");
    for what in [
        WaitsFor::Operator,
        WaitsFor::AuthResponse,
        WaitsFor::ChildSa,
    ] {
        let other = WhyNotUp {
            what,
            ..quiet.clone()
        };
        assert!(!other.may_be(&unknown));
    }
    let anywhere = WhyNotUp {
        from: None,
        ..quiet.clone()
    };
    assert!(!anywhere.may_be(&unknown));
    let asked = |handshakes| PossiblePeer {
        handshakes,
        ..unknown
    };
    assert!(!asked(row(3, 2, 1)).persists(), "all at once");
    assert!(!asked(row(9, 500, 121)).persists(), "gone again");
}
