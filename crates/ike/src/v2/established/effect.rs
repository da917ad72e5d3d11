//! What an IKE SA means for others.

use std::time::Instant;

use vgw_sa::TunnelId;

use super::{Established, Inheritance};
use crate::core::event::{Event, SaId};

/// What one SA asks the endpoint to do with others.
pub(crate) enum Effect {
    /// An IKE SA authenticated its peer. `contact` is whether the peer says it
    /// has no other; `began` when its handshake did.
    CameUp {
        sa: SaId,
        contact: bool,
        began: Instant,
    },
    /// An IKE SA that was in use ended: what else is up with this peer carries on.
    WentDown { peer: TunnelId },
    /// Say this once the effects before are done: an IKE SA is reported gone
    /// only after the one that replaces it is reported up.
    Report(Box<Event>),
    /// Take in an IKE SA made by a rekey.
    Spawn(Box<Established>),
    /// `new` replaces `old`: CHILD SAs and their tasks move.
    Adopt {
        old: SaId,
        new: SaId,
        inheritance: Box<Inheritance>,
    },
    /// The peer closed its redundant IKE SA of a collision over `old`.
    UndecidedGone { old: SaId, undecided: SaId },
    /// `undecided` was made by a rekey of an IKE SA that ended.
    CloseUndecided { undecided: SaId, send_delete: bool },
}
