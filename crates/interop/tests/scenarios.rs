//! Runs the scenarios, one at a time.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use vgw_interop::stage::leaks;
use vgw_interop::workspace::{directory, forget};

/// Scenarios measure losses and times; they would disturb one another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone(name: &str, scenario: fn() -> Result<()>) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let failure = |outcome: Result<()>| outcome.err().map(|error| format!("{error:#}"));
    let mut failures: Vec<String> = failure(scenario()).into_iter().chain(leaks()).collect();
    let logs = directory(name);
    if failures.is_empty() {
        failures.extend(failure(forget(name)));
    }
    assert!(
        failures.is_empty(),
        "{}\nits logs are in {}",
        failures.join("\n"),
        logs.display()
    );
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
    cloud_nat,
    algorithm_lists,
    alike_sites,
    cloudhub,
    hostile_site,
    bandwidth_limit,
    df_policy,
    lost_icmp,
    narrow_link,
    failover,
    rekey,
    lossy_rekey,
    no_pfs,
    peer_restart,
    daemon_restart,
    crash_token,
    fail_closed,
    awaited,
    wrong_psk,
    no_proposal,
    ikev1_and_childless,
    unacceptable_selectors,
    capture,
    native_esp,
    first_connection,
    old_kernel,
    under_systemd,
);
