//! IKE messages on their way from the data plane's workers to the control loop.
//!
//! Anyone can send them, and more than the loop can take. So each is looked at on
//! the worker's thread, and waits in the queue of its [`SenderClass`]: what is known
//! comes before what is not, and whoever fills a queue stands in the way of his
//! own class only. Each queue is bounded in messages and in octets.
//!
//! The class comes from what the sender says and cannot prove yet. SPIs are 64
//! random bits, so naming one takes having seen its SA's messages; an address can
//! be forged, so configured ones share a queue with half-open SAs and not with
//! those that are established.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use vgw_ike::drop_reason::DropReason;
use vgw_ike::wire::peek_header;

mod known_senders;
mod spi_set;
mod unread;

use known_senders::SenderTable;
pub use known_senders::{KnownSenders, PeerAddresses};
pub use unread::UnreadMessage;

/// How many messages of peers that have an IKE SA may wait.
pub const ESTABLISHED: usize = 1024;

/// Whose message it may be. The order is that of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderClass {
    /// It names an IKE SA with a configured peer, established or begun by us.
    Established,
    /// It names an IKE SA whose peer has yet to authenticate, or comes from an
    /// address that a customer gateway is configured with.
    Handshake,
    /// Everybody else's.
    Stranger,
}

impl SenderClass {
    /// Every class, in order of its index.
    const ALL: [Self; 3] = [Self::Established, Self::Handshake, Self::Stranger];

    const fn index(self) -> usize {
        match self {
            Self::Established => 0,
            Self::Handshake => 1,
            Self::Stranger => 2,
        }
    }

    /// Its name in status and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Handshake => "handshake",
            Self::Stranger => "stranger",
        }
    }

    /// Messages, and octets of them, that may wait.
    const fn room(self) -> (usize, usize) {
        match self {
            Self::Established => (ESTABLISHED, 4 << 20),
            Self::Handshake => (256, 1 << 20),
            Self::Stranger => (128, 256 << 10),
        }
    }
}

/// Who is taken first, turn by turn, while all have something. So what is known
/// comes first, and nobody starves.
const TURNS: [SenderClass; 7] = [
    SenderClass::Established,
    SenderClass::Established,
    SenderClass::Handshake,
    SenderClass::Established,
    SenderClass::Established,
    SenderClass::Handshake,
    SenderClass::Stranger,
];

/// An IKE message that arrived, the non-ESP marker already taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The outside address and port that it came to.
    pub local: SocketAddr,
    /// Where it came from.
    pub remote: SocketAddr,
    /// Its octets.
    pub octets: Vec<u8>,
}

/// Why a message is dropped by what its header says, as [`peek_header`] gives it.
const UNREAD: [DropReason; 2] = [DropReason::Malformed, DropReason::OtherVersion];

/// Every reason for which a message is dropped here.
pub fn reasons() -> impl Iterator<Item = &'static str> {
    let unread = UNREAD.into_iter().map(DropReason::name);
    unread.chain(SenderClass::ALL.into_iter().map(full))
}

/// IKE messages since the start, before any was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Well-formed ones, by class.
    pub received: Vec<(&'static str, u64)>,
    /// Those that were dropped, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Requests for a new IKE SA.
    pub begins: u64,
    /// Those that name no IKE SA of ours.
    pub unknown_spi: u64,
}

#[derive(Debug, Default)]
struct Counters {
    received: [AtomicU64; 3],
    full: [AtomicU64; 3],
    unread: [AtomicU64; UNREAD.len()],
    begins: AtomicU64,
    unknown_spi: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    known: ArcSwap<SenderTable>,
    counters: Counters,
    unread: unread::UnreadSample,
    /// Octets that wait, by class.
    waiting: [AtomicUsize; 3],
}

/// The workers' end, where they put messages. It never blocks.
#[derive(Debug)]
pub struct InboxSender {
    shared: Arc<Shared>,
    queues: [mpsc::Sender<Message>; 3],
}

/// The loop's end, where it takes them.
#[derive(Debug)]
pub struct InboxReceiver {
    shared: Arc<Shared>,
    queues: [mpsc::Receiver<Message>; 3],
    /// Whose turn it is, an index of [`TURNS`].
    turn: usize,
}

/// A new inbox: the workers' end, the loop's, and what keeps the table of known senders current.
#[must_use]
pub fn open() -> (InboxSender, InboxReceiver, KnownSenders) {
    let shared = Arc::<Shared>::default();
    let [established, handshake, stranger] =
        SenderClass::ALL.map(|class| mpsc::channel(class.room().0));
    let sender = InboxSender {
        shared: Arc::clone(&shared),
        queues: [established.0, handshake.0, stranger.0],
    };
    let receiver = InboxReceiver {
        shared: Arc::clone(&shared),
        queues: [established.1, handshake.1, stranger.1],
        turn: 0,
    };
    (sender, receiver, KnownSenders::new(shared))
}

impl InboxSender {
    /// Puts a message into the queue of its class. False: that is full.
    pub fn put(&self, message: Message) -> bool {
        let counters = &self.shared.counters;
        let known = self.shared.known.load();
        let header = match peek_header(&message.octets) {
            Ok(header) => header,
            // Passed on, so that status can say that the peer speaks IKEv1.
            Err(DropReason::IkeV1) => {
                return self.put_in(known.of_address(message.remote.ip()), message);
            }
            Err(denial) => {
                self.drop_unread(&message, denial, &known);
                return true;
            }
        };
        let by_spi = known.by_spi(header.our_spi);
        if header.begins {
            add(&counters.begins);
        } else if by_spi.is_none() {
            add(&counters.unknown_spi);
        }
        let class = by_spi
            .filter(|_| !header.begins)
            .unwrap_or_else(|| known.of_address(message.remote.ip()));
        self.put_in(class, message)
    }

    fn put_in(&self, class: SenderClass, message: Message) -> bool {
        let counters = &self.shared.counters;
        count(&counters.received, class);
        let taken = self.queue(class, message);
        if !taken {
            count(&counters.full, class);
        }
        taken
    }

    fn drop_unread(&self, message: &Message, denial: DropReason, known: &SenderTable) {
        let mut counters = UNREAD.iter().zip(&self.shared.counters.unread);
        if let Some((_, counter)) = counters.find(|(of, _)| **of == denial) {
            add(counter);
        }
        let unread = UnreadMessage {
            local: message.local,
            remote: message.remote,
            denial,
        };
        let configured = known.of_address(message.remote.ip()) == SenderClass::Handshake;
        self.shared.unread.note(unread, configured);
    }

    fn queue(&self, class: SenderClass, message: Message) -> bool {
        let index = class.index();
        let (Some(queue), Some(waiting)) = (self.queues.get(index), self.shared.waiting.get(index))
        else {
            return false;
        };
        let len = message.octets.len();
        let before = waiting.fetch_add(len, Ordering::Relaxed);
        let (_, most) = class.room();
        let taken = before.saturating_add(len) <= most && queue.try_send(message).is_ok();
        if !taken {
            waiting.fetch_sub(len, Ordering::Relaxed);
        }
        taken
    }
}

impl InboxReceiver {
    /// The next message; waits for one. Dropped before it is ready, it loses none.
    pub async fn take(&mut self) -> Message {
        if let Some(message) = self.try_take() {
            return message;
        }
        let [established, handshake, stranger] = &mut self.queues;
        let (class, message) = tokio::select! {
            biased;
            Some(message) = established.recv() => (SenderClass::Established, message),
            Some(message) = handshake.recv() => (SenderClass::Handshake, message),
            Some(message) = stranger.recv() => (SenderClass::Stranger, message),
            // The data plane is gone, and that is told elsewhere.
            else => std::future::pending().await,
        };
        self.taken(class, &message);
        message
    }

    /// The next message of a peer that has an IKE SA, if one is there.
    pub fn try_take_established(&mut self) -> Option<Message> {
        let class = SenderClass::Established;
        let message = self.queues.get_mut(class.index())?.try_recv().ok()?;
        self.taken(class, &message);
        Some(message)
    }

    /// The next message, if one is there.
    pub fn try_take(&mut self) -> Option<Message> {
        let first = TURNS.get(self.turn).copied();
        self.turn = (self.turn + 1) % TURNS.len();
        let classes = first.into_iter().chain(SenderClass::ALL);
        for class in classes {
            let queue = self.queues.get_mut(class.index())?;
            if let Ok(message) = queue.try_recv() {
                self.taken(class, &message);
                return Some(message);
            }
        }
        None
    }

    fn taken(&self, class: SenderClass, message: &Message) {
        if let Some(waiting) = self.shared.waiting.get(class.index()) {
            waiting.fetch_sub(message.octets.len(), Ordering::Relaxed);
        }
    }
}

impl Counters {
    fn read(&self) -> MessageCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let named = |counters: &[AtomicU64; 3], name: fn(SenderClass) -> &'static str| -> Vec<_> {
            let classes = SenderClass::ALL.into_iter().zip(counters);
            classes.map(|(class, n)| (name(class), read(n))).collect()
        };
        let unread = UNREAD.into_iter().zip(&self.unread);
        let mut dropped: Vec<_> = unread.map(|(of, n)| (of.name(), read(n))).collect();
        dropped.extend(named(&self.full, full));
        MessageCounts {
            received: named(&self.received, SenderClass::name),
            dropped,
            begins: read(&self.begins),
            unknown_spi: read(&self.unknown_spi),
        }
    }
}

/// The reason for what found its class's queue full.
const fn full(class: SenderClass) -> &'static str {
    match class {
        SenderClass::Established => "established_queue_full",
        SenderClass::Handshake => "handshake_queue_full",
        SenderClass::Stranger => "stranger_queue_full",
    }
}

fn count(counters: &[AtomicU64; 3], class: SenderClass) {
    if let Some(counter) = counters.get(class.index()) {
        add(counter);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
