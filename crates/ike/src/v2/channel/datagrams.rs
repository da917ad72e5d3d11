//! A message as it travels.

/// The datagrams that carry one message, in order. A message is sent again as all of
/// them (RFC 7296 section 2.1, RFC 7383 section 2.5); today each message is in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Datagrams(pub(crate) Vec<Vec<u8>>);

impl From<Vec<u8>> for Datagrams {
    fn from(message: Vec<u8>) -> Self {
        Self(vec![message])
    }
}
