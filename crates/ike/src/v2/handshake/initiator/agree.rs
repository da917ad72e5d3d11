//! Waiting for the secret shared with the responder, before we send IKE_AUTH.

use vgw_crypto::{IkeSuite, KeyExchangeError, RandomError, Secret};
use vgw_sa::NATT_PORT;

use super::await_auth::AwaitAuth;
use super::{Attempt, Outcome};
use crate::core::env::Env;
use crate::core::event::{DownReason, Nat, Role};
use crate::v2::channel::keys::{Nonces, SkeySeed, SpiPair};
use crate::v2::established::PendingChild;
use crate::v2::handshake::nat::{AddressPair, OwnNat, with_port};

/// Waits for the shared secret.
pub(super) struct Agree {
    pub(super) suite: IkeSuite,
    pub(super) spis: SpiPair,
    pub(super) nonces: Nonces,
    pub(super) init_request: Vec<u8>,
    pub(super) init_response: Vec<u8>,
    pub(super) nat: Nat,
    pub(super) own_nat: OwnNat,
}

impl Agree {
    /// Sends IKE_AUTH. `initial_contact` is whether no other IKE SA with this peer is up.
    pub(super) fn agreed(
        self,
        env: &mut Env<'_>,
        mut attempt: Attempt,
        shared: Result<Secret, KeyExchangeError>,
        initial_contact: bool,
    ) -> Outcome {
        let shared = match shared {
            Ok(shared) => shared,
            Err(error) => return over(env, &attempt, &error),
        };
        let Some(iv_key) = env.iv_key() else {
            return over(env, &attempt, &RandomError);
        };
        let keys = SkeySeed::first(self.suite.prf, &self.nonces, &shared).expand(
            self.suite,
            &self.nonces,
            self.spis,
            Role::Initiator,
            &iv_key,
            env.key_log(),
        );
        let (keys, auth_keys) = match keys {
            Ok(keys) => keys,
            Err(error) => return over(env, &attempt, &error),
        };
        let Some(child) = PendingChild::new(env, &attempt.config, None, None) else {
            return over(env, &attempt, &"no inbound SPI or no random number is left");
        };
        if self.nat.local || self.nat.remote {
            // RFC 7296 section 2.23: the initiator moves to port 4500, from IKE_AUTH on.
            attempt.way = AddressPair {
                local: with_port(attempt.way.local, NATT_PORT),
                remote: with_port(attempt.way.remote, NATT_PORT),
            };
        }
        let mut next = AwaitAuth {
            keys,
            sk_pr: auth_keys.responder,
            suite: self.suite,
            spis: self.spis,
            nonces: self.nonces,
            init_response: self.init_response,
            nat: self.nat,
            own_nat: self.own_nat,
            child,
        };
        next.ask(
            env,
            &mut attempt,
            &self.init_request,
            &auth_keys.initiator,
            initial_contact,
        );
        next.waiting(attempt)
    }
}

fn over(env: &mut Env<'_>, attempt: &Attempt, why: &dyn std::fmt::Display) -> Outcome {
    attempt.report(env, DownReason::Refused(why.to_string()));
    Outcome::Over
}
