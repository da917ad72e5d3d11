//! What a tunnel costs in memory.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails"
)]
#![allow(unsafe_code, reason = "an allocator that counts is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Integrity, Secret};
use vgw_dataplane::{Config, DataPlane, Features, OutsideSockets, Tun};
use vgw_lab::{Lab, wait_until};
use vgw_sa::{ChildSa, GatewayId, Path};

const GATEWAY: GatewayId = GatewayId(0);
/// Tunnels of one data plane.
const TUNNELS: u32 = 1000;
/// Octets that one may take at most.
const LIMIT: usize = 8 << 10;

/// Bounds the wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Octets that are allocated now.
static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is the system allocator's; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: likewise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
#[ignore = "needs root"]
fn a_tunnel_with_an_sa_in_both_directions_takes_less_than_eight_kibibytes() {
    for (encryption, integrity) in [
        (Encryption::AesGcm256, None),
        (Encryption::AesCbc256, Some(Integrity::HmacSha512_256)),
    ] {
        let suite = EspSuite {
            encryption,
            integrity,
            esn: true,
        };
        println!("{suite}: {} octets a tunnel", octets_of_each(suite));
    }
}

fn octets_of_each(suite: EspSuite) -> usize {
    let outside = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let namespace = Lab::new("memory").unwrap().namespace("gateway").unwrap();
    namespace.link_up("lo").unwrap();
    let config = namespace.run(|| Config {
        gateway: GATEWAY,
        tun: Tun::open("tun%d", 1, Features::ALL).unwrap(),
        outside: vec![OutsideSockets::bind(outside, 1, Features::ALL).unwrap()],
        workers: 1,
    });
    let plane = DataPlane::start(config.unwrap(), Box::new(|_| true)).unwrap();
    let routes = |tunnel: u32| {
        let [_, _, high, low] = tunnel.to_be_bytes();
        format!("10.{high}.{low}.0/24").parse().unwrap()
    };
    let before = LIVE.load(Ordering::Relaxed);
    for tunnel in 0..TUNNELS {
        let id = GATEWAY.tunnel(tunnel);
        plane
            .install_child(id, child(tunnel, suite, outside), 1024)
            .unwrap();
        plane.use_outbound(id, 0x0100_0000 | tunnel).unwrap();
    }
    plane.set_forwarding(
        GATEWAY,
        (0..TUNNELS)
            .map(|tunnel| (routes(tunnel), GATEWAY.tunnel(tunnel).into()))
            .collect(),
    );
    // The workers let go of the tables before when they have woken.
    wait_until("so little memory", PATIENCE, || {
        let after = LIVE.load(Ordering::Relaxed);
        let each = (after - before) / usize::try_from(TUNNELS)?;
        Ok((each <= LIMIT).then_some(each))
    })
    .unwrap()
}

fn child(tunnel: u32, suite: EspSuite, outside: IpAddr) -> ChildSa {
    let keys = || DirectionKeys {
        encryption: Secret::new(vec![1; suite.encryption.keymat_len()]),
        integrity: Secret::new(vec![2; suite.integrity.map_or(0, Integrity::key_len)]),
    };
    let any = || vec!["0.0.0.0/0".parse::<IpNet>().unwrap().into()];
    ChildSa {
        spi_in: 0x0100_0000 | tunnel,
        spi_out: 0x0200_0000 | tunnel,
        suite,
        keys_in: keys(),
        keys_out: keys(),
        local_selectors: any(),
        remote_selectors: any(),
        path: Path {
            local: (outside, 4500).into(),
            remote: (outside, 4501).into(),
            udp_encapsulation: true,
        },
    }
}
