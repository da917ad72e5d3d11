//! Tokens by which a peer proves that it lost an IKE SA (RFC 6290).
//!
//! Each end gives the other a token for every IKE SA, inside that SA. An end that lost the SA makes
//! the same token again, from a key that outlived the loss. It sends the token in clear to a peer
//! that still uses the SA. Nobody else can make it, so the SA ends at once.
//!
//! The token is a MAC over the SPIs (section 5.1), the role and the maker's address. So a message
//! with a changed Initiator flag, or a copy of the machine at another address, gives another token.
//! RFC 6290 section 9.2: no token is sent in clear while the SA exists; the endpoint checks that.

use std::net::IpAddr;

use subtle::{Choice, ConstantTimeEq};
use vgw_crypto::{Prf, Secret};

use crate::core::event::Role;
use crate::v2::channel::keys::SpiPair;
use crate::v2::handshake::nat::address_octets;
use crate::v2::messages::Notifies;
use crate::v2::wire::{Notify, NotifyType, Payload, ProtocolId};

/// How long a token may be (RFC 6290 section 4.1).
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=128;

/// The notification with our token for an IKE SA in which we have this role and address.
pub(crate) fn notify(key: &Secret, spis: SpiPair, role: Role, local: IpAddr) -> Notify {
    let role = match role {
        Role::Initiator => [0],
        Role::Responder => [1],
    };
    let token = Prf::HmacSha256.compute(
        key.expose(),
        &[
            &role,
            &spis.initiator.to_be_bytes(),
            &spis.responder.to_be_bytes(),
            &address_octets(local),
        ],
    );
    Notify {
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        kind: NotifyType::QUICK_CRASH_DETECTION,
        data: token.expose().to_vec(),
    }
}

/// The token that the peer gives us in a protected message.
pub(crate) fn given(notifies: &Notifies) -> Option<Secret> {
    let token = notifies.find(NotifyType::QUICK_CRASH_DETECTION)?;
    LENGTHS
        .contains(&token.data.len())
        .then(|| Secret::from(token.data.as_slice()))
}

/// Whether one of the tokens in an unprotected message is the peer's. There may be several, made
/// with different keys (RFC 6290 section 4.5).
pub(crate) fn shown(token: &Secret, payloads: &[Payload]) -> bool {
    let shown = payloads.iter().filter_map(|payload| match payload {
        Payload::Notify(notify) => Some(notify),
        _ => None,
    });
    let tokens = shown.filter(|notify| notify.kind == NotifyType::QUICK_CRASH_DETECTION);
    tokens
        .fold(Choice::from(0), |found, notify| {
            found | notify.data.as_slice().ct_eq(token.expose())
        })
        .into()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use vgw_crypto::Secret;

    use super::{notify, shown};
    use crate::core::event::Role;
    use crate::v2::channel::keys::SpiPair;
    use crate::v2::wire::Payload;

    fn token(key: u8, spis: (u64, u64), role: Role, local: [u8; 4]) -> Vec<u8> {
        let (initiator, responder) = spis;
        let spis = SpiPair {
            initiator,
            responder,
        };
        notify(&Secret::new(vec![key; 32]), spis, role, IpAddr::from(local)).data
    }

    #[test]
    fn a_token_is_of_one_key_one_sa_one_end_and_one_address() {
        let here = [192, 0, 2, 1];
        let ours = token(1, (5, 6), Role::Responder, here);
        assert_eq!(ours.len(), 32);
        assert_eq!(token(1, (5, 6), Role::Responder, here), ours);
        let others = [
            token(2, (5, 6), Role::Responder, here),
            token(1, (6, 5), Role::Responder, here),
            token(1, (5, 6), Role::Initiator, here),
            token(1, (5, 6), Role::Responder, [192, 0, 2, 2]),
        ];
        for other in others {
            assert_ne!(other, ours);
        }
    }

    #[test]
    fn no_token_is_shown_where_there_is_none() {
        let token = Secret::new(vec![7; 32]);
        assert!(!shown(&token, &[]));
        assert!(!shown(&token, &[Payload::Nonce(vec![7; 32])]));
    }
}
