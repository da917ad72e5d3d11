//! A tunnel whose ESP does not pass as IP protocol 50 goes to UDP, where `encapsulation`
//! is "auto": a second IKE SA is made beside the first, with a NAT pretended (RFC 7296
//! section 2.23). Nothing is lost if that was not the reason, or if it fails: the first
//! goes on until traffic has moved.
//!
//! Later IKE SAs begin in UDP, too, while the peer is where it was and answers. Once it
//! does not, what was true of the way may be so no more, and UDP port 4500 closed.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use vgw_ike::event::SaId;

use super::one_way::Rest;

/// What a tunnel's status says while ESP is in UDP for this reason.
pub(super) const WORDS: &str = "ESP goes in UDP, as none came back by IP protocol 50: let that \
                                through on the way, or set encapsulation = \"udp\"";

/// Whether a tunnel goes to UDP, or has.
#[derive(Debug, Default)]
pub(super) struct UdpFallback {
    /// The IKE SA that is being made.
    pub(super) attempt: Option<SaId>,
    /// Since when ESP is in UDP, and where the peer was.
    pub(super) chosen: Option<(Instant, IpAddr)>,
    pub(super) rest: Rest,
}

impl UdpFallback {
    /// How long ESP has been in UDP for this reason.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let (since, _) = self.chosen?;
        Some(now.saturating_duration_since(since))
    }
}
