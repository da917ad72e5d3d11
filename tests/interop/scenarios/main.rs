//! Scenarios in network namespaces against real peers.
//!
//! A scenario is a folder here: the peer's configuration, ours, and `mod.rs`, which says
//! what is done and what must be seen. What is seen is read from `vgw status --json`,
//! from `swanctl` and from the probes of `vgw-lab`; nothing is judged by waiting or by
//! the text of a log.
//!
//! Hosts are behind the gateways, and every scenario fails if one address of theirs, or
//! of a tunnel's inside, is seen on the internet outside ESP: `leaks`.

use vgw_interop::alone;

mod aes_cbc_hmac;
mod aes_gcm;
mod algorithm_lists;
mod alike_sites;
mod bandwidth_limit;
mod cloud_nat;
mod cloudhub;
mod crash_token;
mod daemon_restart;
mod df_policy;
mod fail_closed;
mod failover;
mod failover_partly_dead;
mod first_connection;
mod hostile_site;
mod ikev1_and_childless;
mod ipv6_inside;
mod key_log;
mod line_down;
mod lossy_rekey;
mod lost_icmp;
mod nat;
mod native_esp;
mod no_needless_failover;
mod no_pfs;
mod no_proposal;
mod old_kernel;
mod peer_restart;
mod rekey;
mod small_mtu_link;
mod strongswan_pair;
mod unacceptable_selectors;
mod under_systemd;
mod up_from_peer;
mod up_from_us;
mod vpc_namespace;
mod why_not_up;
mod wrong_psk;

/// A test of each scenario, by its name. One that is left out is dead code.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            #[ignore = "needs root"]
            fn $name() {
                alone(stringify!($name), $name::run);
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
    small_mtu_link,
    failover,
    failover_partly_dead,
    no_needless_failover,
    line_down,
    rekey,
    lossy_rekey,
    no_pfs,
    peer_restart,
    daemon_restart,
    crash_token,
    fail_closed,
    why_not_up,
    wrong_psk,
    no_proposal,
    ikev1_and_childless,
    unacceptable_selectors,
    key_log,
    native_esp,
    first_connection,
    old_kernel,
    under_systemd,
);
