//! What the negotiator takes and returns: datagrams, commands to install SAs, events.

use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use vgw_crypto::{Group, IkeSuite, Secret};
use vgw_sa::{ChildSa, Path, TunnelId};

use crate::core::bounded_text::BoundedText;
use crate::core::drop_reason::{DropCounts, DropReason};
use crate::peer::identity::Identity;
use crate::v2::refusal::RefusalReason;
use crate::v2::wire::{Notify, NotifyType};

/// Names one IKE SA for the lifetime of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaId(pub u64);

/// A datagram to send. On port 4500 the caller puts the non-ESP marker before
/// an IKE message (RFC 3948 section 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// From this address; its port is 500 or 4500.
    pub local: SocketAddr,
    /// To this address.
    pub remote: SocketAddr,
    /// What it is.
    pub content: Content,
}

/// What a datagram carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An IKE message.
    Ike(Vec<u8>),
    /// The single octet 0xFF, without marker (RFC 3948 section 2.3).
    NatKeepalive,
}

/// Who began the IKE SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We did.
    Initiator,
    /// The peer did.
    Responder,
}

/// What NAT detection found (RFC 7296 section 2.23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nat {
    /// We are behind one, or pretend to be.
    pub local: bool,
    /// The peer is, or pretends to be.
    pub remote: bool,
}

/// What happened. An event about a peer names it; the events of one IKE SA come in order.
#[derive(Debug, Clone)]
pub enum Event {
    /// An IKE SA is up and its peer authenticated. `replaces` names the SA that this one rekeyed:
    /// that SA's CHILD SAs now belong to this one.
    IkeUp {
        /// Which peer.
        peer: TunnelId,
        /// The new SA.
        sa: SaId,
        /// Its properties.
        details: IkeDetails,
        /// The SA that was rekeyed.
        replaces: Option<SaId>,
    },
    /// The keys of a new IKE SA, only with [`crate::peer::config::KeyLog::On`].
    IkeKeys {
        /// Which peer.
        peer: TunnelId,
        /// The new SA.
        sa: SaId,
        /// Initiator's SPI.
        spi_i: u64,
        /// Responder's SPI.
        spi_r: u64,
        /// Algorithms.
        suite: IkeSuite,
        /// The keys.
        keys: IkeKeyLog,
    },
    /// An IKE SA has ended. All its CHILD SAs ended too, each with its own event before this one.
    IkeDown {
        /// Which peer.
        peer: TunnelId,
        /// The SA.
        sa: SaId,
        /// Why.
        reason: DownReason,
    },
    /// An attempt to initiate failed before an SA was up.
    InitiateFailed {
        /// Which peer.
        peer: TunnelId,
        /// The attempt.
        sa: SaId,
        /// Why.
        reason: DownReason,
    },
    /// Accept packets of this CHILD SA from now on. [`Event::ChildOutbound`] says when to send with
    /// it, so that a rekey loses no packet.
    ChildInbound {
        /// Which peer.
        peer: TunnelId,
        /// Its IKE SA.
        sa: SaId,
        /// Keys, SPIs and selectors of both directions.
        child: Box<ChildSa>,
        /// The inbound SPI of the CHILD SA that this one replaces.
        rekeys: Option<u32>,
    },
    /// Send with this CHILD SA from now on, instead of the one it replaces.
    ChildOutbound {
        /// Which peer.
        peer: TunnelId,
        /// The inbound SPI, which names the CHILD SA.
        spi_in: u32,
    },
    /// Stop both directions of this CHILD SA and forget its keys.
    ChildDown {
        /// Which peer.
        peer: TunnelId,
        /// The inbound SPI, which names the CHILD SA.
        spi_in: u32,
        /// Why.
        reason: DownReason,
    },
    /// The peer's address or port changed, or ours towards it. Every CHILD SA of the IKE SA follows
    /// (RFC 7296 section 2.23).
    PathChanged {
        /// Which peer.
        peer: TunnelId,
        /// Its IKE SA.
        sa: SaId,
        /// The new way.
        path: Path,
    },
    /// The peer answered a liveness check or a probe, so it lives.
    Alive {
        /// Which peer.
        peer: TunnelId,
        /// Its IKE SA.
        sa: SaId,
        /// How long it usually takes to answer, smoothed. None if this answer does not show it,
        /// because the request was repeated.
        round_trip: Option<Duration>,
    },
    /// The peer did not answer a probe ([`crate::endpoint::Endpoint::probe`]) in time. It may still
    /// answer; the request goes on being repeated.
    Unanswered {
        /// Which peer.
        peer: TunnelId,
        /// Its IKE SA.
        sa: SaId,
    },
    /// The peer soon repeats a request that we have answered: perhaps our answers do not reach it.
    /// Whoever can repeat the peer's packets can cause this.
    Repeated {
        /// Which peer.
        peer: TunnelId,
        /// Its IKE SA.
        sa: SaId,
        /// How often this request came again.
        times: u32,
    },
    /// A message or packet came for an SA that we do not have. Only this peer is configured at its
    /// address, and we have no SA with it: the peer may have SAs that we lost. Anybody can send
    /// such messages, so this event is limited in rate.
    UnknownSa {
        /// Which peer.
        peer: TunnelId,
    },
    /// Something was refused, and why: what was offered and what expected.
    Refused {
        /// The peer that authenticated, the only peer configured at this address, or the peer that
        /// the sender claims to be if that one may be at this address. None for a stranger.
        peer: Option<TunnelId>,
        /// Where its datagram came from.
        remote: SocketAddr,
        /// One line, made when it is read.
        why: RefusalReason,
    },
    /// An unauthenticated message was dropped. Every drop is also counted. Anybody can cause these
    /// events at any rate.
    Dropped {
        /// The peer whose IKE SA it named, or the only peer configured at this address. None for a
        /// stranger.
        peer: Option<TunnelId>,
        /// Where it came from.
        remote: SocketAddr,
        /// Why; it has a [sentence](DropReason::sentence).
        reason: DropReason,
    },
    /// A rekey was refused, by the peer or by us. The old SA remains in use until its lifetime
    /// ends.
    RekeyRefused {
        /// Which peer; it is authenticated.
        peer: TunnelId,
        /// Its address.
        remote: SocketAddr,
        /// One line, made when it is read.
        why: RefusalReason,
    },
    /// There were no random numbers for a key, a nonce or an SPI. What needed them was not begun or
    /// not answered, and the peer will ask again.
    NoRandomNumbers,
    /// Something an operator may want to know; no SA changes.
    Diagnostic {
        /// Which peer.
        peer: TunnelId,
        /// Its IKE SA, or the attempt at one.
        sa: SaId,
        /// What it is.
        diagnostic: Diagnostic,
    },
}

/// What an operator may want to know. Peers can cause these at will, so the receiver of the events
/// decides how many it logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diagnostic {
    /// The peer reports errors in an INFORMATIONAL request.
    PeerErrors(PeerErrors),
    /// The peer's public value is of a group that we did not select: we asked the peer for one of
    /// this group (RFC 7296 section 1.3).
    GroupDemanded(Group),
    /// The peer asked us for a public value of this group.
    GroupRequested(Group),
    /// Both sides rekey the IKE SA at once (RFC 7296 section 2.8.2).
    IkeRekeyCollision,
    /// Both sides rekey the CHILD SA with this inbound SPI at once (RFC 7296
    /// section 2.8.1).
    ChildRekeyCollision(u32),
    /// The peer's packets come from another address, and the NAT before us is not the configured
    /// one. We send requests to both addresses (RFC 7296 section 2.23).
    AddressInDoubt {
        /// The peer's address on the current path.
        from: SocketAddr,
        /// The address that the packets come from.
        to: SocketAddr,
    },
    /// The peer does not see us at the configured public address with our port.
    OtherNat(IpAddr),
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerErrors(errors) => write!(f, "the peer reports {errors}"),
            Self::GroupDemanded(group) => {
                write!(f, "asking the peer for key exchange group {group}")
            }
            Self::GroupRequested(group) => {
                write!(f, "the peer asks for key exchange group {group}")
            }
            Self::IkeRekeyCollision => f.write_str("both sides rekey the IKE SA"),
            Self::ChildRekeyCollision(spi_in) => {
                write!(f, "both sides rekey the CHILD SA {spi_in:08x}")
            }
            Self::OtherNat(public) => write!(
                f,
                "the peer does not see us at {public} with our own port, as outside_addresses \
                 says: another NAT is before us, or that one gives us other ports"
            ),
            Self::AddressInDoubt { from, to } => write!(
                f,
                "the peer's packets come from {to} instead of {from}, and we are behind a NAT \
                 that outside_addresses does not say: asking at both whether the peer is there"
            ),
        }
    }
}

/// The error notifications of one message: the first few, and how many more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerErrors {
    first: [Option<NotifyType>; Self::SHOWN],
    more: usize,
}

impl PeerErrors {
    /// How many notifications are named.
    const SHOWN: usize = 4;

    /// The errors among a message's notifications; None if there are none.
    pub(crate) fn among(notifies: &[Notify]) -> Option<Self> {
        let mut errors = notifies.iter().map(|n| n.kind).filter(|k| k.is_error());
        let mut first = [None; Self::SHOWN];
        for (place, kind) in first.iter_mut().zip(errors.by_ref()) {
            *place = Some(kind);
        }
        let more = errors.count();
        first[0].is_some().then_some(Self { first, more })
    }
}

impl fmt::Display for PeerErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, kind) in self.first.iter().flatten().enumerate() {
            write!(f, "{}{kind}", if place == 0 { "" } else { ", " })?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more errors"),
        }
    }
}

/// The properties of an established IKE SA.
#[derive(Debug, Clone)]
pub struct IkeDetails {
    /// Who began it.
    pub role: Role,
    /// Initiator's SPI.
    pub spi_i: u64,
    /// Responder's SPI.
    pub spi_r: u64,
    /// Algorithms.
    pub suite: IkeSuite,
    /// NATs on the way.
    pub nat: Nat,
    /// The path of its messages.
    pub path: Path,
    /// The peer's identity, authenticated.
    pub remote_id: Identity,
}

/// The four keys that Wireshark's `ikev2_decryption_table` takes. They exist only
/// with [`crate::peer::config::KeyLog::On`].
#[derive(Debug, Clone, Default)]
pub struct IkeKeyLog {
    /// SK_ei.
    pub sk_ei: Secret,
    /// SK_er.
    pub sk_er: Secret,
    /// SK_ai.
    pub sk_ai: Secret,
    /// SK_ar.
    pub sk_ar: Secret,
}

/// Why an SA ended or was not established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownReason {
    /// Replaced by a rekey.
    Rekeyed,
    /// The peer deleted it.
    PeerDeleted,
    /// We were told to delete it.
    Requested,
    /// No answer to a request, or no sign of life.
    PeerDead,
    /// Its lifetime ended without a rekey.
    Expired,
    /// A CHILD SA that ended because the lifetime of its IKE SA did.
    IkeExpired,
    /// The peer began a new IKE SA with INITIAL_CONTACT (RFC 7296 section 2.4).
    Superseded,
    /// The peer lost it, and proved that with its token (RFC 6290).
    PeerLostIt,
    /// Authentication failed; the text says how, without secrets.
    AuthenticationFailed(String),
    /// The peer, or we, refused; the text says what was offered and expected.
    Refused(String),
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = BoundedText::new(f);
        match self {
            Self::Rekeyed => f.write_str("rekeyed"),
            Self::PeerDeleted => f.write_str("deleted by the peer"),
            Self::Requested => f.write_str("deleted on request"),
            Self::PeerDead => f.write_str("peer does not answer"),
            Self::Expired => f.write_str("lifetime expired"),
            Self::IkeExpired => f.write_str("lifetime of its IKE SA expired"),
            Self::Superseded => f.write_str("peer began anew"),
            Self::PeerLostIt => f.write_str("peer restarted and lost the SA"),
            Self::AuthenticationFailed(why) => write!(f, "authentication failed: {why}"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

/// Counters of the negotiator since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// IKE SAs established.
    pub ike_established: u64,
    /// IKE SAs rekeyed, by either side.
    pub ike_rekeys: u64,
    /// CHILD SAs rekeyed, by either side.
    pub child_rekeys: u64,
    /// Rekeys refused, by either side.
    pub rekeys_refused: u64,
    /// Requests that we retransmitted.
    pub retransmissions: u64,
    /// Requests that the peer retransmitted.
    pub duplicates: u64,
    /// Messages of its IKE SAs dropped, by reason.
    pub dropped: DropCounts,
    /// Changes of the peer's address or port, each proved.
    pub path_changes: u64,
}
