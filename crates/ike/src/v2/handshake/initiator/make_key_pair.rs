//! Waiting for our own key pair, before IKE_SA_INIT is sent.

use vgw_crypto::PrivateKey;

use super::await_init::AwaitInit;
use super::{Attempt, Initiator, State};
use crate::core::env::Env;
use crate::core::job::{Computation, Computed, Step};
use crate::v2::channel::window::Window;
use crate::v2::wire::Proposal;

/// What IKE_SA_INIT offers, apart from the key exchange, and what became of it so far.
pub(super) struct Offer {
    pub(super) nonce: Vec<u8>,
    pub(super) offered: Vec<Proposal>,
    pub(super) cookie: Option<Vec<u8>>,
    /// How often the peer sent us back.
    pub(super) restarts: u8,
    pub(super) refusal: Option<String>,
}

/// Waits for the key pair.
pub(super) struct MakeKeyPair {
    pub(super) offer: Offer,
}

impl MakeKeyPair {
    pub(super) fn begin(
        self,
        env: &mut Env<'_>,
        mut attempt: Attempt,
        ours: PrivateKey,
    ) -> Box<Initiator> {
        // Nothing that was asked before is asked any more.
        attempt.window = Window::default();
        match env.compute(attempt.id, Step::MakeKeyPair(ours)) {
            Computation::Done(computed) => self.computed(env, attempt, computed),
            Computation::HandedOut(job) => {
                attempt.job = Some(job);
                self.waiting(attempt)
            }
        }
    }

    pub(super) fn computed(
        self,
        env: &mut Env<'_>,
        mut attempt: Attempt,
        computed: Computed,
    ) -> Box<Initiator> {
        let Computed::KeyPair(key_pair) = computed else {
            return self.waiting(attempt);
        };
        let mut next = AwaitInit {
            key_pair,
            offer: self.offer,
            request: Vec::new(),
        };
        next.ask(env, &mut attempt);
        next.waiting(attempt)
    }

    fn waiting(self, attempt: Attempt) -> Box<Initiator> {
        Box::new(Initiator {
            attempt,
            state: State::MakeKeyPair(Box::new(self)),
        })
    }
}
