//! A message's payloads, sorted by type.

use vgw_sa::TrafficSelector;

use super::{AuthChild, AuthResponse, ChildOffer, IkeOffer, Notifies};
use crate::v2::messages::grammar::{self, Grammar, GrammarError};
use crate::v2::wire::{
    Auth, ClearMessage, Delete, Id, KeyExchange, Notify, Payload, PayloadType, Proposal,
};

/// The payloads of a message that passed the grammar, sorted.
#[derive(Default)]
pub(super) struct SortedPayloads {
    pub(super) message: &'static str,
    pub(super) sa: Option<Vec<Proposal>>,
    ke: Option<KeyExchange>,
    pub(super) id_i: Option<Id>,
    pub(super) id_r: Option<Id>,
    pub(super) auth: Option<Auth>,
    nonce: Option<Vec<u8>>,
    pub(super) ts_i: Option<Vec<TrafficSelector>>,
    pub(super) ts_r: Option<Vec<TrafficSelector>>,
    pub(super) deletes: Vec<Delete>,
    pub(super) notifies: Notifies,
}

impl SortedPayloads {
    pub(super) fn of_clear(grammar: &Grammar, message: ClearMessage) -> Result<Self, GrammarError> {
        if message.sealed.is_some() {
            let kind = PayloadType::ENCRYPTED;
            return Err(GrammarError::none_expected(grammar.message, kind));
        }
        grammar::check(grammar, &message.payloads, &[])?;
        Ok(Self::sorted(grammar.message, message.payloads))
    }

    pub(super) fn of_sealed(
        grammar: &Grammar,
        clear: &[Payload],
        sealed: Vec<Payload>,
    ) -> Result<Self, GrammarError> {
        grammar::check(grammar, clear, &sealed)?;
        Ok(Self::sorted(grammar.message, sealed))
    }

    fn sorted(message: &'static str, payloads: Vec<Payload>) -> Self {
        let mut parts = Self {
            message,
            ..Self::default()
        };
        for payload in payloads {
            match payload {
                Payload::Sa(proposals) => parts.sa = Some(proposals),
                Payload::Ke(ke) => parts.ke = Some(ke),
                Payload::IdI(id) => parts.id_i = Some(id),
                Payload::IdR(id) => parts.id_r = Some(id),
                Payload::Auth(auth) => parts.auth = Some(auth),
                Payload::Nonce(nonce) => parts.nonce = Some(nonce),
                Payload::TsI(selectors) => parts.ts_i = Some(selectors),
                Payload::TsR(selectors) => parts.ts_r = Some(selectors),
                Payload::Delete(delete) => parts.deletes.push(delete),
                Payload::Notify(notify) => parts.notifies.0.push(notify),
                Payload::VendorId(_) | Payload::Other { .. } => {}
            }
        }
        parts
    }

    pub(super) fn ike_offer(self) -> Result<IkeOffer, GrammarError> {
        Ok(IkeOffer {
            sa: demand(self.message, PayloadType::SA, self.sa)?,
            ke: demand(self.message, PayloadType::KE, self.ke)?,
            nonce: demand(self.message, PayloadType::NONCE, self.nonce)?,
            notifies: self.notifies,
        })
    }

    pub(super) fn child_offer(self) -> Result<ChildOffer, GrammarError> {
        Ok(ChildOffer {
            sa: demand(self.message, PayloadType::SA, self.sa)?,
            nonce: demand(self.message, PayloadType::NONCE, self.nonce)?,
            ke: self.ke,
            ts_i: demand(self.message, PayloadType::TS_I, self.ts_i)?,
            ts_r: demand(self.message, PayloadType::TS_R, self.ts_r)?,
            notifies: self.notifies,
        })
    }

    pub(super) fn auth_response(self, child: AuthChild) -> Result<AuthResponse, GrammarError> {
        Ok(AuthResponse::Accepted {
            id_r: demand(self.message, PayloadType::ID_R, self.id_r)?,
            auth: demand(self.message, PayloadType::AUTH, self.auth)?,
            child,
            notifies: self.notifies,
        })
    }

    /// The error notification, which a refusal must hold.
    pub(super) fn error(&mut self) -> Result<Notify, GrammarError> {
        self.notifies
            .take(|n| n.kind.is_error())
            .ok_or_else(|| GrammarError::Content {
                message: self.message,
                what: "found no error notification, expected one".to_owned(),
            })
    }
}

/// A payload that the grammar has guaranteed.
pub(super) fn demand<T>(
    message: &'static str,
    kind: PayloadType,
    payload: Option<T>,
) -> Result<T, GrammarError> {
    payload.ok_or(GrammarError::missing(message, kind))
}
