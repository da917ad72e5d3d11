//! The responder's side of IKE_SA_INIT and IKE_AUTH (RFC 7296 section 1.2).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use vgw_crypto::IkeSuite;

use crate::auth::{Signed, claimed};
use crate::config::{IkeAlgorithms, PeerConfig, PeerId};
use crate::env::{Effect, Env};
use crate::established::{Established, Foundation, demand_group, public};
use crate::event::{Path, Role, SaId};
use crate::initiator::offered_ike;
use crate::keys::{AuthKeys, IkeKeys, Nonces, SkeySeed, SpiPair};
use crate::messages::{AuthRequest, IkeOffer, InitResponse, Notifies};
use crate::nat::{self, Arrival, Detected};
use crate::proposal;
use crate::window::{Answered, Window};
use crate::wire::{
    ClearMessage, ExchangeType, Header, Id, Notify, NotifyType, Payload, decode_payloads,
    encode_cleartext,
};

/// The configured peers.
pub(crate) type Peers = BTreeMap<PeerId, Arc<PeerConfig>>;

/// An IKE SA whose initiator has not authenticated.
pub(crate) struct HalfOpen {
    id: SaId,
    spis: SpiPair,
    keys: IkeKeys,
    auth_keys: AuthKeys,
    suite: IkeSuite,
    nonces: Nonces,
    detected: Detected,
    at: Arrival,
    init_request: Vec<u8>,
    init_response: Vec<u8>,
    began: Instant,
    forget_at: Instant,
}

/// Why IKE_SA_INIT is refused.
pub(crate) struct RefusedInit {
    /// The answer; in clear, so it says no more than the RFC's number. None:
    /// it may go better when the peer asks again, so nothing is answered.
    pub notify: Option<Notify>,
    /// In words, for us. None where it is part of the usual way.
    pub why: Option<String>,
    /// Whether the key exchange was computed before.
    pub computed: bool,
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

/// Peers that may be meant by a message between these addresses: those with
/// this remote address first, then those that may be anywhere.
pub(crate) fn candidates(
    peers: &Peers,
    local: IpAddr,
    remote: IpAddr,
) -> Vec<(PeerId, Arc<PeerConfig>)> {
    let with = |wanted: Option<IpAddr>| {
        peers
            .iter()
            .filter(move |(_, config)| config.local == local && config.remote == wanted)
            .map(|(id, config)| (*id, config.clone()))
    };
    with(Some(remote)).chain(with(None)).collect()
}

impl HalfOpen {
    /// Answers IKE_SA_INIT, by the first candidate that has something in common
    /// with what is offered. Who the peer is shows only in IKE_AUTH.
    pub(crate) fn begin(
        env: &mut Env<'_>,
        candidates: &[(PeerId, Arc<PeerConfig>)],
        at: Arrival,
        spi_i: u64,
        (offer, datagram): (&IkeOffer, &[u8]),
    ) -> Result<Self, RefusedInit> {
        let mut why = String::from("no peer is configured for these addresses");
        let mut chosen = None;
        for (_, config) in candidates {
            match proposal::select_ike(&config.ike, &offer.sa) {
                Ok(choice) => {
                    chosen = Some((config, choice));
                    break;
                }
                Err(mismatch) => why = format!("{} (for {})", mismatch, config.name),
            }
        }
        let Some((config, choice)) = chosen else {
            return Err(RefusedInit {
                notify: Some(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new())),
                why: Some(why),
                computed: false,
            });
        };
        let suite = choice.suite;
        let group = suite.group;
        tracing::debug!(peer = %config.name, remote = %at.remote, %suite, "selected a suite");
        if offer.ke.group != group.iana() {
            return Err(RefusedInit {
                notify: Some(demand_group(group)),
                why: None,
                computed: false,
            });
        }
        let no_random_numbers = || RefusedInit {
            notify: None,
            why: None,
            computed: false,
        };
        let spis = SpiPair {
            initiator: spi_i,
            responder: env.ike_spi().ok_or_else(no_random_numbers)?,
        };
        let request_spis = SpiPair {
            responder: 0,
            ..spis
        };
        let detected = Detected::from(&offer.notifies, request_spis, at);
        if let Err(why) = detected.decide(config.encapsulation) {
            return Err(RefusedInit {
                notify: Some(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new())),
                why: Some(why),
                computed: false,
            });
        }
        let refused = |error: &dyn std::fmt::Display| RefusedInit {
            notify: Some(Notify::new(NotifyType::INVALID_SYNTAX, Vec::new())),
            why: Some(error.to_string()),
            computed: true,
        };
        let pair = env.key_pair(group).ok_or_else(no_random_numbers)?;
        let ke = public(&pair);
        let shared = pair.agree(&offer.ke.data).map_err(|e| refused(&e))?;
        let nonces = Nonces {
            initiator: offer.nonce.clone(),
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
            .map_err(|e| refused(&e))?;
        let response = InitResponse::Accepted(IkeOffer {
            sa: vec![choice.answer],
            ke,
            nonce: nonces.responder.clone(),
            notifies: Notifies(nat::notifies(spis, at, config.encapsulation).to_vec()),
        });
        let init_response = encode_cleartext(
            &init_response_header(spis.initiator, spis.responder),
            &response.into_payloads(),
        );
        env.send(at, init_response.clone());
        Ok(Self {
            id: env.sa_id(),
            spis,
            keys,
            auth_keys,
            suite,
            nonces,
            detected,
            at,
            init_request: datagram.to_vec(),
            init_response,
            began: env.now,
            forget_at: env.now + env.limits().half_open_timeout,
        })
    }

    pub(crate) fn id(&self) -> SaId {
        self.id
    }

    pub(crate) fn our_spi(&self) -> u64 {
        self.spis.responder
    }

    /// What a repeated IKE_SA_INIT is found by.
    pub(crate) fn origin(&self) -> (std::net::SocketAddr, u64) {
        (self.at.remote, self.spis.initiator)
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.forget_at
    }

    /// Answers a repeated IKE_SA_INIT. One with other octets is not the one we know.
    pub(crate) fn answer_again(&self, env: &mut Env<'_>, datagram: &[u8]) {
        if self.init_request == datagram {
            env.send(self.at, self.init_response.clone());
        }
    }

    /// IKE_AUTH.
    pub(crate) fn handle_message(
        self: Box<Self>,
        env: &mut Env<'_>,
        peers: &Peers,
        at: Arrival,
        message: &ClearMessage,
        datagram: &[u8],
    ) -> Outcome {
        let header = &message.header;
        let ours = header.spi_i == self.spis.initiator
            && header.spi_r == self.spis.responder
            && header.initiator
            && header.message_id == 1;
        let plaintext = message.sealed.as_ref().filter(|_| ours).and_then(|sealed| {
            let plaintext = self.keys.open.open(datagram, sealed).ok()?;
            Some((sealed.first, plaintext))
        });
        let Some((first, plaintext)) = plaintext else {
            tracing::debug!(remote = %at.remote, "IKE_AUTH dropped: not authentic");
            return Outcome::Waiting(self);
        };
        let request = decode_payloads(first, &plaintext)
            .map_err(|e| {
                (
                    Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()),
                    e.to_string(),
                )
            })
            .and_then(|payloads| {
                AuthRequest::parse(&message.payloads, payloads)
                    .map_err(|e| (e.notify(), e.to_string()))
            });
        let accepted = match request {
            Ok(request) => match self.authenticate(peers, at, &request) {
                Ok(accepted) => (accepted, request),
                Err(refusal) => return self.refuse(env, at, datagram, refusal),
            },
            Err((notify, why)) => {
                let refusal = Refusal {
                    peer: None,
                    notify,
                    why,
                };
                return self.refuse(env, at, datagram, refusal);
            }
        };
        self.up(env, at, (message, datagram), accepted)
    }

    fn authenticate(
        &self,
        peers: &Peers,
        at: Arrival,
        request: &AuthRequest,
    ) -> Result<Accepted, Refusal> {
        let failed = |peer, why| Refusal {
            peer,
            notify: Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new()),
            why,
        };
        let all = candidates(peers, at.local.ip(), at.remote.ip());
        let Some(remote_id) = request.id_i.identity() else {
            let kind = request.id_i.kind;
            let why = format!("the peer's identity is of type {kind}, expected one we know");
            return Err(failed(None, why));
        };
        let (named, others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(_, config)| config.remote_id == remote_id);
        // RFC 7296 section 2.15: IDr says whom of us the initiator wants; if
        // that is nobody, it decides by our answer.
        let wanted = request.id_r.as_ref().and_then(Id::identity);
        let chosen = named
            .iter()
            .find(|(_, config)| Some(&config.local_id) == wanted.as_ref())
            .or(named.first());
        let Some((peer, config)) = chosen else {
            let expected: Vec<_> = others
                .iter()
                .map(|(_, config)| format!("{} ({})", config.remote_id, config.name))
                .collect();
            let why = format!(
                "the peer says it is {}, expected {}",
                claimed(&remote_id),
                if expected.is_empty() {
                    "nobody at these addresses".to_owned()
                } else {
                    expected.join(" or ")
                }
            );
            return Err(failed(others.first().map(|(id, _)| *id), why));
        };
        let proof = Signed {
            prf: self.suite.prf,
            message: &self.init_request,
            nonce: &self.nonces.responder,
            sk_p: &self.auth_keys.initiator,
            id: &request.id_i,
        }
        .verify(&config.psk, &request.auth)
        .map_err(|why| failed(Some(*peer), format!("{remote_id}: {why}")))?;
        // The suite was selected before we knew who it is.
        if !permits(&config.ike, self.suite) {
            return Err(Refusal {
                peer: Some(*peer),
                notify: Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()),
                why: format!(
                    "{remote_id} came with {}, expected {}",
                    self.suite,
                    offered_ike(config)
                ),
            });
        }
        let nat = self
            .detected
            .decide(config.encapsulation)
            .map_err(|why| failed(Some(*peer), why))?;
        Ok(Accepted {
            peer: *peer,
            config: config.clone(),
            remote_id,
            nat,
            proof,
        })
    }

    fn up(
        self: Box<Self>,
        env: &mut Env<'_>,
        at: Arrival,
        (message, datagram): (&ClearMessage, &[u8]),
        (accepted, request): (Accepted, AuthRequest),
    ) -> Outcome {
        let Accepted {
            peer,
            config,
            remote_id,
            nat,
            proof,
        } = accepted;
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
            behind_nat: self.detected.local,
            window: Window::before_auth_as_responder(),
        };
        let mut sa = Box::new(Established::new(env, foundation, &proof));
        env.count(peer, |c| c.ike_established += 1);
        sa.announce(env, None);
        sa.answer_auth(env, at, (message, datagram), &request, (id_r, auth));
        env.core.effects.push_back(Effect::CameUp {
            sa: self.id,
            contact: request.notifies.has(NotifyType::INITIAL_CONTACT),
            began: self.began,
        });
        Outcome::Up(sa)
    }

    fn refuse(
        mut self: Box<Self>,
        env: &mut Env<'_>,
        at: Arrival,
        datagram: &[u8],
        refusal: Refusal,
    ) -> Outcome {
        let Refusal { peer, notify, why } = refusal;
        env.refuse(peer, "unauthenticated", at.remote, why);
        let header = Header {
            spi_i: self.spis.initiator,
            spi_r: self.spis.responder,
            exchange: ExchangeType::IKE_AUTH,
            initiator: false,
            response: true,
            message_id: 1,
        };
        let payloads = [Payload::Notify(notify)];
        let response = self.keys.seal.seal(&header, &payloads);
        env.send(at, response.clone());
        Outcome::Refused(Some(Answered::new(1, datagram, &response)))
    }
}

/// Who authenticated, and what follows.
struct Accepted {
    peer: PeerId,
    config: Arc<PeerConfig>,
    remote_id: crate::identity::Identity,
    nat: crate::event::Nat,
    proof: crate::auth::Authenticated,
}

/// Why IKE_AUTH is refused.
struct Refusal {
    peer: Option<PeerId>,
    notify: Notify,
    why: String,
}

fn permits(ours: &IkeAlgorithms, suite: IkeSuite) -> bool {
    ours.encryption.contains(&suite.encryption)
        && suite
            .integrity
            .is_none_or(|integrity| ours.integrity.contains(&integrity))
        && ours.prf.contains(&suite.prf)
        && ours.groups.contains(&suite.group)
}

/// The header of an answer to IKE_SA_INIT.
pub(crate) fn init_response_header(spi_i: u64, spi_r: u64) -> Header {
    Header {
        spi_i,
        spi_r,
        exchange: ExchangeType::IKE_SA_INIT,
        initiator: false,
        response: true,
        message_id: 0,
    }
}
