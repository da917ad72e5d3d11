//! What is drawn from which random source, and what happens when one fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_core::{SeedableRng, TryCryptoRng, TryRng};
use vgw_crypto::RandomSources;
use vgw_ike::config::Limits;
use vgw_ike::endpoint::Endpoint;
use vgw_ike::event::{Content, Event};
use vgw_ike::messages::{IkeOffer, InitRequest};
use vgw_ike::wire::{ExchangeType, decode_cleartext};

use crate::rig::{A, B, PEER, Pair, config, seconds, sources};

/// A source that can be turned off.
struct Switched {
    source: ChaCha8Rng,
    works: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Off;

impl std::fmt::Display for Off {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("off")
    }
}

impl std::error::Error for Off {}

impl Switched {
    fn sources(works: &Arc<AtomicBool>) -> RandomSources {
        let [secret, public] = [1, 2].map(|seed| Self {
            source: ChaCha8Rng::seed_from_u64(seed),
            works: works.clone(),
        });
        RandomSources::new(secret, public)
    }

    fn check(&self) -> Result<(), Off> {
        let works = self.works.load(Ordering::Relaxed);
        works.then_some(()).ok_or(Off)
    }
}

impl TryRng for Switched {
    type Error = Off;

    fn try_next_u32(&mut self) -> Result<u32, Off> {
        self.check()?;
        self.source.try_next_u32().map_err(|never| match never {})
    }

    fn try_next_u64(&mut self) -> Result<u64, Off> {
        self.check()?;
        self.source.try_next_u64().map_err(|never| match never {})
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Off> {
        self.check()?;
        self.source
            .try_fill_bytes(octets)
            .map_err(|never| match never {})
    }
}

impl TryCryptoRng for Switched {}

/// The first message of an endpoint: its SPI and what it offers.
fn first_message(random: RandomSources) -> (u64, IkeOffer) {
    let now = Instant::now();
    let mut endpoint = Endpoint::new(Limits::default(), random);
    endpoint.set_peer(now, PEER, config(A));
    endpoint.initiate(now, PEER).unwrap();
    let Content::Ike(message) = endpoint.poll_transmit().unwrap().content else {
        panic!("not IKE");
    };
    let message = decode_cleartext(&message).unwrap();
    let spi = message.header.spi_i;
    (spi, InitRequest::parse(message).unwrap().offer)
}

#[test]
fn what_is_sent_tells_nothing_of_the_source_of_private_keys() {
    let (spi, offer) = first_message(sources(1, 2));
    let (same_spi, other_key) = first_message(sources(3, 2));
    assert_eq!((same_spi, &other_key.nonce), (spi, &offer.nonce));
    assert_ne!(other_key.ke, offer.ke);
    let (other_spi, same_key) = first_message(sources(1, 3));
    assert_eq!(same_key.ke, offer.ke);
    assert_ne!(other_spi, spi);
    assert_ne!(same_key.nonce, offer.nonce);
}

#[test]
fn without_random_numbers_nothing_is_begun() {
    let works = Arc::new(AtomicBool::new(false));
    let now = Instant::now();
    let mut endpoint = Endpoint::new(Limits::default(), Switched::sources(&works));
    endpoint.set_peer(now, PEER, config(A));
    assert!(endpoint.initiate(now, PEER).is_none());
    assert!(endpoint.poll_transmit().is_none());
    assert!(matches!(
        endpoint.poll_event(),
        Some(Event::NoRandomNumbers)
    ));
    works.store(true, Ordering::Relaxed);
    assert!(endpoint.initiate(now, PEER).is_some());
}

#[test]
fn a_responder_without_random_numbers_is_silent_until_it_has_them_again() {
    let works = Arc::new(AtomicBool::new(false));
    let mut pair = Pair::new(31);
    let now = pair.now;
    let mut endpoint = Endpoint::new(Limits::default(), Switched::sources(&works));
    endpoint.set_peer(now, PEER, config(B));
    pair.sides[B].endpoint = endpoint;
    pair.initiate(A);
    pair.run(seconds(1));
    assert_eq!(pair.count(B, ExchangeType::IKE_SA_INIT, true), 0);
    assert!(pair.sides[B].faults > 0, "it is told");
    works.store(true, Ordering::Relaxed);
    pair.run(seconds(5));
    pair.assert_agreement(1);
}

#[test]
fn a_rekey_waits_for_random_numbers_and_the_old_sa_stays() {
    let works = Arc::new(AtomicBool::new(true));
    let mut pair = Pair::new(32);
    let now = pair.now;
    let mut endpoint = Endpoint::new(Limits::default(), Switched::sources(&works));
    endpoint.set_peer(now, PEER, config(B));
    pair.sides[B].endpoint = endpoint;
    pair.establish(A);
    let before = pair.sides[B].child().spi_in;
    works.store(false, Ordering::Relaxed);
    for side in [A, B] {
        pair.rekey_child(side);
        pair.run(seconds(1));
        pair.rekey_ike(side);
        pair.run(seconds(1));
    }
    assert_eq!(pair.sides[B].child().spi_in, before);
    pair.assert_agreement(1);
    works.store(true, Ordering::Relaxed);
    pair.run(seconds(10));
    pair.rekey_child(B);
    pair.run(seconds(10));
    assert_ne!(pair.sides[B].child().spi_in, before);
    pair.assert_agreement(1);
}
