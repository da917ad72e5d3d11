//! Runs scenarios, one at a time.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use vgw_harness::stage::leaks;
use vgw_harness::workspace::{directory, forget};

/// Scenarios measure losses and times; they would disturb one another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs a scenario while no other runs.
///
/// # Panics
/// If it fails, or an address of a host was seen outside ESP.
pub fn alone(name: &str, scenario: fn() -> Result<()>) {
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
