//! What is counted, and why a packet is dropped.
//!
//! Counters are added to once per burst, not per packet, so the locked
//! instruction that lets workers share them costs nothing noticeable.

use std::sync::atomic::{AtomicU64, Ordering};

use vgw_sa::TunnelTraffic;

/// A number that any thread adds to and reads.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl From<u64> for Count {
    fn from(counted: u64) -> Self {
        Self(AtomicU64::new(counted))
    }
}

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Raises it to `value` and returns what it was.
    pub(crate) fn raise_to(&self, value: u64) -> u64 {
        self.0.fetch_max(value, Ordering::Relaxed)
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! drop_reasons {
    ($( $(#[$doc:meta])* $variant:ident = $index:literal $name:literal, )+) => {
        /// Why a packet went no further. The name is the metric's label and the log's field.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DropReason { $( $(#[$doc])* $variant, )+ }

        impl DropReason {
            /// Every reason, in order of its index.
            pub const ALL: [Self; [$( $index ),+].len()] = [$( Self::$variant ),+];

            /// The reason in snake case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            const fn index(self) -> usize {
                match self { $( Self::$variant => $index, )+ }
            }
        }
    };
}

drop_reasons! {
    /// Outbound: no forwarding entry for the destination.
    NoRoute = 0 "no_route",
    /// Outbound: the tunnel has no CHILD SA to send with.
    NoSa = 1 "no_sa",
    /// No selector of the SA admits the packet (RFC 4301 section 5.2).
    OutsideSelectors = 2 "outside_selectors",
    /// Inbound: no SA has this SPI.
    UnknownSpi = 3 "unknown_spi",
    /// Inbound: seen before, or older than the anti-replay window.
    Replayed = 4 "replayed",
    /// Inbound: the integrity check failed. With extended sequence numbers also
    /// a packet older than the anti-replay window: its number is taken for one
    /// of the next 2^32 (RFC 4303 appendix A2.2).
    NotAuthentic = 5 "not_authentic",
    /// Not a packet of its kind: too short, wrong version, lengths that contradict.
    Malformed = 6 "malformed",
    /// Inbound: padding after decryption is not as RFC 4303 section 2.4 says.
    BadPadding = 7 "bad_padding",
    /// Inbound: Next Header is neither IPv4 nor IPv6, or not what is inside.
    BadNextHeader = 8 "bad_next_header",
    /// Inbound: the destination is not one of the local prefixes.
    UnknownDestination = 9 "unknown_destination",
    /// Inbound: the source is not one that this SA may send from.
    SourceNotAllowed = 10 "source_not_allowed",
    /// Inbound: a dummy packet of traffic flow confidentiality (RFC 4303 section 2.6).
    Dummy = 11 "dummy",
    /// Inbound: the TUN device did not take the packet.
    TunWrite = 12 "tun_write",
    /// Inbound: the TUN device's queue is full.
    TunFull = 13 "tun_full",
    /// Outbound: the outside socket refused the packet.
    SendFailed = 14 "send_failed",
    /// Outbound: the outside socket's queue stayed full.
    SendFull = 15 "send_full",
    /// Larger than the path takes. The sender is told where it asked not to be
    /// fragmented (RFC 1191, RFC 8201).
    TooBig = 16 "too_big",
    /// Outbound: the SA's sequence numbers are used up.
    SequenceExhausted = 17 "sequence_exhausted",
    /// Inbound: the control plane's queue of IKE messages is full.
    IkeQueueFull = 18 "ike_queue_full",
    /// Beyond the tunnel's bandwidth limit.
    OverRate = 19 "over_rate",
    /// Inbound: marked as congested on the path, but its transport does not
    /// know such marks (RFC 6040 section 4.2).
    Congested = 20 "congested",
    /// From tunnel to tunnel: the packet's hops are used up.
    HopLimit = 21 "hop_limit",
    /// Inbound: an outside socket's queue was full, of ESP packets or IKE
    /// messages. Those that the kernel had joined count as one: it does not tell
    /// how many they were.
    ReceiveFull = 22 "receive_full",
    /// Outbound: the TUN device was read too slowly, and the kernel's queue in
    /// front of it was full. A super-packet counts as one, as the kernel counts it.
    TunReadFull = 23 "tun_read_full",
    /// Outbound: the packet could not be sealed, so it was not sent.
    SealFailed = 24 "seal_failed",
    /// Inbound: no route leads to the source through the tunnel's connection, or
    /// it is an address of ours.
    SourceNotRouted = 25 "source_not_routed",
    /// Outbound: another worker sends for the tunnel, and is so far behind that it
    /// holds all buffers that it may.
    HandoverFull = 26 "handover_full",
    /// Outbound: for the TUN link itself and no tunnel: a multicast, broadcast or
    /// IPv6 link-local destination that no forwarding entry has, such as the
    /// kernel's own multicast listener reports. Nobody misses it.
    LinkLocal = 27 "link_local",
    /// Inbound: an outside socket could not be read. Each attempt counts as
    /// one, since the number of lost packets is not known.
    ReceiveFailed = 28 "receive_failed",
    /// Inbound: the destination is the gateway's own host, which is not open for this.
    HostClosed = 29 "host_closed",
}

impl From<vgw_esp::DropReason> for DropReason {
    fn from(why: vgw_esp::DropReason) -> Self {
        match why {
            vgw_esp::DropReason::Malformed => Self::Malformed,
            vgw_esp::DropReason::WrongSpi => Self::UnknownSpi,
            vgw_esp::DropReason::Replayed => Self::Replayed,
            vgw_esp::DropReason::NotAuthentic => Self::NotAuthentic,
            vgw_esp::DropReason::BadPadding => Self::BadPadding,
            vgw_esp::DropReason::BadNextHeader => Self::BadNextHeader,
            vgw_esp::DropReason::Dummy => Self::Dummy,
        }
    }
}

/// Dropped packets of one worker, by reason.
#[derive(Debug, Default)]
pub(crate) struct Drops([Count; DropReason::ALL.len()]);

impl Drops {
    pub(crate) fn add(&self, reason: DropReason, packets: usize) {
        if let Some(count) = self.0.get(reason.index()) {
            count.add(wide(packets));
        }
    }

    pub(crate) fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason.index()).map_or(0, Count::get)
    }
}

/// Batches of packets that the kernel refused, and whose packets were then
/// offered one by one: no packet is lost by that.
#[derive(Debug, Default)]
pub(crate) struct RefusedBatches {
    /// Messages that it was to cut into ESP packets.
    pub(crate) sends: Count,
    /// Joined packets for the TUN device.
    pub(crate) tun_writes: Count,
}

/// A length as a counter takes it.
pub(crate) fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Packets and octets of one direction.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Flow {
    pub(crate) packets: Count,
    pub(crate) bytes: Count,
}

impl Flow {
    pub(crate) fn add(&self, packets: usize, bytes: usize) {
        // Octets first, so that a reader of the packets reads their octets too.
        self.bytes.add(wide(bytes));
        self.packets.add(wide(packets));
    }
}

/// Both directions, each on a cache line of its own: different workers add to them.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) inbound: Flow,
    pub(crate) outbound: Flow,
}

impl From<TunnelTraffic> for Traffic {
    fn from(counted: TunnelTraffic) -> Self {
        let flow = |packets: u64, bytes: u64| Flow {
            packets: packets.into(),
            bytes: bytes.into(),
        };
        Self {
            inbound: flow(counted.packets_in, counted.bytes_in),
            outbound: flow(counted.packets_out, counted.bytes_out),
        }
    }
}

impl Traffic {
    /// What was counted so far.
    pub(crate) fn total(&self) -> TunnelTraffic {
        TunnelTraffic {
            packets_in: self.inbound.packets.get(),
            bytes_in: self.inbound.bytes.get(),
            packets_out: self.outbound.packets.get(),
            bytes_out: self.outbound.bytes.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DropReason, Drops};

    #[test]
    fn every_drop_reason_counts_for_itself_alone() {
        let drops = Drops::default();
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert_eq!(drops.get(reason), 0);
            drops.add(reason, index + 1);
        }
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(drops.get(reason), u64::try_from(index + 1).unwrap());
        }
    }

    #[test]
    fn drop_reasons_are_named_in_snake_case_and_differ() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        assert!(
            names
                .iter()
                .all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::ALL.len());
    }
}
