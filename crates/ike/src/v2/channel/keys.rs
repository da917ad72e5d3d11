//! Key derivation (RFC 7296 sections 2.13, 2.14, 2.17 and 2.18). The stages are types: a shared
//! secret becomes a [`SkeySeed`], which becomes the [`IkeKeys`] of one SA.

use vgw_crypto::{DirectionKeys, EspSuite, IkeSuite, Integrity, KeyError, Prf, Secret};

use crate::core::event::{IkeKeyLog, Role};
use crate::peer::config::KeyLog;
use crate::v2::channel::sealed::{OpenKey, SealKey};

/// The nonces of one exchange, in the order in which they are hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nonces {
    /// Ni, from the sender of the request.
    pub initiator: Vec<u8>,
    /// Nr, from the sender of the response.
    pub responder: Vec<u8>,
}

impl Nonces {
    /// The lower of the two, compared octet by octet (RFC 7296 section 2.8.1).
    pub(crate) fn lowest(&self) -> &[u8] {
        self.initiator.as_slice().min(self.responder.as_slice())
    }
}

/// SPIs of an IKE SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpiPair {
    pub initiator: u64,
    pub responder: u64,
}

/// SKEYSEED (RFC 7296 section 2.14).
pub(crate) struct SkeySeed(Secret);

impl SkeySeed {
    /// Seed of a first IKE SA: prf(Ni | Nr, g^ir).
    pub(crate) fn first(prf: Prf, nonces: &Nonces, shared: &Secret) -> Self {
        let key = [nonces.initiator.as_slice(), nonces.responder.as_slice()].concat();
        Self(prf.compute(&key, &[shared.expose()]))
    }

    /// Seed of an IKE SA that rekeys another: prf(SK_d (old), g^ir | Ni | Nr), with the PRF of the
    /// old SA (RFC 7296 section 2.18).
    pub(crate) fn rekeyed(old: &ChildKeySource, nonces: &Nonces, shared: &Secret) -> Self {
        let parts = [
            shared.expose(),
            nonces.initiator.as_slice(),
            nonces.responder.as_slice(),
        ];
        Self(old.prf.compute(old.sk_d.expose(), &parts))
    }

    /// Cuts the SA's keys from prf+ (SKEYSEED, Ni | Nr | SPIi | SPIr). `iv_key` is random. The keys
    /// for AUTH are returned apart, because they are used only once.
    pub(crate) fn expand(
        &self,
        suite: IkeSuite,
        nonces: &Nonces,
        spis: SpiPair,
        role: Role,
        iv_key: &Secret,
        key_log: KeyLog,
    ) -> Result<(IkeKeys, AuthKeys), KeyError> {
        let prf_len = suite.prf.output_len();
        let integrity_len = suite.integrity.map_or(0, Integrity::key_len);
        let cipher_len = suite.encryption.keymat_len();
        let seed = [
            nonces.initiator.as_slice(),
            nonces.responder.as_slice(),
            &spis.initiator.to_be_bytes(),
            &spis.responder.to_be_bytes(),
        ];
        let len = 3 * prf_len + 2 * integrity_len + 2 * cipher_len;
        let stream = suite.prf.expand(self.0.expose(), &seed, len);
        let mut cut = Cutter(stream.expose());
        let sk_d = cut.take(prf_len);
        let sk_ai = cut.take(integrity_len);
        let sk_ar = cut.take(integrity_len);
        let sk_ei = cut.take(cipher_len);
        let sk_er = cut.take(cipher_len);
        let auth = AuthKeys {
            initiator: cut.take(prf_len),
            responder: cut.take(prf_len),
        };
        let log = match key_log {
            KeyLog::Off => None,
            KeyLog::On => Some(IkeKeyLog {
                sk_ei: sk_ei.clone(),
                sk_er: sk_er.clone(),
                sk_ai: sk_ai.clone(),
                sk_ar: sk_ar.clone(),
            }),
        };
        let initiator = DirectionKeys {
            encryption: sk_ei,
            integrity: sk_ai,
        };
        let responder = DirectionKeys {
            encryption: sk_er,
            integrity: sk_ar,
        };
        let (ours, theirs) = match role {
            Role::Initiator => (initiator, responder),
            Role::Responder => (responder, initiator),
        };
        let keys = IkeKeys::from_state(
            suite,
            IkeKeysState {
                ours,
                theirs,
                iv_key: iv_key.clone(),
                next_iv: 0,
                source: Some(ChildKeySource {
                    prf: suite.prf,
                    sk_d,
                }),
                log,
            },
        )?;
        Ok((keys, auth))
    }
}

/// The keys of one IKE SA.
pub(crate) struct IkeKeys {
    /// For what we send.
    pub seal: SealKey,
    /// For what we receive.
    pub open: OpenKey,
    /// For CHILD SAs and the next IKE SA. None once neither may be made any more.
    pub source: Option<ChildKeySource>,
    /// For the key log, if it is on, until the SA is reported as up.
    pub log: Option<IkeKeyLog>,
    // The keys that `seal` and `open` were made from.
    ours: DirectionKeys,
    theirs: DirectionKeys,
    iv_key: Secret,
}

/// The keys of one IKE SA as plain data.
pub(crate) struct IkeKeysState {
    /// SK_e and SK_a of what we send.
    ours: DirectionKeys,
    /// SK_e and SK_a of what the peer sends.
    theirs: DirectionKeys,
    iv_key: Secret,
    next_iv: u64,
    source: Option<ChildKeySource>,
    log: Option<IkeKeyLog>,
}

impl IkeKeys {
    /// Builds the keys from plain data, see [`Self::into_state`].
    pub(crate) fn from_state(suite: IkeSuite, state: IkeKeysState) -> Result<Self, KeyError> {
        Ok(Self {
            seal: SealKey::new(suite, &state.ours, &state.iv_key, state.next_iv)?,
            open: OpenKey::new(suite, &state.theirs)?,
            source: state.source,
            log: state.log,
            ours: state.ours,
            theirs: state.theirs,
            iv_key: state.iv_key,
        })
    }

    /// The keys as plain data.
    pub(crate) fn into_state(self) -> IkeKeysState {
        IkeKeysState {
            next_iv: self.seal.next_iv(),
            ours: self.ours,
            theirs: self.theirs,
            iv_key: self.iv_key,
            source: self.source,
            log: self.log,
        }
    }

    /// The keys of a CHILD SA. None once no more CHILD SAs may be made.
    pub(crate) fn child_keys(
        &self,
        suite: EspSuite,
        nonces: &Nonces,
        shared: Option<&Secret>,
    ) -> Option<ChildKeys> {
        let source = self.source.as_ref()?;
        Some(source.child_keys(suite, nonces, shared))
    }

    /// Forgets SK_d, from which keys of CHILD SAs could be computed again (RFC 7296 section 2.12).
    pub(crate) fn forget_source(&mut self) {
        self.source = None;
    }
}

/// SK_pi and SK_pr. Only a handshake has them: an IKE SA drops them after IKE_AUTH, and a rekeyed
/// IKE SA never needs them.
pub(crate) struct AuthKeys {
    /// SK_pi, for the initiator's AUTH.
    pub initiator: Secret,
    /// SK_pr, for the responder's AUTH.
    pub responder: Secret,
}

/// SK_d and the PRF it is used with.
pub(crate) struct ChildKeySource {
    pub prf: Prf,
    sk_d: Secret,
}

/// The keys of both directions of a CHILD SA.
pub(crate) struct ChildKeys {
    /// From the initiator of the exchange to the responder.
    pub from_initiator: DirectionKeys,
    /// From the responder to the initiator.
    pub from_responder: DirectionKeys,
}

impl ChildKeySource {
    /// KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr), cut in the order of RFC 7296 section 2.17.
    pub(crate) fn child_keys(
        &self,
        suite: EspSuite,
        nonces: &Nonces,
        shared: Option<&Secret>,
    ) -> ChildKeys {
        let cipher_len = suite.encryption.keymat_len();
        let integrity_len = suite.integrity.map_or(0, Integrity::key_len);
        let seed = [
            shared.map_or(&[][..], Secret::expose),
            nonces.initiator.as_slice(),
            nonces.responder.as_slice(),
        ];
        let len = 2 * (cipher_len + integrity_len);
        let stream = self.prf.expand(self.sk_d.expose(), &seed, len);
        let mut cut = Cutter(stream.expose());
        let mut direction = || DirectionKeys {
            encryption: cut.take(cipher_len),
            integrity: cut.take(integrity_len),
        };
        ChildKeys {
            from_initiator: direction(),
            from_responder: direction(),
        }
    }
}

/// Takes keys off the front of a key stream.
struct Cutter<'a>(&'a [u8]);

impl Cutter<'_> {
    fn take(&mut self, len: usize) -> Secret {
        let (key, rest) = self.0.split_at_checked(len).unwrap_or((self.0, &[]));
        self.0 = rest;
        Secret::from(key)
    }
}
