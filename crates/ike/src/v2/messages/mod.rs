//! Every message has a type of its own, so that no handler searches a list of payloads. Reading one
//! (`parse`) checks the grammar first ([`crate::v2::messages::grammar`]).

use vgw_sa::TrafficSelector;

use crate::v2::wire::{Auth, Delete, Id, KeyExchange, Notify, NotifyType, Payload, Proposal};

pub(crate) mod admission;
mod convert;
pub mod grammar;
mod sorted_payloads;
#[cfg(test)]
mod tests;

/// The Notify payloads for which the message's type has no other field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notifies(pub Vec<Notify>);

impl Notifies {
    /// Whether there is a notification of this type.
    #[must_use]
    pub fn has(&self, kind: NotifyType) -> bool {
        self.find(kind).is_some()
    }

    /// The first notification of this type.
    #[must_use]
    pub fn find(&self, kind: NotifyType) -> Option<&Notify> {
        self.all(kind).next()
    }

    /// Every notification of this type.
    pub fn all(&self, kind: NotifyType) -> impl Iterator<Item = &Notify> {
        self.0.iter().filter(move |n| n.kind == kind)
    }

    /// The first notification that reports an error.
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

/// The payloads that negotiate an IKE SA: in IKE_SA_INIT, and in CREATE_CHILD_SA when it rekeys one
/// (RFC 7296 sections 1.2 and 1.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IkeOffer {
    /// The proposals; in a response, the one selected.
    pub sa: Vec<Proposal>,
    /// Public value.
    pub ke: KeyExchange,
    /// Ni or Nr.
    pub nonce: Vec<u8>,
    /// NAT detection and all others.
    pub notifies: Notifies,
}

/// The payloads that negotiate a CHILD SA in CREATE_CHILD_SA (RFC 7296 sections 1.3.1, 1.3.3).
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
    /// The other notifications, without REKEY_SA.
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
    /// The responder asks for the request again with this cookie (RFC 7296 section 2.6).
    Cookie(Vec<u8>),
    /// An error: INVALID_KE_PAYLOAD, NO_PROPOSAL_CHOSEN and so on.
    Refused(Notify),
}

/// IKE_AUTH request (RFC 7296 section 1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRequest {
    /// Who the initiator is.
    pub id_i: Id,
    /// Which identity of ours the initiator wants to talk to.
    pub id_r: Option<Id>,
    /// The proof of its identity.
    pub auth: Auth,
    /// SAi2.
    pub sa: Vec<Proposal>,
    /// TSi.
    pub ts_i: Vec<TrafficSelector>,
    /// TSr.
    pub ts_r: Vec<TrafficSelector>,
    /// INITIAL_CONTACT and all others.
    pub notifies: Notifies,
}

/// IKE_AUTH response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthResponse {
    /// The responder accepts, and proves its identity.
    Accepted {
        /// Who the responder is.
        id_r: Id,
        /// The proof of its identity.
        auth: Auth,
        /// The first CHILD SA, or why there is none (RFC 7296 section 2.21.2).
        child: AuthChild,
        /// The other notifications.
        notifies: Notifies,
    },
    /// The responder refuses: AUTHENTICATION_FAILED and so on, in the Encrypted payload.
    Refused(Notify),
}

/// The first CHILD SA's part of an IKE_AUTH response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthChild {
    /// The CHILD SA exists now.
    Accepted {
        /// SAr2: the proposal selected.
        sa: Vec<Proposal>,
        /// TSi, narrowed.
        ts_i: Vec<TrafficSelector>,
        /// TSr, narrowed.
        ts_r: Vec<TrafficSelector>,
    },
    /// The CHILD SA was refused: TS_UNACCEPTABLE, NO_PROPOSAL_CHOSEN and so on. The IKE SA is up.
    Refused(Notify),
}

/// CREATE_CHILD_SA request (RFC 7296 section 1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateChildRequest {
    /// A further CHILD SA.
    New(ChildOffer),
    /// A CHILD SA that replaces another.
    RekeyChild {
        /// The sender's inbound SPI of the CHILD SA to replace; our outbound SPI.
        spi: u32,
        /// The new CHILD SA.
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
    /// The notifications.
    pub notifies: Notifies,
}
