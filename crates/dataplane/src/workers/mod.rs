//! The threads that carry packets, and what they share.

pub(crate) mod inbound;
pub(crate) mod mailbox;
pub(crate) mod outbound;
pub(crate) mod relay;
pub(crate) mod spawn;
pub(crate) mod transmit;
pub(crate) mod tun_refusals;
pub(crate) mod worker;
