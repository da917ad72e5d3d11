//! Log lines, caught to be counted. Of level ERROR none may be written in a
//! simulated run.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
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
    lines: Arc<Mutex<Vec<Line>>>,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// Whose it is, a module path.
    pub target: String,
    /// What a reader of the journal sees.
    pub message: String,
    /// What else it holds, for machines.
    pub fields: BTreeMap<String, String>,
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.target, self.message)?;
        for (name, value) in &self.fields {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
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
    pub fn take(&self) -> Vec<Line> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ErrorLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let mut line = Line {
            level: *about.level(),
            target: about.target().to_owned(),
            message: String::new(),
            fields: BTreeMap::new(),
        };
        event.record(&mut line);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.message = value,
            name => drop(self.fields.insert(name.to_owned(), value)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .insert(field.name().to_owned(), value.to_owned());
    }
}
