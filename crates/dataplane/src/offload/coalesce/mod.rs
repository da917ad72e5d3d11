//! Decrypted packets of a burst, joined before the TUN device gets them.
//!
//! What is joined is what Linux would join on receipt, so that cutting it
//! again gives the same packets: `tcp_gro_receive`, `udp_gro_receive_segment`
//! and, of the IP header, `inet_gro_receive` and `ipv6_gro_receive`. Where
//! the kernel joins more (IPv6 extension headers, CWR on the first segment)
//! the packet goes alone. Nothing is copied: what comes out points into the
//! burst's buffer.

mod eligibility;
mod header;

use std::io::IoSlice;
use std::ops::Range;

use eligibility::{Candidate, Eligibility, Flow, Ids};

use crate::packet::vnet::VnetHeader;

/// Packets joined into one at most, as `UDP_GRO_CNT_MAX` of Linux.
const MAX_PACKETS: usize = 64;
/// The most octets of a joined packet, headers included.
const MAX_OCTETS: usize = 65_535;
/// Packets of a burst that cost no allocation.
const BURST: usize = 256;
/// Groups that a packet may still join. If a burst has more flows, the group
/// that has waited longest takes no more.
const OPEN: usize = 16;

/// Octets of the longest headers of a joined packet: IPv6, and TCP with options.
const MAX_HEADERS: usize = 100;

/// The kinds of packets to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coalesce {
    /// TCP segments, into what TUN takes as `TCPV4` and `TCPV6`.
    pub tcp: bool,
    /// Datagrams, into what TUN takes as `UDP_L4`: from Linux 6.2.
    pub udp: bool,
}

/// A packet, single or joined, that is written at once.
#[derive(Debug, Clone, Copy)]
pub struct Bundle<'a> {
    /// First the [`VnetHeader`](crate::VnetHeader), then a packet's headers and
    /// payload; the rest is payload.
    pub parts: &'a [IoSlice<'a>],
    /// How many packets it stands for.
    pub packets: usize,
    /// TCP or UDP, if there are several.
    pub kind: Option<Kind>,
}

/// The kind of packets that were joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP segments.
    Tcp,
    /// UDP datagrams.
    Udp,
}

/// What became of a joined packet that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Nothing more is to be done, whether it was written or is lost.
    Done,
    /// Its packets are to come again one by one, as they were pushed.
    Singly,
}

/// Joins decrypted packets of a burst as the kernel's own GRO would, never more.
///
/// Packets of a flow (addresses, protocol and ports) keep their order. A joined packet
/// goes in the place of its first one, so packets of different flows may change theirs.
#[derive(Debug)]
pub struct Coalescer {
    what: Coalesce,
    members: Vec<Member>,
    groups: Vec<Group>,
    open: OpenGroups,
}

/// A packet's part in its group.
#[derive(Debug)]
struct Member {
    /// In the burst's buffer: the whole of a group's first packet, the payload
    /// of the others.
    at: Range<usize>,
    /// The group's next member.
    next: Option<usize>,
}

/// Packets that leave as one.
#[derive(Debug)]
struct Group {
    first: usize,
    last: usize,
    packets: usize,
    /// The first packet, where others may join it.
    lead: Option<Lead>,
}

#[derive(Debug)]
struct Lead {
    candidate: Candidate,
    /// Octets of headers and of all payloads.
    octets: usize,
    ids: Option<Ids>,
    /// FIN and PSH of the last segment.
    flags: u8,
    /// The first packet's checksums hold. They are looked at only when another
    /// packet comes: most packets of an idle flow stay alone.
    verified: bool,
}

/// What became of a packet that met a group of its flow.
enum Joined {
    /// In, and more may follow.
    Open,
    /// In, and the last.
    Closed,
    /// Not in, and nothing may pass it.
    Refused,
}

impl Coalescer {
    /// One that joins `what` and nothing else.
    #[must_use]
    pub fn new(what: Coalesce) -> Self {
        Self {
            what,
            members: Vec::with_capacity(BURST),
            groups: Vec::with_capacity(BURST),
            open: OpenGroups::default(),
        }
    }

    /// Takes the inner packet at `at` of the burst's buffer, without padding
    /// behind it. A range beyond the buffer holds no packet.
    pub fn push(&mut self, buffer: &[u8], at: Range<usize>) {
        let Some(packet) = buffer.get(at.clone()) else {
            return;
        };
        match Eligibility::of(packet, self.what) {
            Eligibility::Candidate(candidate) => self.place(buffer, packet, at, candidate),
            Eligibility::Alone(flow) => {
                if let Some((slot, _)) = self.find(flow.digest(), &flow) {
                    self.open.close(slot);
                }
                self.start(at, None);
            }
            Eligibility::AnyFlow => {
                self.open = OpenGroups::default();
                self.start(at, None);
            }
            Eligibility::Other => {
                self.start(at, None);
            }
        }
    }

    /// Leaves packets of this kind alone from now on.
    pub fn leave_single(&mut self, kind: Kind) {
        match kind {
            Kind::Tcp => self.what.tcp = false,
            Kind::Udp => self.what.udp = false,
        }
    }

    /// Hands over what was pushed since the last time, in order of each
    /// group's first packet, and forgets it. `buffer` is the one that the
    /// packets were pushed from; the headers of what is joined are changed in
    /// it.
    pub fn flush(&mut self, buffer: &mut [u8], mut write: impl FnMut(Bundle<'_>) -> WriteOutcome) {
        for group in &self.groups {
            let Some(first) = self.members.get(group.first) else {
                continue;
            };
            let lead = group.lead.as_ref().filter(|_| group.packets > 1);
            let Some(lead) = lead else {
                write_single(buffer, &first.at, &mut write);
                continue;
            };
            let headers = Headers::of(lead, buffer, first.at.start);
            if self.write_joined(buffer, group, lead, &mut write) == WriteOutcome::Singly {
                headers.restore(buffer, first.at.start);
                self.write_apart(buffer, group, lead, &mut write);
            }
        }
        self.members.clear();
        self.groups.clear();
        self.open = OpenGroups::default();
    }

    /// Writes a group as one packet.
    fn write_joined(
        &self,
        buffer: &mut [u8],
        group: &Group,
        lead: &Lead,
        write: &mut impl FnMut(Bundle<'_>) -> WriteOutcome,
    ) -> WriteOutcome {
        let first = self.members.get(group.first).map(|first| first.at.clone());
        let vnet = first
            .and_then(|first| buffer.get_mut(first))
            .and_then(|head| header::join(lead, head))
            .unwrap_or_default()
            .to_octets();
        let mut slices = [IoSlice::new(&vnet); 1 + MAX_PACKETS];
        let mut used = 1;
        for (slice, member) in slices.iter_mut().skip(1).zip(self.members_of(group)) {
            *slice = IoSlice::new(buffer.get(member.at.clone()).unwrap_or_default());
            used += 1;
        }
        write(Bundle {
            parts: slices.get(..used).unwrap_or_default(),
            packets: group.packets,
            kind: Some(if lead.candidate.flow.udp {
                Kind::Udp
            } else {
                Kind::Tcp
            }),
        })
    }

    /// Writes the packets of a group as they came. Each one's own headers still
    /// stand before its payload.
    fn write_apart(
        &self,
        buffer: &[u8],
        group: &Group,
        lead: &Lead,
        write: &mut impl FnMut(Bundle<'_>) -> WriteOutcome,
    ) {
        for (number, member) in self.members_of(group).enumerate() {
            let headers = if number == 0 {
                0
            } else {
                lead.candidate.headers
            };
            let start = member.at.start.saturating_sub(headers);
            write_single(buffer, &(start..member.at.end), write);
        }
    }

    fn members_of(&self, group: &Group) -> impl Iterator<Item = &Member> {
        let first = self.members.get(group.first);
        std::iter::successors(first, |member| self.members.get(member.next?))
    }

    fn place(&mut self, buffer: &[u8], packet: &[u8], at: Range<usize>, candidate: Candidate) {
        let digest = candidate.flow.digest();
        if let Some((slot, group)) = self.find(digest, &candidate.flow) {
            match self.join(buffer, packet, &at, &candidate, group) {
                Joined::Open => return,
                Joined::Closed => {
                    self.open.close(slot);
                    return;
                }
                Joined::Refused => self.open.close(slot),
            }
        }
        if !candidate.may_lead() {
            self.start(at, None);
            return;
        }
        let lead = Lead {
            octets: packet.len(),
            ids: None,
            flags: 0,
            verified: false,
            candidate,
        };
        let group = self.start(at, Some(lead));
        self.open.insert(digest, group);
    }

    fn find(&self, digest: u32, flow: &Flow) -> Option<(usize, usize)> {
        // All digests are compared at once: most packets of a new flow are found so.
        if !self.open.digests.contains(&digest) {
            return None;
        }
        self.open.with(digest).find(|(_, group)| {
            let group = self.groups.get(*group);
            let lead = group.and_then(|group| group.lead.as_ref());
            lead.is_some_and(|lead| lead.candidate.flow == *flow)
        })
    }

    /// Starts a group for the packet, the last of all.
    fn start(&mut self, at: Range<usize>, lead: Option<Lead>) -> usize {
        let member = self.members.len();
        self.members.push(Member { at, next: None });
        self.groups.push(Group {
            first: member,
            last: member,
            packets: 1,
            lead,
        });
        self.groups.len().saturating_sub(1)
    }

    fn join(
        &mut self,
        buffer: &[u8],
        packet: &[u8],
        at: &Range<usize>,
        candidate: &Candidate,
        group: usize,
    ) -> Joined {
        let member = self.members.len();
        let Some(group) = self.groups.get_mut(group) else {
            return Joined::Refused;
        };
        let first = self.members.get(group.first);
        let first = first.and_then(|first| buffer.get(first.at.clone()));
        let Some((lead, first)) = group.lead.as_mut().zip(first) else {
            return Joined::Refused;
        };
        let octets = lead.octets.saturating_add(candidate.payload);
        let done = lead.octets.saturating_sub(lead.candidate.headers);
        if octets > MAX_OCTETS || !candidate.follows(&lead.candidate, done) {
            return Joined::Refused;
        }
        let Some(ids) = candidate.ids_after(&lead.candidate, group.packets, lead.ids) else {
            return Joined::Refused;
        };
        if !candidate.same_options(packet, &lead.candidate, first) {
            return Joined::Refused;
        }
        lead.verified = lead.verified || lead.candidate.checksums_hold(first);
        if !lead.verified || !candidate.checksums_hold(packet) {
            return Joined::Refused;
        }
        lead.octets = octets;
        lead.ids = Some(ids);
        lead.flags = candidate.closing_flags();
        let closed = lead.flags != 0
            || candidate.payload < lead.candidate.payload
            || group.packets.saturating_add(1) == MAX_PACKETS;
        group.packets = group.packets.saturating_add(1);
        if let Some(last) = self.members.get_mut(group.last) {
            last.next = Some(member);
        }
        group.last = member;
        self.members.push(Member {
            at: at.start.saturating_add(candidate.headers)..at.end,
            next: None,
        });
        if closed { Joined::Closed } else { Joined::Open }
    }
}

fn write_single(
    buffer: &[u8],
    at: &Range<usize>,
    write: &mut impl FnMut(Bundle<'_>) -> WriteOutcome,
) {
    let vnet = VnetHeader::default().to_octets();
    let packet = buffer.get(at.clone()).unwrap_or_default();
    // A single packet cannot be taken apart any further.
    let _ = write(Bundle {
        parts: &[IoSlice::new(&vnet), IoSlice::new(packet)],
        packets: 1,
        kind: None,
    });
}

/// The headers of a group's first packet as they came.
struct Headers {
    octets: [u8; MAX_HEADERS],
    len: usize,
}

impl Headers {
    fn of(lead: &Lead, buffer: &[u8], start: usize) -> Self {
        let mut octets = [0; MAX_HEADERS];
        let mut len = 0;
        let headers = buffer.get(start..start.saturating_add(lead.candidate.headers));
        for (to, from) in octets.iter_mut().zip(headers.unwrap_or_default()) {
            *to = *from;
            len += 1;
        }
        Self { octets, len }
    }

    fn restore(&self, buffer: &mut [u8], start: usize) {
        let headers = buffer.iter_mut().skip(start).take(self.len);
        for (to, from) in headers.zip(self.octets) {
            *to = from;
        }
    }
}

/// The groups that still take packets, each with a digest of its flow, which
/// is never 0.
#[derive(Debug, Default)]
struct OpenGroups {
    digests: [u32; OPEN],
    groups: [usize; OPEN],
    /// The slot to give away when none is free.
    victim: usize,
}

impl OpenGroups {
    /// Slot and group of those whose flow has this digest.
    fn with(&self, digest: u32) -> impl Iterator<Item = (usize, usize)> {
        let slots = self.digests.iter().zip(&self.groups).enumerate();
        slots
            .filter(move |(_, (found, _))| **found == digest)
            .map(|(slot, (_, group))| (slot, *group))
    }

    fn close(&mut self, slot: usize) {
        if let Some(digest) = self.digests.get_mut(slot) {
            *digest = 0;
        }
    }

    fn insert(&mut self, digest: u32, group: usize) {
        let free = self.digests.iter().position(|digest| *digest == 0);
        let slot = free.unwrap_or_else(|| {
            self.victim = (self.victim + 1) % OPEN;
            self.victim
        });
        if let Some((to, at)) = self.digests.get_mut(slot).zip(self.groups.get_mut(slot)) {
            *to = digest;
            *at = group;
        }
    }
}

#[cfg(test)]
mod tests;
