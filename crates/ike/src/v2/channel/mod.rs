//! The channel of an IKE SA's messages: its keys, the Encrypted payload, message IDs with
//! retransmission, and the tokens by which a peer proves that it lost the SA.

pub(crate) mod crash_token;
pub(crate) mod datagrams;
pub(crate) mod keys;
pub(crate) mod probe;
pub(crate) mod round_trip;
pub(crate) mod sealed;
pub(crate) mod window;
