//! Both sides rekey the same SA at once (RFC 7296 sections 2.8.1 and 2.8.2).

use crate::core::event::SaId;
use crate::v2::channel::keys::Nonces;

/// The peer's rekey of the CHILD SA that we are rekeying.
#[derive(Debug)]
pub(crate) struct ChildCollision {
    /// Inbound SPI of the CHILD SA that the peer's exchange made.
    pub spi_in: u32,
    /// The nonces of that exchange.
    pub nonces: Nonces,
}

/// The peer's rekey of the IKE SA that we are rekeying.
#[derive(Debug)]
pub(crate) struct IkeCollision {
    /// The IKE SA that the peer's exchange made.
    pub peers_sa: SaId,
    /// The nonces of that exchange.
    pub nonces: Nonces,
}

/// Whether the SA of our exchange survives. The SA made with the lowest of the four nonces is
/// closed by the end that created it.
pub(crate) fn ours_survives(ours: &Nonces, theirs: &Nonces) -> bool {
    ours.lowest() > theirs.lowest()
}

#[cfg(test)]
mod tests {
    use super::ours_survives;
    use crate::v2::channel::keys::Nonces;

    fn nonces(initiator: u8, responder: u8) -> Nonces {
        Nonces {
            initiator: vec![initiator; 32],
            responder: vec![responder; 32],
        }
    }

    #[test]
    fn the_exchange_with_the_lowest_of_four_nonces_loses_on_both_sides() {
        for (a, b) in [
            (nonces(1, 9), nonces(2, 3)),
            (nonces(9, 1), nonces(2, 3)),
            (nonces(4, 5), nonces(9, 6)),
        ] {
            assert!(!ours_survives(&a, &b));
            assert!(ours_survives(&b, &a));
        }
    }

    #[test]
    fn a_shorter_nonce_is_lower_than_a_longer_one_that_it_begins() {
        let short = Nonces {
            initiator: vec![1; 16],
            responder: vec![2; 32],
        };
        assert!(!ours_survives(&short, &nonces(1, 2)));
    }
}
