//! The responder's side of IKE_SA_INIT and IKE_AUTH (RFC 7296 section 1.2).

mod agree;
mod answer_init;
mod auth_request;
mod await_auth;
mod half_open;

pub(crate) use self::answer_init::{InitRefusal, init_response_header, select};
pub(crate) use self::half_open::{HalfOpen, Outcome};
