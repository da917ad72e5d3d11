//! The responder's side of IKE_SA_INIT and IKE_AUTH (RFC 7296 section 1.2).

use std::sync::Arc;
use std::time::Instant;

use vgw_crypto::{Group, IkeSuite, check_public};
use vgw_sa::{Path, TunnelId};

use crate::core::denial::Denial;
use crate::core::env::Env;
use crate::core::event::{Nat, Role, SaId};
use crate::core::words::few;
use crate::dos_protection::{DosProtection, Origin};
use crate::peer::config::{Encapsulation, PeerConfig};
use crate::peer::peers::{Alike, Peers};
use crate::v2::channel::keys::{AuthKeys, IkeKeys, Nonces, SkeySeed, SpiPair};
use crate::v2::channel::window::{Answered, INIT_ID, Incoming, Window};
use crate::v2::established::{Established, Foundation, demand_group, public};
use crate::v2::handshake::auth::{Mistaken, Signed, Unproved, said};
use crate::v2::handshake::nat::{self, AddressPair, Detected};
use crate::v2::messages::grammar::GrammarError;
use crate::v2::messages::{AuthRequest, IkeOffer, InitResponse, Notifies};
use crate::v2::proposal::{instead_of, permits, select_for_several};
use crate::v2::why::{NoProposal, Why};
use crate::v2::wire::{
    ClearMessage, ExchangeType, Header, Id, Notify, NotifyType, Payload, PayloadType, Proposal,
    decode_payloads, encode_cleartext,
};

/// An IKE SA whose initiator has not authenticated.
pub(crate) struct HalfOpen {
    id: SaId,
    spis: SpiPair,
    keys: IkeKeys,
    auth_keys: AuthKeys,
    suite: IkeSuite,
    nonces: Nonces,
    detected: Detected,
    /// We said that there is a NAT before us.
    pretend: bool,
    at: AddressPair,
    window: Window,
    // AUTH covers both.
    init_request: Vec<u8>,
    init_response: Vec<u8>,
    began: Instant,
    forget_at: Instant,
}

/// Why IKE_SA_INIT comes to nothing.
pub(crate) enum Refused {
    /// Without an answer.
    Dropped(Denial),
    /// With one.
    Answered {
        denial: Denial,
        /// The answer; in clear, so it says no more than the RFC's number.
        notify: Notify,
        /// In words, for us. None where it is part of the usual way.
        why: Option<Why>,
    },
}

impl Refused {
    fn answered(denial: Denial, kind: NotifyType, why: Why) -> Self {
        Self::Answered {
            denial,
            notify: Notify::new(kind, Vec::new()),
            why: Some(why),
        }
    }
}

/// What came of comparing an offer with what our peers may use.
pub(crate) struct Selection {
    /// With how many lists of ours it was compared.
    pub lists: usize,
    pub result: Result<Accepted, Refused>,
}

/// An offer of which something was selected.
pub(crate) struct Accepted {
    offer: IkeOffer,
    suite: IkeSuite,
    answer: Proposal,
    pretend: bool,
}

/// An offer that nothing speaks against.
pub(crate) struct Checked {
    accepted: Accepted,
    at: AddressPair,
    spi_i: u64,
    detected: Detected,
}

/// Selects what most of those permit that the peer may be. Who it is shows only in
/// IKE_AUTH, and so does what else depends on that.
pub(crate) fn select(peers: &Peers, at: AddressPair, offer: IkeOffer) -> Selection {
    let (local, remote) = (at.local.ip(), at.remote.ip());
    let counted = peers.counted(local, remote);
    let lists: Vec<_> = counted.iter().map(|(alike, n)| (&alike.ike, *n)).collect();
    if let Some(choice) = select_for_several(&offer.sa, &lists) {
        let accepted = Accepted {
            suite: choice.suite,
            answer: choice.answer,
            pretend: should_pretend(&counted, choice.suite),
            offer,
        };
        return Selection {
            lists: lists.len(),
            result: Ok(accepted),
        };
    }
    // A refusal would make it give up, though it was not meant for it.
    if peers.silenced_at(local, remote).is_some() {
        return Selection {
            lists: lists.len(),
            result: Err(Refused::Dropped(Denial::TakenDown)),
        };
    }
    let refused = match peers.expected(local, remote).next() {
        Some(first) => {
            let why = NoProposal {
                offered: offer.sa,
                accepted: first.ike.clone(),
                candidate: first.name.clone(),
                others: peers.candidates(local, remote).saturating_sub(1),
            };
            let why = Why::NoProposal(Box::new(why));
            Refused::answered(Denial::NoProposal, NotifyType::NO_PROPOSAL_CHOSEN, why)
        }
        None => {
            let why = Why::NoPeer(local);
            Refused::answered(Denial::NoPeer, NotifyType::NO_PROPOSAL_CHOSEN, why)
        }
    };
    Selection {
        lists: lists.len(),
        result: Err(refused),
    }
}

/// Whether to say that there is a NAT before us, so that ESP goes in UDP. That has to
/// be said before it is known who the peer is: those decide that permit the suite and
/// have a wish.
fn should_pretend(counted: &[(&Alike, u64)], suite: IkeSuite) -> bool {
    let wishing = |wish: &dyn Fn(Encapsulation) -> bool| {
        counted
            .iter()
            .filter(|(alike, _)| wish(alike.encapsulation) && permits(&alike.ike, suite))
            .fold(0, |all: u64, (_, n)| all.saturating_add(*n))
    };
    let udp = wishing(&Encapsulation::pretends);
    udp > 0 && udp >= wishing(&|wanted| wanted == Encapsulation::Native)
}

impl Accepted {
    /// Everything that can speak against it and takes no key exchange.
    pub(crate) fn check(self, at: AddressPair, spi_i: u64) -> Result<Checked, Refused> {
        let group = self.suite.group;
        let (remote, suite) = (at.remote, self.suite);
        tracing::debug!(%remote, %suite, "{remote}: selected {suite}");
        if self.offer.ke.group != group.iana() {
            return Err(Refused::Answered {
                denial: Denial::OtherGroup,
                notify: demand_group(group),
                why: None,
            });
        }
        let request_spis = SpiPair {
            initiator: spi_i,
            responder: 0,
        };
        let detected = Detected::from(&self.offer.notifies, request_spis, at);
        if let Err(error) = check_public(group, &self.offer.ke.data) {
            let why = error.to_string().into();
            let kind = NotifyType::INVALID_SYNTAX;
            return Err(Refused::answered(Denial::BadPublicValue, kind, why));
        }
        Ok(Checked {
            accepted: self,
            at,
            spi_i,
            detected,
        })
    }
}

impl Checked {
    /// The group of the key exchange to come.
    pub(crate) fn group(&self) -> Group {
        self.accepted.suite.group
    }

    /// Makes the key exchange and answers.
    pub(crate) fn begin(self, env: &mut Env<'_>, datagram: &[u8]) -> Result<HalfOpen, Refused> {
        let Self {
            accepted,
            at,
            spi_i,
            detected,
        } = self;
        let Accepted {
            offer,
            suite,
            answer,
            pretend,
        } = accepted;
        // It may go better when the peer asks again.
        let no_random_numbers = || Refused::Dropped(Denial::NoRandomNumbers);
        let spis = SpiPair {
            initiator: spi_i,
            responder: env.ike_spi().ok_or_else(no_random_numbers)?,
        };
        let failed = |error: &dyn std::fmt::Display| {
            let why = error.to_string().into();
            let kind = NotifyType::INVALID_SYNTAX;
            Refused::answered(Denial::BadPublicValue, kind, why)
        };
        let pair = env.key_pair(suite.group).ok_or_else(no_random_numbers)?;
        let ke = public(&pair);
        let shared = pair.agree(&offer.ke.data).map_err(|e| failed(&e))?;
        let nonces = Nonces {
            initiator: offer.nonce,
            responder: env.nonce().ok_or_else(no_random_numbers)?,
        };
        let iv_key = env.iv_key().ok_or_else(no_random_numbers)?;
        let (keys, auth_keys) = SkeySeed::first(suite.prf, &nonces, &shared)
            .expand(
                suite,
                &nonces,
                spis,
                Role::Responder,
                &iv_key,
                env.key_log(),
            )
            .map_err(|e| failed(&e))?;
        let response = InitResponse::Accepted(IkeOffer {
            sa: vec![answer],
            ke,
            nonce: nonces.responder.clone(),
            notifies: Notifies(nat::notifies(spis, at, pretend).to_vec()),
        });
        let init_response = encode_cleartext(
            &init_response_header(spis.initiator, spis.responder),
            &response.into_payloads(),
        );
        env.send(at, init_response.clone().into());
        let mut window = Window::default();
        window.answered(datagram, init_response.clone().into());
        Ok(HalfOpen {
            id: env.sa_id(),
            spis,
            keys,
            auth_keys,
            suite,
            nonces,
            detected,
            pretend,
            at,
            window,
            init_request: datagram.to_vec(),
            init_response,
            began: env.now,
            forget_at: env.now + env.limits().half_open_timeout,
        })
    }
}

/// What became of a half-open SA.
pub(crate) enum Outcome {
    /// The message was not the initiator's.
    Waiting(Box<HalfOpen>),
    /// The initiator authenticated.
    Up(Box<Established>),
    /// It was refused; the answer is to be repeated if asked.
    Refused(Option<Answered>),
}

impl HalfOpen {
    pub(crate) fn id(&self) -> SaId {
        self.id
    }

    pub(crate) fn our_spi(&self) -> u64 {
        self.spis.responder
    }

    /// What a repeated IKE_SA_INIT is found by.
    pub(crate) fn origin(&self) -> Origin {
        (self.at.remote, self.spis.initiator)
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.forget_at
    }

    /// Where its IKE_SA_INIT came from and to.
    pub(crate) fn arrival(&self) -> AddressPair {
        self.at
    }

    /// Answers a repeated IKE_SA_INIT. False: it has other octets than the one we know.
    pub(crate) fn answer_again(&self, env: &mut Env<'_>, datagram: &[u8]) -> bool {
        match self.window.classify(INIT_ID, datagram) {
            Incoming::Again(response) => {
                env.send(self.at, response.clone());
                true
            }
            Incoming::Fresh | Incoming::OutOfWindow => false,
        }
    }

    /// IKE_AUTH.
    pub(crate) fn handle_message(
        self: Box<Self>,
        env: &mut Env<'_>,
        (peers, dos_protection): (&Peers, &mut DosProtection),
        at: AddressPair,
        message: &ClearMessage,
        datagram: &[u8],
    ) -> Outcome {
        // Until it is read, only its address says whose it may be.
        let only = peers.only_at(at.local.ip(), at.remote.ip());
        let (first, plaintext) = match self.opened(message, datagram) {
            Ok(opened) => opened,
            Err(denial) => {
                env.deny(only, at.remote, denial);
                return Outcome::Waiting(self);
            }
        };
        let request = match read_auth(message, first, &plaintext) {
            Ok(request) => request,
            Err(refusal) => {
                let refusal = Refusal {
                    peer: only,
                    ..refusal
                };
                return self.refuse(env, at, (message, datagram), refusal);
            }
        };
        if is_silenced(peers, at, &request) {
            env.deny(only, at.remote, Denial::TakenDown);
            return Outcome::Waiting(self);
        }
        let claim = claimed_peer(peers, at, &request);
        let limits = env.limits();
        let source = peers.source(at.remote.ip());
        let guessed = claim
            .as_ref()
            .ok()
            .map(|(peer, _)| (*peer, peers.is_at(*peer, at.remote.ip())));
        if !dos_protection.may_authenticate(env.now, source, guessed, &limits) {
            let peer = guessed.map(|(peer, _)| peer);
            env.deny(peer, at.remote, Denial::AuthHeld);
            // The peer sends it again; by then there may be room for it.
            return Outcome::Waiting(self);
        }
        match claim.and_then(|claim| self.authenticate(peers, claim, &request)) {
            Ok(authentic) => self.up(env, at, (message, datagram), (authentic, request)),
            Err(refusal) => {
                if refusal.notify.kind == NotifyType::AUTHENTICATION_FAILED {
                    dos_protection.failed(env.now, source, guessed, &limits);
                }
                self.refuse(env, at, (message, datagram), refusal)
            }
        }
    }

    /// The type of the first payload inside, and all of them in clear.
    fn opened(
        &self,
        message: &ClearMessage,
        datagram: &[u8],
    ) -> Result<(PayloadType, Vec<u8>), Denial> {
        let header = &message.header;
        let spis = (header.spi_i, header.spi_r);
        if spis != (self.spis.initiator, self.spis.responder) || !header.initiator {
            return Err(Denial::WrongSpis);
        }
        if self.window.classify(header.message_id, datagram) != Incoming::Fresh {
            return Err(Denial::WrongId);
        }
        let sealed = message.sealed.as_ref().ok_or(Denial::NotEncrypted)?;
        let plaintext = self.keys.open.open(datagram, sealed);
        let plaintext = plaintext.map_err(|_| Denial::NotAuthentic)?;
        Ok((sealed.first, plaintext))
    }

    fn authenticate(
        &self,
        peers: &Peers,
        (peer, config): (TunnelId, Arc<PeerConfig>),
        request: &AuthRequest,
    ) -> Result<Authentic, Refusal> {
        let remote_id = config.remote_id.clone();
        let proof = Signed {
            prf: self.suite.prf,
            message: &self.init_request,
            nonce: &self.nonces.responder,
            sk_p: &self.auth_keys.initiator,
            id: &request.id_i,
        }
        .verify_peer(&config, &request.auth)
        .map_err(|unproved| {
            let refusal = auth_failed(Some(peer), format!("{remote_id}: {unproved}"));
            let mistaken = match unproved {
                Unproved::KeyOf(mistaken) => Some(Box::new(mistaken)),
                Unproved::Method(_) | Unproved::Key => None,
            };
            Refusal {
                mistaken,
                ..refusal
            }
        })?;
        let nat = self.suits(peers, &config).map_err(|why| Refusal {
            peer: Some(peer),
            denial: Denial::AuthFailed,
            notify: Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()),
            why: format!("{remote_id}, {}: {why}", config.name),
            mistaken: None,
        })?;
        Ok(Authentic {
            peer,
            config,
            remote_id,
            nat,
            proof,
        })
    }

    /// Whether what was chosen in IKE_SA_INIT suits the peer that it turned out to be:
    /// NATs on the way, or why it does not, with another peer that it was chosen for.
    fn suits(&self, peers: &Peers, config: &PeerConfig) -> Result<Nat, String> {
        let for_another = |why: String, is_meant: &dyn Fn(&PeerConfig) -> bool| {
            let mut others = peers.expected(self.at.local.ip(), self.at.remote.ip());
            match others.find(|other| other.name != config.name && is_meant(other)) {
                Some(other) => format!(
                    "{why}; that was for {}, which {} cannot be told apart from before IKE_AUTH",
                    other.name, config.name
                ),
                None => why,
            }
        };
        if !permits(&config.ike, self.suite) {
            let why = format!(
                "chosen was {}, expected {}",
                self.suite,
                instead_of(self.suite, &config.ike)
            );
            return Err(for_another(why, &|other| permits(&other.ike, self.suite)));
        }
        let nat = self.detected.decide(config.encapsulation, self.pretend)?;
        match config.encapsulation {
            Encapsulation::Native if self.pretend => {
                let why = "the peer was told that a NAT is before us, expected none: \
                           encapsulation is configured as native";
                let is_meant = |other: &PeerConfig| other.encapsulation == Encapsulation::Udp;
                Err(for_another(why.to_owned(), &is_meant))
            }
            Encapsulation::Udp if !nat.local && !nat.remote => {
                let why = "the peer was told that no NAT is before us, expected that it is: \
                           encapsulation is configured as UDP";
                let is_meant = |other: &PeerConfig| other.encapsulation == Encapsulation::Native;
                Err(for_another(why.to_owned(), &is_meant))
            }
            _ => Ok(nat),
        }
    }

    fn up(
        self: Box<Self>,
        env: &mut Env<'_>,
        at: AddressPair,
        (message, datagram): (&ClearMessage, &[u8]),
        (authentic, request): (Authentic, AuthRequest),
    ) -> Outcome {
        let Authentic {
            peer,
            config,
            remote_id,
            nat,
            proof,
        } = authentic;
        let own_nat = self.detected.own_nat(config.public);
        let id_r = Id::from(&config.local_id);
        let auth = Signed {
            prf: self.suite.prf,
            message: &self.init_response,
            nonce: &self.nonces.initiator,
            sk_p: &self.auth_keys.responder,
            id: &id_r,
        }
        .sign(&config.psk);
        let foundation = Foundation {
            id: self.id,
            peer,
            config,
            role: Role::Responder,
            spis: self.spis,
            suite: self.suite,
            keys: self.keys,
            nonces: self.nonces,
            remote_id,
            path: Path {
                local: at.local,
                remote: at.remote,
                udp_encapsulation: nat.local || nat.remote,
            },
            nat,
            own_nat,
            window: self.window,
        };
        let sa = Established::new(env, foundation, &proof);
        let mut sa = Box::new(sa.with_token_of(&request.notifies));
        env.count(peer, |c| c.ike_established += 1);
        sa.announce(env, None);
        sa.answer_auth(env, at, (message, datagram), &request, (id_r, auth));
        let contact = request.notifies.has(NotifyType::INITIAL_CONTACT);
        sa.came_up(contact, self.began);
        Outcome::Up(sa)
    }

    fn refuse(
        mut self: Box<Self>,
        env: &mut Env<'_>,
        at: AddressPair,
        (message, datagram): (&ClearMessage, &[u8]),
        refusal: Refusal,
    ) -> Outcome {
        let Refusal {
            peer,
            denial,
            notify,
            why,
            mistaken,
        } = refusal;
        if let (Some(peer), Some(mistaken)) = (peer, mistaken) {
            env.note_asked(peer, |asked, _| asked.mistaken = Some(*mistaken));
        }
        env.deny(peer, at.remote, denial);
        env.refuse(peer, "unauthenticated", at.remote, why);
        let header = Header {
            spi_i: self.spis.initiator,
            spi_r: self.spis.responder,
            exchange: ExchangeType::IKE_AUTH,
            initiator: false,
            response: true,
            message_id: message.header.message_id,
        };
        let payloads = [Payload::Notify(notify)];
        let response = self.keys.seal.seal(&header, &payloads);
        env.send(at, response.clone());
        self.window.answered(datagram, response);
        Outcome::Refused(self.window.into_answered())
    }
}

/// Reads an IKE_AUTH request, or says why it is refused, of no peer yet.
fn read_auth(
    message: &ClearMessage,
    first: PayloadType,
    plaintext: &[u8],
) -> Result<AuthRequest, Refusal> {
    let refused = |denial, notify, why: String| Refusal {
        peer: None,
        denial,
        notify,
        why,
        mistaken: None,
    };
    let payloads = decode_payloads(first, plaintext).map_err(|error| {
        let notify = Notify::new(NotifyType::INVALID_SYNTAX, Vec::new());
        refused(Denial::AuthFailed, notify, error.to_string())
    })?;
    AuthRequest::parse(&message.payloads, payloads).map_err(|error| {
        let denial = match error {
            GrammarError::Childless => Denial::Childless,
            _ => Denial::AuthFailed,
        };
        refused(denial, error.notify(), error.to_string())
    })
}

/// Whether an IKE_AUTH request is of a peer that gets no answer.
fn is_silenced(peers: &Peers, at: AddressPair, request: &AuthRequest) -> bool {
    let (local, remote) = (at.local.ip(), at.remote.ip());
    request.id_i.identity().is_some_and(|identity| {
        peers.named(local, remote, &identity).is_empty()
            && peers.is_silenced_name(local, remote, &identity)
    })
}

/// The peer that an IKE_AUTH request claims to come from.
fn claimed_peer(
    peers: &Peers,
    at: AddressPair,
    request: &AuthRequest,
) -> Result<(TunnelId, Arc<PeerConfig>), Refusal> {
    let (local, remote) = (at.local.ip(), at.remote.ip());
    // Who else could be meant shows in the address alone.
    let only = peers.only_at(local, remote);
    let Some(identity) = request.id_i.identity() else {
        let kind = request.id_i.kind;
        let why = format!("the peer's identity is of type {kind}, expected one we know");
        return Err(auth_failed(only, why));
    };
    // RFC 7296 section 2.15: IDr says whom of us the initiator wants; if
    // that is nobody, it decides by our answer.
    let wanted = request.id_r.as_ref().and_then(Id::identity);
    let mut named = peers.named(local, remote, &identity);
    let at = named
        .iter()
        .position(|(_, config)| Some(&config.local_id) == wanted.as_ref())
        .unwrap_or_default();
    if at < named.len() {
        return Ok(named.swap_remove(at));
    }
    let candidates = peers.candidates(local, remote);
    let expected = match candidates {
        0 => "nobody at these addresses".to_owned(),
        _ => few(
            peers.expected(local, remote),
            candidates,
            " or ",
            |config| format!("{} ({})", config.remote_id, config.name),
        ),
    };
    let said = said(&request.id_i);
    let why = format!("the peer says it is {said}, expected {expected}");
    Err(auth_failed(only, why))
}

fn auth_failed(peer: Option<TunnelId>, why: String) -> Refusal {
    Refusal {
        peer,
        denial: Denial::AuthFailed,
        notify: Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new()),
        why,
        mistaken: None,
    }
}

/// Who authenticated, and what follows.
struct Authentic {
    peer: TunnelId,
    config: Arc<PeerConfig>,
    remote_id: crate::peer::identity::Identity,
    nat: Nat,
    proof: crate::v2::handshake::auth::Authenticated,
}

/// Why IKE_AUTH is refused.
struct Refusal {
    peer: Option<TunnelId>,
    denial: Denial,
    notify: Notify,
    why: String,
    /// The key that its AUTH was made with, where that is known.
    mistaken: Option<Box<Mistaken>>,
}

/// The header of an answer to IKE_SA_INIT.
pub(crate) fn init_response_header(spi_i: u64, spi_r: u64) -> Header {
    Header {
        spi_i,
        spi_r,
        exchange: ExchangeType::IKE_SA_INIT,
        initiator: false,
        response: true,
        message_id: INIT_ID,
    }
}
