//! The answers to the peer's requests.

use crate::core::event::DownReason;
use crate::v2::messages::grammar::GrammarError;
use crate::v2::wire::{Notify, NotifyType, Payload};

/// The answer to a request, and what to do after it.
pub(super) struct Reply {
    pub(super) payloads: Vec<Payload>,
    pub(super) then: AfterReply,
}

/// What to do after an answer.
pub(super) enum AfterReply {
    Continue,
    /// The SA ends, and no DELETE is sent.
    End(DownReason),
}

impl Reply {
    pub(super) fn new(payloads: Vec<Payload>) -> Self {
        Self {
            payloads,
            then: AfterReply::Continue,
        }
    }

    pub(super) fn notify(notify: Notify) -> Self {
        Self::new(vec![Payload::Notify(notify)])
    }

    pub(super) fn error(kind: NotifyType) -> Self {
        Self::notify(Notify::new(kind, Vec::new()))
    }

    /// RFC 7296 section 2.21.3: INVALID_SYNTAX ends the SA on both sides.
    pub(super) fn syntax(why: &dyn std::fmt::Display) -> Self {
        Self {
            then: AfterReply::End(DownReason::Refused(format!("malformed message: {why}"))),
            ..Self::error(NotifyType::INVALID_SYNTAX)
        }
    }
}

impl From<&GrammarError> for Reply {
    fn from(error: &GrammarError) -> Self {
        let notify = error.notify();
        if notify.kind == NotifyType::INVALID_SYNTAX {
            return Self::syntax(error);
        }
        Self::notify(notify)
    }
}
