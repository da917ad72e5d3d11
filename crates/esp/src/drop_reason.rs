//! Why ESP refuses a packet that arrived.

use thiserror::Error;

/// The reason for which an inbound packet is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Error)]
pub enum DropReason {
    /// Too short for its suite, or the ciphertext is not whole blocks.
    #[error("too short, or not whole blocks")]
    Malformed,
    /// The SPI is another SA's; the caller looked in the wrong place.
    #[error("SPI of another SA")]
    WrongSpi,
    /// Seen before, older than the anti-replay window, or no number that a
    /// sender may use (RFC 4303 section 3.4.3).
    #[error("replayed, or older than the anti-replay window")]
    Replayed,
    /// The integrity check value does not match. With ESN this is also what becomes of
    /// a packet older than the anti-replay window: it is taken for one of the next
    /// 2^32 numbers (RFC 4303 appendix A2.2).
    #[error("integrity check failed")]
    NotAuthentic,
    /// Padding is not 1, 2, 3, … or longer than the payload (RFC 4303 section 2.4).
    #[error("padding is not 1, 2, 3, …")]
    BadPadding,
    /// Neither IPv4 nor IPv6, or not what the inner packet's version says.
    #[error("next header is not the inner packet's")]
    BadNextHeader,
    /// A dummy packet of traffic flow confidentiality (RFC 4303 section 2.6).
    #[error("dummy packet")]
    Dummy,
}
