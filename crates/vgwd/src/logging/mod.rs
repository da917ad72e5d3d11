//! Where log lines go: to the journal with fields, or to standard error as text.
//!
//! A thread that logs never waits: [`queue`] holds what is to be written, and
//! [`limiter`] bounds how much that is.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use self::limiter::Limiter;
use self::queue::{Queue, Writer};
use crate::config::{Log, LogFormat};
use crate::seccomp::{ThreadKind, confine};

mod escape;
mod journal;
mod limiter;
mod queue;
mod text;

pub use queue::LostLines;

/// The target of lines about the log itself, which are never held back.
const ABOUT_THE_LOG: &str = "vgwd::logging";
/// At the end, the reader of the log has so long to take what is left.
const FLUSH: Duration = Duration::from_secs(1);

type Sink = Box<dyn FnMut(&[u8]) -> io::Result<()> + Send>;

/// The running log, whose level may be changed. What still waits is written when it
/// is dropped.
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    queue: Queue,
    /// Until [`Self::start_writer`].
    writer: Option<Writer<Sink>>,
}

impl std::fmt::Debug for Logging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logging").finish_non_exhaustive()
    }
}

impl Logging {
    /// Starts logging for the whole process. Lines wait until [`Self::start_writer`].
    ///
    /// # Errors
    /// When the journal is not there, or logging has been started already.
    pub fn start(log: &Log) -> Result<Self> {
        let (filter, level) = reload::Layer::new(log.level);
        let to_journal = match log.format {
            LogFormat::Journal => true,
            LogFormat::Text => false,
            LogFormat::Auto => started_by_journald(),
        };
        let sink: Sink = if to_journal {
            Box::new(journal::open().context("opening the journal")?)
        } else {
            Box::new(|line: &[u8]| io::stderr().write_all(line))
        };
        let (queue, writer) = Queue::new(sink);
        let output: Box<dyn Layer<_> + Send + Sync> = if to_journal {
            let lines = tracing_subscriber::fmt::layer().with_writer(queue.clone());
            Box::new(lines.event_format(journal::Entry {
                identifier: program_name(),
            }))
        } else {
            Box::new(text::lines(queue.clone(), io::stderr().is_terminal()))
        };
        tracing_subscriber::registry()
            .with(filter)
            .with(Limiter::new(queue.clone(), clock()))
            .with(output)
            .try_init()
            .context("starting the log")?;
        flush_at_panic(queue.clone());
        Ok(Self {
            level,
            queue,
            writer: Some(writer),
        })
    }

    /// Starts the thread that writes; once privileges are dropped, because each
    /// thread has its own.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start_writer(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            std::thread::Builder::new()
                .name("vgw-log".to_owned())
                .spawn(|| {
                    if let Err(error) = confine(ThreadKind::Log) {
                        tracing::error!(%error, "the thread that writes the log is not confined: {error}");
                    }
                    writer.run();
                })
                .context("starting the thread that writes the log")?;
        }
        Ok(())
    }

    /// Changes what is logged from now on.
    ///
    /// # Errors
    /// When the log is gone.
    pub fn set_level(&self, level: LevelFilter) -> Result<()> {
        self.level.reload(level).context("changing the log's level")
    }

    /// Lines that were not written since the start.
    #[must_use]
    pub fn losses(&self) -> LostLines {
        self.queue.losses()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        match &mut self.writer {
            Some(writer) => writer.drain(),
            None => self.queue.flush(FLUSH),
        }
    }
}

/// What was logged before a panic tells how it came to it.
fn flush_at_panic(queue: Queue) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        queue.flush(FLUSH);
        report(panic);
    }));
}

/// Microseconds since now.
fn clock() -> impl Fn() -> u64 {
    let start = Instant::now();
    move || u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX / 2)
}

/// The name of the running program's file.
fn program_name() -> String {
    let file = std::env::current_exe().ok();
    file.as_deref()
        .and_then(std::path::Path::file_name)
        .map_or_else(
            || "vgwd".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
}

/// Whether standard error is the journal: JOURNAL_STREAM names its device and inode
/// (systemd.exec(5)).
fn started_by_journald() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .and_then(|fd| File::from(fd).metadata());
    stderr.is_ok_and(|found| stream == format!("{}:{}", found.dev(), found.ino()))
}
