//! Has the kernel carry out what was planned.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use nix::errno::Errno;
use rtnetlink::AddressMessageBuilder;

use super::change_socket::{AT_ONCE, Request};
use super::entry::Entry;
use super::netlink::failed;
use super::plan::{Operation, Stage, Stuck};
use super::{GuardRoutes, KernelError, Netlink};

/// Whose entries they are: what the kernel must be told of all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    /// The TUN link; without one there are no routes to it, and no addresses of it.
    pub(super) tun: Option<u32>,
    /// The guard routes that are its own.
    pub(super) guard: GuardRoutes,
}

/// What became of operations.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// These were done.
    pub(super) done: Vec<Operation>,
    /// These were not.
    pub(super) failed: Vec<(Entry, KernelError)>,
}

impl Netlink {
    /// Carries out what was planned, in its order. Everything is tried, whatever fails before
    /// it, but for what [`Stuck`] forbids.
    pub(super) fn carry_out(&self, owner: &Owner, planned: &[(Stage, Operation)]) -> Outcome {
        let mut outcome = Outcome::default();
        let mut stuck = Stuck::default();
        for stage in planned.chunk_by(|(one, _), (next, _)| one == next) {
            let operations = stage.iter().map(|(_, operation)| *operation);
            let allowed = operations.filter(|operation| !stuck.forbids(operation));
            for batch in allowed.collect::<Vec<Operation>>().chunks(AT_ONCE) {
                for (operation, result) in self.send(owner, batch) {
                    match result {
                        Ok(()) => outcome.done.push(operation),
                        Err(error) => {
                            stuck.note(&operation);
                            outcome.failed.push((operation.entry(), error));
                        }
                    }
                }
            }
        }
        outcome
    }

    /// Has the kernel carry out a batch; gives what became of each operation.
    fn send(
        &self,
        owner: &Owner,
        batch: &[Operation],
    ) -> Vec<(Operation, Result<(), KernelError>)> {
        let mut results = Vec::with_capacity(batch.len());
        let mut sent = Vec::with_capacity(batch.len());
        let mut requests = Vec::with_capacity(batch.len());
        for operation in batch {
            match request(owner, operation) {
                Ok(request) => {
                    sent.push(*operation);
                    requests.push(request);
                }
                Err(error) => results.push((*operation, Err(error))),
            }
        }
        let outcomes = self.changes.send(requests);
        let outcomes = sent.into_iter().zip(outcomes);
        results.extend(outcomes.map(|(operation, outcome)| {
            let result = match outcome {
                Err(errno) if is_gone(&operation, errno) => Ok(()),
                outcome => outcome
                    .map_err(io::Error::from)
                    .map_err(failed(operation.to_string())),
            };
            (operation, result)
        }));
        results
    }
}

/// Whether what was to be removed was gone already.
const fn is_gone(operation: &Operation, errno: Errno) -> bool {
    let removed = matches!(operation, Operation::Remove(_));
    removed
        && matches!(
            errno,
            Errno::ESRCH | Errno::ENOENT | Errno::ENODEV | Errno::EADDRNOTAVAIL
        )
}

fn request(owner: &Owner, operation: &Operation) -> Result<Request, KernelError> {
    use RouteNetlinkMessage::{DelAddress, DelRoute, DelRule, NewAddress, NewRoute, NewRule};
    // No link has the index 0.
    let tun = owner.tun.unwrap_or_default();
    let (message, flags) = match *operation {
        Operation::Add(entry) => {
            let message = match entry {
                Entry::Guard(prefix) => NewRoute(owner.guard.route_of(prefix)?),
                Entry::Address(address, length) => NewAddress(address_of(tun, address, length)),
                Entry::Route(route) => NewRoute(route.message(tun)?),
                Entry::Rule(rule) => NewRule(rule.message()),
            };
            (message, NLM_F_CREATE | NLM_F_EXCL)
        }
        Operation::Replace(route) => {
            let message = NewRoute(route.message(tun)?);
            (message, NLM_F_CREATE | NLM_F_REPLACE)
        }
        Operation::Remove(entry) => {
            let message = match entry {
                Entry::Guard(prefix) => DelRoute(owner.guard.route_of(prefix)?),
                Entry::Address(address, length) => {
                    let mut message = address_of(tun, address, length);
                    // Whoever added it may have named a peer, or another broadcast address.
                    let is_ours = |a: &AddressAttribute| matches!(a, AddressAttribute::Local(_));
                    message.attributes.retain(is_ours);
                    DelAddress(message)
                }
                Entry::Route(route) => DelRoute(route.message(tun)?),
                Entry::Rule(rule) => DelRule(rule.message()),
            };
            (message, 0)
        }
    };
    Ok(Request { message, flags })
}

fn address_of(index: u32, address: IpAddr, length: u8) -> AddressMessage {
    match address {
        IpAddr::V4(v4) => AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index)
            .address(v4, length)
            .build(),
        IpAddr::V6(v6) => AddressMessageBuilder::<Ipv6Addr>::new()
            .index(index)
            .address(v6, length)
            .build(),
    }
}
