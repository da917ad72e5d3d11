//! Two data planes, each in a namespace, with a cable between their outsides.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Integrity, Secret};
use vgw_dataplane::{Config, DataPlane, DataPlaneEvent, DropReason, Features, OutsideSockets, Tun};
use vgw_esp::OutboundSa;
use vgw_lab::{Lab, Namespace, Veth, wait_until};
use vgw_sa::{ChildSa, ChildTraffic, GatewayId, Path, TunnelId};

/// Bounds the wait for what must happen; a test that passes does not wait.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Whose everything is.
pub const GATEWAY: GatewayId = GatewayId(0);
/// The only tunnel.
pub const TUNNEL: TunnelId = GATEWAY.tunnel(0);

/// The networks inside, IPv4 and IPv6.
pub const INSIDE: [&str; 2] = ["10.9.0.0/24", "fd09::/64"];

/// Nobody has it.
const SILENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));

pub const GCM: EspSuite = EspSuite {
    encryption: Encryption::AesGcm128,
    integrity: None,
    esn: false,
};

/// One gateway.
pub struct Side {
    pub namespace: Namespace,
    pub plane: DataPlane,
    pub events: Receiver<DataPlaneEvent>,
    /// What a worker waits for after each event, if there is one.
    gate: Arc<Mutex<Option<Receiver<()>>>>,
    /// Outside addresses, IPv4 and IPv6.
    pub outside: [IpAddr; 2],
    /// Inside addresses, IPv4 and IPv6.
    pub inside: [IpAddr; 2],
}

pub struct Rig {
    pub left: Side,
    pub right: Side,
}

/// What a data plane of `workers` works with, in the namespace of the calling thread.
pub fn open(outside: [IpAddr; 2], features: Features, workers: usize) -> Config {
    Config {
        gateway: GATEWAY,
        tun: Tun::open("tun%d", workers, features).unwrap(),
        outside: outside
            .map(|address| OutsideSockets::bind(address, workers, features).unwrap())
            .into(),
        workers,
    }
}

impl Rig {
    pub fn new(name: &str) -> Self {
        Self::with(name, Features::ALL, 2)
    }

    /// Both sides use these features where the kernel has them, and as many workers.
    pub fn with(name: &str, features: Features, workers: usize) -> Self {
        let lab = Lab::new(name).unwrap();
        let left = lab.namespace("left").unwrap();
        let right = lab.namespace("right").unwrap();
        let outside = |host| {
            [
                net(&format!("192.0.2.{host}/24")),
                net(&format!("2001:db8::{host}/64")),
            ]
        };
        let end = |namespace, addresses| Veth {
            namespace,
            name: "out",
            addresses,
        };
        let (a, b) = (outside(1), outside(2));
        end(&left, &a).connect(end(&right, &b)).unwrap();
        Self {
            left: Side::start(left, 1, a, features, workers),
            right: Side::start(right, 2, b, features, workers),
        }
    }

    /// Installs a CHILD SA on both sides and sends with it.
    pub fn connect(&self, slot: u32, suite: EspSuite, family: usize, udp_encapsulation: bool) {
        let (spi_left, spi_right) = (0x0010_0000 | slot, 0x0020_0000 | slot);
        let install = |side: &Side, other: &Side, spi_in, spi_out| {
            side.install(
                spi_in,
                spi_out,
                suite,
                side.path_to(other, family, udp_encapsulation),
            );
        };
        install(&self.left, &self.right, spi_left, spi_right);
        install(&self.right, &self.left, spi_right, spi_left);
        self.left.plane.use_outbound(TUNNEL, spi_left).unwrap();
        self.right.plane.use_outbound(TUNNEL, spi_right).unwrap();
    }
}

impl Side {
    fn start(
        namespace: Namespace,
        host: u8,
        outside: [IpNet; 2],
        features: Features,
        workers: usize,
    ) -> Self {
        let inside = [
            net(&format!("10.9.0.{host}/24")),
            net(&format!("fd09::{host}/64")),
        ];
        let outside = outside.map(|net| net.addr());
        let config = namespace.run(|| open(outside, features, workers)).unwrap();
        assert_eq!(config.tun.name(), "tun0");
        for address in inside {
            namespace.add_address("tun0", address).unwrap();
        }
        namespace.link_up("tun0").unwrap();
        let (sender, events) = sync_channel(16);
        let gate = Arc::<Mutex<Option<Receiver<()>>>>::default();
        let worker_gate = Arc::clone(&gate);
        let plane = DataPlane::start(
            config,
            Box::new(move |event| {
                let taken = sender.try_send(event).is_ok();
                if let Some(gate) = &*worker_gate.lock().unwrap() {
                    // An error says that nothing is held any more.
                    let _ = gate.recv();
                }
                taken
            }),
        )
        .unwrap();
        plane.set_forwarding(GATEWAY, inside.map(|net| (net, TUNNEL.into())).into());
        // What is inside is behind the gateway unless a test says otherwise.
        plane.set_host_addresses(GATEWAY, Vec::new());
        plane.set_local_prefixes(GATEWAY, inside.map(|net| net.addr().into()).into());
        Self {
            namespace,
            plane,
            events,
            gate,
            outside,
            inside: inside.map(|net| net.addr()),
        }
    }

    pub fn path_to(&self, other: &Self, family: usize, udp_encapsulation: bool) -> Path {
        Path {
            local: (self.outside[family], 4500).into(),
            remote: (other.outside[family], 4500).into(),
            udp_encapsulation,
        }
    }

    /// Installs a CHILD SA whose selectors are both inside networks.
    pub fn install(&self, spi_in: u32, spi_out: u32, suite: EspSuite, path: Path) {
        self.install_for(&INSIDE, spi_in, spi_out, suite, path);
    }

    /// Installs a CHILD SA between hosts of these networks.
    pub fn install_for(
        &self,
        networks: &[&str],
        spi_in: u32,
        spi_out: u32,
        suite: EspSuite,
        path: Path,
    ) {
        self.install_in(TUNNEL, networks, spi_in, spi_out, suite, path);
    }

    /// The same, in any tunnel.
    pub fn install_in(
        &self,
        tunnel: TunnelId,
        networks: &[&str],
        spi_in: u32,
        spi_out: u32,
        suite: EspSuite,
        path: Path,
    ) {
        let selectors = || networks.iter().map(|network| net(network).into()).collect();
        let child = ChildSa {
            spi_in,
            spi_out,
            suite,
            keys_in: keys(spi_in, suite),
            keys_out: keys(spi_out, suite),
            local_selectors: selectors(),
            remote_selectors: selectors(),
            path,
        };
        self.plane.install_child(tunnel, child, 1024).unwrap();
    }

    /// A UDP socket inside.
    pub fn inside_socket(&self, family: usize) -> UdpSocket {
        self.socket((self.inside[family], 7000).into())
    }

    /// A UDP socket in this side's namespace.
    pub fn socket(&self, at: SocketAddr) -> UdpSocket {
        let socket = self.namespace.run(|| UdpSocket::bind(at)).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        let drops = self.plane.drops();
        drops.iter().find(|(r, _)| *r == reason).unwrap().1
    }

    /// Batches that the kernel refused there.
    pub fn refused_batches(&self, place: &str) -> u64 {
        let refused = self.plane.refused_batches();
        refused.iter().find(|(p, _)| *p == place).unwrap().1
    }

    /// An IPv4 address outside that answers only once [`Self::hear_of_neighbour`] is
    /// called: what is sent there waits, and takes its socket's room meanwhile.
    pub fn silent_neighbour(&self) -> SocketAddr {
        let patient = [
            ("unres_qlen_bytes", "100000000"),
            ("retrans_time_ms", "1000000"),
        ];
        for (parameter, value) in patient {
            let parameter = format!("ipv4/neigh/out/{parameter}");
            self.namespace.set_parameter(&parameter, value).unwrap();
        }
        (SILENT, 4500).into()
    }

    pub fn hear_of_neighbour(&self) {
        let mut ip = self.namespace.command("ip");
        let ip = ip.args(["neigh", "replace", &SILENT.to_string()]);
        let ip = ip.args(["lladdr", "02:00:00:00:00:77", "dev", "out"]);
        assert!(ip.status().unwrap().success());
    }

    /// Brings the TUN device up or down, or deletes it, as `ip link` does.
    pub fn ip_link(&self, arguments: &[&str]) {
        let mut ip = self.namespace.command("ip");
        assert!(ip.arg("link").args(arguments).status().unwrap().success());
    }

    /// Waits until this many packets were dropped for this reason.
    pub fn await_drops(&self, reason: DropReason, count: u64) {
        wait_until(reason.name(), PATIENCE, || {
            Ok((self.dropped(reason) == count).then_some(()))
        })
        .unwrap();
    }

    pub fn child(&self, spi_in: u32) -> ChildTraffic {
        let children = self.plane.child_traffic();
        *children
            .iter()
            .find(|child| child.spi_in == spi_in)
            .unwrap()
    }

    /// Holds up a worker after each event that it gives, until something is sent by
    /// what is returned, or that is dropped.
    pub fn hold_after_events(&self) -> Sender<()> {
        let (go_on, gate) = channel();
        *self.gate.lock().unwrap() = Some(gate);
        go_on
    }

    pub fn event(&self) -> DataPlaneEvent {
        self.events.recv_timeout(PATIENCE).unwrap()
    }
}

/// A peer of the right side that seals packets by hand, to send what no data
/// plane would.
pub struct Forger {
    pub sa: OutboundSa,
    socket: UdpSocket,
    to: SocketAddr,
}

impl Forger {
    /// Sends from `port` of the left namespace to the right's port 4500, with
    /// the keys of the right's inbound SA `spi`.
    pub fn new(rig: &Rig, spi: u32, port: u16) -> Self {
        Self {
            sa: OutboundSa::new(spi, GCM, &keys(spi, GCM), [9; 32]).unwrap(),
            socket: rig.left.socket((rig.left.outside[0], port).into()),
            to: (rig.right.outside[0], 4500).into(),
        }
    }

    pub fn seal(&self, inner: &[u8], next_header: u8) -> Vec<u8> {
        let mut packet = vec![0; self.sa.sealed_len(inner.len())];
        let start = self.sa.layout().header_len;
        packet[start..start + inner.len()].copy_from_slice(inner);
        let sequence = self.sa.reserve(1).unwrap();
        self.sa
            .seal(sequence, &mut packet, inner.len(), next_header)
            .unwrap();
        packet
    }

    /// Its own socket, to receive what comes back.
    pub fn socket(&self) -> UdpSocket {
        self.socket.try_clone().unwrap()
    }

    pub fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.to).unwrap();
    }
}

/// An IPv4 packet with a UDP datagram to port 7000 without UDP checksum.
pub fn inner(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    let checksum = packet.chunks(2).fold(0_u16, |sum, word| {
        let (sum, carry) = sum.overflowing_add(u16::from_be_bytes([word[0], word[1]]));
        sum + u16::from(carry)
    });
    packet[10..12].copy_from_slice(&(!checksum).to_be_bytes());
    packet.extend([0x1B, 0x58, 0x1B, 0x58, 0, 12, 0, 0]);
    packet.extend(b"data");
    packet
}

/// Keys of the direction that has this SPI; any would do.
pub fn keys(spi: u32, suite: EspSuite) -> DirectionKeys {
    let octets = |len: usize| {
        let seed = spi.to_be_bytes();
        Secret::new(seed.into_iter().cycle().take(len).collect())
    };
    DirectionKeys {
        encryption: octets(suite.encryption.keymat_len()),
        integrity: octets(suite.integrity.map_or(0, Integrity::key_len)),
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}
