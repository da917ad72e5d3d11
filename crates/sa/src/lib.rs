//! What negotiator, supervisor and data plane say to each other: SAs and where their
//! packets go, which tunnel they are of, what was counted. One type for each thing.

#![forbid(unsafe_code)]

mod child;
mod hint;
mod host_service;
mod ids;
mod inside;
mod path;
mod policy;
mod ports;
mod spi;
mod traffic_counts;
mod traffic_selector;

pub use child::ChildSa;
pub use hint::{Concerned, Hint, SentPacket, Sign};
pub use host_service::{HostService, Transport};
pub use ids::{GatewayId, Inside, TunnelId};
pub use inside::{Changes, InsideAddress, NextHop};
pub use path::Path;
pub use policy::{DfPolicy, TunnelPolicy};
pub use ports::{IKE_PORT, NATT_PORT};
pub use spi::{SLOT_BITS, slot_of};
pub use traffic_counts::{Activity, ChildTraffic, TunnelTraffic};
pub use traffic_selector::TrafficSelector;
