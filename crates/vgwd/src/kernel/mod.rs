//! The kernel's side of the VPC: the TUN link, its inside addresses, the routes
//! that lead to it, and the guard routes behind those, by netlink.
//!
//! What should be is compared with what is, and only the difference is done,
//! so that a route that stays is never gone for a moment. Our routes carry
//! [`ROUTE_PROTOCOL`], which tells them from everybody else's; those that a
//! former run left are found by it, and removed if nobody wants them any more.
//! All of it is done by one thread, [`Keeper`], which hears of every change by
//! others and undoes it.

mod backoff;
mod desired;
mod difference;
mod forwarding;
mod guard_routes;
mod ip_rules;
mod keeper;
mod local_address;
mod netlink;
mod read_forwarding;
mod reconcile;
mod route_table;
mod routes;
pub mod watch;

pub use desired::{Desired, DesiredByConfig};
pub use guard_routes::GuardRoutes;
pub use keeper::{Keeper, KernelHandle};
pub use local_address::LocalAddress;
pub use netlink::{KernelError, Netlink};
pub use reconcile::{TunLink, flush};
pub use route_table::{OwnTraffic, PrefixInTable};
pub use routes::ROUTE_PROTOCOL;
