//! Sealing and opening ESP packets, beside bare AES-128-GCM on the same octets.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench measures time; what it measures does not read the clock"
)]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Integrity, Secret};
use vgw_esp::{InboundSa, Layout, NEXT_HEADER_IPV4, OutboundSa, Plain};

/// Octets of inner packet.
const INNER_LENS: [usize; 3] = [64, 512, 1400];

/// Packets per burst. Of the largest size they fit into a first-level cache.
const BURST: usize = 16;

const SPI: u32 = 0x1234_5678;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for inner_len in INNER_LENS {
        seal(&mut criterion, inner_len)?;
        open(&mut criterion, inner_len)?;
    }
    criterion.final_summary();
    Ok(())
}

fn seal(criterion: &mut Criterion, inner_len: usize) -> Result<(), Failure> {
    let mut group = criterion.benchmark_group(format!("seal/{inner_len}"));
    group.throughput(Throughput::Bytes(u64::try_from(inner_len)?));

    let mut bare = Bare::new(inner_len)?;
    group.bench_function("bare AES-128-GCM", |b| {
        b.iter_custom(|packets| {
            let start = Instant::now();
            for _ in 0..packets.div_ceil(burst()) {
                bare.seal();
            }
            per_packet(start.elapsed(), packets)
        });
    });
    for suite in suites() {
        let mut pair = Pair::new(suite, inner_len)?;
        group.bench_function(suite.to_string(), |b| {
            b.iter_custom(|packets| {
                let start = Instant::now();
                for _ in 0..packets.div_ceil(burst()) {
                    pair.seal();
                }
                per_packet(start.elapsed(), packets)
            });
        });
    }
    group.finish();
    Ok(())
}

fn open(criterion: &mut Criterion, inner_len: usize) -> Result<(), Failure> {
    let mut group = criterion.benchmark_group(format!("open/{inner_len}"));
    group.throughput(Throughput::Bytes(u64::try_from(inner_len)?));

    let mut bare = Bare::new(inner_len)?;
    group.bench_function("bare AES-128-GCM", |b| {
        b.iter_custom(|packets| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..packets.div_ceil(burst()) {
                bare.seal();
                let start = Instant::now();
                bare.open();
                elapsed += start.elapsed();
            }
            per_packet(elapsed, packets)
        });
    });
    for suite in suites() {
        let mut pair = Pair::new(suite, inner_len)?;
        group.bench_function(suite.to_string(), |b| {
            b.iter_custom(|packets| {
                let mut elapsed = Duration::ZERO;
                for _ in 0..packets.div_ceil(burst()) {
                    // Opening in place leaves plain text, and a number opens once.
                    pair.seal();
                    let start = Instant::now();
                    pair.open();
                    elapsed += start.elapsed();
                }
                per_packet(elapsed, packets)
            });
        });
    }
    group.finish();
    Ok(())
}

fn burst() -> u64 {
    u64::try_from(BURST).unwrap_or(1)
}

/// Whole bursts were run; Criterion wants the time of the packets it asked for.
fn per_packet(elapsed: Duration, packets: u64) -> Duration {
    let run = packets.div_ceil(burst()) * burst();
    let nanos = elapsed.as_nanos() * u128::from(packets) / u128::from(run);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Every suite. With ESN the sequence numbers outlast any run.
fn suites() -> Vec<EspSuite> {
    let mut suites = Vec::new();
    for &encryption in Encryption::ALL {
        let suite = |integrity| EspSuite {
            encryption,
            integrity,
            esn: true,
        };
        if encryption.is_aead() {
            suites.push(suite(None));
        } else {
            suites.extend(Integrity::ALL.iter().copied().map(Some).map(suite));
        }
    }
    suites
}

/// Both ends of an SA and a burst of packets between them.
struct Pair {
    outbound: OutboundSa,
    inbound: InboundSa,
    inner_len: usize,
    packets: Vec<Vec<u8>>,
}

impl Pair {
    fn new(suite: EspSuite, inner_len: usize) -> Result<Self, Failure> {
        let integrity_len = suite.integrity.map_or(0, Integrity::key_len);
        let keys = DirectionKeys {
            encryption: Secret::new(vec![1; suite.encryption.keymat_len()]),
            integrity: Secret::new(vec![2; integrity_len]),
        };
        let outbound = OutboundSa::new(SPI, suite, &keys, [3; 32])?;
        let packets = vec![vec![0; outbound.sealed_len(inner_len)]; BURST];
        Ok(Self {
            outbound,
            inbound: InboundSa::new(SPI, suite, &keys, 1024)?,
            inner_len,
            packets,
        })
    }

    fn seal(&mut self) {
        let inner_at = self.outbound.layout().header_len;
        let mut plain = self.packets.iter_mut().map(|buf| {
            // The version that the next header promises.
            if let Some(first) = buf.get_mut(inner_at) {
                *first = 0x45;
            }
            Plain {
                buf,
                inner_len: self.inner_len,
                next_header: NEXT_HEADER_IPV4,
            }
        });
        let mut burst: [Plain<'_>; BURST] = std::array::from_fn(|_| {
            plain.next().unwrap_or(Plain {
                buf: &mut [],
                inner_len: 0,
                next_header: 0,
            })
        });
        black_box(self.outbound.seal_burst(&mut burst)).ok();
    }

    fn open(&mut self) {
        let mut opener = self.inbound.opener();
        for packet in &mut self.packets {
            black_box(opener.open(packet)).ok();
        }
    }
}

/// What the library itself takes for the same octets: no header, no padding to
/// write or check, no sequence number.
struct Bare {
    key: LessSafeKey,
    packets: Vec<(Vec<u8>, Option<Tag>)>,
}

impl Bare {
    fn new(inner_len: usize) -> Result<Self, Failure> {
        let layout = Layout::of(EspSuite {
            encryption: Encryption::AesGcm128,
            integrity: None,
            esn: true,
        });
        let len = layout.sealed_len(inner_len) - layout.header_len - layout.icv_len;
        let key = UnboundKey::new(&AES_128_GCM, &[1; 16]).map_err(|_| "ring refuses its key")?;
        Ok(Self {
            key: LessSafeKey::new(key),
            packets: vec![(vec![0; len], None); BURST],
        })
    }

    fn seal(&mut self) {
        for (packet, tag) in &mut self.packets {
            let nonce = Nonce::assume_unique_for_key([5; NONCE_LEN]);
            let sealed = self
                .key
                .seal_in_place_separate_tag(nonce, Aad::from([6; 12]), packet);
            *tag = black_box(sealed).ok();
        }
    }

    fn open(&mut self) {
        for (packet, tag) in &mut self.packets {
            let Some(tag) = *tag else { continue };
            let nonce = Nonce::assume_unique_for_key([5; NONCE_LEN]);
            let opened =
                self.key
                    .open_in_place_separate_tag(nonce, Aad::from([6; 12]), tag, packet, 0..);
            black_box(opened.is_ok());
        }
    }
}
