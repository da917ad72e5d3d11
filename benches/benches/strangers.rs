//! What an IKE_SA_INIT costs that is refused: as large as is read at all, with as
//! many transforms as fit, none of them ours; beside 1, 50 and 500 connections
//! whose customer gateway may come from any address.
//!
//! - `forged`: no answer is seen, and each message has another source;
//! - `proved`: the cookie is returned, where one is asked for.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench measures time; what it measures does not read the clock"
)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use criterion::Criterion;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use vgw_crypto::{Encryption, Group, Integrity, Prf, RandomSources, Secret};
use vgw_ike::config::{
    Encapsulation, EspAlgorithms, IkeAlgorithms, Lifetime, Limits, PeerConfig, Psk,
};
use vgw_ike::endpoint::Endpoint;
use vgw_ike::event::Content;
use vgw_ike::identity::Identity;
use vgw_ike::messages::InitRequest;
use vgw_sa::GatewayId;

#[allow(dead_code, reason = "not all of them are sent here")]
#[path = "../src/strangers/messages.rs"]
mod messages;

const CANDIDATES: [u32; 3] = [1, 50, 500];
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// Between two messages, so that no budget of a source runs out.
const PAUSE: Duration = Duration::from_millis(5);

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    for candidates in CANDIDATES {
        for (name, proved) in [("forged", false), ("proved", true)] {
            let mut flood = Flood::new(candidates);
            criterion.bench_function(&format!("refused/{name}/{candidates}"), |b| {
                b.iter_custom(|times| (0..times).map(|_| flood.one(proved)).sum());
            });
        }
    }
    criterion.final_summary();
}

/// An endpoint, and the messages that it is sent.
struct Flood {
    endpoint: Endpoint,
    now: Instant,
    sent: u32,
    request: InitRequest,
}

impl Flood {
    fn new(candidates: u32) -> Self {
        let [secret, public] = [1, 2].map(ChaCha20Rng::seed_from_u64);
        let random = RandomSources::new(secret, public);
        let mut endpoint = Endpoint::new(without_jobs(), random);
        let now = Instant::now();
        for number in 0..candidates {
            endpoint.set_peer(now, GatewayId(0).tunnel(number), peer(number));
        }
        Self {
            endpoint,
            now,
            sent: 0,
            request: messages::refused(),
        }
    }

    /// The time that one message takes.
    fn one(&mut self, proved: bool) -> Duration {
        self.sent += 1;
        self.now += PAUSE;
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + (self.sent << 8));
        let source = SocketAddr::new(address.into(), 500);
        self.request.cookie = None;
        let message = messages::message(self.sent.into(), &self.request);
        if proved {
            self.handle(source, &message);
            self.request.cookie = self.cookie();
        }
        let message = messages::message(self.sent.into(), &self.request);
        let began = Instant::now();
        self.handle(source, &message);
        let took = began.elapsed();
        self.cookie();
        took
    }

    fn handle(&mut self, source: SocketAddr, message: &[u8]) {
        let local = SocketAddr::new(OUTSIDE, 500);
        self.endpoint
            .handle_datagram(self.now, local, source, black_box(message));
        while let Some(event) = self.endpoint.poll_event() {
            drop(black_box(event));
        }
    }

    /// Takes the answers away; the cookie that the last one asks for.
    fn cookie(&mut self) -> Option<Vec<u8>> {
        let mut cookie = None;
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let Content::Ike(answer) = transmit.content else {
                continue;
            };
            cookie = messages::answer(&answer).and_then(|(_, cookie)| cookie);
        }
        cookie
    }
}

/// A customer gateway without address; all have the default algorithms.
fn peer(number: u32) -> PeerConfig {
    let encryption = vec![
        Encryption::AesGcm256,
        Encryption::AesGcm128,
        Encryption::AesCbc256,
        Encryption::AesCbc128,
    ];
    let integrity = vec![
        Integrity::HmacSha256_128,
        Integrity::HmacSha384_192,
        Integrity::HmacSha512_256,
    ];
    let groups = vec![
        Group::Curve25519,
        Group::Ecp256,
        Group::Ecp384,
        Group::Ecp521,
        Group::Modp2048,
        Group::Modp3072,
        Group::Modp4096,
    ];
    let lifetime = Lifetime {
        time: Duration::from_secs(3_600),
        margin: Duration::from_secs(270),
        fuzz_percent: 100,
    };
    PeerConfig {
        name: format!("vpn-{number}/1"),
        local: OUTSIDE,
        public: None,
        remote: None,
        local_id: Identity::Address(OUTSIDE),
        remote_id: Identity::Fqdn(format!("site-{number}.example")),
        psk: Psk(Secret::new(b"a pre-shared key".to_vec())),
        mistakable: Vec::new(),
        network_advice: "set others at the peer".to_owned(),
        ike: IkeAlgorithms {
            encryption: encryption.clone(),
            integrity: integrity.clone(),
            prf: integrity.iter().copied().map(Prf::matching).collect(),
            groups: groups.clone(),
        },
        esp: EspAlgorithms {
            encryption,
            integrity,
            groups,
            esn: vec![true, false],
        },
        local_selectors: Vec::new(),
        remote_selectors: Vec::new(),
        encapsulation: Encapsulation::Auto,
        ike_lifetime: lifetime,
        child_lifetime: lifetime,
        liveness: None,
    }
}

/// Every key exchange is made where it is needed.
fn without_jobs() -> Limits {
    Limits {
        job_from: Duration::MAX,
        ..Limits::default()
    }
}
