//! How long each key is kept.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use vgw_crypto::{Encryption, Group, Integrity, Prf, RandomSources, Secret};
use vgw_sa::{GatewayId, TunnelId};

use super::Endpoint;
use super::sa::Sa;
use crate::core::event::{Content, Event, SaId};
use crate::peer::config::{
    Encapsulation, EspAlgorithms, IkeAlgorithms, KeyLog, Lifetime, Limits, PeerConfig, Psk,
};
use crate::peer::identity::Identity;

const PEER: TunnelId = GatewayId(0).tunnel(1);

fn config(local: IpAddr, remote: IpAddr) -> PeerConfig {
    let lifetime = Lifetime {
        time: Duration::from_secs(3600),
        margin: Duration::from_secs(60),
        fuzz_percent: 0,
    };
    PeerConfig {
        name: "vpn-test/1".to_owned(),
        local,
        public: None,
        remote: Some(remote),
        local_id: Identity::Address(local),
        remote_id: Identity::Address(remote),
        psk: Psk(Secret::new(b"a pre-shared key".to_vec())),
        mistakable: Vec::new(),
        network_advice: "set others at the peer".to_owned(),
        ike: IkeAlgorithms {
            encryption: vec![Encryption::AesGcm128],
            integrity: vec![Integrity::HmacSha256_128],
            prf: vec![Prf::HmacSha256],
            groups: vec![Group::Curve25519],
        },
        esp: EspAlgorithms {
            encryption: vec![Encryption::AesGcm128],
            integrity: vec![Integrity::HmacSha256_128],
            groups: vec![Group::Curve25519],
            esn: vec![true],
        },
        local_selectors: vec!["0.0.0.0/0".parse().unwrap()],
        remote_selectors: vec!["0.0.0.0/0".parse().unwrap()],
        encapsulation: Encapsulation::Auto,
        ike_lifetime: lifetime,
        child_lifetime: lifetime,
        liveness: None,
    }
}

/// Two endpoints; the first is the initiator.
struct Ends {
    now: Instant,
    ends: [Endpoint; 2],
    events: Vec<Event>,
}

impl Ends {
    #[allow(
        clippy::disallowed_methods,
        reason = "an arbitrary start of virtual time"
    )]
    fn up(key_log: KeyLog) -> Self {
        let now = Instant::now();
        let addresses: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|a| a.parse().unwrap());
        let ends = [0_u64, 1].map(|end| {
            let random = |seed| ChaCha8Rng::seed_from_u64(2 * end + seed);
            let sources = RandomSources::new(random(0), random(1));
            let mut endpoint = Endpoint::new(Limits::default(), sources);
            endpoint.set_key_log(key_log);
            let [first, second] = addresses;
            let (ours, theirs) = if end == 0 {
                (first, second)
            } else {
                (second, first)
            };
            endpoint.set_peer(now, PEER, config(ours, theirs));
            endpoint
        });
        let mut this = Self {
            now,
            ends,
            events: Vec::new(),
        };
        this.ends[0].initiate(now, PEER).unwrap();
        this.exchange(true);
        this
    }

    /// Carries messages both ways: all of them, or only the next one.
    fn exchange(&mut self, all: bool) {
        loop {
            let mut carried = false;
            for end in [0, 1] {
                while let Some(event) = self.ends[end].poll_event() {
                    self.events.push(event);
                }
                let sent = self.ends[end].poll_transmit();
                if let Some(Content::Ike(message)) = sent.as_ref().map(|sent| &sent.content) {
                    let sent = sent.as_ref().unwrap();
                    self.ends[1 - end].handle_datagram(self.now, sent.remote, sent.local, message);
                    carried = true;
                    if !all {
                        return;
                    }
                }
            }
            if !carried {
                return;
            }
        }
    }

    /// The IKE SAs of an end, and whether each still has SK_d.
    fn sources(&self, end: usize) -> Vec<(SaId, bool)> {
        let sas = self.ends[end].sas.iter();
        sas.map(|sa| match sa {
            Sa::Established(sa) => (sa.id(), sa.has_source()),
            Sa::Initiating(_) | Sa::HalfOpen(_) => panic!("not established"),
        })
        .collect()
    }
}

#[test]
fn without_a_key_log_no_copy_of_a_key_is_made() {
    let logged = |key_log| {
        let mut ends = Ends::up(key_log);
        let sa = ends.sources(0)[0].0;
        let now = ends.now;
        ends.ends[0].rekey_ike(now, sa);
        ends.exchange(true);
        let of_keys = |event: &&Event| matches!(event, Event::IkeKeys { .. });
        ends.events.iter().filter(of_keys).count()
    };
    assert_eq!(logged(KeyLog::Off), 0);
    assert_eq!(logged(KeyLog::On), 4, "two IKE SAs at two ends");
}

#[test]
fn no_event_shows_a_key_when_it_is_printed() {
    let ends = Ends::up(KeyLog::On);
    let mut keys = 0;
    for event in &ends.events {
        let secrets = match event {
            Event::IkeKeys { keys, .. } => vec![&keys.sk_ei, &keys.sk_er],
            Event::ChildInbound { child, .. } => {
                vec![&child.keys_in.encryption, &child.keys_out.encryption]
            }
            _ => continue,
        };
        keys += secrets.len();
        let shown = format!("{event:?}");
        for secret in secrets {
            let octets = secret.expose().iter();
            let hex: String = octets.map(|octet| format!("{octet:02x}")).collect();
            assert!(!shown.contains(&hex), "{shown}");
            let list = format!("{:?}", secret.expose());
            assert!(!shown.contains(&list), "{shown}");
        }
    }
    assert_eq!(keys, 8, "of an IKE and a CHILD SA at either end");
}

#[test]
fn a_rekeyed_ike_sa_forgets_what_keys_are_made_of_before_it_is_deleted() {
    let mut ends = Ends::up(KeyLog::Off);
    let (old, has) = ends.sources(0)[0];
    assert!(has);
    let now = ends.now;
    ends.ends[0].rekey_ike(now, old);
    // The request and its answer, but not the DELETE.
    ends.exchange(false);
    ends.exchange(false);
    for end in [0, 1] {
        let sources = ends.sources(end);
        let [(_, old), (_, new)] = sources[..] else {
            panic!("{sources:?}");
        };
        assert!(!old && new, "end {end}");
    }
}

#[test]
fn an_ike_sa_that_is_being_deleted_forgets_what_keys_are_made_of() {
    let mut ends = Ends::up(KeyLog::Off);
    let (sa, _) = ends.sources(0)[0];
    let now = ends.now;
    ends.ends[0].delete(now, sa);
    assert_eq!(ends.sources(0), [(sa, false)]);
}

#[test]
fn an_sa_is_found_by_its_peer_and_where_that_is_from_its_first_message_to_its_last() {
    let mut ends = Ends::up(KeyLog::Off);
    let (sa, _) = ends.sources(0)[0];
    let now = ends.now;
    let found = |ends: &Ends, sas: usize| {
        for end in &ends.ends {
            let [is, should] = end.sas.found_by();
            assert_eq!(is, should);
            assert_eq!(end.sas.of_peer(PEER).count(), sas);
            assert_eq!(end.sas.of_peer(GatewayId(0).tunnel(2)).count(), 0);
            let sas = end.sas.iter().filter_map(|sa| match sa {
                Sa::Established(sa) => Some((sa.id(), sa.remote().ip())),
                Sa::Initiating(_) | Sa::HalfOpen(_) => None,
            });
            for (id, address) in sas {
                assert!(end.sas.at(address).any(|sa| sa.id() == id));
            }
        }
    };
    found(&ends, 1);
    ends.ends[0].rekey_ike(now, sa);
    ends.exchange(true);
    found(&ends, 1);
    let (sa, _) = ends.sources(0)[0];
    ends.ends[0].delete(now, sa);
    found(&ends, 1);
    ends.exchange(true);
    found(&ends, 0);
    // A half-open SA has no peer yet.
    ends.ends[0].initiate(now, PEER).unwrap();
    ends.exchange(false);
    let counts = [0, 1].map(|end: usize| {
        let sas = &ends.ends[end].sas;
        (sas.of_peer(PEER).count(), sas.iter().count())
    });
    assert_eq!(counts, [(1, 1), (0, 1)]);
}
