//! Which exchange is allowed in which state, decided before any payload is read: CREATE_CHILD_SA or
//! INFORMATIONAL are dropped here before authentication.

use crate::core::progress::ReceivedKind;
use crate::v2::wire::ExchangeType;

/// How far the handshake of an IKE SA is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// We sent IKE_SA_INIT.
    InitSent,
    /// We sent IKE_AUTH.
    AuthSent,
    /// IKE_SA_INIT came; we have not answered yet.
    InitReceived,
    /// We answered IKE_SA_INIT.
    InitAnswered,
    /// The peer is authenticated.
    Authenticated,
}

impl Stage {
    /// The kind of message that this stage admits; None for an IKE SA that is up.
    pub(crate) fn awaited(self) -> Option<ReceivedKind> {
        match self {
            Self::InitSent => Some(ReceivedKind::InitResponse),
            Self::AuthSent => Some(ReceivedKind::AuthResponse),
            Self::InitAnswered => Some(ReceivedKind::AuthRequest),
            Self::InitReceived | Self::Authenticated => None,
        }
    }
}

/// Whether a message is allowed in this stage.
pub(crate) fn admits(stage: Stage, exchange: ExchangeType, response: bool) -> bool {
    match stage {
        Stage::InitSent => response && exchange == ExchangeType::IKE_SA_INIT,
        // The peer does not know our SPI yet.
        Stage::InitReceived => false,
        Stage::AuthSent => response && exchange == ExchangeType::IKE_AUTH,
        Stage::InitAnswered => !response && exchange == ExchangeType::IKE_AUTH,
        Stage::Authenticated => {
            // IKE_AUTH may be repeated if our answer was lost.
            let repeated = !response && exchange == ExchangeType::IKE_AUTH;
            repeated
                || exchange == ExchangeType::CREATE_CHILD_SA
                || exchange == ExchangeType::INFORMATIONAL
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Stage, admits};
    use crate::v2::wire::ExchangeType;

    #[test]
    fn before_authentication_only_the_awaited_message_of_the_handshake_passes() {
        let before = [
            Stage::InitSent,
            Stage::AuthSent,
            Stage::InitReceived,
            Stage::InitAnswered,
        ];
        let admitted: Vec<_> = before
            .into_iter()
            .flat_map(|stage| {
                (0..=u8::MAX).flat_map(move |exchange| {
                    [false, true].map(|response| (stage, ExchangeType(exchange), response))
                })
            })
            .filter(|&(stage, exchange, response)| admits(stage, exchange, response))
            .collect();
        assert_eq!(
            admitted,
            [
                (Stage::InitSent, ExchangeType::IKE_SA_INIT, true),
                (Stage::AuthSent, ExchangeType::IKE_AUTH, true),
                (Stage::InitAnswered, ExchangeType::IKE_AUTH, false),
            ]
        );
    }

    #[test]
    fn an_authenticated_peer_cannot_begin_its_handshake_anew_within_the_sa() {
        for response in [false, true] {
            assert!(!admits(
                Stage::Authenticated,
                ExchangeType::IKE_SA_INIT,
                response
            ));
        }
        assert!(!admits(Stage::Authenticated, ExchangeType::IKE_AUTH, true));
    }
}
