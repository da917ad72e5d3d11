//! Real supervisors at both ends of real tunnels, in virtual time.

mod failover;
mod lifecycle;
mod reload;
mod rig;
