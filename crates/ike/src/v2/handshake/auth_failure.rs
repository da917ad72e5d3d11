//! The explanations of failed authentication, at either end: wrong keys and wrong identities.

use std::fmt;

use crate::peer::config::PeerConfig;
use crate::peer::identity::Identity;
use crate::v2::wire::{AuthMethod, Id};

/// The longest unproven identity in a log, in characters; a host name has at most 255 octets (RFC
/// 1035 section 2.3.4).
const MAX_CLAIM: usize = 255;

/// Why an AUTH payload is not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthFailure {
    /// It was not made with a pre-shared key.
    #[error("the peer authenticates by {0}, expected {expected}", expected = AuthMethod::SHARED_KEY)]
    Method(AuthMethod),
    /// It was made with a key that we do not know.
    #[error(
        "the peer's AUTH does not match our pre-shared key for it; compare the keys, \
         and which tunnel each is for"
    )]
    UnknownKey,
    /// It was made with the key of another peer.
    #[error("the peer's AUTH {0}")]
    WrongKey(WrongKeyOwner),
}

/// Whose key a peer used instead of its own.
#[derive(Debug, Clone)]
pub(crate) struct WrongKeyOwner {
    pub(super) used: String,
    pub(super) expected: String,
}

impl fmt::Display for WrongKeyOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { used, expected } = self;
        write!(
            f,
            "was made with the pre-shared key of {used}, not with that of {expected}: at the \
             peer the two keys are swapped, or the addresses that its tunnels go to"
        )
    }
}

/// As responder: the initiator answered our AUTH with AUTHENTICATION_FAILED. `id_r` is the identity
/// that the initiator asked for.
pub(crate) fn refused_by_initiator(config: &PeerConfig, id_r: Option<&str>) -> String {
    let ours = config.local_id.to_string();
    match id_r {
        Some(asked) if *asked != ours => format!(
            "the peer did not accept us: it asked for {asked}, we said we are {ours}; \
             compare the identities"
        ),
        Some(_) => format!(
            "the peer did not accept our AUTH as {ours}, for which it asked: \
             compare the pre-shared key"
        ),
        None => format!(
            "the peer did not accept us: we said we are {ours}; \
             compare the identities and the pre-shared key"
        ),
    }
}

/// As initiator: the responder answered our AUTH with AUTHENTICATION_FAILED. `wrong_key` says whose
/// key the peer recently used as initiator.
pub(super) fn refused_by_responder(
    config: &PeerConfig,
    wrong_key: Option<&WrongKeyOwner>,
) -> String {
    match wrong_key {
        Some(owner) => format!("the peer did not accept us, and its own AUTH {owner}"),
        None => format!(
            "the peer did not accept us: we said we are {} and asked for {}; \
             compare the pre-shared key and the identities",
            config.local_id, config.remote_id
        ),
    }
}

/// The peer's identity is not the expected one.
pub(super) fn wrong_identity(id: &Id, expected: impl fmt::Display) -> String {
    format!("the peer says it is {}, expected {expected}", id_text(id))
}

/// The content of an ID payload, proved or not, for a log.
pub(crate) fn id_text(id: &Id) -> String {
    match id.identity() {
        Some(identity) => bounded(&identity),
        None => format!("something of ID type {}", id.kind),
    }
}

/// An unproven identity, cut to the length of an honest one.
fn bounded(id: &Identity) -> String {
    let text = id.to_string();
    match text.char_indices().nth(MAX_CLAIM) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
