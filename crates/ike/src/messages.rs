//! Every message as a type of its own, so that no handler searches a list of
//! payloads. Reading one checks the grammar first ([`crate::grammar`]).

use crate::grammar::{self, Grammar, GrammarError};
use crate::selector::TrafficSelector;
use crate::wire::{
    Auth, ClearMessage, Delete, Id, KeyExchange, Notify, NotifyType, Payload, PayloadType,
    Proposal, ProtocolId,
};

/// The Notify payloads of a message that its type does not hold elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notifies(pub Vec<Notify>);

impl Notifies {
    /// Whether one of this type is there.
    #[must_use]
    pub fn has(&self, kind: NotifyType) -> bool {
        self.find(kind).is_some()
    }

    /// The first of this type.
    #[must_use]
    pub fn find(&self, kind: NotifyType) -> Option<&Notify> {
        self.all(kind).next()
    }

    /// Every one of this type.
    pub fn all(&self, kind: NotifyType) -> impl Iterator<Item = &Notify> {
        self.0.iter().filter(move |n| n.kind == kind)
    }

    /// The first that reports an error.
    #[must_use]
    pub fn error(&self) -> Option<&Notify> {
        self.0.iter().find(|n| n.kind.is_error())
    }

    fn take(&mut self, wanted: impl Fn(&Notify) -> bool) -> Option<Notify> {
        let at = self.0.iter().position(wanted)?;
        Some(self.0.remove(at))
    }

    fn put(self, payloads: &mut Vec<Payload>) {
        payloads.extend(self.0.into_iter().map(Payload::Notify));
    }
}

/// What makes an IKE SA: in IKE_SA_INIT, and in CREATE_CHILD_SA when it rekeys
/// one (RFC 7296 sections 1.2 and 1.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeOffer {
    /// The proposals; in a response, the one selected.
    pub sa: Vec<Proposal>,
    /// Public value.
    pub ke: KeyExchange,
    /// Ni or Nr.
    pub nonce: Vec<u8>,
    /// NAT detection and the rest.
    pub notifies: Notifies,
}

/// What makes a CHILD SA in CREATE_CHILD_SA (RFC 7296 sections 1.3.1 and 1.3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildOffer {
    /// The proposals; in a response, the one selected.
    pub sa: Vec<Proposal>,
    /// Ni or Nr.
    pub nonce: Vec<u8>,
    /// Public value, with PFS.
    pub ke: Option<KeyExchange>,
    /// TSi.
    pub ts_i: Vec<TrafficSelector>,
    /// TSr.
    pub ts_r: Vec<TrafficSelector>,
    /// The rest; REKEY_SA is not here.
    pub notifies: Notifies,
}

/// IKE_SA_INIT request (RFC 7296 section 1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitRequest {
    /// The cookie that the responder asked for (RFC 7296 section 2.6).
    pub cookie: Option<Vec<u8>>,
    /// SAi1, KEi, Ni.
    pub offer: IkeOffer,
}

/// IKE_SA_INIT response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitResponse {
    /// SAr1, KEr, Nr.
    Accepted(IkeOffer),
    /// Ask again with this cookie (RFC 7296 section 2.6).
    Cookie(Vec<u8>),
    /// An error: INVALID_KE_PAYLOAD, NO_PROPOSAL_CHOSEN and so on.
    Refused(Notify),
}

/// IKE_AUTH request (RFC 7296 section 1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRequest {
    /// Who the initiator is.
    pub id_i: Id,
    /// Whom it wants to talk to.
    pub id_r: Option<Id>,
    /// Its proof.
    pub auth: Auth,
    /// SAi2.
    pub sa: Vec<Proposal>,
    /// TSi.
    pub ts_i: Vec<TrafficSelector>,
    /// TSr.
    pub ts_r: Vec<TrafficSelector>,
    /// INITIAL_CONTACT and the rest.
    pub notifies: Notifies,
}

/// IKE_AUTH response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthResponse {
    /// The responder accepts, and proves who it is.
    Accepted {
        /// Who the responder is.
        id_r: Id,
        /// Its proof.
        auth: Auth,
        /// The first CHILD SA, or why there is none (RFC 7296 section 2.21.2).
        child: AuthChild,
        /// The rest.
        notifies: Notifies,
    },
    /// It refuses: AUTHENTICATION_FAILED and so on, in the encrypted payload.
    Refused(Notify),
}

/// The first CHILD SA's part of an IKE_AUTH response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthChild {
    /// It exists now.
    Accepted {
        /// SAr2: the proposal selected.
        sa: Vec<Proposal>,
        /// TSi, narrowed.
        ts_i: Vec<TrafficSelector>,
        /// TSr, narrowed.
        ts_r: Vec<TrafficSelector>,
    },
    /// It does not: TS_UNACCEPTABLE, NO_PROPOSAL_CHOSEN and so on. The IKE SA is up all the same.
    Refused(Notify),
}

/// CREATE_CHILD_SA request (RFC 7296 section 1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateChildRequest {
    /// A further CHILD SA.
    New(ChildOffer),
    /// One that replaces another.
    RekeyChild {
        /// The sender's inbound SPI of the CHILD SA to replace; our outbound SPI.
        spi: u32,
        /// The new one.
        offer: ChildOffer,
    },
    /// A new IKE SA instead of this one; its SPI is in the proposals.
    RekeyIke(IkeOffer),
}

/// CREATE_CHILD_SA response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateChildResponse {
    /// The CHILD SA exists.
    Child(ChildOffer),
    /// The new IKE SA exists.
    Ike(IkeOffer),
    /// An error: INVALID_KE_PAYLOAD, TEMPORARY_FAILURE, CHILD_SA_NOT_FOUND and so on.
    Refused(Notify),
}

/// INFORMATIONAL, request or response (RFC 7296 section 1.4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Informational {
    /// What is deleted.
    pub deletes: Vec<Delete>,
    /// The rest.
    pub notifies: Notifies,
}

impl InitRequest {
    /// Reads a message in clear.
    ///
    /// # Errors
    /// When the grammar does not allow it.
    pub fn parse(message: ClearMessage) -> Result<Self, GrammarError> {
        let mut parts = Parts::of_clear(&grammar::INIT_REQUEST, message)?;
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
    /// When the grammar does not allow it.
    pub fn parse(message: ClearMessage) -> Result<Self, GrammarError> {
        if has(&message.payloads, PayloadType::SA) {
            let parts = Parts::of_clear(&grammar::INIT_RESPONSE, message)?;
            return Ok(Self::Accepted(parts.ike_offer()?));
        }
        let mut parts = Parts::of_clear(&grammar::INIT_REFUSAL, message)?;
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
    /// Reads what the Encrypted payload held; `clear` is what stood before it.
    ///
    /// # Errors
    /// When the grammar does not allow it.
    pub fn parse(clear: &[Payload], sealed: Vec<Payload>) -> Result<Self, GrammarError> {
        let parts = Parts::of_sealed(&grammar::AUTH_REQUEST, clear, sealed)?;
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
    /// Reads what the Encrypted payload held; `clear` is what stood before it.
    ///
    /// # Errors
    /// When the grammar does not allow it.
    pub fn parse(clear: &[Payload], sealed: Vec<Payload>) -> Result<Self, GrammarError> {
        if !has(&sealed, PayloadType::AUTH) {
            let mut parts = Parts::of_sealed(&grammar::AUTH_REFUSAL, clear, sealed)?;
            return Ok(Self::Refused(parts.error()?));
        }
        if !has(&sealed, PayloadType::SA) {
            let grammar = &grammar::AUTH_RESPONSE_WITHOUT_CHILD;
            let mut parts = Parts::of_sealed(grammar, clear, sealed)?;
            let child = AuthChild::Refused(parts.error()?);
            return parts.auth_response(child);
        }
        let mut parts = Parts::of_sealed(&grammar::AUTH_RESPONSE, clear, sealed)?;
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
    /// Reads what the Encrypted payload held; `clear` is what stood before it.
    ///
    /// # Errors
    /// When the grammar does not allow it.
    pub fn parse(clear: &[Payload], sealed: Vec<Payload>) -> Result<Self, GrammarError> {
        if negotiates_ike(&sealed) {
            let parts = Parts::of_sealed(&grammar::IKE_REKEY_REQUEST, clear, sealed)?;
            return Ok(Self::RekeyIke(parts.ike_offer()?));
        }
        let mut parts = Parts::of_sealed(&grammar::CHILD_REQUEST, clear, sealed)?;
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
    /// Reads what the Encrypted payload held; `clear` is what stood before it.
    ///
    /// # Errors
    /// When the grammar does not allow it.
    pub fn parse(clear: &[Payload], sealed: Vec<Payload>) -> Result<Self, GrammarError> {
        if !has(&sealed, PayloadType::SA) {
            let mut parts = Parts::of_sealed(&grammar::CREATE_CHILD_REFUSAL, clear, sealed)?;
            return Ok(Self::Refused(parts.error()?));
        }
        if negotiates_ike(&sealed) {
            let parts = Parts::of_sealed(&grammar::IKE_REKEY_RESPONSE, clear, sealed)?;
            return Ok(Self::Ike(parts.ike_offer()?));
        }
        let parts = Parts::of_sealed(&grammar::CHILD_RESPONSE, clear, sealed)?;
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
    /// Reads what the Encrypted payload held; `clear` is what stood before it.
    ///
    /// # Errors
    /// When the grammar does not allow it.
    pub fn parse(clear: &[Payload], sealed: Vec<Payload>) -> Result<Self, GrammarError> {
        let parts = Parts::of_sealed(&grammar::INFORMATIONAL, clear, sealed)?;
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

/// RFC 7296 section 1.3: only the proposals' protocol tells the rekey of an IKE
/// SA from a CHILD SA.
fn negotiates_ike(payloads: &[Payload]) -> bool {
    payloads.iter().any(|p| match p {
        Payload::Sa(proposals) => proposals.iter().any(|p| p.protocol == ProtocolId::IKE),
        _ => false,
    })
}

/// The payloads of a message that passed the grammar, sorted.
#[derive(Default)]
struct Parts {
    message: &'static str,
    sa: Option<Vec<Proposal>>,
    ke: Option<KeyExchange>,
    id_i: Option<Id>,
    id_r: Option<Id>,
    auth: Option<Auth>,
    nonce: Option<Vec<u8>>,
    ts_i: Option<Vec<TrafficSelector>>,
    ts_r: Option<Vec<TrafficSelector>>,
    deletes: Vec<Delete>,
    notifies: Notifies,
}

impl Parts {
    fn of_clear(grammar: &Grammar, message: ClearMessage) -> Result<Self, GrammarError> {
        if message.sealed.is_some() {
            let kind = PayloadType::ENCRYPTED;
            return Err(GrammarError::none_expected(grammar.message, kind));
        }
        grammar::check(grammar, &message.payloads, &[])?;
        Ok(Self::sorted(grammar.message, message.payloads))
    }

    fn of_sealed(
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

    fn ike_offer(self) -> Result<IkeOffer, GrammarError> {
        Ok(IkeOffer {
            sa: demand(self.message, PayloadType::SA, self.sa)?,
            ke: demand(self.message, PayloadType::KE, self.ke)?,
            nonce: demand(self.message, PayloadType::NONCE, self.nonce)?,
            notifies: self.notifies,
        })
    }

    fn child_offer(self) -> Result<ChildOffer, GrammarError> {
        Ok(ChildOffer {
            sa: demand(self.message, PayloadType::SA, self.sa)?,
            nonce: demand(self.message, PayloadType::NONCE, self.nonce)?,
            ke: self.ke,
            ts_i: demand(self.message, PayloadType::TS_I, self.ts_i)?,
            ts_r: demand(self.message, PayloadType::TS_R, self.ts_r)?,
            notifies: self.notifies,
        })
    }

    fn auth_response(self, child: AuthChild) -> Result<AuthResponse, GrammarError> {
        Ok(AuthResponse::Accepted {
            id_r: demand(self.message, PayloadType::ID_R, self.id_r)?,
            auth: demand(self.message, PayloadType::AUTH, self.auth)?,
            child,
            notifies: self.notifies,
        })
    }

    /// The error that a refusal must hold.
    fn error(&mut self) -> Result<Notify, GrammarError> {
        self.notifies
            .take(|n| n.kind.is_error())
            .ok_or_else(|| GrammarError::Content {
                message: self.message,
                what: "found no error notification, expected one".to_owned(),
            })
    }
}

/// What the grammar promised to be there.
fn demand<T>(
    message: &'static str,
    kind: PayloadType,
    payload: Option<T>,
) -> Result<T, GrammarError> {
    payload.ok_or(GrammarError::missing(message, kind))
}

#[cfg(test)]
mod tests;
