//! How one IKE SA affects others.

use std::time::Instant;

use vgw_sa::TunnelId;

use super::{Established, Inheritance};
use crate::core::event::{Event, SaId};

/// What an IKE SA asks the endpoint to do with others.
pub(crate) enum Effect {
    /// The peer of an IKE SA authenticated. `contact` is whether the peer says that it has no other
    /// IKE SA; `began` is when the handshake began.
    CameUp {
        sa: SaId,
        contact: bool,
        began: Instant,
    },
    /// An IKE SA that was in use ended. Another that is up with this peer carries on.
    WentDown { peer: TunnelId },
    /// Report this event after the effects before it are applied, because an IKE SA is reported gone
    /// only after the one that replaces it is reported up.
    Report(Box<Event>),
    /// Add an IKE SA that a rekey made.
    Spawn(Box<Established>),
    /// Move the CHILD SAs of `old` and the tasks about them to `new`, which replaces it.
    Adopt {
        old: SaId,
        new: SaId,
        inheritance: Box<Inheritance>,
    },
    /// Tell `old` that the peer closed `undecided`, which lost the collision.
    UndecidedGone { old: SaId, undecided: SaId },
    /// Close `undecided`, which was made by a rekey of an IKE SA that ended.
    CloseUndecided { undecided: SaId, send_delete: bool },
}
