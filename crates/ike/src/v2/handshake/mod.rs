//! IKE_SA_INIT and IKE_AUTH, from both ends.

pub(crate) mod auth;
pub(crate) mod auth_failure;
pub(crate) mod initiator;
pub(crate) mod nat;
pub(crate) mod responder;
