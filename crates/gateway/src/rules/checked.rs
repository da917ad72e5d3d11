//! What keeps every rule.

use std::ops::Deref;

use super::{Violation, gateway};
use crate::domain::Gateway;

/// A value that keeps every rule. Only the rules make one, so whoever holds it need not
/// ask whether it is allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked<T>(T);

/// Checks a gateway and its connections.
///
/// # Errors
/// Everything that is wrong with them.
pub fn check(gateway: Gateway) -> Result<Checked<Gateway>, Vec<Violation>> {
    let violations = self::gateway(&gateway);
    if violations.is_empty() {
        return Ok(Checked(gateway));
    }
    Err(violations)
}

impl<T> Checked<T> {
    /// The value, which may then be changed.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Checked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
