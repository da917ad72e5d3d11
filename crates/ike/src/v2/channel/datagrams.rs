//! The datagrams of a message.

/// The datagrams that carry one message, in order. A retransmission sends all of them (RFC 7296
/// section 2.1, RFC 7383 section 2.5). Today each message is one datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Datagrams(pub(crate) Vec<Vec<u8>>);

impl From<Vec<u8>> for Datagrams {
    fn from(message: Vec<u8>) -> Self {
        Self(vec![message])
    }
}
