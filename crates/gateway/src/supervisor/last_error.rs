//! What went wrong last.

use std::net::SocketAddr;
use std::time::Instant;

use vgw_ike::refusal::RefusalReason;

use crate::line_limit::WINDOW;

/// What went wrong last with a tunnel, and when.
#[derive(Debug, Clone)]
pub(super) struct LastError {
    pub(super) at: Instant,
    pub(super) why: RefusalReason,
    /// Where the datagram came from, if the peer may come from anywhere.
    pub(super) of: Option<SocketAddr>,
}

/// Whether the earlier reason explains more than the later one and so is kept: a refusal of
/// the last minute explains more than that a message was dropped.
pub(super) fn says_more(
    now: Instant,
    (before, at): (&RefusalReason, Instant),
    after: &RefusalReason,
) -> bool {
    let dropped = |why: &RefusalReason| matches!(why, RefusalReason::Dropped(_));
    dropped(after) && !dropped(before) && now < at + WINDOW
}
