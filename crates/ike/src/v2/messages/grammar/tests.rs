use super::*;
use crate::v2::wire::{Auth, AuthMethod, Delete, Id, KeyExchange};

const ALL: [Grammar; 12] = [
    INIT_REQUEST,
    INIT_RESPONSE,
    INIT_REFUSAL,
    AUTH_REQUEST,
    AUTH_RESPONSE,
    AUTH_RESPONSE_WITHOUT_CHILD,
    AUTH_REFUSAL,
    CHILD_REQUEST,
    CHILD_RESPONSE,
    IKE_REKEY_REQUEST,
    IKE_REKEY_RESPONSE,
    CREATE_CHILD_REFUSAL,
];

fn every_grammar() -> impl Iterator<Item = Grammar> {
    ALL.into_iter().chain([INFORMATIONAL])
}

/// The payload types that RFC 7296 defines and that a chain may hold.
fn known() -> impl Iterator<Item = PayloadType> {
    let types = PayloadType::KNOWN.iter().copied();
    types.filter(|&k| is_known(k) && k != P::NONE && k != P::ENCRYPTED)
}

fn sample(kind: PayloadType) -> Payload {
    let id = Id {
        kind: 2,
        data: b"cgw.example".to_vec(),
    };
    match kind {
        P::SA => Payload::Sa(Vec::new()),
        P::KE => Payload::Ke(KeyExchange {
            group: 19,
            data: Vec::new(),
        }),
        P::ID_I => Payload::IdI(id),
        P::ID_R => Payload::IdR(id),
        P::AUTH => Payload::Auth(Auth {
            method: AuthMethod::SHARED_KEY,
            data: Vec::new(),
        }),
        P::NONCE => Payload::Nonce(vec![0; 32]),
        P::NOTIFY => Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, Vec::new())),
        P::DELETE => Payload::Delete(Delete::Ike),
        P::VENDOR_ID => Payload::VendorId(Vec::new()),
        P::TS_I => Payload::TsI(Vec::new()),
        P::TS_R => Payload::TsR(Vec::new()),
        kind => Payload::Other {
            kind,
            critical: false,
            data: Vec::new(),
        },
    }
}

/// The shortest message that a grammar allows.
fn shortest(grammar: &Grammar) -> Vec<Payload> {
    grammar
        .rules
        .iter()
        .filter(|r| r.min == 1)
        .map(|r| sample(r.kind))
        .collect()
}

fn check_placed(grammar: &Grammar, payloads: &[Payload]) -> Result<(), GrammarError> {
    match grammar.encrypted {
        true => check(grammar, &[], payloads),
        false => check(grammar, payloads, &[]),
    }
}

#[test]
fn the_shortest_and_the_fullest_message_of_every_grammar_pass() {
    for grammar in every_grammar() {
        let mut payloads = shortest(&grammar);
        check_placed(&grammar, &payloads).unwrap();
        payloads.extend(
            grammar
                .rules
                .iter()
                .filter(|r| r.min == 0)
                .map(|r| sample(r.kind)),
        );
        check_placed(&grammar, &payloads).unwrap();
        payloads.reverse();
        check_placed(&grammar, &payloads).unwrap();
    }
}

#[test]
fn every_rule_of_every_grammar_is_enforced() {
    for grammar in every_grammar() {
        let message = grammar.message;
        let shortest = shortest(&grammar);
        for kind in known() {
            let rule = grammar.rules.iter().find(|r| r.kind == kind);
            let (min, max) = rule.map_or((0, 0), |r| (r.min, r.max));
            let mut payloads: Vec<Payload> = shortest
                .iter()
                .filter(|p| p.kind() != kind)
                .cloned()
                .collect();
            if min > 0 {
                let error = check_placed(&grammar, &payloads).unwrap_err();
                let missing =
                    matches!(error, GrammarError::Count { kind: k, found: 0, .. } if k == kind);
                assert!(missing, "{message} without {kind}: {error}");
            }
            payloads.extend(vec![sample(kind); max + 1]);
            let error = check_placed(&grammar, &payloads).unwrap_err();
            let too_many = matches!(error, GrammarError::Count { kind: k, .. } if k == kind);
            assert!(too_many, "{message} with {} of {kind}: {error}", max + 1);
        }
    }
}

#[test]
fn every_payload_of_every_grammar_has_its_place_in_clear_or_encrypted() {
    for grammar in every_grammar() {
        for rule in grammar.rules {
            let stray = [sample(rule.kind)];
            let error = match grammar.encrypted {
                true => check(&grammar, &stray, &shortest(&grammar)),
                false => check(&grammar, &shortest(&grammar), &stray),
            };
            let kind = rule.kind;
            assert!(
                matches!(error, Err(GrammarError::Place { kind: k, .. }) if k == kind),
                "{} with {kind} in the wrong place",
                grammar.message
            );
        }
    }
}

#[test]
fn an_unknown_payload_is_ignored_unless_it_is_critical() {
    let unknown = |critical| Payload::Other {
        kind: P(200),
        critical,
        data: Vec::new(),
    };
    for grammar in every_grammar() {
        let mut payloads = shortest(&grammar);
        payloads.push(unknown(false));
        check_placed(&grammar, &payloads).unwrap();
        payloads.push(unknown(true));
        let error = check_placed(&grammar, &payloads).unwrap_err();
        let notify = error.notify();
        assert_eq!(notify.kind, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD);
        assert_eq!(notify.data, [200]);
    }
}

#[test]
fn the_critical_flag_of_a_payload_we_know_does_not_count() {
    let mut payloads = shortest(&AUTH_REQUEST);
    payloads.push(Payload::Other {
        kind: P::CERTREQ,
        critical: true,
        data: Vec::new(),
    });
    check_placed(&AUTH_REQUEST, &payloads).unwrap();
}

#[test]
fn an_error_is_one_line_that_says_what_was_found_and_what_was_expected() {
    let mut payloads = shortest(&AUTH_REQUEST);
    payloads.retain(|p| p.kind() != P::TS_I);
    let error = check_placed(&AUTH_REQUEST, &payloads).unwrap_err();
    assert_eq!(
        error.to_string(),
        "IKE_AUTH request: number of TSi payloads is 0, expected 1"
    );
    assert_eq!(error.notify().kind, NotifyType::INVALID_SYNTAX);
    let error = check_placed(&INFORMATIONAL, &[sample(P::SA)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "INFORMATIONAL: number of SA payloads is 1, expected none"
    );
    let error = check(&INFORMATIONAL, &[sample(P::DELETE)], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "INFORMATIONAL: found D payload in clear, expected it encrypted"
    );
}
