//! The nouns of a site-to-site VPN: what a configuration means.
//!
//! Anyone may put one together; [`crate::rules`] says whether it is allowed, and alone
//! makes the [`Checked`](crate::rules::Checked) gateway that can be put in force.

mod connection;
mod gateway;
mod ids;
mod side;
mod tunnel;

pub use connection::{Connection, CustomerGateway};
pub use gateway::{Gateway, OutsideAddress};
pub use ids::TunnelName;
pub use side::{NetworkOptions, SelectorOptions, Side};
pub use tunnel::{DpdAction, FailureDetection, Phase1, Phase2, StartupAction, Tunnel};
