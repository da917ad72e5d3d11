//! What we tell the service manager: sd_notify(3). Without one, nothing is sent.
//!
//! A service manager that does not read stops whoever sends. So a thread of its
//! own sends, and the loop only puts what it says into a short queue.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::seccomp::{ThreadKind, confine};

/// Messages that may wait for a service manager that does not read; further ones are dropped.
const WAITING: usize = 8;
/// At the end, the service manager has so long to take what is left.
const FLUSH: Duration = Duration::from_secs(1);

/// Tells the service manager. When it is dropped, what was said has been sent.
#[derive(Debug)]
pub struct Notifier(Option<SendingThread>);

#[derive(Debug)]
struct SendingThread {
    said: SyncSender<String>,
    /// Closed when the thread ends.
    ended: Receiver<()>,
}

impl Notifier {
    /// Starts the thread if there is a service manager; once privileges are dropped,
    /// because each thread has its own.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start() -> io::Result<Self> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self(None));
        }
        Self::with(|said| {
            if let Err(error) = sd_notify::notify(&[NotifyState::Custom(said)]) {
                tracing::warn!(%error, "the service manager cannot be told: {error}");
            }
        })
    }

    /// `send` may block.
    fn with(mut send: impl FnMut(&str) + Send + 'static) -> io::Result<Self> {
        let (said, to_send) = sync_channel::<String>(WAITING);
        let (running, ended) = sync_channel(0);
        std::thread::Builder::new()
            .name("vgw-notify".to_owned())
            .spawn(move || {
                let _running: SyncSender<()> = running;
                if let Err(error) = confine(ThreadKind::Notify) {
                    tracing::error!(%error, "the thread that tells the service manager is not confined: {error}");
                }
                to_send.into_iter().for_each(|said| send(&said));
            })?;
        Ok(Self(Some(SendingThread { said, ended })))
    }

    /// Up: every socket is open and the tunnels are being brought up.
    pub fn ready(&self, status: &str) {
        self.say(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A reload begins; [`Self::ready`] ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(since) => self.say(&[NotifyState::Reloading, since]),
            Err(error) => tracing::warn!(%error, "the monotonic clock cannot be read: {error}"),
        }
    }

    /// Going down in good order.
    pub fn stopping(&self) {
        self.say(&[NotifyState::Stopping]);
    }

    /// Still alive; see [`watchdog_period`].
    pub fn watchdog(&self) {
        self.say(&[NotifyState::Watchdog]);
    }

    fn say(&self, states: &[NotifyState<'_>]) {
        let Some(thread) = &self.0 else {
            return;
        };
        let lines: Vec<_> = states.iter().map(ToString::to_string).collect();
        if thread.said.try_send(lines.join("\n")).is_err() {
            tracing::warn!("the service manager does not listen and is not told: {lines:?}");
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        if let Some(SendingThread { said, ended }) = self.0.take() {
            drop(said);
            // It ends when all is sent; nothing is ever received.
            let _ = ended.recv_timeout(FLUSH);
        }
    }
}

/// How often [`Notifier::watchdog`] is to be called: twice within what the unit's
/// WatchdogSec allows. None: nobody watches.
#[must_use]
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled()
        .map(|limit| limit / 2)
        .filter(|period| !period.is_zero())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::{Notifier, WAITING};

    #[test]
    fn whoever_speaks_goes_on_while_nobody_listens_and_the_rest_is_sent_at_the_end() {
        let (listen, listens) = mpsc::channel();
        let (sent, heard) = mpsc::channel();
        let notifier = Notifier::with(move |said| {
            listens.recv().unwrap();
            sent.send(said.to_owned()).unwrap();
        })
        .unwrap();
        notifier.ready("well");
        for _ in 0..10 * WAITING {
            notifier.watchdog();
        }
        for _ in 0..=WAITING {
            listen.send(()).unwrap();
        }
        drop(notifier);
        let heard: Vec<String> = heard.try_iter().collect();
        assert_eq!(heard[0], "READY=1\nSTATUS=well");
        assert!((WAITING..=WAITING + 1).contains(&heard.len()), "{heard:?}");
        assert!(heard[1..].iter().all(|said| said == "WATCHDOG=1"));
    }
}
