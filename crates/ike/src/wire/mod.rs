//! The IKEv2 wire format (RFC 7296 section 3).
//!
//! Decoding has two stages. [`decode_cleartext`] reads what stands in clear and
//! finds the Encrypted payload; its content becomes payloads only by
//! [`decode_payloads`], after it was opened with keys. Encoding mirrors that:
//! [`encode_cleartext`] for IKE_SA_INIT, [`encode_payloads`] and
//! [`begin_sealed`] for the rest.
//!
//! Everything here is total: any octets give a value or a [`DecodeError`], and
//! no more memory is allocated than in proportion to the datagram.

use std::ops::Range;

pub mod iana;

mod payload;

pub use iana::{
    AuthMethod, ExchangeType, IdType, NotifyType, PayloadType, ProtocolId, TransformType,
};
pub use payload::{Auth, Delete, Id, KeyExchange, Notify, Payload, Proposal, Transform};

/// Octets of the IKE header (RFC 7296 section 3.1).
pub const HEADER_LEN: usize = 28;
/// Octets of a generic payload header (RFC 7296 section 3.2).
pub const PAYLOAD_HEADER_LEN: usize = 4;
/// More payloads than this in one message are refused.
pub const MAX_PAYLOADS: usize = 64;
/// More proposals than this in one SA payload are refused.
pub const MAX_PROPOSALS: usize = 64;
/// More transforms than this in one proposal are refused.
pub const MAX_TRANSFORMS: usize = 64;

/// The IKE header's fields that a sender chooses (RFC 7296 section 3.1). Next
/// Payload, version and Length follow from the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Initiator's SPI.
    pub spi_i: u64,
    /// Responder's SPI; 0 in the first message.
    pub spi_r: u64,
    /// Exchange type.
    pub exchange: ExchangeType,
    /// The Initiator flag: sent by the original initiator of the IKE SA.
    pub initiator: bool,
    /// The Response flag.
    pub response: bool,
    /// Message ID.
    pub message_id: u32,
}

/// What can be read of a message without keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearMessage {
    /// The IKE header.
    pub header: Header,
    /// Payloads outside the Encrypted payload.
    pub payloads: Vec<Payload>,
    /// The Encrypted payload, which is then the last.
    pub sealed: Option<Sealed>,
}

/// Where the Encrypted payload lies (RFC 7296 section 3.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Type of the first payload inside.
    pub first: PayloadType,
    /// IV, ciphertext and ICV: the range of the datagram after the payload's
    /// generic header, up to the datagram's end. What lies before it is the
    /// AEAD's associated data (RFC 5282 section 5.1).
    pub body: Range<usize>,
}

/// Why octets are not an IKEv2 message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Of another major version; answered by INVALID_MAJOR_VERSION (RFC 7296 section 2.5).
    #[error("IKE major version {major}, expected 2")]
    MajorVersion {
        /// The version found.
        major: u8,
        /// The header, read as if it were of version 2.
        header: Header,
    },
    /// Malformed; answered by INVALID_SYNTAX where the RFC allows an answer.
    #[error("{what} at octet {offset}: found {found}, expected {expected}")]
    Malformed {
        /// The field.
        what: &'static str,
        /// Where it begins: octets from the start of the datagram, or of the
        /// plaintext of the Encrypted payload.
        offset: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
}

/// Reads a datagram's header alone, checking version and length.
///
/// # Errors
/// When the datagram is shorter than a header, of another major version, or
/// its length is not the one the header gives.
pub fn decode_header(_datagram: &[u8]) -> Result<Header, DecodeError> {
    unimplemented!()
}

/// Reads a datagram, without the non-ESP marker, as far as that goes without keys.
///
/// # Errors
/// As [`decode_header`], and when a payload is malformed or follows the
/// Encrypted payload.
pub fn decode_cleartext(_datagram: &[u8]) -> Result<ClearMessage, DecodeError> {
    unimplemented!()
}

/// Reads the content of the Encrypted payload, opened and without padding.
///
/// # Errors
/// When a payload is malformed.
pub fn decode_payloads(
    _first: PayloadType,
    _plaintext: &[u8],
) -> Result<Vec<Payload>, DecodeError> {
    unimplemented!()
}

/// A whole message in clear.
#[must_use]
pub fn encode_cleartext(_header: &Header, _payloads: &[Payload]) -> Vec<u8> {
    unimplemented!()
}

/// A chain of payloads and the type of its first: what goes into the Encrypted payload.
#[must_use]
pub fn encode_payloads(_payloads: &[Payload]) -> (PayloadType, Vec<u8>) {
    unimplemented!()
}

/// The IKE header and the Encrypted payload's generic header, with lengths for
/// a body (IV, ciphertext, padding, pad length, ICV) of `body_len` octets.
/// These octets are the AEAD's associated data; append the body.
#[must_use]
pub fn begin_sealed(_header: &Header, _first: PayloadType, _body_len: usize) -> Vec<u8> {
    unimplemented!()
}
