//! Log lines on their way to whoever reads the log.
//!
//! Whoever logs only puts its line into a bounded queue. A thread of its own
//! writes, and it alone stands still while the log is not read. Lines that find
//! the queue full are lost, and counted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
pub(super) const MAX_LINES: usize = 8192;
/// Bytes of them.
pub(super) const MAX_BYTES: usize = 4 << 20;
/// A line is cut here, bytes.
pub(super) const MAX_LINE: usize = 16 << 10;
/// Losses are told at most this often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Log lines that nobody will read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LostLines {
    /// Lost because the log's reader was too slow, or was gone.
    pub lost: u64,
    /// Held back because there were too many in a short time.
    pub held_back: u64,
}

/// Takes lines from any thread and never blocks it.
#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lines: SyncSender<Vec<u8>>,
    /// Lines that are neither written nor lost yet.
    waiting_lines: AtomicUsize,
    waiting_bytes: AtomicUsize,
    lost: AtomicU64,
    held_back: AtomicU64,
}

/// The other end: writes what is in the queue to `sink`.
pub(super) struct Writer<S> {
    queue: Queue,
    lines: Receiver<Vec<u8>>,
    sink: S,
    told: LostLines,
    told_at: Option<Instant>,
}

impl Queue {
    /// A queue and what empties it. `sink` writes one line, and may block.
    pub(super) fn new<S: FnMut(&[u8]) -> io::Result<()>>(sink: S) -> (Self, Writer<S>) {
        let (sender, lines) = sync_channel(MAX_LINES);
        let queue = Self(Arc::new(Inner {
            lines: sender,
            waiting_lines: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }));
        let writer = Writer {
            queue: queue.clone(),
            lines,
            sink,
            told: LostLines::default(),
            told_at: None,
        };
        (queue, writer)
    }

    pub(super) fn push(&self, line: Vec<u8>) {
        let Inner {
            lines,
            waiting_lines,
            waiting_bytes,
            lost,
            ..
        } = &*self.0;
        let len = line.len();
        let before = waiting_bytes.fetch_add(len, Ordering::Relaxed);
        waiting_lines.fetch_add(1, Ordering::Relaxed);
        let taken = before.saturating_add(len) <= MAX_BYTES
            && match lines.try_send(line) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            };
        if !taken {
            waiting_bytes.fetch_sub(len, Ordering::Relaxed);
            waiting_lines.fetch_sub(1, Ordering::Relaxed);
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a line that is not to be written.
    pub(super) fn hold_back(&self) {
        self.0.held_back.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn losses(&self) -> LostLines {
        LostLines {
            lost: self.0.lost.load(Ordering::Relaxed),
            held_back: self.0.held_back.load(Ordering::Relaxed),
        }
    }

    /// Waits until every line is written, but not longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        const LOOK_AGAIN: Duration = Duration::from_millis(1);
        let until = Instant::now() + limit;
        while self.0.waiting_lines.load(Ordering::Acquire) > 0 && Instant::now() < until {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl<S: FnMut(&[u8]) -> io::Result<()>> Writer<S> {
    /// Writes for as long as there is somebody who may log.
    pub(super) fn run(mut self) {
        while let Ok(line) = self.lines.recv() {
            self.write(&line);
            self.tell_losses();
        }
    }

    /// Writes what waits now.
    pub(super) fn drain(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.write(&line);
        }
    }

    fn write(&mut self, line: &[u8]) {
        let inner = &*self.queue.0;
        inner.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        if (self.sink)(line).is_err() {
            inner.lost.fetch_add(1, Ordering::Relaxed);
        }
        inner.waiting_lines.fetch_sub(1, Ordering::Release);
    }

    /// Says so with a line of its own, which goes through the queue like any other.
    /// If that line is lost too, it is said again later.
    fn tell_losses(&mut self) {
        let losses = self.queue.losses();
        let lately = self.told_at.is_some_and(|at| at.elapsed() < TELL_EVERY);
        if losses == self.told || lately {
            return;
        }
        self.told_at = Some(Instant::now());
        let lost = losses.lost - self.told.lost;
        let held_back = losses.held_back - self.told.held_back;
        tracing::error!(
            target: super::ABOUT_THE_LOG,
            lost,
            held_back,
            "log lines are missing: {lost} because the log was read too slowly, {held_back} \
             because too much was logged"
        );
        if self.queue.losses().lost == losses.lost {
            self.told = losses;
        }
    }
}

/// One event, which the formatter writes in one piece.
pub(super) struct Line<'a>(&'a Queue);

impl io::Write for Line<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.push(cut(octets));
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// A line of bounded length. Where it is cut, no character is left in pieces.
fn cut(line: &[u8]) -> Vec<u8> {
    const CUT: &[u8] = "…\n".as_bytes();
    if line.len() <= MAX_LINE {
        return line.to_vec();
    }
    let is_start = |at: &usize| line.get(*at).is_some_and(|octet| octet & 0xC0 != 0x80);
    let at = (0..=MAX_LINE).rev().find(is_start).unwrap_or_default();
    let mut cut = line.get(..at).unwrap_or_default().to_vec();
    cut.extend_from_slice(CUT);
    cut
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tracing_subscriber::fmt::MakeWriter;

    use super::{LostLines, MAX_BYTES, MAX_LINE, MAX_LINES, Queue};

    type Written = Arc<Mutex<Vec<Vec<u8>>>>;

    /// A queue whose reader takes a line only for each `()` that is sent.
    fn slow() -> (Queue, mpsc::Sender<()>, Written) {
        let written = Written::default();
        let to = Arc::clone(&written);
        let (go, wait) = mpsc::channel();
        let (queue, writer) = Queue::new(move |line: &[u8]| {
            wait.recv().map_err(io::Error::other)?;
            to.lock().unwrap().push(line.to_vec());
            Ok(())
        });
        std::thread::spawn(|| writer.run());
        (queue, go, written)
    }

    #[test]
    fn whoever_logs_goes_on_while_the_log_is_not_read_and_what_is_lost_is_counted() {
        let (queue, go, written) = slow();
        let sent = 3 * MAX_LINES;
        for number in 0..sent {
            queue.push(number.to_string().into_bytes());
        }
        let lost = usize::try_from(queue.losses().lost).unwrap();
        assert!(lost >= sent - MAX_LINES - 1, "{lost}");
        for _ in lost..sent {
            go.send(()).unwrap();
        }
        queue.flush(Duration::from_secs(30));
        let written = written.lock().unwrap();
        assert_eq!(written.len(), sent - lost);
        // The oldest are kept, in their order.
        let first: Vec<_> = (0..10).map(|n: i32| n.to_string().into_bytes()).collect();
        assert_eq!(written[..10], first);
    }

    #[test]
    fn bytes_that_wait_are_bounded() {
        let (queue, _go, _) = slow();
        let line = vec![b'x'; MAX_BYTES / 8];
        for _ in 0..20 {
            queue.push(line.clone());
        }
        // One may be at the writer already.
        let lost = queue.losses().lost;
        assert!((11..=12).contains(&lost), "{lost}");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_lost_and_the_next_is_tried() {
        let mut broken = true;
        let (queue, mut writer) = Queue::new(move |_: &[u8]| {
            let result = if broken {
                Err(io::Error::other("gone"))
            } else {
                Ok(())
            };
            broken = false;
            result
        });
        queue.push(b"one".to_vec());
        queue.push(b"two".to_vec());
        writer.drain();
        let lost = LostLines {
            lost: 1,
            held_back: 0,
        };
        assert_eq!(queue.losses(), lost);
    }

    #[test]
    fn losses_are_told_in_the_log_itself() {
        let written = Written::default();
        let to = Arc::clone(&written);
        let (queue, mut writer) = Queue::new(move |line: &[u8]| {
            to.lock().unwrap().push(line.to_vec());
            Ok(())
        });
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(queue.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..5 {
                queue.hold_back();
            }
            writer.tell_losses();
            writer.tell_losses();
            writer.drain();
        });
        let written = written.lock().unwrap();
        let [told] = &written[..] else {
            panic!("{written:?}");
        };
        let told = String::from_utf8_lossy(told);
        assert!(told.contains("held_back=5"), "{told}");
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        let written = Written::default();
        let to = Arc::clone(&written);
        let (queue, mut writer) = Queue::new(move |line: &[u8]| {
            to.lock().unwrap().push(line.to_vec());
            Ok(())
        });
        let long = "ä".repeat(MAX_LINE);
        queue.make_writer().write_all(long.as_bytes()).unwrap();
        writer.drain();
        let written = written.lock().unwrap();
        let text = std::str::from_utf8(&written[0]).unwrap();
        assert!(text.len() <= MAX_LINE + 4 && text.ends_with("ä…\n"));
    }
}
