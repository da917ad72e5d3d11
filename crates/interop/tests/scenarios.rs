//! Runs the scenarios, one at a time.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use vgw_interop::workspace::{directory, forget};

/// Scenarios measure losses and times; they would disturb one another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone(name: &str, scenario: fn() -> Result<()>) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = scenario().and_then(|()| forget(name));
    let failure = outcome.err().map(|error| format!("{error:#}"));
    let logs = directory(name);
    assert_eq!(failure, None, "its logs are in {}", logs.display());
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        #[path = "../scenarios"]
        mod scenarios {
            $(pub mod $name;)*
        }
        $(
            #[test]
            fn $name() {
                alone(stringify!($name), scenarios::$name::run);
            }
        )*
    };
}

scenarios!(
    strongswan_pair,
    up_from_peer,
    up_from_us,
    aes_gcm,
    aes_cbc_hmac,
    ipv6_inside,
    vpc_namespace,
    nat,
    cloudhub,
    bandwidth_limit,
    df_policy,
    failover,
    rekey,
    lossy_rekey,
    peer_restart,
    daemon_restart,
    wrong_psk,
    no_proposal,
    unacceptable_selectors,
    capture,
    native_esp,
    old_kernel,
);
