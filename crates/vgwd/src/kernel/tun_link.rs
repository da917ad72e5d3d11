//! The TUN link, with all that the kernel has because of it: what is desired, what is known to
//! be in force, and how the one is made the other.
//!
//! A change of what is desired is made by operations on its own entries alone, by what is known
//! to be in force. Everything is read and compared where that may be wrong: at the start, after
//! a change by somebody else, and when the kernel refused something.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};
use rtnetlink::LinkUnspec;

use super::addresses::Addresses;
use super::carry_out::{Outcome, Owner};
use super::desired_changes::DesiredChanges;
use super::entry::Entry;
use super::found::Found;
use super::in_force::InForce;
use super::netlink::failed;
use super::plan::{Operation, Stage, plan};
use super::prefixes::{cover, overlap};
use super::routes::Sources;
use super::watch::{Change, state_of};
use super::{Desired, GuardRoutes, KernelError, Netlink};

/// Problems that are told one by one.
const TOLD: usize = 8;

/// The TUN link as the kernel sees it.
#[derive(Debug)]
pub struct TunLink {
    pub(super) netlink: Netlink,
    index: u32,
    mtu: u16,
    owner: Owner,
    pub(super) desired: Desired,
    pub(super) addresses: Addresses,
    sources: Sources,
    in_force: InForce,
    /// What the kernel refused when everything was compared last.
    refused: Vec<KernelError>,
}

/// What is to be done after a change of what is desired.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Afterwards {
    /// Everything is to be compared, as something was refused or is shared with others.
    pub(super) compare: bool,
    /// What is forwarded is to be looked at.
    pub(super) look_at_forwarding: bool,
}

impl TunLink {
    /// The link `index` in the namespace of `netlink`, to have this MTU, these guard routes,
    /// and what else is desired.
    #[must_use]
    pub fn new(
        netlink: Netlink,
        index: u32,
        mtu: u16,
        guard: GuardRoutes,
        desired: Desired,
    ) -> Self {
        let tun = Some(index);
        Self {
            netlink,
            index,
            mtu,
            owner: Owner { tun, guard },
            desired,
            addresses: Addresses::default(),
            sources: Sources::default(),
            in_force: InForce::default(),
            refused: Vec::new(),
        }
    }

    /// Its index.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Reads what the kernel has, and makes it have what is desired. Everything is tried,
    /// whatever fails before it. Gives how many things were not as they should be and are now.
    pub async fn compare(&mut self) -> usize {
        self.refused.clear();
        let results = [self.set_up().await, self.restore().await];
        let mut changed = 0;
        for result in results {
            match result {
                Ok(number) => changed += number,
                Err(error) => self.refused.push(error),
            }
        }
        changed
    }

    /// Reads the addresses of the namespace; gives those of the link.
    pub(super) async fn read_addresses(&mut self) -> Result<BTreeSet<Entry>, KernelError> {
        let (all, of_tun) = self.netlink.addresses(self.index).await?;
        self.addresses = all;
        Ok(of_tun)
    }

    async fn restore(&mut self) -> Result<usize, KernelError> {
        let of_tun = self.read_addresses().await?;
        self.sources = self.addresses.sources(self.index, &self.desired.cidrs);
        let found = Found::read(&self.netlink, &self.owner).await?;
        let wanted = self.desired.entries(&self.sources);
        let mut in_force = found.in_force(&wanted);
        in_force.extend(of_tun);
        self.in_force = InForce::new(in_force);
        let planned = plan(self.in_force.all(), &wanted);
        let Outcome { done, failed } = self.carry_out(&planned);
        self.refused
            .extend(failed.into_iter().map(|(_, error)| error));
        Ok(done.len())
    }

    /// Makes the kernel have what is desired from now on, by what is known to be in force.
    pub(super) fn change(&mut self, changes: DesiredChanges) -> Afterwards {
        let mut touched = self.desired.apply(changes);
        let cidrs = &self.desired.cidrs;
        let mut prefixes = touched.prefixes.iter();
        let look_at_forwarding = touched.cidrs
            || touched.any_source
            || !touched.addresses.is_empty()
            || prefixes.any(|prefix| overlap(cidrs, *prefix));
        if touched.cidrs {
            let sources = self.addresses.sources(self.index, cidrs);
            if sources != self.sources {
                self.sources = sources;
                touched.prefixes.extend(&self.desired.routes);
            }
        }
        let wanted = self.desired.entries_of(&touched, &self.sources);
        let mut planned = plan(&self.in_force.part(&touched, &wanted), &wanted);
        let of_all = planned.len();
        // Whether another gateway needs them only the kernel knows.
        planned.retain(|(stage, _)| *stage != Stage::RemoveRules);
        let compare = touched.rules || planned.len() < of_all;
        let Outcome { failed, .. } = self.carry_out(&planned);
        Afterwards {
            compare: compare || !failed.is_empty(),
            look_at_forwarding,
        }
    }

    fn carry_out(&mut self, planned: &[(Stage, Operation)]) -> Outcome {
        let outcome = self.netlink.carry_out(&self.owner, planned);
        for operation in &outcome.done {
            self.in_force.note(operation);
        }
        outcome
    }

    /// What the kernel refused when everything was compared last: the first few, each in words.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let lines = self.refused.iter().take(TOLD).map(ToString::to_string);
        let more = self.refused.len().saturating_sub(TOLD);
        let more = (more > 0).then(|| format!("and {more} more changes of the VPC's kernel"));
        lines.chain(more).collect()
    }

    /// Takes over a change that the kernel told of; says whether what is desired may not be in
    /// force any more.
    pub(super) fn note(&mut self, change: &Change) -> bool {
        self.addresses.note(change);
        match change {
            Change::Link { index, now } => {
                *index == self.index && !(now.up && now.mtu == u32::from(self.mtu))
            }
            Change::LinkGone { index } => *index == self.index,
            Change::Address(address) | Change::AddressGone(address)
                if address.index != self.index =>
            {
                // Of the VPC: our routes may have it for their source.
                cover(&self.desired.cidrs, address.net.addr())
            }
            Change::Address(address) => !self.is_desired(address.net),
            // With the last one of IPv4, the kernel removes all routes of IPv4 to the link,
            // and does not tell.
            Change::AddressGone(address) => {
                self.is_desired(address.net)
                    || address.net.addr().is_ipv4() && !self.addresses.has_ipv4(self.index)
            }
            Change::Route { prefix, .. } => self.desired.guards(*prefix),
            Change::Rule => self.in_force.has_rules(),
            Change::NetConf => false,
            Change::Missed => true,
        }
    }

    fn is_desired(&self, address: IpNet) -> bool {
        let address = (address.addr(), address.prefix_len());
        self.desired.addresses.contains(&address)
    }

    /// Without a link-local address the kernel sends no router solicitations into
    /// the tunnels. A kernel without IPv6 refuses, and sends none either.
    pub async fn without_link_local_address(&self) {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let quiet = LinkUnspec::new_with_index(self.index).append_extra_attribute(
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]),
        );
        let request = self.netlink.handle.link().set(quiet.build());
        if let Err(error) = request.execute().await {
            tracing::debug!(%error, "the TUN link keeps its link-local address: {error}");
        }
    }

    /// Only if it is not, because a change is told to everybody, us too.
    async fn set_up(&self) -> Result<usize, KernelError> {
        let found = self.netlink.handle.link().get().match_index(self.index);
        let found: Vec<_> = found
            .execute()
            .try_collect()
            .await
            .map_err(failed("reading the TUN link"))?;
        let state = found.first().map(state_of);
        if state.is_some_and(|now| now.up && now.mtu == u32::from(self.mtu)) {
            return Ok(0);
        }
        let up = LinkUnspec::new_with_index(self.index)
            .mtu(u32::from(self.mtu))
            .up();
        let request = self.netlink.handle.link().set(up.build());
        let outcome = request.execute().await;
        outcome.map_err(failed("bringing the TUN link up"))?;
        Ok(1)
    }
}
