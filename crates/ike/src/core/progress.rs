//! How far handshakes with a peer come: the explanation when no IKE SA is up.
//!
//! When a tunnel does not come up, most often messages are lost on the way, and nobody reports
//! that. So we note what came last, and what was repeated without the message that has to follow.
//! What we receive is noted by pair of addresses (`ReceivedNotes`), because before IKE_AUTH only
//! its address identifies a peer; what we send is noted by peer (`SentNotes`). The notes do not
//! grow with the messages. They are not authentic: an address can be forged.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use crate::v2::handshake::auth_failure::WrongKeyOwner;

/// What was last received from where a peer is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceivedKind {
    /// A message of IKEv1, which we do not speak.
    IkeV1,
    /// A datagram to an IKE port that is not an IKE message.
    NotIke,
    /// An IKE_SA_INIT request.
    InitRequest,
    /// The response to our IKE_SA_INIT.
    InitResponse,
    /// An IKE_AUTH request of a handshake that we answered.
    AuthRequest,
    /// The response to our IKE_AUTH.
    AuthResponse,
    /// A message that names no IKE SA of ours.
    OfUnknownSa,
    /// An ESP packet with an SPI that we do not receive with.
    EspOfUnknownSa,
    /// A packet or message of an SA that was up. It is not noted here: the caller knows what CHILD
    /// SAs receive.
    Authentic,
}

impl ReceivedKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::IkeV1,
        Self::NotIke,
        Self::InitRequest,
        Self::InitResponse,
        Self::AuthRequest,
        Self::AuthResponse,
        Self::OfUnknownSa,
        Self::EspOfUnknownSa,
        Self::Authentic,
    ];

    /// The name for scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IkeV1 => "ike_v1",
            Self::NotIke => "not_ike",
            Self::InitRequest => "init_request",
            Self::InitResponse => "init_response",
            Self::AuthRequest => "auth_request",
            Self::AuthResponse => "auth_response",
            Self::OfUnknownSa => "of_unknown_sa",
            Self::EspOfUnknownSa => "esp_of_unknown_sa",
            Self::Authentic => "authentic",
        }
    }
}

impl fmt::Display for ReceivedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IkeV1 => "IKEv1",
            Self::NotIke => "a message that is not IKE",
            Self::InitRequest => "IKE_SA_INIT",
            Self::InitResponse => "an answer to IKE_SA_INIT",
            Self::AuthRequest => "IKE_AUTH",
            Self::AuthResponse => "an answer to IKE_AUTH",
            Self::OfUnknownSa => "a message of an IKE SA that we do not have",
            Self::EspOfUnknownSa => "ESP of an SA that we do not have",
            Self::Authentic => "an authentic packet",
        })
    }
}

/// The last message received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastReceived {
    /// What it was.
    pub what: ReceivedKind,
    /// When.
    pub at: Instant,
    /// From where.
    pub remote: SocketAddr,
}

/// Messages in a row, without the message that has to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    /// How many; at least one.
    pub count: u32,
    /// When the first was.
    pub first: Instant,
    /// When the last was.
    pub last: Instant,
}

impl Repeats {
    /// Adds one.
    pub fn add(row: &mut Option<Self>, now: Instant) {
        let first = row.map_or(now, |row| row.first);
        let count = row.map_or(0, |row| row.count).saturating_add(1);
        *row = Some(Self {
            count,
            first,
            last: now,
        });
    }
}

/// Handshakes in a row that the peer began and we answered, without an IKE_AUTH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnfinishedHandshakes {
    /// The handshakes.
    pub handshakes: Repeats,
    /// IKE_SA_INIT requests that came again after we had answered them: our answers do not
    /// arrive.
    pub repeated: u32,
    /// Who began the last one.
    pub remote: SocketAddr,
    /// The initiator's SPI of the last one.
    spi_i: u64,
}

/// How far handshakes with a peer come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// When we began to take notes: when the peer was configured as it is.
    pub noted_since: Instant,
    /// What came last from the peer's address, or, if none is configured, from any address that
    /// belongs to no peer. Messages of IKE SAs that are up are not noted.
    pub last: Option<LastReceived>,
    /// Handshakes begun from there.
    pub begun: Option<UnfinishedHandshakes>,
    /// The IKE_SA_INIT requests that we sent, if none was answered.
    pub init_unanswered: Option<Repeats>,
    /// The IKE_AUTH requests that we sent and nobody answered, though IKE_SA_INIT was answered.
    pub auth_unanswered: Option<Repeats>,
    /// Whether the last of those went to UDP port 4500, because there is a NAT.
    pub auth_floated: bool,
}

impl Progress {
    /// Nothing has been received or sent since then.
    #[must_use]
    pub const fn none_since(noted_since: Instant) -> Self {
        Self {
            noted_since,
            last: None,
            begun: None,
            init_unanswered: None,
            auth_unanswered: None,
            auth_floated: false,
        }
    }
}

/// What was received between a pair of addresses, or at one address of ours from all addresses that
/// are not configured.
#[derive(Default)]
pub(crate) struct ReceivedNotes {
    pub(crate) last: Option<LastReceived>,
    pub(crate) begun: Option<UnfinishedHandshakes>,
}

impl ReceivedNotes {
    /// Notes a received message.
    pub(crate) fn note(&mut self, now: Instant, what: ReceivedKind, remote: SocketAddr) {
        self.last = Some(LastReceived {
            what,
            at: now,
            remote,
        });
        if matches!(what, ReceivedKind::AuthRequest | ReceivedKind::AuthResponse) {
            self.begun = None;
        }
    }

    /// Notes that we answered an IKE_SA_INIT request and its IKE SA waits for IKE_AUTH. If the SPI
    /// is the last one's, the request is a repetition: its first half-open SA may be gone.
    pub(crate) fn answered(&mut self, now: Instant, remote: SocketAddr, spi_i: u64) {
        if let Some(begun) = self.begun.as_mut().filter(|b| b.spi_i == spi_i) {
            begun.repeated = begun.repeated.saturating_add(1);
            begun.handshakes.last = now;
            return;
        }
        let repeated = self.begun.map_or(0, |begun| begun.repeated);
        let mut handshakes = self.begun.map(|begun| begun.handshakes);
        Repeats::add(&mut handshakes, now);
        self.begun = handshakes.map(|handshakes| UnfinishedHandshakes {
            handshakes,
            repeated,
            remote,
            spi_i,
        });
    }
}

/// What we sent to a peer without an answer, and whose key the peer used.
pub(crate) struct SentNotes {
    pub(crate) noted_since: Instant,
    pub(crate) init: Option<Repeats>,
    pub(crate) auth: Option<Repeats>,
    pub(crate) auth_floated: bool,
    /// The key that the peer used instead of its own; kept until an IKE SA is up.
    pub(crate) wrong_key: Option<WrongKeyOwner>,
}

impl SentNotes {
    pub(crate) fn since(now: Instant) -> Self {
        Self {
            noted_since: now,
            init: None,
            auth: None,
            auth_floated: false,
            wrong_key: None,
        }
    }

    /// Notes that IKE_SA_INIT was sent.
    pub(crate) fn sent_init(&mut self, now: Instant) {
        Repeats::add(&mut self.init, now);
    }

    /// Notes that IKE_AUTH was sent: IKE_SA_INIT was answered.
    pub(crate) fn sent_auth(&mut self, now: Instant, floated: bool) {
        self.init = None;
        Repeats::add(&mut self.auth, now);
        self.auth_floated = floated;
    }

    /// Notes that IKE_SA_INIT was answered, even by an error.
    pub(crate) fn init_answered(&mut self, _: Instant) {
        self.init = None;
    }

    /// Notes that IKE_AUTH was answered.
    pub(crate) fn auth_answered(&mut self, _: Instant) {
        self.init = None;
        self.auth = None;
    }

    /// Notes that an IKE SA is up.
    pub(crate) fn came_up(&mut self, now: Instant) {
        self.auth_answered(now);
        self.wrong_key = None;
    }
}
