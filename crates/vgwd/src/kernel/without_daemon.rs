//! What is done to the kernel while no daemon keeps it: guard routes are put up before it
//! starts, and everything is removed after it ended.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use ipnet::IpNet;

use super::carry_out::{Outcome, Owner};
use super::entry::Entry;
use super::found::Found;
use super::plan::{Operation, plan};
use super::routes::Sources;
use super::{Desired, GuardRoutes, KernelError, Netlink, PrefixInTable};

impl GuardRoutes {
    /// Adds the guard routes and rules of what is desired, which takes no TUN device: from
    /// then on nothing that is for a tunnel leaves in clear.
    ///
    /// # Errors
    /// The first thing that failed; all are tried.
    pub async fn put_up(self, netlink: &Netlink, desired: &Desired) -> Result<(), KernelError> {
        let owner = Owner {
            tun: None,
            guard: self,
        };
        let mut wanted = desired.entries(&Sources::default());
        wanted.retain(|entry| matches!(entry, Entry::Guard(_) | Entry::Rule(_)));
        let in_force = Found::read(netlink, &owner).await?.in_force(&wanted);
        let mut planned = plan(&in_force, &wanted);
        planned.retain(|(_, operation)| matches!(operation, Operation::Add(_)));
        first_failure(netlink.carry_out(&owner, &planned)).map(drop)
    }
}

/// Removes the routes that a daemon which is gone left: the guard routes, and on a
/// persistent device those that lead to it. Gives the prefixes.
///
/// # Errors
/// The first that could not be removed.
pub async fn flush(netlink: &Netlink, tun_name: &str) -> Result<Vec<IpNet>, KernelError> {
    // A device that is not there has no routes. It is looked for here, because
    // the calling thread may be in another namespace than the socket.
    let links = netlink.handle.link().get();
    let links = links.match_name(tun_name.to_owned()).execute();
    let link = std::pin::pin!(links).try_next().await.ok().flatten();
    let owner = Owner {
        tun: link.map(|link| link.header.index),
        guard: GuardRoutes::of(tun_name),
    };
    let none = BTreeSet::new();
    let in_force = Found::read(netlink, &owner).await?.in_force(&none);
    let done = first_failure(netlink.carry_out(&owner, &plan(&in_force, &none)))?;
    let opened = done.iter().filter_map(|operation| match operation {
        Operation::Remove(Entry::Guard(prefix)) => Some(*prefix),
        _ => None,
    });
    // In their order, while they were removed in the reverse.
    let opened: BTreeSet<PrefixInTable> = opened.collect();
    Ok(opened.into_iter().map(PrefixInTable::net).collect())
}

fn first_failure(outcome: Outcome) -> Result<Vec<Operation>, KernelError> {
    match outcome.failed.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(outcome.done),
    }
}
