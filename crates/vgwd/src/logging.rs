//! Where log lines go: to the journal with fields, or to standard error as text.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Log, LogFormat};

/// The running log, whose level may be changed.
#[derive(Debug)]
pub struct Logging(reload::Handle<LevelFilter, Registry>);

impl Logging {
    /// Starts logging for the whole process.
    ///
    /// # Errors
    /// When the journal is not there, or logging has been started already.
    pub fn start(log: &Log) -> Result<Self> {
        let (filter, handle) = reload::Layer::new(log.level);
        let to_journal = match log.format {
            LogFormat::Journal => true,
            LogFormat::Text => false,
            LogFormat::Auto => started_by_journald(),
        };
        let output: Box<dyn Layer<_> + Send + Sync> = if to_journal {
            Box::new(tracing_journald::layer().context("opening the journal")?)
        } else {
            let text = tracing_subscriber::fmt::layer()
                .with_writer(io::stderr)
                .with_ansi(io::stderr().is_terminal());
            Box::new(text)
        };
        tracing_subscriber::registry()
            .with(filter)
            .with(output)
            .try_init()
            .context("starting the log")?;
        Ok(Self(handle))
    }

    /// Changes what is logged from now on.
    ///
    /// # Errors
    /// When the log is gone.
    pub fn set_level(&self, level: LevelFilter) -> Result<()> {
        self.0.reload(level).context("changing the log's level")
    }
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
