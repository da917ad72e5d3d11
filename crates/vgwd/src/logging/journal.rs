//! Log lines with fields for systemd's journal, in its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! `tracing-journald` would send from the thread that logs, and stand still with
//! it while the journal is not read.

use std::fmt::{self, Write};
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::escape::Escaped;

const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal's socket.
///
/// # Errors
/// When there is no journal.
pub(super) fn open() -> io::Result<impl FnMut(&[u8]) -> io::Result<()> + Send> {
    let socket = UnixDatagram::unbound()?;
    // The journal ignores an empty message.
    socket.send_to(&[], SOCKET)?;
    Ok(move |entry: &[u8]| socket.send_to(entry, SOCKET).map(drop))
}

/// Writes an event as an entry of the journal: `NAME=value` lines. Fields have the
/// names that `tracing-journald` gives them, which users may search for.
pub(super) struct Entry {
    /// SYSLOG_IDENTIFIER.
    pub(super) identifier: String,
}

impl<S, N> FormatEvent<S, N> for Entry
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let about = event.metadata();
        // sd-daemon(3): from error, 3, to debug, 7.
        let priority = match *about.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 5,
            Level::DEBUG => 6,
            Level::TRACE => 7,
        };
        let mut fields = Fields {
            entry: String::new(),
        };
        fields.put("PRIORITY", &priority);
        fields.put("SYSLOG_IDENTIFIER", &self.identifier);
        fields.put("TARGET", &about.target());
        if let Some(file) = about.file() {
            fields.put("CODE_FILE", &file);
        }
        if let Some(line) = about.line() {
            fields.put("CODE_LINE", &line);
        }
        event.record(&mut fields);
        writer.write_str(&fields.entry)
    }
}

struct Fields {
    entry: String,
}

impl Fields {
    /// Of what a value says, a newline would end it, and other control characters would
    /// have `journalctl` show none of it.
    fn put(&mut self, name: &str, value: &dyn fmt::Display) {
        // Writing to a string does not fail.
        let _ = write!(Escaped(&mut self.entry), "{name}={value}");
        self.entry.push('\n');
    }

    fn put_field(&mut self, field: &Field, value: &dyn fmt::Display) {
        if field.name() == "message" {
            return self.put("MESSAGE", value);
        }
        let allowed = |c: char| match c.to_ascii_uppercase() {
            c if c.is_ascii_alphanumeric() => c,
            _ => '_',
        };
        let name: String = field.name().chars().map(allowed).collect();
        self.put(&format!("F_{name}"), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_field(field, &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_field(field, &value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::Entry;
    use crate::logging::queue::Queue;

    #[test]
    fn an_event_becomes_one_entry_and_a_newline_begins_no_field() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&written);
        let (queue, mut writer) = Queue::new(move |entry: &[u8]| {
            to.lock().unwrap().push(entry.to_vec());
            Ok(())
        });
        let subscriber = tracing_subscriber::fmt()
            .with_writer(queue)
            .event_format(Entry {
                identifier: "vgwd".to_owned(),
            })
            .finish();
        let line = line!() + 2;
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(
                target: "test",
                { remote.ip = %"192.0.2.1", why = "a\nPRIORITY=0" },
                "refused {}", 1
            );
        });
        writer.drain();
        let written = written.lock().unwrap();
        let [entry] = &written[..] else {
            panic!("{written:?}");
        };
        let file = file!();
        let expected = format!(
            "PRIORITY=4\nSYSLOG_IDENTIFIER=vgwd\nTARGET=test\nCODE_FILE={file}\nCODE_LINE={line}\n\
             MESSAGE=refused 1\nF_REMOTE_IP=192.0.2.1\nF_WHY=a\\nPRIORITY=0\n"
        );
        assert_eq!(String::from_utf8_lossy(entry), expected);
    }
}
