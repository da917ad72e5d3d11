//! Virtual time for tests.

use std::time::Instant;

/// A point to count from; its value decides nothing.
#[allow(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere"
)]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}
