//! What hosts send to each other through the tunnels, and what becomes of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use vgw_crypto::EspSuite;
use vgw_dataplane::{DropReason, Dropped, Family, SeenPath, inner_mtu, mss};
use vgw_gateway::domain::{Gateway, Side, Tunnel};
use vgw_sa::DfPolicy;

use super::World;
use crate::host::{self, IPV6_MINIMUM, Seen, Shape};
use crate::network::{Load, Packet};
use crate::plane::{Accepted, spi_of};
use crate::setup;

/// Packets from the host behind one node to the host behind another, at a
/// steady pace.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// The sender, by its place among the nodes.
    pub from: usize,
    /// The receiver.
    pub to: usize,
    /// The gateway between them, if they are two sites.
    pub via: Option<usize>,
    /// Time from one packet to the next.
    pub every: Duration,
    /// The flow that sends a packet whenever one of this arrives.
    answered_by: Option<usize>,
    /// Whether its packets are at random; otherwise all are small.
    mixed: bool,
    pub(super) next: Instant,
    /// What became of its packets.
    pub tally: Tally,
    /// When a packet of it was last delivered.
    pub last_delivered: Option<Instant>,
    /// Longest time between two deliveries so far.
    pub longest_gap: Duration,
}

/// What became of packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Handed to a data plane.
    pub offered: u64,
    /// Accepted at the other end.
    pub delivered: u64,
    /// Not sent, or not sent on: no tunnel was up.
    pub not_sent: u64,
    /// Lost by the network, a NAT on it, or a machine that was off.
    pub lost: u64,
    /// Sent with an SA that the receiver no longer, or not yet, had.
    pub stale: u64,
    /// Times that a host was told that its packet was too big, and sent a smaller one.
    pub told: u64,
    /// Times that a packet travelled in outer fragments.
    pub fragmented: u64,
    /// SYNs whose maximum segment size was lowered.
    pub clamped: u64,
    /// Times that a gateway sent one on to another site.
    pub relayed: u64,
}

/// A packet of a flow that is on its way, or what tells its sender that it was too big.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    flow: usize,
    shape: Shape,
    copies: u32,
    delivered: bool,
    /// Some node has accepted a copy of it, so that others are replays.
    opened: bool,
    /// The node that it goes to, in which of its lives, and whether that had the SA when
    /// it was sent.
    next: usize,
    starts: u64,
    live: bool,
    /// The least MTU of the tunnels that it came through so far.
    fits: usize,
    /// Its sender has just been told by its own gateway to send it in this size.
    told: bool,
}

/// What became of one copy of a packet.
pub(super) enum End {
    /// The network has not delivered it.
    Lost,
    /// It went on, or was answered.
    Passed,
    /// The host that it is for has it.
    Arrived,
    /// This node did not take it.
    Refused(usize, DropReason),
    /// A node did not send it, or did not send it on.
    NotSent(DropReason),
}

/// What the configuration says of an end of a tunnel.
struct Lane {
    mtu: usize,
    df: DfPolicy,
}

impl World {
    /// Sends small packets at a steady pace from the host behind one machine to the
    /// one behind another.
    pub fn flow(&mut self, from: usize, to: usize, every: Duration) -> usize {
        self.flows.push(Flow {
            from,
            to,
            via: None,
            every,
            answered_by: None,
            mixed: false,
            next: self.now,
            tally: Tally::default(),
            last_delivered: None,
            longest_gap: Duration::ZERO,
        });
        self.flows.len() - 1
    }

    /// Answers each packet of a flow when it arrives; gives the place of the flow back.
    pub fn answering_flow(&mut self, of: usize) -> Option<usize> {
        const NEVER: Duration = Duration::from_secs(1 << 32);
        let Flow { from, to, .. } = *self.flows.get(of)?;
        let answering = self.flow(to, from, NEVER);
        let next = self.now + NEVER;
        self.flows.get_mut(answering)?.next = next;
        self.flows.get_mut(of)?.answered_by = Some(answering);
        Some(answering)
    }

    /// Sends packets at random, as [`Shape::draw`] draws them, between two machines, by
    /// a gateway that lets sites reach each other if `via` says so.
    pub fn mixed_flow(
        &mut self,
        from: usize,
        to: usize,
        via: Option<usize>,
        every: Duration,
    ) -> usize {
        let index = self.flow(from, to, every);
        if let Some(flow) = self.flows.get_mut(index) {
            flow.mixed = true;
            flow.via = via;
        }
        index
    }

    /// Changes the pace of a flow, from now on.
    pub fn set_pace(&mut self, flow: usize, every: Duration) {
        if let Some(flow) = self.flows.get_mut(flow) {
            flow.every = every;
            flow.next = self.now + every;
        }
    }

    /// Sends the next packet of a flow if it is time.
    pub(super) fn offer(&mut self, index: usize) {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(index).filter(|flow| flow.next <= now) else {
            return;
        };
        flow.next = now + flow.every;
        flow.tally.offered += 1;
        let (from, mixed) = (flow.from, flow.mixed);
        let shape = if mixed {
            Shape::draw(&mut self.dice)
        } else {
            Shape::SMALL
        };
        let number = self.numbers;
        self.numbers += 1;
        let sent = Sent {
            flow: index,
            shape,
            copies: 0,
            delivered: false,
            opened: false,
            next: from,
            starts: 0,
            live: false,
            fits: usize::MAX,
            told: false,
        };
        self.sent.insert(number, sent);
        self.send(number);
    }

    /// Has a packet's host send it, or send it again.
    fn send(&mut self, number: u64) {
        let Some((sent, flow)) = self.known(number) else {
            return;
        };
        let [from, to] = [flow.from, flow.to].map(|place| self.host(place, sent.shape.family));
        let inner = sent.shape.packet(from, to, number);
        let since = self.now - self.epoch;
        let outcome = match self.nodes.get_mut(flow.from) {
            Some(node) if node.supervisor.is_some() => node.plane.send(since, inner, number),
            _ => Err(DropReason::NoRoute.into()),
        };
        match outcome {
            Ok(packet) => self.leaves(number, flow.from, packet, flow.via.unwrap_or(flow.to)),
            Err(Dropped {
                reason: DropReason::TooBig,
                answer,
            }) => {
                self.judge_too_big(number, flow.from);
                match answer.as_deref().and_then(host::read) {
                    Some(Seen::TooBig { number: of, limit }) if of == number => {
                        self.tell(number, limit, true);
                    }
                    _ => self.blame(number, "was too big, and its sender is not told"),
                }
            }
            Err(Dropped { reason, .. }) => {
                if let Some(sent) = self.sent.get_mut(&number) {
                    sent.copies += 1;
                }
                self.copy_ended(number, End::NotSent(reason));
            }
        }
    }

    /// Has a packet's host, which was told that it was too big, send a smaller one.
    fn tell(&mut self, number: u64, limit: usize, by_own_gateway: bool) {
        let Some((sent, _)) = self.known(number) else {
            return;
        };
        if limit >= sent.shape.len {
            return self.blame(number, &format!("was too big, and {limit} is not"));
        }
        if let Some(sent) = self.sent.get_mut(&number) {
            sent.shape.len = limit;
            sent.told = by_own_gateway;
            sent.fits = usize::MAX;
        }
        self.count(number, |tally| tally.told += 1);
        self.send(number);
    }

    /// Hands a packet of a flow to the network, for the node `next`.
    fn leaves(&mut self, number: u64, place: usize, packet: Packet, next: usize) {
        let Some((sent, _)) = self.known(number) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(place) {
            node.note_packet(self.now);
        }
        let (local, remote) = (packet.source.ip(), packet.destination.ip());
        let udp = packet.source.port() != 0;
        if let Some(lane) = self.lane(place, local, remote, udp) {
            let Shape { family, len, .. } = sent.shape;
            if len > lane.mtu {
                self.count(number, |tally| tally.fragmented += 1);
                if lane.df == DfPolicy::Honor && !sent.shape.may_be_fragmented() {
                    self.blame(number, "travels in fragments, and its sender is not told");
                }
            }
            let least = if family == Family::V6 {
                IPV6_MINIMUM
            } else {
                0
            };
            if sent.told && len != lane.mtu.max(least) {
                let what = format!("was told of {len} octets where {} fit", lane.mtu);
                self.blame(number, &what);
            }
            self.narrow(number, lane.mtu);
        }
        self.hand_over(number, packet, next);
    }

    /// Hands a copy of a packet, or the answer to it, to the network.
    fn hand_over(&mut self, number: u64, packet: Packet, next: usize) {
        let (live, starts) = self.is_live(next, &packet);
        let copies = self.network.send(self.now, packet).copies;
        if let Some(sent) = self.sent.get_mut(&number) {
            sent.copies += copies + 1;
            (sent.next, sent.starts, sent.live) = (next, starts, live);
            sent.told = false;
        }
        self.copy_ended(number, End::Passed);
    }

    /// Takes an ESP packet that has arrived.
    pub(super) fn take_esp(
        &mut self,
        place: usize,
        to: SocketAddr,
        packet: &Packet,
        octets: &[u8],
        number: u64,
    ) {
        let since = self.now - self.epoch;
        let Some(node) = self.nodes.get_mut(place) else {
            return;
        };
        let outcome = node.plane.receive(since, packet, octets, number);
        node.note_packet(self.now);
        let paths = node.plane.take_paths();
        let unknown = matches!(&outcome, Err(dropped) if dropped.reason == DropReason::UnknownSpi);
        if let (true, Some(spi)) = (unknown, spi_of(octets)) {
            let from = packet.source;
            self.operate(place, |s, now| s.note_unknown_spi(now, to, from, spi));
        }
        for SeenPath { spi_in, remote } in paths {
            self.operate(place, |s, now| s.note_path(now, spi_in, remote));
        }
        let Some((_, flow)) = self.known(number) else {
            return;
        };
        let udp = packet.source.port() != 0;
        if let Some(lane) = self.lane(place, to.ip(), packet.source.ip(), udp) {
            self.narrow(number, lane.mtu);
        }
        let end = match outcome {
            Ok(Accepted::Relayed(onward)) => {
                if flow.via != Some(place) {
                    self.blame(number, "went to another site");
                }
                self.count(number, |tally| tally.relayed += 1);
                self.leaves(number, place, onward, flow.to);
                End::Passed
            }
            Ok(Accepted::Inside(inner)) => self.take_inner(number, place, &inner),
            Err(Dropped {
                reason: DropReason::TooBig,
                answer: Some(answer),
            }) => {
                self.judge_too_big(number, place);
                self.hand_over(number, answer, flow.from);
                End::Passed
            }
            // No tunnel leads on, or back to the host that would be told.
            Err(Dropped {
                reason: reason @ (DropReason::NoSa | DropReason::TooBig),
                ..
            }) => End::NotSent(reason),
            Err(Dropped { reason, .. }) => End::Refused(place, reason),
        };
        if let Some(sent) = self.sent.get_mut(&number) {
            sent.opened |= !matches!(end, End::Refused(..));
        }
        self.copy_ended(number, end);
    }

    /// Takes what a node gives to the host behind it.
    fn take_inner(&mut self, number: u64, place: usize, inner: &[u8]) -> End {
        let Some((sent, flow)) = self.known(number) else {
            return End::Passed;
        };
        match host::read(inner) {
            Some(Seen::Packet {
                number: of,
                len,
                mss: announced,
            }) => {
                if sent.delivered || of != number || place != flow.to || len != sent.shape.len {
                    self.blame(number, "arrived twice or wrongly");
                }
                let before = sent.shape.mss;
                let fits = u16::try_from(mss(sent.fits, sent.shape.family)).unwrap_or(u16::MAX);
                if announced != before.map(|mss| mss.min(fits)) {
                    let what = format!("announces {announced:?} where segments of {fits} fit");
                    self.blame(number, &what);
                }
                if announced != before {
                    self.count(number, |tally| tally.clamped += 1);
                }
                End::Arrived
            }
            Some(Seen::TooBig { number: of, limit }) if of == number && place == flow.from => {
                self.tell(number, limit, false);
                End::Passed
            }
            _ => {
                self.blame(number, "led to a packet that nobody sent");
                End::Passed
            }
        }
    }

    /// No host may be told that a packet is too big if that packet may be fragmented.
    fn judge_too_big(&mut self, number: u64, place: usize) {
        let Some((sent, flow)) = self.known(number) else {
            return;
        };
        let to = self.host(flow.to, sent.shape.family);
        let policy = self.nodes.get(place).and_then(|node| {
            let tunnel = node.plane.leads_to(to)?;
            node.plane.policy(tunnel)
        });
        let honors = policy.is_some_and(|policy| policy.df_policy == DfPolicy::Honor);
        if !honors || sent.shape.may_be_fragmented() {
            self.blame(number, "was too big, and could have travelled in fragments");
        }
    }

    /// Enters what became of one copy of a packet.
    pub(super) fn copy_ended(&mut self, number: u64, end: End) {
        let now = self.now;
        let Some(sent) = self.sent.get_mut(&number) else {
            return;
        };
        let Some(flow) = self.flows.get_mut(sent.flow) else {
            return;
        };
        sent.copies -= 1;
        let last = sent.copies == 0 && !sent.delivered;
        let mut wrong = None;
        match end {
            End::Arrived => {
                sent.delivered = true;
                flow.tally.delivered += 1;
                if let Some(last) = flow.last_delivered {
                    flow.longest_gap = flow.longest_gap.max(now - last);
                }
                flow.last_delivered = Some(now);
                let answering = flow.answered_by;
                if let Some(flow) = answering.and_then(|place| self.flows.get_mut(place)) {
                    flow.next = now;
                }
            }
            End::Refused(_, reason) | End::NotSent(reason) if is_blame(reason) => {
                wrong = Some(format!("is honest, but {reason:?}"));
            }
            End::Lost | End::Passed if last => flow.tally.lost += 1,
            End::Refused(_, DropReason::Replayed) if sent.opened => {
                flow.tally.lost += u64::from(last);
            }
            End::NotSent(_) if last => flow.tally.not_sent += 1,
            End::Refused(place, reason) if last => {
                let node = self.nodes.get(place);
                let same_life = place == sent.next
                    && node.is_some_and(|n| n.starts == sent.starts && n.supervisor.is_some());
                if sent.live && same_life {
                    wrong = Some(format!(
                        "was sent through a live tunnel and refused: {reason:?}"
                    ));
                } else if same_life {
                    flow.tally.stale += 1;
                } else {
                    flow.tally.lost += 1;
                }
            }
            End::Lost | End::Passed | End::Refused(..) | End::NotSent(_) => {}
        }
        let over = sent.copies == 0;
        if let Some(what) = wrong {
            self.blame(number, &what);
        }
        if over {
            self.sent.remove(&number);
        }
    }

    /// Whether the receiver has the SA of a packet, and in which of its lives.
    fn is_live(&self, to: usize, packet: &Packet) -> (bool, u64) {
        let Some(node) = self.nodes.get(to) else {
            return (false, 0);
        };
        let Load::Esp(octets, _) = &packet.load else {
            return (false, 0);
        };
        let supervisor = node.supervisor.as_ref();
        let live = spi_of(octets)
            .is_some_and(|spi| supervisor.is_some_and(|supervisor| supervisor.has_child(spi)));
        (live, node.starts)
    }

    /// The end of a tunnel, at this node and between these addresses, as its
    /// configuration has it.
    fn lane(&self, place: usize, local: IpAddr, remote: IpAddr, udp: bool) -> Option<Lane> {
        let config = &self.nodes.get(place)?.config;
        let tunnel = tunnel_between(config, local, remote)?;
        let encryption = *tunnel.phase2.encryption.first()?;
        let integrity = tunnel.phase2.integrity.first().copied();
        let suite = EspSuite {
            encryption,
            integrity: integrity.filter(|_| !encryption.is_aead()),
            esn: false,
        };
        Some(Lane {
            mtu: inner_mtu(suite, udp, Family::V4, config.outside_mtu.into()),
            df: tunnel.df_policy,
        })
    }

    /// The host behind a node.
    fn host(&self, place: usize, family: Family) -> IpAddr {
        let node = self.nodes.get(place);
        let v4 = node.map_or(Ipv4Addr::UNSPECIFIED, |node| node.host);
        match family {
            Family::V4 => v4.into(),
            Family::V6 => setup::ipv6_of(v4).into(),
        }
    }

    fn known(&self, number: u64) -> Option<(Sent, Flow)> {
        let sent = *self.sent.get(&number)?;
        Some((sent, *self.flows.get(sent.flow)?))
    }

    fn narrow(&mut self, number: u64, mtu: usize) {
        if let Some(sent) = self.sent.get_mut(&number) {
            sent.fits = sent.fits.min(mtu);
        }
    }

    fn count(&mut self, number: u64, add: impl FnOnce(&mut Tally)) {
        let index = self.sent.get(&number).map(|sent| sent.flow);
        if let Some(flow) = index.and_then(|index| self.flows.get_mut(index)) {
            add(&mut flow.tally);
        }
    }

    fn blame(&mut self, number: u64, what: &str) {
        let of = self.known(number);
        self.violations
            .push(format!("packet {number} {what}: {of:?}"));
    }
}

/// The tunnel of a gateway between its own address and that of the peer, as the Internet
/// sees it.
fn tunnel_between(config: &Gateway, local: IpAddr, remote: IpAddr) -> Option<&Tunnel> {
    let tunnels = config.connections.iter().flat_map(|connection| {
        let customer = connection.customer_gateway.ip_address;
        connection.tunnels.iter().map(move |t| (customer, t))
    });
    let mut tunnels = tunnels.filter(|(customer, tunnel)| match config.side {
        Side::VirtualPrivateGateway => tunnel.outside_address == local && *customer == Some(remote),
        Side::CustomerGateway => tunnel.outside_address == remote,
    });
    tunnels.next().map(|(_, tunnel)| tunnel)
}

/// Whether this reason blames the sender of a packet. No packet of a flow may
/// be dropped for it, whatever happens to the tunnels.
const fn is_blame(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::OutsideSelectors | DropReason::SourceNotAllowed | DropReason::SourceNotRouted
    )
}
