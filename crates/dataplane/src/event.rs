//! What the data plane tells the control plane.

use std::net::SocketAddr;

/// News from a worker thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataPlaneEvent {
    /// An IKE message arrived, the non-ESP marker already taken off.
    Ike {
        /// The outside address and port it came to.
        local: SocketAddr,
        /// Where it came from.
        remote: SocketAddr,
        /// The message.
        message: Vec<u8>,
    },
    /// Packets came by other paths than their SAs':
    /// [`crate::DataPlane::take_paths`] has their addresses. The event does not
    /// come again before they are taken.
    PathsSeen,
    /// Packets came with an SPI that no SA receives with:
    /// [`crate::DataPlane::take_unknown_spis`] has some of them. The event does
    /// not come again before they are taken.
    UnknownSpisSeen,
    /// Something tells that packets may not arrive: [`crate::DataPlane::take_hints`] has it.
    /// The event does not come again before it is taken.
    HintsSeen,
    /// A worker cannot go on; the data plane must be started anew.
    Failed {
        /// What failed and how.
        what: String,
    },
}

/// Takes events on a worker's thread. It must not block; false says that the
/// event was not taken because a queue is full.
pub(crate) type EventSink = Box<dyn Fn(DataPlaneEvent) -> bool + Send + Sync>;
