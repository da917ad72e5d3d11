//! Log lines, caught to be counted. Of level ERROR none may be written in a
//! simulated run.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, filter::LevelFilter};

/// The lines so far.
#[derive(Debug, Clone)]
pub struct ErrorLog {
    caught: Level,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Default for ErrorLog {
    fn default() -> Self {
        Self::up_to(Level::ERROR)
    }
}

impl ErrorLog {
    /// Catches lines up to this level.
    #[must_use]
    pub fn up_to(level: Level) -> Self {
        Self {
            caught: level,
            lines: Arc::default(),
        }
    }

    /// Runs something and catches what it logs. With `shown`, everything up to
    /// that level is also printed.
    pub fn watch<T>(&self, shown: Option<Level>, run: impl FnOnce() -> T) -> T {
        let caught = self
            .clone()
            .with_filter(LevelFilter::from_level(self.caught));
        let level = shown.map_or(LevelFilter::OFF, LevelFilter::from_level);
        let printed = tracing_subscriber::fmt::layer()
            .without_time()
            .with_test_writer()
            .with_filter(level);
        let subscriber = Registry::default().with(caught).with(printed);
        tracing::subscriber::with_default(subscriber, run)
    }

    /// Takes the lines.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ErrorLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line.0);
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String does not fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}
