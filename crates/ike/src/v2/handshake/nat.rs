//! NAT detection (RFC 7296 section 2.23).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use vgw_crypto::digest;

use crate::core::event::Nat;
use crate::peer::config::Encapsulation;
use crate::v2::channel::keys::SpiPair;
use crate::v2::messages::Notifies;
use crate::v2::wire::{Notify, NotifyType};

/// Both addresses of a datagram, as its sender or receiver sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressPair {
    /// Our address.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

/// The result of NAT detection, before configuration is considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NatDetection {
    /// Whether the peer takes part in NAT detection.
    pub supported: bool,
    /// Our packets arrive from another address than we send them from.
    pub local: bool,
    /// The peer's packets arrive from another address than it sends them from.
    pub remote: bool,
    /// The peer's hash of our address, and the values to compare it with.
    seen: PeersView,
}

/// How the peer sees us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PeersView {
    hash: Option<[u8; 20]>,
    spis: SpiPair,
    port: u16,
}

/// The NAT between us and the peer on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnNat {
    /// No NAT.
    Absent,
    /// The configured NAT: it has one public address for us alone, and keeps our ports.
    Known,
    /// Another NAT.
    Unknown,
}

impl NatDetection {
    /// Compares the peer's hashes with the addresses that we see.
    pub(crate) fn from(notifies: &Notifies, spis: SpiPair, at: AddressPair) -> Self {
        let hashes = |kind, address| {
            let expected = hash(spis, address);
            let found: Vec<_> = notifies.all(kind).map(|n| n.data == expected).collect();
            (!found.is_empty(), found.contains(&true))
        };
        let (source, source_matches) = hashes(NotifyType::NAT_DETECTION_SOURCE_IP, at.remote);
        let (destination, destination_matches) =
            hashes(NotifyType::NAT_DETECTION_DESTINATION_IP, at.local);
        let supported = source && destination;
        let first = notifies
            .all(NotifyType::NAT_DETECTION_DESTINATION_IP)
            .next();
        Self {
            supported,
            local: supported && !destination_matches,
            remote: supported && !source_matches,
            seen: PeersView {
                hash: first.and_then(|n| n.data.as_slice().try_into().ok()),
                spis,
                port: at.local.port(),
            },
        }
    }

    /// Which NAT is before us; `public` is the address that the configured NAT has for us.
    pub(crate) fn own_nat(self, public: Option<IpAddr>) -> OwnNat {
        let PeersView {
            hash: seen,
            spis,
            port,
        } = self.seen;
        let known = public.is_some_and(|ip| seen == Some(hash(spis, SocketAddr::new(ip, port))));
        match (self.local, known) {
            (false, _) => OwnNat::Absent,
            (true, true) => OwnNat::Known,
            (true, false) => OwnNat::Unknown,
        }
    }

    /// Which NATs an SA of the peer with this configuration has. `pretend`: our NAT detection
    /// notifications pretended that we are behind a NAT.
    ///
    /// # Errors
    /// If configuration and path contradict each other; one line.
    pub(crate) fn decide(self, wanted: Encapsulation, pretend: bool) -> Result<Nat, String> {
        let found = self.local || self.remote;
        match wanted {
            Encapsulation::Native if found => Err(format!(
                "a NAT is on the way (before us: {}, before the peer: {}), expected none: \
                 encapsulation is configured as native",
                self.local, self.remote
            )),
            Encapsulation::Udp if !self.supported => Err(
                "the peer does not take part in NAT detection, expected it to: \
                 encapsulation is configured as UDP"
                    .to_owned(),
            ),
            _ => Ok(Nat {
                local: self.local || (pretend && self.supported),
                remote: self.remote,
            }),
        }
    }
}

/// The two notifications for a message that leaves from `at.local` to `at.remote`.
/// If we `pretend`, the peer finds a NAT before us.
pub(crate) fn notifies(spis: SpiPair, at: AddressPair, pretend: bool) -> [Notify; 2] {
    // A source address that cannot match.
    let source = match pretend {
        true => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        false => at.local,
    };
    [
        Notify::new(
            NotifyType::NAT_DETECTION_SOURCE_IP,
            hash(spis, source).to_vec(),
        ),
        Notify::new(
            NotifyType::NAT_DETECTION_DESTINATION_IP,
            hash(spis, at.remote).to_vec(),
        ),
    ]
}

/// SHA-1 of SPIs, address and port.
fn hash(spis: SpiPair, address: SocketAddr) -> [u8; 20] {
    digest::sha1(&[
        &spis.initiator.to_be_bytes(),
        &spis.responder.to_be_bytes(),
        &address_octets(address.ip()),
        &address.port().to_be_bytes(),
    ])
}

/// The octets of an address in network order.
pub(crate) fn address_octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The same address with another port.
pub(crate) fn with_port(address: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.ip(), port)
}
