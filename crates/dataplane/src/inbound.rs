//! The worker from outside to inside.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use arc_swap::Cache;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::burst::{BURST, Receiver};
use crate::counters::DropReason;
use crate::event::DataPlaneEvent;
use crate::inner::InnerPacket;
use crate::sockets::{IKE_PORT, NATT_PORT, OutsideSockets};
use crate::tables::{Slot, Tables};
use crate::worker::Shared;

/// Sockets that may be ready at once; more are seen the next time round.
const READY: usize = 32;
/// Stands in epoll for the wake-up; sockets are numbered from 0.
const WAKE: u64 = u64::MAX;
/// Comes before an IKE message on port 4500 (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// What a socket carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    Ike,
    IkeAndEsp,
    /// A raw IPv4 socket, which gives the outer header too.
    EspBehindIpv4,
    /// A raw IPv6 socket, which does not.
    Esp,
}

struct Source {
    socket: RawFd,
    carries: Carries,
    local: SocketAddr,
}

/// A received ESP packet: octets of a frame, from the SPI on.
struct EspPacket {
    frame: usize,
    octets: Range<usize>,
    spi: u32,
    remote: SocketAddr,
    udp_encapsulation: bool,
}

/// A decrypted packet that goes to the TUN device.
struct Delivery {
    frame: usize,
    octets: Range<usize>,
}

/// Everything that a burst needs, allocated once.
struct Inlet<'a> {
    shared: &'a Shared,
    receiver: Receiver,
    esp: Vec<EspPacket>,
    deliveries: Vec<Delivery>,
}

/// Runs until told to stop; an error says why it cannot go on.
pub(crate) fn run(shared: &Shared) -> Result<(), String> {
    let sources: Vec<Source> = shared.outside.iter().flat_map(sources).collect();
    let epoll = watch(shared, &sources).map_err(|errno| format!("epoll: {errno}"))?;
    let mut tables = Cache::new(&shared.tables);
    let mut inlet = Inlet {
        shared,
        receiver: Receiver::new(),
        esp: Vec::with_capacity(BURST),
        deliveries: Vec::with_capacity(BURST),
    };
    let mut ready = [EpollEvent::empty(); READY];
    loop {
        let count = match epoll.wait(&mut ready, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(format!("epoll: {errno}")),
        };
        if shared.inbound.stopping() {
            return Ok(());
        }
        let tables = tables.load();
        for event in ready.iter().take(count) {
            if event.data() == WAKE {
                shared.inbound.clear_wake();
            } else if let Some(source) = usize::try_from(event.data())
                .ok()
                .and_then(|source| sources.get(source))
            {
                inlet.take(tables, source)?;
            }
        }
    }
}

fn sources(outside: &OutsideSockets) -> [Source; 3] {
    let at = |port| SocketAddr::new(outside.address, port);
    [
        Source {
            socket: outside.ike.as_raw_fd(),
            carries: Carries::Ike,
            local: at(IKE_PORT),
        },
        Source {
            socket: outside.natt.as_raw_fd(),
            carries: Carries::IkeAndEsp,
            local: at(NATT_PORT),
        },
        Source {
            socket: outside.esp.as_raw_fd(),
            carries: match outside.address {
                IpAddr::V4(_) => Carries::EspBehindIpv4,
                IpAddr::V6(_) => Carries::Esp,
            },
            local: at(0),
        },
    ]
}

fn watch(shared: &Shared, sources: &[Source]) -> Result<Epoll, Errno> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let readable = |data| EpollEvent::new(EpollFlags::EPOLLIN, data);
    epoll.add(shared.inbound.wake.as_fd(), readable(WAKE))?;
    let sockets = shared
        .outside
        .iter()
        .flat_map(|outside| [&outside.ike, &outside.natt, &outside.esp]);
    for (data, socket) in (0..).zip(sockets).take(sources.len()) {
        epoll.add(socket.as_fd(), readable(data))?;
    }
    Ok(epoll)
}

impl Inlet<'_> {
    /// Takes one burst of a socket. What is left makes the socket ready again,
    /// so that no socket starves the others.
    fn take(&mut self, tables: &Tables, source: &Source) -> Result<(), String> {
        // An error here is a past one of the socket, such as an ICMP error;
        // reading has taken it away.
        let local = source.local.ip();
        if self.receiver.receive(source.socket, local).is_err() {
            return Ok(());
        }
        self.sort(source);
        self.open(tables);
        self.deliver()
    }

    /// Passes IKE messages on and lists ESP packets.
    fn sort(&mut self, source: &Source) {
        self.esp.clear();
        let drops = &self.shared.inbound.drops;
        for datagram in &self.receiver.datagrams {
            if datagram.truncated {
                drops.add(DropReason::TooBig, 1);
                continue;
            }
            let octets = self
                .receiver
                .slab
                .frame(datagram.frame)
                .get(..datagram.len)
                .unwrap_or_default();
            let esp_at = match classify(source.carries, octets) {
                Content::Ike(message) => {
                    self.pass_on(source.local, datagram.remote, message);
                    continue;
                }
                Content::Keepalive => {
                    self.shared.keepalives.add(1);
                    continue;
                }
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
            self.esp.push(EspPacket {
                frame: datagram.frame,
                octets: esp_at..datagram.len,
                spi: u32::from_be_bytes(*spi),
                remote: datagram.remote,
                udp_encapsulation: source.carries == Carries::IkeAndEsp,
            });
        }
    }

    fn pass_on(&self, local: SocketAddr, remote: SocketAddr, message: &[u8]) {
        let taken = (self.shared.events)(DataPlaneEvent::Ike {
            local,
            remote,
            message: message.to_vec(),
        });
        if !taken {
            self.shared.inbound.drops.add(DropReason::IkeQueueFull, 1);
        }
    }

    /// Opens the listed packets, run by run of the same SPI.
    fn open(&mut self, tables: &Tables) {
        self.deliveries.clear();
        let esp = std::mem::take(&mut self.esp);
        let mut path_seen = None;
        for run in esp.chunk_by(|a, b| a.spi == b.spi) {
            match run.first().and_then(|packet| tables.inbound(packet.spi)) {
                Some(slot) => {
                    path_seen = self.open_run(tables, slot, run).or(path_seen);
                }
                None => self
                    .shared
                    .inbound
                    .drops
                    .add(DropReason::UnknownSpi, run.len()),
            }
        }
        self.esp = esp;
        if let Some(event) = path_seen {
            // The next burst tells it again if the queue is full.
            (self.shared.events)(event);
        }
    }

    /// Opens the packets of one SA and lists those to deliver. Returns the
    /// news that its newest packet came by another path, if it did.
    fn open_run(
        &mut self,
        tables: &Tables,
        slot: &Slot,
        run: &[EspPacket],
    ) -> Option<DataPlaneEvent> {
        let drops = &self.shared.inbound.drops;
        let inbound = &*slot.inbound;
        let (mut packets, mut bytes) = (0, 0);
        let mut newest = inbound.newest.get();
        let mut path_seen = None;
        let mut opener = inbound.sa.opener();
        for esp in run {
            let packet = self
                .receiver
                .slab
                .frame_mut(esp.frame)
                .get_mut(esp.octets.clone())
                .unwrap_or_default();
            let opened = match opener.open(packet) {
                Ok(opened) => opened,
                Err(why) => {
                    drops.add(why.into(), 1);
                    continue;
                }
            };
            packets += 1;
            bytes += opened.inner.len();
            // Only the newest packet tells the path: one that was long on the
            // way must not lead the answers back to an address given up.
            if opened.sequence > newest {
                newest = opened.sequence;
                path_seen = elsewhere(slot, esp);
            }
            let inner = packet.get(opened.inner.clone()).unwrap_or_default();
            match admit(tables, slot, inner) {
                Ok(len) => {
                    let start = esp.octets.start + opened.inner.start;
                    self.deliveries.push(Delivery {
                        frame: esp.frame,
                        octets: start..start + len,
                    });
                }
                Err(reason) => drops.add(reason, 1),
            }
        }
        drop(opener);
        inbound
            .newest
            .add(newest.wrapping_sub(inbound.newest.get()));
        inbound.child.inbound.add(packets, bytes);
        inbound.tunnel_traffic.inbound.add(packets, bytes);
        path_seen
    }

    /// Writes the decrypted packets to the TUN device.
    fn deliver(&self) -> Result<(), String> {
        let drops = &self.shared.inbound.drops;
        for delivery in &self.deliveries {
            let frame = self.receiver.slab.frame(delivery.frame);
            let packet = frame.get(delivery.octets.clone()).unwrap_or_default();
            match self.shared.tun.write(packet) {
                Ok(()) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => {
                    drops.add(DropReason::TunFull, 1);
                }
                Err(Errno::EBADFD) => {
                    return Err(format!("TUN device {} is gone", self.shared.tun.name()));
                }
                Err(_) => drops.add(DropReason::TunWrite, 1),
            }
        }
        Ok(())
    }
}

/// The news that a packet came by another path than its SA's. A packet in the
/// other encapsulation than the path's is no news: a peer may send either
/// (RFC 7296 section 2.23).
fn elsewhere(slot: &Slot, esp: &EspPacket) -> Option<DataPlaneEvent> {
    let route = &slot.route;
    let expected = if esp.udp_encapsulation {
        esp.remote == route.remote
    } else {
        esp.remote.ip() == route.remote.ip()
    };
    (route.udp_encapsulation == esp.udp_encapsulation && !expected).then_some(
        DataPlaneEvent::PathSeen {
            spi_in: esp.spi,
            remote: esp.remote,
        },
    )
}

/// Checks a decrypted packet (RFC 4301 section 5.2) and returns its length
/// without padding.
fn admit(tables: &Tables, slot: &Slot, inner: &[u8]) -> Result<usize, DropReason> {
    let packet = InnerPacket::parse(inner).map_err(|_| DropReason::Malformed)?;
    slot.inbound.selectors.admit_inbound(&packet)?;
    if !tables.is_local(packet.destination()) {
        return Err(DropReason::UnknownDestination);
    }
    Ok(packet.octets().len())
}

#[derive(Debug, PartialEq, Eq)]
enum Content<'a> {
    Ike(&'a [u8]),
    Keepalive,
    /// ESP that starts at this octet.
    Esp {
        at: usize,
    },
    Malformed,
}

/// Says what a datagram is.
fn classify(carries: Carries, octets: &[u8]) -> Content<'_> {
    match carries {
        Carries::Ike => Content::Ike(octets),
        Carries::Esp => Content::Esp { at: 0 },
        Carries::EspBehindIpv4 => match octets.first() {
            Some(first) => Content::Esp {
                at: usize::from(first & 0x0F) * 4,
            },
            None => Content::Malformed,
        },
        // RFC 3948 section 2.3.
        Carries::IkeAndEsp if octets == [0xFF] => Content::Keepalive,
        Carries::IkeAndEsp => match octets.split_first_chunk() {
            Some((&NON_ESP_MARKER, message)) => Content::Ike(message),
            Some(_) => Content::Esp { at: 0 },
            None => Content::Malformed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Carries, Content, classify};

    #[test]
    fn on_port_4500_four_zero_octets_make_an_ike_message_and_are_taken_off() {
        assert_eq!(
            classify(Carries::IkeAndEsp, &[0, 0, 0, 0, 7, 8]),
            Content::Ike(&[7, 8])
        );
        assert_eq!(
            classify(Carries::IkeAndEsp, &[0, 0, 1, 0, 7, 8]),
            Content::Esp { at: 0 }
        );
    }

    #[test]
    fn on_port_4500_one_octet_of_ones_is_a_keepalive_and_other_short_datagrams_are_malformed() {
        assert_eq!(classify(Carries::IkeAndEsp, &[0xFF]), Content::Keepalive);
        assert_eq!(classify(Carries::IkeAndEsp, &[0xFE]), Content::Malformed);
        assert_eq!(classify(Carries::IkeAndEsp, &[]), Content::Malformed);
        assert_eq!(
            classify(Carries::IkeAndEsp, &[0xFF; 4]),
            Content::Esp { at: 0 }
        );
    }

    #[test]
    fn on_port_500_there_is_no_marker() {
        assert_eq!(classify(Carries::Ike, &[0; 5]), Content::Ike(&[0; 5]));
    }

    #[test]
    fn native_esp_starts_behind_the_outer_ipv4_header_and_its_options() {
        assert_eq!(
            classify(Carries::EspBehindIpv4, &[0x46; 40]),
            Content::Esp { at: 24 }
        );
        assert_eq!(classify(Carries::Esp, &[0x46; 40]), Content::Esp { at: 0 });
        assert_eq!(classify(Carries::EspBehindIpv4, &[]), Content::Malformed);
    }
}
