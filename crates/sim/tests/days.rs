//! Simulated days. `VGW_SIM_SEEDS=n` runs n seeds for a day each instead of the few
//! that every test run takes, from `VGW_SIM_FIRST=s` on or from 1; `VGW_SIM_SEED=s`
//! replays one of either kind; `VGW_SIM_LOG=info` prints the log. Whole days are for
//! optimized builds: `cargo xtask test` makes one.

#![allow(clippy::panic, reason = "a test's helpers fail the test")]

use std::time::Duration;

use vgw_sim::days::{Plan, Summary, run};
use vgw_sim::error_log::ErrorLog;

const SHORT: Plan = Plan {
    gateways: 2,
    customers: 4,
    time: Duration::from_secs(2 * 3600),
    rebuilds: 0,
};

/// What `cargo xtask sim` takes.
const LONG: Plan = Plan {
    gateways: 3,
    customers: 9,
    time: Duration::from_secs(24 * 3600),
    rebuilds: 10,
};

/// Short seeds that every test run takes.
const FIXED: [u64; 4] = [1, 2, 3, 4];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

fn live(seed: u64, plan: Plan) -> Summary {
    let shown = std::env::var("VGW_SIM_LOG").ok();
    let shown = shown.map(|level| level.parse().unwrap_or(tracing::Level::INFO));
    let errors = ErrorLog::default();
    match errors.watch(shown, || run(seed, plan, &errors)) {
        Ok(summary) => {
            println!("seed {seed}: {summary:?}");
            summary
        }
        Err(failure) => {
            let replay = if plan == LONG {
                format!("cargo xtask sim --seed {seed}")
            } else {
                format!("VGW_SIM_SEED={seed} cargo test -p vgw-sim")
            };
            panic!("{failure}\nreplay with {replay}");
        }
    }
}

#[test]
fn gateways_live_through_days_of_trouble_and_lose_only_what_the_network_lost() {
    let seeds = number("VGW_SIM_SEEDS");
    let plan = if seeds.is_some() { LONG } else { SHORT };
    if let Some(seed) = number("VGW_SIM_SEED") {
        live(seed, plan);
        return;
    }
    if let Some(count) = seeds {
        let first = number("VGW_SIM_FIRST").unwrap_or(1);
        for seed in first..first + count {
            live(seed, plan);
        }
        return;
    }
    // What is judged must have happened.
    let lived = FIXED.map(|seed| live(seed, plan));
    let all = |count: fn(&Summary) -> u64| lived.iter().map(count).sum::<u64>();
    let happened = [
        all(|lived| lived.packets.told),
        all(|lived| lived.packets.fragmented),
        all(|lived| lived.packets.clamped),
        all(|lived| lived.packets.relayed),
        all(|lived| lived.late_rekeys),
    ];
    assert!(happened.iter().all(|count| *count > 0), "{happened:?}");
}

#[test]
fn nothing_is_different_where_sas_are_taken_as_plain_data_at_random_moments() {
    let small = |rebuilds| Plan {
        gateways: 2,
        customers: 3,
        time: Duration::from_secs(3600),
        rebuilds,
    };
    for seed in [1, 2] {
        assert_eq!(live(seed, small(100)), live(seed, small(0)), "seed {seed}");
    }
}

/// They take many minutes without optimization.
#[cfg(not(debug_assertions))]
mod whole_days {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::{LONG, live, number};

    /// Seeds that every test run takes, beside one that no other run takes.
    const FIXED: [u64; 1] = [4];

    #[test]
    fn some_whole_days_are_lived_in_every_test_run_and_one_is_new_each_time() {
        let asked_for = ["VGW_SIM_SEEDS", "VGW_SIM_SEED"];
        if asked_for.iter().any(|variable| number(variable).is_some()) {
            return;
        }
        for seed in FIXED.into_iter().chain([new_seed()]) {
            println!("a whole day by seed {seed}");
            live(seed, LONG);
        }
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "each test run is to take another seed; a failure names it"
    )]
    fn new_seed() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_secs()
    }
}
