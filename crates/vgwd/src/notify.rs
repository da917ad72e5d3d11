//! What we tell the service manager: sd_notify(3). Without one, nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;

/// Up: every socket is open and the tunnels are being brought up.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(since) => send(&[NotifyState::Reloading, since]),
        Err(error) => tracing::warn!(%error, "the monotonic clock cannot be read"),
    }
}

/// Going down in good order.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Still alive; see [`watchdog_period`].
pub fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often [`watchdog`] is to be called: twice within what the unit's
/// WatchdogSec allows. None: nobody watches.
#[must_use]
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled()
        .map(|limit| limit / 2)
        .filter(|period| !period.is_zero())
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
