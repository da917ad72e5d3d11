//! A host that guesses a pre-shared key: a whole handshake for each guess.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use getrandom::SysRng;
use ipnet::{IpNet, Ipv4Net};
use vgw_crypto::{Encryption, Group, Prf, RandomSources, Secret};
use vgw_ike::config::{
    Encapsulation, EspAlgorithms, IkeAlgorithms, Lifetime, Limits, PeerConfig, Psk,
};
use vgw_ike::endpoint::Endpoint;
use vgw_ike::event::{Content, DownReason, Event};
use vgw_ike::identity::Identity;
use vgw_lab::Namespace;
use vgw_sa::GatewayId;

use super::outcome::Outcome;
use super::socket::{Socket, host};

/// Guesses under way at a time.
const AT_ONCE: u32 = 32;
/// A guess without an answer is given up after this, and the next one made.
const PATIENCE: Duration = Duration::from_secs(1);

/// Guesses as `identity`, whose gateway calls itself `gateway`, as fast as it is answered.
pub fn guess(
    attackers: &Namespace,
    identity: &str,
    gateway: &str,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let mut guesser = Guesser {
        socket: Socket::open(attackers)?,
        endpoint: Endpoint::new(without_jobs(), RandomSources::new(SysRng, SysRng)),
        config: config(identity, gateway),
        begun: vec![None; usize::try_from(AT_ONCE)?],
        answered: 0,
    };
    while !stop.load(Ordering::Relaxed) {
        guesser.go_on(Instant::now())?;
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(Outcome {
        answered: guesser.answered,
        ..guesser.socket.made()
    })
}

struct Guesser {
    socket: Socket,
    endpoint: Endpoint,
    config: PeerConfig,
    /// Since when each is under way.
    begun: Vec<Option<Instant>>,
    answered: u64,
}

impl Guesser {
    fn go_on(&mut self, now: Instant) -> Result<()> {
        for (number, begun) in (0..AT_ONCE)
            .map(|number| GatewayId(0).tunnel(number))
            .zip(&mut self.begun)
        {
            if begun.is_none_or(|begun| now > begun + PATIENCE) {
                self.endpoint.remove_peer(now, number);
                self.endpoint.set_peer(now, number, self.config.clone());
                self.endpoint.initiate(now, number);
                *begun = Some(now);
            }
        }
        if self.endpoint.poll_timeout().is_some_and(|due| due <= now) {
            self.endpoint.handle_timeout(now);
        }
        self.settle()?;
        let mut buffer = [0; 4096];
        while let Some((to, len)) = self.socket.receive(&mut buffer)? {
            let to = SocketAddr::new(to.into(), Socket::gateway().port());
            let datagram = buffer.get(..len).unwrap_or_default();
            self.endpoint
                .handle_datagram(now, to, Socket::gateway(), datagram);
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        while let Some(event) = self.endpoint.poll_event() {
            let Event::InitiateFailed { peer, reason, .. } = event else {
                continue;
            };
            // Not those that we gave up.
            if let DownReason::AuthenticationFailed(_) | DownReason::Refused(_) = reason {
                self.answered += 1;
                if let Some(begun) = self.begun.get_mut(usize::try_from(peer.number)?) {
                    *begun = None;
                }
            }
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            if let (Content::Ike(message), IpAddr::V4(from)) =
                (transmit.content, transmit.local.ip())
            {
                self.socket.send(from, &message)?;
            }
        }
        Ok(())
    }
}

/// One list of algorithms, and a wrong key.
fn config(identity: &str, gateway: &str) -> PeerConfig {
    let lifetime = Lifetime {
        time: Duration::from_secs(3_600),
        margin: Duration::from_secs(270),
        fuzz_percent: 100,
    };
    let everything = vec![IpNet::V4(Ipv4Net::default())];
    PeerConfig {
        name: identity.to_owned(),
        local: host(0).into(),
        public: None,
        remote: Some(Socket::gateway().ip()),
        local_id: Identity::Fqdn(identity.to_owned()),
        remote_id: Identity::Fqdn(gateway.to_owned()),
        psk: Psk(Secret::new(b"no_such_key".to_vec())),
        mistakable: Vec::new(),
        network_advice: "set others at the peer".to_owned(),
        ike: IkeAlgorithms {
            encryption: vec![Encryption::AesGcm128],
            integrity: Vec::new(),
            prf: vec![Prf::HmacSha256],
            groups: vec![Group::Curve25519],
        },
        esp: EspAlgorithms {
            encryption: vec![Encryption::AesGcm128],
            integrity: Vec::new(),
            groups: vec![Group::Curve25519],
            esn: vec![true],
        },
        local_selectors: everything.clone(),
        remote_selectors: everything,
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
