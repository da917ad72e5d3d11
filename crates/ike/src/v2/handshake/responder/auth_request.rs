//! The content of an IKE_AUTH request: the peer it claims to come from, or why we refuse it.

use std::sync::Arc;

use vgw_sa::TunnelId;

use crate::core::bounded_text::few;
use crate::core::drop_reason::DropReason;
use crate::peer::config::PeerConfig;
use crate::peer::peers::Peers;
use crate::v2::handshake::auth_failure::{WrongKeyOwner, wrong_identity};
use crate::v2::handshake::nat::AddressPair;
use crate::v2::messages::AuthRequest;
use crate::v2::messages::grammar::GrammarError;
use crate::v2::wire::{ClearMessage, Id, Notify, NotifyType, PayloadType, decode_payloads};

/// Why IKE_AUTH is refused.
pub(super) struct AuthRefusal {
    pub(super) peer: Option<TunnelId>,
    pub(super) reason: DropReason,
    pub(super) notify: Notify,
    pub(super) why: String,
    /// The owner of the key that AUTH was made with, if it is known.
    pub(super) wrong_key: Option<Box<WrongKeyOwner>>,
}

/// Reads an IKE_AUTH request, or says why we refuse it; the refusal names no peer yet.
pub(super) fn read_auth(
    message: &ClearMessage,
    first: PayloadType,
    plaintext: &[u8],
) -> Result<AuthRequest, AuthRefusal> {
    let refused = |reason, notify, why: String| AuthRefusal {
        peer: None,
        reason,
        notify,
        why,
        wrong_key: None,
    };
    let payloads = decode_payloads(first, plaintext).map_err(|error| {
        let notify = Notify::new(NotifyType::INVALID_SYNTAX, Vec::new());
        refused(DropReason::AuthFailed, notify, error.to_string())
    })?;
    AuthRequest::parse(&message.payloads, payloads).map_err(|error| {
        let reason = match error {
            GrammarError::Childless => DropReason::Childless,
            _ => DropReason::AuthFailed,
        };
        refused(reason, error.notify(), error.to_string())
    })
}

/// Whether an IKE_AUTH request comes from a peer that we do not answer.
pub(super) fn is_silenced(peers: &Peers, at: AddressPair, request: &AuthRequest) -> bool {
    let (local, remote) = (at.local.ip(), at.remote.ip());
    request.id_i.identity().is_some_and(|identity| {
        peers.named(local, remote, &identity).is_empty()
            && peers.is_silenced_name(local, remote, &identity)
    })
}

/// The peer that an IKE_AUTH request claims to come from.
pub(super) fn claimed_peer(
    peers: &Peers,
    at: AddressPair,
    request: &AuthRequest,
) -> Result<(TunnelId, Arc<PeerConfig>), AuthRefusal> {
    let (local, remote) = (at.local.ip(), at.remote.ip());
    // A refusal counts for the only peer that is configured at this address, if there is one.
    let only = peers.only_at(local, remote);
    let Some(identity) = request.id_i.identity() else {
        let kind = request.id_i.kind;
        let why = format!("the peer's identity is of type {kind}, expected one we know");
        return Err(auth_failed(only, why));
    };
    // RFC 7296 section 2.15: IDr says which identity of ours the initiator wants. If we do not have
    // that one, the initiator judges our answer.
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
    Err(auth_failed(only, wrong_identity(&request.id_i, expected)))
}

pub(super) fn auth_failed(peer: Option<TunnelId>, why: String) -> AuthRefusal {
    AuthRefusal {
        peer,
        reason: DropReason::AuthFailed,
        notify: Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new()),
        why,
        wrong_key: None,
    }
}
