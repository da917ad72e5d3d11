//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::interrupt;

const INTERVAL: Duration = Duration::from_millis(20);

/// Asks `condition` until it answers, and gives its answer.
///
/// # Errors
/// When it does not within `limit`, naming `what` was awaited; when it fails; when
/// the process is interrupted.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        interrupt::check()?;
        let last = start.elapsed() >= limit;
        if let Some(answer) = condition().with_context(|| format!("waiting for {what}"))? {
            return Ok(answer);
        }
        anyhow::ensure!(!last, "{what}: not seen within {limit:?}");
        std::thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_asked_once_more_at_the_limit() {
        let mut asked = 0;
        let error = wait_until("nothing", Duration::ZERO, || {
            asked += 1;
            Ok(None::<()>)
        });
        assert!(error.unwrap_err().to_string().starts_with("nothing"));
        assert_eq!(asked, 1);
    }
}
