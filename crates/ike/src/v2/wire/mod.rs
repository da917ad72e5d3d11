//! The IKEv2 wire format (RFC 7296 section 3).
//!
//! Decoding has two stages. [`decode_cleartext`] reads the part in clear and finds the Encrypted
//! payload. [`decode_payloads`] reads that payload's content after it was decrypted. Encoding
//! mirrors that: [`encode_cleartext`] for IKE_SA_INIT, [`encode_payloads`] and [`begin_sealed`] for
//! the other exchanges.
//!
//! Decoding is total: any octets give a value or a [`DecodeError`], and the memory that is
//! allocated is at most proportional to the datagram.

use std::ops::Range;

pub mod iana;

mod decode;
mod encode;
mod fault;
mod payload;
mod peek_header;
mod sa;
mod ts;
mod writer;

pub use decode::{Proof, decode_cleartext, decode_header, decode_payloads, read_proof};
pub use encode::{begin_sealed, encode_cleartext, encode_payloads};
pub use iana::{
    AuthMethod, ExchangeType, IdType, NotifyType, PayloadType, ProtocolId, TransformType,
};
pub use payload::{Auth, Delete, Id, KeyExchange, Notify, Payload, Proposal, Transform};
pub use peek_header::{PeekedHeader, peek_header};

/// Length of the IKE header in octets (RFC 7296 section 3.1).
pub const HEADER_LEN: usize = 28;
/// Length of a generic payload header in octets (RFC 7296 section 3.2).
pub const PAYLOAD_HEADER_LEN: usize = 4;
const MAJOR_VERSION: u8 = 2;
const INITIATOR_FLAG: u8 = 0x08;
const RESPONSE_FLAG: u8 = 0x20;
/// More payloads than this in one message are refused.
pub const MAX_PAYLOADS: usize = 64;
/// More proposals than this in one SA payload are refused.
pub const MAX_PROPOSALS: usize = 64;
/// More transforms than this in one proposal are refused.
pub const MAX_TRANSFORMS: usize = 64;

/// The IKE header's fields that a sender chooses (RFC 7296 section 3.1). Next Payload, version and
/// Length follow from the message.
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
    /// The Encrypted payload, if there is one; it is the last.
    pub sealed: Option<Sealed>,
}

impl ClearMessage {
    /// Whether the message is an IKE fragment (RFC 7383).
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        let mut payloads = self.payloads.iter();
        payloads.any(|payload| payload.kind() == PayloadType::ENCRYPTED_FRAGMENT)
    }
}

/// Where the Encrypted payload lies (RFC 7296 section 3.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Type of the first payload inside.
    pub first: PayloadType,
    /// IV, ciphertext and ICV: the range of the datagram from the end of the payload's generic
    /// header to the datagram's end. The octets before it are the AEAD's associated data (RFC 5282
    /// section 5.1).
    pub body: Range<usize>,
}

/// Why octets are not an IKEv2 message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another major version; answered with INVALID_MAJOR_VERSION (RFC 7296 section 2.5).
    #[error("IKE major version {major}, expected 2")]
    MajorVersion {
        /// The version found.
        major: u8,
        /// The header, read as if it were version 2.
        header: Header,
    },
    /// A malformed message; answered with INVALID_SYNTAX where the RFC allows an answer.
    #[error("{what} at octet {offset}: found {found}, expected {expected}")]
    Malformed {
        /// The field.
        what: &'static str,
        /// Where the field begins: in octets from the start of the datagram, or of the decrypted
        /// content of the Encrypted payload.
        offset: usize,
        /// What was found there.
        found: String,
        /// What was expected there.
        expected: String,
    },
}

#[cfg(test)]
mod tests;
