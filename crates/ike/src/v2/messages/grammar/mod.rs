//! Which payloads each message may and must hold, as data.
//!
//! The tables are those of RFC 7296 sections 1.2 to 1.4 and appendix C. The order of payloads does
//! not matter. A payload of unknown type is ignored unless it is critical. A payload of known type
//! where the table has none is refused, because the sender means something that we would misread.
//! Vendor IDs may be in any message.

use crate::v2::wire::PayloadType as P;
use crate::v2::wire::{MAX_PAYLOADS, Notify, NotifyType, Payload, PayloadType};

/// How often a payload may occur in a message.
pub(crate) struct Rule {
    kind: PayloadType,
    min: usize,
    max: usize,
}

/// The payloads of one message.
pub(crate) struct Grammar {
    /// Its name in a log.
    pub(crate) message: &'static str,
    /// Whether its payloads must be inside the Encrypted payload (true) or in clear (false).
    encrypted: bool,
    rules: &'static [Rule],
}

const fn one(kind: PayloadType) -> Rule {
    Rule {
        kind,
        min: 1,
        max: 1,
    }
}

const fn maybe(kind: PayloadType) -> Rule {
    Rule {
        kind,
        min: 0,
        max: 1,
    }
}

const fn any(kind: PayloadType) -> Rule {
    Rule {
        kind,
        min: 0,
        max: MAX_PAYLOADS,
    }
}

const fn some(kind: PayloadType) -> Rule {
    Rule {
        kind,
        min: 1,
        max: MAX_PAYLOADS,
    }
}

pub(crate) const INIT_REQUEST: Grammar = Grammar {
    message: "IKE_SA_INIT request",
    encrypted: false,
    rules: &[
        one(P::SA),
        one(P::KE),
        one(P::NONCE),
        any(P::NOTIFY),
        any(P::VENDOR_ID),
    ],
};

pub(crate) const INIT_RESPONSE: Grammar = Grammar {
    message: "IKE_SA_INIT response",
    encrypted: false,
    rules: &[
        one(P::SA),
        one(P::KE),
        one(P::NONCE),
        any(P::CERTREQ),
        any(P::NOTIFY),
        any(P::VENDOR_ID),
    ],
};

/// A response without SA payload: an error or COOKIE.
pub(crate) const INIT_REFUSAL: Grammar = Grammar {
    message: "IKE_SA_INIT response without SA payload",
    encrypted: false,
    rules: &[some(P::NOTIFY), any(P::VENDOR_ID)],
};

pub(crate) const AUTH_REQUEST: Grammar = Grammar {
    message: "IKE_AUTH request",
    encrypted: true,
    rules: &[
        one(P::ID_I),
        any(P::CERT),
        any(P::CERTREQ),
        maybe(P::ID_R),
        one(P::AUTH),
        maybe(P::CP),
        one(P::SA),
        one(P::TS_I),
        one(P::TS_R),
        any(P::NOTIFY),
        any(P::VENDOR_ID),
    ],
};

pub(crate) const AUTH_RESPONSE: Grammar = Grammar {
    message: "IKE_AUTH response",
    encrypted: true,
    rules: &[
        one(P::ID_R),
        any(P::CERT),
        one(P::AUTH),
        maybe(P::CP),
        one(P::SA),
        one(P::TS_I),
        one(P::TS_R),
        any(P::NOTIFY),
        any(P::VENDOR_ID),
    ],
};

/// The responder is authentic, but the first CHILD SA was refused (RFC 7296 section 1.2).
pub(crate) const AUTH_RESPONSE_WITHOUT_CHILD: Grammar = Grammar {
    message: "IKE_AUTH response without SA payload",
    encrypted: true,
    rules: &[
        one(P::ID_R),
        any(P::CERT),
        one(P::AUTH),
        maybe(P::CP),
        some(P::NOTIFY),
        any(P::VENDOR_ID),
    ],
};

/// A response without AUTH payload: an error.
pub(crate) const AUTH_REFUSAL: Grammar = Grammar {
    message: "IKE_AUTH response without AUTH payload",
    encrypted: true,
    rules: &[some(P::NOTIFY), any(P::VENDOR_ID)],
};

pub(crate) const CHILD_REQUEST: Grammar = Grammar {
    message: "CREATE_CHILD_SA request for a CHILD SA",
    encrypted: true,
    rules: CHILD_RULES,
};

pub(crate) const CHILD_RESPONSE: Grammar = Grammar {
    message: "CREATE_CHILD_SA response for a CHILD SA",
    encrypted: true,
    rules: CHILD_RULES,
};

const CHILD_RULES: &[Rule] = &[
    one(P::SA),
    one(P::NONCE),
    maybe(P::KE),
    maybe(P::CP),
    one(P::TS_I),
    one(P::TS_R),
    any(P::NOTIFY),
    any(P::VENDOR_ID),
];

pub(crate) const IKE_REKEY_REQUEST: Grammar = Grammar {
    message: "CREATE_CHILD_SA request for an IKE SA",
    encrypted: true,
    rules: IKE_REKEY_RULES,
};

pub(crate) const IKE_REKEY_RESPONSE: Grammar = Grammar {
    message: "CREATE_CHILD_SA response for an IKE SA",
    encrypted: true,
    rules: IKE_REKEY_RULES,
};

const IKE_REKEY_RULES: &[Rule] = &[
    one(P::SA),
    one(P::NONCE),
    one(P::KE),
    any(P::NOTIFY),
    any(P::VENDOR_ID),
];

/// A response without SA payload: an error.
pub(crate) const CREATE_CHILD_REFUSAL: Grammar = Grammar {
    message: "CREATE_CHILD_SA response without SA payload",
    encrypted: true,
    rules: &[some(P::NOTIFY), any(P::VENDOR_ID)],
};

pub(crate) const INFORMATIONAL: Grammar = Grammar {
    message: "INFORMATIONAL",
    encrypted: true,
    rules: &[
        any(P::NOTIFY),
        any(P::DELETE),
        maybe(P::CP),
        any(P::VENDOR_ID),
    ],
};

/// Checks a message: its payloads in clear, and those from the Encrypted payload.
pub(crate) fn check(
    grammar: &Grammar,
    clear: &[Payload],
    sealed: &[Payload],
) -> Result<(), GrammarError> {
    let message = grammar.message;
    if let Some(kind) = clear.iter().chain(sealed).find_map(unsupported_critical) {
        return Err(GrammarError::UnsupportedCritical { message, kind });
    }
    let (placed, misplaced) = if grammar.encrypted {
        (sealed, clear)
    } else {
        (clear, sealed)
    };
    if let Some(payload) = misplaced.iter().find(|p| is_known(p.kind())) {
        let (found, expected) = match grammar.encrypted {
            true => ("in clear", "encrypted"),
            false => ("encrypted", "in clear"),
        };
        return Err(GrammarError::Place {
            message,
            kind: payload.kind(),
            found,
            expected,
        });
    }
    for rule in grammar.rules {
        let found = placed.iter().filter(|p| p.kind() == rule.kind).count();
        if !(rule.min..=rule.max).contains(&found) {
            return Err(GrammarError::Count {
                message,
                kind: rule.kind,
                found,
                expected: rule.expected(),
            });
        }
    }
    let has_rule = |kind: PayloadType| grammar.rules.iter().any(|rule| rule.kind == kind);
    let stray = placed
        .iter()
        .map(Payload::kind)
        .find(|&k| is_known(k) && !has_rule(k));
    stray.map_or(Ok(()), |kind| {
        Err(GrammarError::none_expected(message, kind))
    })
}

/// The types that RFC 7296 defines. A fragment (RFC 7383) is not among them, because we never
/// announce that we support fragments.
fn is_known(kind: PayloadType) -> bool {
    kind.name().is_some() && kind != PayloadType::ENCRYPTED_FRAGMENT
}

/// RFC 7296 section 2.5: the Critical flag counts only where the type is unknown.
fn unsupported_critical(payload: &Payload) -> Option<PayloadType> {
    match payload {
        Payload::Other {
            kind,
            critical: true,
            ..
        } if !is_known(*kind) => Some(*kind),
        _ => None,
    }
}

impl Rule {
    const fn expected(&self) -> &'static str {
        match (self.min, self.max) {
            (1, 1) => "1",
            (0, 1) => "at most 1",
            _ => "at least 1",
        }
    }
}

/// Why a message does not fit its exchange.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// A payload we do not know is marked critical (RFC 7296 section 2.5).
    #[error("{message}: payload of unknown type {kind} is marked critical")]
    UnsupportedCritical {
        /// The message, as in a log.
        message: &'static str,
        /// The payload's type.
        kind: PayloadType,
    },
    /// More or fewer payloads of a type than the grammar allows, or a type that it does not allow.
    #[error("{message}: number of {kind} payloads is {found}, expected {expected}")]
    Count {
        /// The message, as in a log.
        message: &'static str,
        /// The payload's type.
        kind: PayloadType,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: &'static str,
    },
    /// A payload in clear that must be encrypted, or encrypted that must be in clear.
    #[error("{message}: found {kind} payload {found}, expected it {expected}")]
    Place {
        /// The message, as in a log.
        message: &'static str,
        /// The payload's type.
        kind: PayloadType,
        /// Where it was.
        found: &'static str,
        /// Where it must be.
        expected: &'static str,
    },
    /// IKE_AUTH without a CHILD SA, allowed only if we had announced support (RFC 6023 section 3).
    /// We never do, so it is answered like a malformed message.
    #[error(
        "the peer asks for an IKE SA without a CHILD SA (childless initiation, RFC 6023), which \
         this gateway has not announced; switch that off at the peer"
    )]
    Childless,
    /// A payload's content does not fit the message.
    #[error("{message}: {what}")]
    Content {
        /// The message, as in a log.
        message: &'static str,
        /// What is wrong.
        what: String,
    },
}

impl GrammarError {
    /// A payload that the message must not hold.
    pub(crate) const fn none_expected(message: &'static str, kind: PayloadType) -> Self {
        Self::Count {
            message,
            kind,
            found: 1,
            expected: "none",
        }
    }

    /// A payload that the message must hold.
    pub(crate) const fn missing(message: &'static str, kind: PayloadType) -> Self {
        Self::Count {
            message,
            kind,
            found: 0,
            expected: "1",
        }
    }

    /// The notification to answer with.
    #[must_use]
    pub fn notify(&self) -> Notify {
        match self {
            // RFC 7296 section 2.5: the data is the one-octet payload type.
            Self::UnsupportedCritical { kind, .. } => {
                Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0])
            }
            _ => Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests;
