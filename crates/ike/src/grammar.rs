//! Which payloads each message may and must hold, as data.

use crate::wire::{Notify, NotifyType, PayloadType};

/// Why a message is not what its exchange demands.
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
    /// More or fewer than the grammar allows, or one where it has no place.
    #[error("{message}: found {found} {kind} payloads, expected {expected}")]
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
    /// In clear where it must be encrypted, or encrypted where it cannot be.
    #[error("{message}: found {kind} payload {found}, expected it {expected}")]
    Place {
        /// The message, as in a log.
        message: &'static str,
        /// The payload's type.
        kind: PayloadType,
        /// Where it stands.
        found: &'static str,
        /// Where it should.
        expected: &'static str,
    },
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
    /// The notification that answers it.
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
