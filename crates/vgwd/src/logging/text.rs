//! Log lines as text.

use std::fmt::{self, Write};

use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::Layer;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::registry::LookupSpan;

use super::escape::Escaped;
use super::queue::Queue;

/// Writes each event as a line, with colours if they are wanted.
pub(super) fn lines<S>(queue: Queue, colours: bool) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .with_writer(queue)
        .with_ansi(colours)
        .fmt_fields(debug_fn(write_field).delimited(" "))
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let mut writer = Escaped(writer);
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        name => write!(writer, "{name}={value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use crate::logging::queue::Queue;

    #[test]
    fn an_event_becomes_one_line_whatever_a_peer_says() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&written);
        let (queue, mut writer) = Queue::new(move |line: &[u8]| {
            to.lock().unwrap().push(line.to_vec());
            Ok(())
        });
        let subscriber = tracing_subscriber::registry().with(super::lines(queue, false));
        let peers = "x\n2026-01-01T00:00:00Z ERROR vgwd: forged\r\u{1b}[2K";
        tracing::subscriber::with_default(subscriber, || {
            let error = std::io::Error::other(peers);
            let error: &dyn std::error::Error = &error;
            tracing::warn!(target: "test", shown = %peers, text = peers, error, "of {peers}");
        });
        writer.drain();
        let written = written.lock().unwrap();
        let [line] = &written[..] else {
            panic!("{written:?}");
        };
        let line = String::from_utf8_lossy(line);
        let (_, said) = line.split_once("  WARN test: ").unwrap();
        let peers = r"x\n2026-01-01T00:00:00Z ERROR vgwd: forged\r\u{1b}[2K";
        let expected = format!("of {peers} shown={peers} text=\"{peers}\" error={peers}\n");
        assert_eq!(said, expected);
    }
}
