//! The kernel's side of the VPC: the TUN link, its inside addresses, the routes
//! that lead to it, and the guard routes behind those, by netlink.
//!
//! A change of what should be is made entry by entry, in one batch of requests (`plan` says
//! which, `carry_out` sends them); nothing is read for it. At the start, and where somebody
//! else changed something, everything is read and compared, and only the difference is made,
//! so that a route that stays is never gone for a moment. Our routes carry
//! [`ROUTE_PROTOCOL`], which tells them from everybody else's; those that a
//! former run left are found by it, and removed if nobody wants them any more.
//! All of it is done by one thread, [`Keeper`], which hears of every change by
//! others and undoes it.

mod addresses;
mod backoff;
mod carry_out;
mod change_socket;
mod desired;
mod desired_by_config;
mod desired_changes;
mod entry;
mod forwarding;
mod found;
mod guard_routes;
mod in_force;
mod ip_rules;
mod keeper;
mod local_address;
mod netlink;
mod plan;
mod prefixes;
mod read_forwarding;
mod route_table;
mod routes;
mod tun_link;
mod wanted;
pub mod watch;
mod without_daemon;

pub use desired::Desired;
pub use desired_by_config::DesiredByConfig;
pub use desired_changes::DesiredSender;
pub use guard_routes::GuardRoutes;
pub use keeper::{Keeper, KernelHandle};
pub use local_address::LocalAddress;
pub use netlink::{KernelError, Netlink};
pub use route_table::{OwnTraffic, PrefixInTable};
pub use routes::ROUTE_PROTOCOL;
pub use tun_link::TunLink;
pub use without_daemon::flush;
