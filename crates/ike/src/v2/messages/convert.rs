//! Conversion between messages and payloads.

use super::sorted_payloads::{SortedPayloads, demand};
use super::{
    AuthChild, AuthRequest, AuthResponse, ChildOffer, CreateChildRequest, CreateChildResponse,
    IkeOffer, Informational, InitRequest, InitResponse,
};
use crate::v2::messages::grammar::{self, GrammarError};
use crate::v2::wire::{ClearMessage, Notify, NotifyType, Payload, PayloadType, ProtocolId};

impl InitRequest {
    /// Reads a message in clear.
    ///
    /// # Errors
    /// If the grammar does not allow the message.
    pub fn parse(message: ClearMessage) -> Result<Self, GrammarError> {
        let mut parts = SortedPayloads::of_clear(&grammar::INIT_REQUEST, message)?;
        let cookie = parts.notifies.take(|n| n.kind == NotifyType::COOKIE);
        Ok(Self {
            cookie: cookie.map(|n| n.data),
            offer: parts.ike_offer()?,
        })
    }

    /// The payloads, to be sent in clear.
    #[must_use]
    pub fn into_payloads(self) -> Vec<Payload> {
        // RFC 7296 section 2.6: the cookie is the first payload.
        let cookie = self
            .cookie
            .map(|data| Notify::new(NotifyType::COOKIE, data));
        let mut payloads: Vec<Payload> = cookie.into_iter().map(Payload::Notify).collect();
        self.offer.put(&mut payloads);
        payloads
    }
}

impl InitResponse {
    /// Reads a message in clear.
    ///
    /// # Errors
    /// If the grammar does not allow the message.
    pub fn parse(message: ClearMessage) -> Result<Self, GrammarError> {
        if has(&message.payloads, PayloadType::SA) {
            let parts = SortedPayloads::of_clear(&grammar::INIT_RESPONSE, message)?;
            return Ok(Self::Accepted(parts.ike_offer()?));
        }
        let mut parts = SortedPayloads::of_clear(&grammar::INIT_REFUSAL, message)?;
        match parts.notifies.take(|n| n.kind == NotifyType::COOKIE) {
            Some(cookie) => Ok(Self::Cookie(cookie.data)),
            None => Ok(Self::Refused(parts.error()?)),
        }
    }

    /// The payloads, to be sent in clear.
    #[must_use]
    pub fn into_payloads(self) -> Vec<Payload> {
        let mut payloads = Vec::new();
        match self {
            Self::Accepted(offer) => offer.put(&mut payloads),
            Self::Cookie(data) => {
                payloads.push(Payload::Notify(Notify::new(NotifyType::COOKIE, data)));
            }
            Self::Refused(notify) => payloads.push(Payload::Notify(notify)),
        }
        payloads
    }
}

impl AuthRequest {
    /// Reads the content of the Encrypted payload; `clear` holds the payloads before it.
    ///
    /// # Errors
    /// If the grammar does not allow the message.
    pub fn parse(clear: &[Payload], sealed: Vec<Payload>) -> Result<Self, GrammarError> {
        let of_child = [PayloadType::SA, PayloadType::TS_I, PayloadType::TS_R];
        if has(&sealed, PayloadType::AUTH) && !of_child.iter().any(|kind| has(&sealed, *kind)) {
            return Err(GrammarError::Childless);
        }
        let parts = SortedPayloads::of_sealed(&grammar::AUTH_REQUEST, clear, sealed)?;
        let message = parts.message;
        Ok(Self {
            id_i: demand(message, PayloadType::ID_I, parts.id_i)?,
            id_r: parts.id_r,
            auth: demand(message, PayloadType::AUTH, parts.auth)?,
            sa: demand(message, PayloadType::SA, parts.sa)?,
            ts_i: demand(message, PayloadType::TS_I, parts.ts_i)?,
            ts_r: demand(message, PayloadType::TS_R, parts.ts_r)?,
            notifies: parts.notifies,
        })
    }

    /// The payloads, to be encrypted.
    #[must_use]
    pub fn into_payloads(self) -> Vec<Payload> {
        let mut payloads = vec![Payload::IdI(self.id_i)];
        payloads.extend(self.id_r.map(Payload::IdR));
        payloads.extend([
            Payload::Auth(self.auth),
            Payload::Sa(self.sa),
            Payload::TsI(self.ts_i),
            Payload::TsR(self.ts_r),
        ]);
        self.notifies.put(&mut payloads);
        payloads
    }
}

impl AuthResponse {
    /// Reads the content of the Encrypted payload; `clear` holds the payloads before it.
    ///
    /// # Errors
    /// If the grammar does not allow the message.
    pub fn parse(clear: &[Payload], sealed: Vec<Payload>) -> Result<Self, GrammarError> {
        if !has(&sealed, PayloadType::AUTH) {
            let mut parts = SortedPayloads::of_sealed(&grammar::AUTH_REFUSAL, clear, sealed)?;
            return Ok(Self::Refused(parts.error()?));
        }
        if !has(&sealed, PayloadType::SA) {
            let grammar = &grammar::AUTH_RESPONSE_WITHOUT_CHILD;
            let mut parts = SortedPayloads::of_sealed(grammar, clear, sealed)?;
            let child = AuthChild::Refused(parts.error()?);
            return parts.auth_response(child);
        }
        let mut parts = SortedPayloads::of_sealed(&grammar::AUTH_RESPONSE, clear, sealed)?;
        let child = AuthChild::Accepted {
            sa: demand(parts.message, PayloadType::SA, parts.sa.take())?,
            ts_i: demand(parts.message, PayloadType::TS_I, parts.ts_i.take())?,
            ts_r: demand(parts.message, PayloadType::TS_R, parts.ts_r.take())?,
        };
        parts.auth_response(child)
    }

    /// The payloads, to be encrypted.
    #[must_use]
    pub fn into_payloads(self) -> Vec<Payload> {
        let (id_r, auth, child, notifies) = match self {
            Self::Refused(notify) => return vec![Payload::Notify(notify)],
            Self::Accepted {
                id_r,
                auth,
                child,
                notifies,
            } => (id_r, auth, child, notifies),
        };
        let mut payloads = vec![Payload::IdR(id_r), Payload::Auth(auth)];
        match child {
            AuthChild::Accepted { sa, ts_i, ts_r } => {
                payloads.extend([Payload::Sa(sa), Payload::TsI(ts_i), Payload::TsR(ts_r)]);
            }
            AuthChild::Refused(notify) => payloads.push(Payload::Notify(notify)),
        }
        notifies.put(&mut payloads);
        payloads
    }
}

impl CreateChildRequest {
    /// Reads the content of the Encrypted payload; `clear` holds the payloads before it.
    ///
    /// # Errors
    /// If the grammar does not allow the message.
    pub fn parse(clear: &[Payload], sealed: Vec<Payload>) -> Result<Self, GrammarError> {
        if negotiates_ike(&sealed) {
            let parts = SortedPayloads::of_sealed(&grammar::IKE_REKEY_REQUEST, clear, sealed)?;
            return Ok(Self::RekeyIke(parts.ike_offer()?));
        }
        let mut parts = SortedPayloads::of_sealed(&grammar::CHILD_REQUEST, clear, sealed)?;
        let message = parts.message;
        let Some(rekey) = parts.notifies.take(|n| n.kind == NotifyType::REKEY_SA) else {
            return Ok(Self::New(parts.child_offer()?));
        };
        let spi = rekey.child_spi().ok_or_else(|| GrammarError::Content {
            message,
            what: format!(
                "REKEY_SA names an SA of {} by {} octets, expected ESP and 4",
                rekey.protocol,
                rekey.spi.len()
            ),
        })?;
        Ok(Self::RekeyChild {
            spi,
            offer: parts.child_offer()?,
        })
    }

    /// The payloads, to be encrypted.
    #[must_use]
    pub fn into_payloads(self) -> Vec<Payload> {
        let mut payloads = Vec::new();
        match self {
            Self::New(offer) => offer.put(&mut payloads),
            Self::RekeyChild { spi, offer } => {
                payloads.push(Payload::Notify(Notify::child(NotifyType::REKEY_SA, spi)));
                offer.put(&mut payloads);
            }
            Self::RekeyIke(offer) => offer.put(&mut payloads),
        }
        payloads
    }
}

impl CreateChildResponse {
    /// Reads the content of the Encrypted payload; `clear` holds the payloads before it.
    ///
    /// # Errors
    /// If the grammar does not allow the message.
    pub fn parse(clear: &[Payload], sealed: Vec<Payload>) -> Result<Self, GrammarError> {
        if !has(&sealed, PayloadType::SA) {
            let mut parts =
                SortedPayloads::of_sealed(&grammar::CREATE_CHILD_REFUSAL, clear, sealed)?;
            return Ok(Self::Refused(parts.error()?));
        }
        if negotiates_ike(&sealed) {
            let parts = SortedPayloads::of_sealed(&grammar::IKE_REKEY_RESPONSE, clear, sealed)?;
            return Ok(Self::Ike(parts.ike_offer()?));
        }
        let parts = SortedPayloads::of_sealed(&grammar::CHILD_RESPONSE, clear, sealed)?;
        Ok(Self::Child(parts.child_offer()?))
    }

    /// The payloads, to be encrypted.
    #[must_use]
    pub fn into_payloads(self) -> Vec<Payload> {
        let mut payloads = Vec::new();
        match self {
            Self::Child(offer) => offer.put(&mut payloads),
            Self::Ike(offer) => offer.put(&mut payloads),
            Self::Refused(notify) => payloads.push(Payload::Notify(notify)),
        }
        payloads
    }
}

impl Informational {
    /// Reads the content of the Encrypted payload; `clear` holds the payloads before it.
    ///
    /// # Errors
    /// If the grammar does not allow the message.
    pub fn parse(clear: &[Payload], sealed: Vec<Payload>) -> Result<Self, GrammarError> {
        let parts = SortedPayloads::of_sealed(&grammar::INFORMATIONAL, clear, sealed)?;
        Ok(Self {
            deletes: parts.deletes,
            notifies: parts.notifies,
        })
    }

    /// The payloads, to be encrypted.
    #[must_use]
    pub fn into_payloads(self) -> Vec<Payload> {
        let mut payloads: Vec<Payload> = self.deletes.into_iter().map(Payload::Delete).collect();
        self.notifies.put(&mut payloads);
        payloads
    }
}

impl IkeOffer {
    fn put(self, payloads: &mut Vec<Payload>) {
        payloads.extend([
            Payload::Sa(self.sa),
            Payload::Ke(self.ke),
            Payload::Nonce(self.nonce),
        ]);
        self.notifies.put(payloads);
    }
}

impl ChildOffer {
    fn put(self, payloads: &mut Vec<Payload>) {
        payloads.extend([Payload::Sa(self.sa), Payload::Nonce(self.nonce)]);
        payloads.extend(self.ke.map(Payload::Ke));
        payloads.extend([Payload::TsI(self.ts_i), Payload::TsR(self.ts_r)]);
        self.notifies.put(payloads);
    }
}

fn has(payloads: &[Payload], kind: PayloadType) -> bool {
    payloads.iter().any(|p| p.kind() == kind)
}

/// RFC 7296 section 1.3: only the protocol in the proposals distinguishes the rekey of an IKE SA
/// from the negotiation of a CHILD SA.
fn negotiates_ike(payloads: &[Payload]) -> bool {
    payloads.iter().any(|p| match p {
        Payload::Sa(proposals) => proposals.iter().any(|p| p.protocol == ProtocolId::IKE),
        _ => false,
    })
}
