//! The worker from outside to inside.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use vgw_esp::{GROUP, Opened};
use vgw_sa::{Concerned, Hint, IKE_PORT, NATT_PORT, Sign, TunnelId};

use crate::engine::forward::{Admitted, RecentLookups, admit, has_moved};
use crate::event::DataPlaneEvent;
use crate::io::receive::Receiver;
use crate::io::sockets::OutsideSockets;
use crate::offload::coalesce::{Coalesce, Coalescer, WriteOutcome};
use crate::packet::icmp_error::IcmpError;
use crate::tables::counters::DropReason;
use crate::tables::rate;
use crate::tables::sample::UnknownSpi;
use crate::tables::{Slot, TableCache, Tables};
use crate::workers::relay::Relay;
use crate::workers::tun_refusals::TunRefusals;
use crate::workers::worker::{Shared, Worker};

/// Sockets that may be ready at once; more are seen the next time round.
const READY: usize = 32;
/// Stands in epoll for the wake-up; sockets are numbered from 0.
const WAKE: u64 = u64::MAX;
/// Comes before an IKE message on port 4500 (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// How long a worker rests before it reads a socket again that keeps failing.
const REST: Duration = Duration::from_millis(10);
/// ESP packets that the lists have room for from the start.
const PACKETS: usize = 1024;

/// What a socket carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketKind {
    Ike,
    IkeAndEsp,
    /// A raw IPv4 socket, which gives the outer header too.
    EspBehindIpv4,
    /// A raw IPv6 socket, which does not.
    Esp,
    /// Another raw IPv4 socket.
    IcmpErrorsBehindIpv4,
    IcmpErrors,
}

impl std::fmt::Display for SocketKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ike => "UDP port 500",
            Self::IkeAndEsp => "UDP port 4500",
            Self::EspBehindIpv4 | Self::Esp => "protocol 50",
            Self::IcmpErrorsBehindIpv4 | Self::IcmpErrors => "ICMP errors",
        })
    }
}

struct InboundSocket<'a> {
    socket: BorrowedFd<'a>,
    kind: SocketKind,
    local: SocketAddr,
    /// Datagrams that found the socket's queue full and have been counted.
    overflows: u32,
    /// The last attempt to read it failed.
    failing: bool,
}

/// A received ESP packet.
struct EspPacket {
    spi: u32,
    remote: SocketAddr,
    /// DSCP and ECN of the outer header.
    traffic_class: u8,
    udp_encapsulation: bool,
}

/// Everything that a burst needs, allocated once.
struct InboundWorker<'a> {
    shared: &'a Shared,
    number: usize,
    worker: &'a Worker,
    receiver: Receiver,
    esp: Vec<EspPacket>,
    /// Where in the receiver's buffer each of `esp` lies, from the SPI on.
    places: Vec<Range<usize>>,
    opened: Vec<Result<Opened, vgw_esp::DropReason>>,
    coalescer: Coalescer,
    delivery: TunRefusals,
    relay: Relay<'a>,
    /// The look-ups of this burst.
    recent: RecentLookups,
}

/// Runs until told to stop; an error says why it cannot go on.
pub(crate) fn run(shared: &Shared, number: usize, worker: &Worker) -> Result<(), String> {
    let mut sources: Vec<InboundSocket<'_>> = shared
        .outside
        .iter()
        .flat_map(|outside| sources(outside, number))
        .collect();
    let epoll = watch(worker, &sources).map_err(|errno| format!("epoll: {errno}"))?;
    let mut tables = TableCache::new(&shared.engine.tables);
    let features = shared.tun.features();
    let mut inbound = InboundWorker {
        shared,
        number,
        worker,
        receiver: Receiver::new(),
        esp: Vec::with_capacity(PACKETS),
        places: Vec::with_capacity(PACKETS),
        opened: Vec::with_capacity(PACKETS),
        coalescer: Coalescer::new(Coalesce {
            tcp: features.tun_tso,
            udp: features.tun_uso,
        }),
        delivery: TunRefusals::default(),
        relay: Relay::new(shared, number, worker),
        recent: RecentLookups::default(),
    };
    let mut ready = [EpollEvent::empty(); READY];
    loop {
        let timeout = if inbound.relay.may_sleep() {
            EpollTimeout::NONE
        } else {
            EpollTimeout::ZERO
        };
        let count = match epoll.wait(&mut ready, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(format!("epoll: {errno}")),
        };
        let ready = ready.get(..count).unwrap_or_default();
        // Before looking at what changed: a change after the look wakes again.
        if ready.iter().any(|event| event.data() == WAKE) {
            worker.clear_wake();
            // Lets go of old tables, even if no packet comes.
            tables.load();
        }
        if shared.stopping() {
            return Ok(());
        }
        inbound.relay.serve();
        let numbers = ready.iter().map(|event| usize::try_from(event.data()));
        for number in numbers.flatten() {
            // No source has the number of the wake-up.
            if let Some(source) = sources.get_mut(number) {
                inbound.take(&mut tables, source)?;
            }
        }
    }
}

/// What this worker receives on one outside address. Only the first worker has
/// IKE's own port, and ICMP errors.
fn sources(outside: &OutsideSockets, number: usize) -> Vec<InboundSocket<'_>> {
    let at = |port| SocketAddr::new(outside.address(), port);
    let mut sources = vec![
        InboundSocket {
            socket: outside.natt(number).as_fd(),
            kind: SocketKind::IkeAndEsp,
            local: at(NATT_PORT),
            overflows: 0,
            failing: false,
        },
        InboundSocket {
            socket: outside.esp(number).as_fd(),
            kind: match outside.address() {
                IpAddr::V4(_) => SocketKind::EspBehindIpv4,
                IpAddr::V6(_) => SocketKind::Esp,
            },
            local: at(0),
            overflows: 0,
            failing: false,
        },
    ];
    if number == 0 {
        sources.push(InboundSocket {
            socket: outside.ike().as_fd(),
            kind: SocketKind::Ike,
            local: at(IKE_PORT),
            overflows: 0,
            failing: false,
        });
        sources.push(InboundSocket {
            socket: outside.icmp_errors().as_fd(),
            kind: match outside.address() {
                IpAddr::V4(_) => SocketKind::IcmpErrorsBehindIpv4,
                IpAddr::V6(_) => SocketKind::IcmpErrors,
            },
            local: at(0),
            overflows: 0,
            failing: false,
        });
    }
    sources
}

fn watch(worker: &Worker, sources: &[InboundSocket<'_>]) -> Result<Epoll, Errno> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let readable = |data| EpollEvent::new(EpollFlags::EPOLLIN, data);
    epoll.add(worker.wake.as_fd(), readable(WAKE))?;
    for (data, source) in (0..).zip(sources) {
        epoll.add(source.socket, readable(data))?;
    }
    Ok(epoll)
}

impl InboundWorker<'_> {
    /// Takes one burst of a socket. What is left makes the socket ready again,
    /// so that no socket starves the others.
    fn take(
        &mut self,
        tables: &mut TableCache<'_>,
        source: &mut InboundSocket<'_>,
    ) -> Result<(), String> {
        match self.receiver.receive(source.socket) {
            Ok(()) => source.failing = false,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(errno) => {
                self.worker.drops.add(DropReason::ReceiveFailed, 1);
                if let Some(rest) = source.failed(errno)? {
                    std::thread::sleep(rest);
                }
                return Ok(());
            }
        }
        // Only now: an SA that was installed before its packet came is found.
        let tables = tables.load();
        self.recent = RecentLookups::default();
        self.count_overflows(source);
        self.sort(source);
        self.open(tables, source.local);
        self.relay.flush();
        self.deliver()
    }

    /// Counts the datagrams that the socket had no room for since the last call.
    fn count_overflows(&self, source: &mut InboundSocket<'_>) {
        let Some(newest) = self.receiver.datagrams.last() else {
            return;
        };
        let more = newest.overflows.wrapping_sub(source.overflows);
        source.overflows = newest.overflows;
        if let Ok(more @ 1..) = usize::try_from(more) {
            self.worker.drops.add(DropReason::ReceiveFull, more);
        }
    }

    /// Passes IKE messages on and lists ESP packets.
    fn sort(&mut self, source: &InboundSocket<'_>) {
        self.esp.clear();
        self.places.clear();
        let drops = &self.worker.drops;
        for datagram in &self.receiver.datagrams {
            if datagram.truncated {
                drops.add(DropReason::TooBig, 1);
                continue;
            }
            let end = datagram.at + datagram.len;
            for start in (datagram.at..end).step_by(datagram.segment.max(1)) {
                let place = start..end.min(start + datagram.segment);
                let octets = self.receiver.buffer.get(place.clone()).unwrap_or_default();
                let esp_at = match classify(source.kind, octets) {
                    Content::Ike(message) => {
                        self.hand_to_control(source.local, datagram.remote, message);
                        continue;
                    }
                    Content::Keepalive => {
                        self.shared.keepalives.add(1);
                        continue;
                    }
                    Content::IcmpError(error) => {
                        self.hint_at_error(error, datagram.remote.ip());
                        continue;
                    }
                    Content::OtherIcmp => continue,
                    Content::Malformed => {
                        drops.add(DropReason::Malformed, 1);
                        continue;
                    }
                    Content::Esp { at } => at,
                };
                let Some(spi) = octets.get(esp_at..).and_then(<[u8]>::first_chunk) else {
                    drops.add(DropReason::Malformed, 1);
                    continue;
                };
                self.places.push(place.start + esp_at..place.end);
                self.esp.push(EspPacket {
                    spi: u32::from_be_bytes(*spi),
                    remote: datagram.remote,
                    traffic_class: match source.kind {
                        // The raw socket tells it too, but the header is at hand.
                        SocketKind::EspBehindIpv4 => octets.get(1).copied().unwrap_or_default(),
                        _ => datagram.traffic_class,
                    },
                    udp_encapsulation: source.kind == SocketKind::IkeAndEsp,
                });
            }
        }
    }

    fn hand_to_control(&self, local: SocketAddr, remote: SocketAddr, message: &[u8]) {
        let taken = (self.shared.events)(DataPlaneEvent::Ike {
            local,
            remote,
            message: message.to_vec(),
        });
        if !taken {
            self.worker.drops.add(DropReason::IkeQueueFull, 1);
        }
    }

    /// Tells the control side that a packet did not arrive.
    fn hint_at_error(&self, IcmpError { says, packet }: IcmpError, by: IpAddr) {
        self.shared.hint(packet.remote.ip(), || Hint {
            concerns: Concerned::Sender(packet),
            sign: Sign::Icmp { says, by },
        });
    }

    /// Opens the listed packets, run by run of the same SPI.
    fn open(&mut self, tables: &Tables, local: SocketAddr) {
        let esp = std::mem::take(&mut self.esp);
        let mut start = 0;
        let runs = esp.chunk_by(|a, b| a.spi == b.spi);
        // Handed on in groups, while they are still in a first-level cache.
        for run in runs.flat_map(|run| run.chunks(GROUP)) {
            let Some(first) = run.first() else {
                continue;
            };
            match tables.inbound(first.spi) {
                Some(slot) => self.open_run(tables, slot, run, start),
                None => self.note_unknown_spi(local, first, run.len()),
            }
            start += run.len();
        }
        self.esp = esp;
    }

    /// Counts packets with an SPI that no SA receives with, and keeps one for
    /// the control side if one is due.
    fn note_unknown_spi(&self, local: SocketAddr, packet: &EspPacket, count: usize) {
        self.worker.drops.add(DropReason::UnknownSpi, count);
        let unknown = UnknownSpi {
            local,
            remote: packet.remote,
            spi: packet.spi,
        };
        let from = packet.remote.ip();
        if self
            .shared
            .engine
            .unknown_spis
            .note(rate::now(), from, || unknown)
        {
            (self.shared.events)(DataPlaneEvent::UnknownSpisSeen);
        }
    }

    /// Opens the packets of one SA, whose places are listed from `start`, and
    /// hands them on. Notes where its newest packet came from if that is not on
    /// its path.
    fn open_run(&mut self, tables: &Tables, slot: &Slot, run: &[EspPacket], start: usize) {
        let inbound = &*slot.inbound;
        let places = std::mem::take(&mut self.places);
        let mut opened = std::mem::take(&mut self.opened);
        let of_run = places.get(start..start + run.len()).unwrap_or_default();
        opened.clear();
        inbound
            .sa
            .opener()
            .open_burst(&mut self.receiver.buffer, of_run, &mut opened);

        let (mut packets, mut bytes) = (0, 0);
        // Only the newest packet tells the path: a delayed one must not lead
        // the answers back to an address that the peer has left.
        let mut newest: Option<(u64, &EspPacket)> = None;
        for (esp, opened) in run.iter().zip(&opened) {
            if let Ok(opened) = opened {
                packets += 1;
                bytes += opened.inner.len();
                if newest.is_none_or(|(sequence, _)| opened.sequence > sequence) {
                    newest = Some((opened.sequence, esp));
                }
            }
        }
        let limit = slot.tunnel_path.policy.limit_in.as_ref();
        let over_rate = limit.is_some_and(|limit| !limit.admit(rate::now(), bytes));
        for ((esp, place), opened) in run.iter().zip(of_run).zip(&opened) {
            let result = match opened {
                Ok(_) if over_rate => Err(DropReason::OverRate),
                Ok(opened) => {
                    let inner = place.start + opened.inner.start..place.start + opened.inner.end;
                    let admitted = self.admit(tables, slot, esp.traffic_class, inner.clone());
                    if let Err(reason) = admitted {
                        self.note_misplaced(reason, inbound.tunnel, inner);
                    }
                    admitted
                }
                Err(why) => Err((*why).into()),
            };
            if let Err(reason) = result {
                self.worker.drops.add(reason, 1);
            }
        }
        self.places = places;
        self.opened = opened;
        inbound.count(packets, bytes);
        if let Some((sequence, esp)) = newest
            && has_moved(slot, sequence, esp.remote, esp.udp_encapsulation)
            && self.shared.engine.paths.note(esp.spi, sequence, esp.remote)
        {
            (self.shared.events)(DataPlaneEvent::PathsSeen);
        }
    }

    /// Keeps a dropped packet as an example, if it was dropped because the networks differ.
    fn note_misplaced(&self, reason: DropReason, tunnel: TunnelId, place: Range<usize>) {
        let octets = self.receiver.buffer.get(place).unwrap_or_default();
        self.shared.engine.misplaced.note(reason, tunnel, octets);
    }

    /// Checks a decrypted packet and hands it on, to the TUN device or to another
    /// tunnel.
    fn admit(
        &mut self,
        tables: &Tables,
        slot: &Slot,
        traffic_class: u8,
        place: Range<usize>,
    ) -> Result<(), DropReason> {
        let octets = self
            .receiver
            .buffer
            .get_mut(place.clone())
            .unwrap_or_default();
        let tun_mtu = self.shared.tun.mtu();
        let Admitted { len, local } = admit(
            tables,
            slot,
            traffic_class,
            octets,
            tun_mtu,
            &mut self.recent,
        )?;
        if !local {
            let octets = octets.get_mut(..len).unwrap_or_default();
            return self.relay.forward(tables, slot.inbound.tunnel, octets);
        }
        self.coalescer
            .push(&self.receiver.buffer, place.start..place.start + len);
        Ok(())
    }

    /// Writes the decrypted packets to the TUN device.
    fn deliver(&mut self) -> Result<(), String> {
        let (tun, worker, number) = (&self.shared.tun, self.worker, self.number);
        let delivery = &mut self.delivery;
        self.coalescer.flush(&mut self.receiver.buffer, |joined| {
            let result = tun.write(number, joined.parts);
            let outcome = delivery.note(&joined, result, &worker.drops);
            if outcome == WriteOutcome::Singly {
                worker.refused.tun_writes.add(1);
            }
            outcome
        });
        if self.delivery.gone() {
            return Err(format!("TUN device {} is gone", tun.name()));
        }
        if let Some(kind) = self.delivery.given_up() {
            self.coalescer.leave_single(kind);
            let tun = tun.name();
            tracing::warn!(
                tun,
                ?kind,
                "the kernel refuses joined packets for {tun}; those of {kind:?} are written one by one"
            );
        }
        Ok(())
    }
}

impl InboundSocket<'_> {
    /// What to do about a failed read: nothing for an error that reading has
    /// cleared; a rest for one that comes again, so that the worker does not
    /// take a whole core.
    ///
    /// # Errors
    /// An error that cannot pass.
    fn failed(&mut self, errno: Errno) -> Result<Option<Duration>, String> {
        use Errno::{EACCES, EBADF, EFAULT, EINVAL, ENOSYS, ENOTSOCK, EOPNOTSUPP, EPERM};
        if let EACCES | EBADF | EFAULT | EINVAL | ENOSYS | ENOTSOCK | EOPNOTSUPP | EPERM = errno {
            let (kind, address) = (self.kind, self.local.ip());
            return Err(format!("receiving {kind} on {address}: {errno}"));
        }
        let again = std::mem::replace(&mut self.failing, true);
        Ok(again.then_some(REST))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Content<'a> {
    Ike(&'a [u8]),
    Keepalive,
    /// ESP that starts at this octet.
    Esp {
        at: usize,
    },
    IcmpError(IcmpError),
    /// ICMP that is not about a packet of ours which did not arrive.
    OtherIcmp,
    Malformed,
}

/// Says what a datagram is.
fn classify(kind: SocketKind, octets: &[u8]) -> Content<'_> {
    match kind {
        SocketKind::Ike => Content::Ike(octets),
        SocketKind::Esp => Content::Esp { at: 0 },
        SocketKind::EspBehindIpv4 => match octets.first() {
            Some(first) => Content::Esp {
                at: usize::from(first & 0x0F) * 4,
            },
            None => Content::Malformed,
        },
        SocketKind::IcmpErrorsBehindIpv4 => {
            IcmpError::parse_v4(octets).map_or(Content::OtherIcmp, Content::IcmpError)
        }
        SocketKind::IcmpErrors => {
            IcmpError::parse_v6(octets).map_or(Content::OtherIcmp, Content::IcmpError)
        }
        // RFC 3948 section 2.3.
        SocketKind::IkeAndEsp if octets == [0xFF] => Content::Keepalive,
        SocketKind::IkeAndEsp => match octets.split_first_chunk() {
            Some((&NON_ESP_MARKER, message)) => Content::Ike(message),
            Some(_) => Content::Esp { at: 0 },
            None => Content::Malformed,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use nix::errno::Errno;

    use super::{Content, InboundSocket, REST, SocketKind, classify};

    #[test]
    fn a_socket_that_fails_again_is_rested_and_one_that_cannot_be_read_is_told_of() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut source = InboundSocket {
            socket: socket.as_fd(),
            kind: SocketKind::IkeAndEsp,
            local: socket.local_addr().unwrap(),
            overflows: 0,
            failing: false,
        };
        assert_eq!(source.failed(Errno::ECONNREFUSED), Ok(None));
        assert_eq!(source.failed(Errno::ENOMEM), Ok(Some(REST)));
        assert_eq!(source.failed(Errno::ENOMEM), Ok(Some(REST)));
        let told = source.failed(Errno::EPERM).unwrap_err();
        assert!(
            told.starts_with("receiving UDP port 4500 on 127.0.0.1: EPERM"),
            "{told}"
        );
    }

    #[test]
    fn on_port_4500_four_zero_octets_make_an_ike_message_and_are_taken_off() {
        assert_eq!(
            classify(SocketKind::IkeAndEsp, &[0, 0, 0, 0, 7, 8]),
            Content::Ike(&[7, 8])
        );
        assert_eq!(
            classify(SocketKind::IkeAndEsp, &[0, 0, 1, 0, 7, 8]),
            Content::Esp { at: 0 }
        );
    }

    #[test]
    fn on_port_4500_one_octet_of_ones_is_a_keepalive_and_other_short_datagrams_are_malformed() {
        assert_eq!(classify(SocketKind::IkeAndEsp, &[0xFF]), Content::Keepalive);
        assert_eq!(classify(SocketKind::IkeAndEsp, &[0xFE]), Content::Malformed);
        assert_eq!(classify(SocketKind::IkeAndEsp, &[]), Content::Malformed);
        assert_eq!(
            classify(SocketKind::IkeAndEsp, &[0xFF; 4]),
            Content::Esp { at: 0 }
        );
    }

    #[test]
    fn on_port_500_there_is_no_marker() {
        assert_eq!(classify(SocketKind::Ike, &[0; 5]), Content::Ike(&[0; 5]));
    }

    #[test]
    fn native_esp_starts_behind_the_outer_ipv4_header_and_its_options() {
        assert_eq!(
            classify(SocketKind::EspBehindIpv4, &[0x46; 40]),
            Content::Esp { at: 24 }
        );
        assert_eq!(
            classify(SocketKind::Esp, &[0x46; 40]),
            Content::Esp { at: 0 }
        );
        assert_eq!(classify(SocketKind::EspBehindIpv4, &[]), Content::Malformed);
    }
}
