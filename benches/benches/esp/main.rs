//! Sealing and opening bursts of ESP packets, beside bare AES-128-GCM of ring on
//! the same octets in the same places. Figures are reference cycles per packet,
//! and octets of inner packet per cycle.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench measures time; what it measures does not read the clock"
)]

mod bare;
mod cycles;
mod sides;

use std::error::Error;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput};
use vgw_crypto::{Encryption, EspSuite, Integrity};

use crate::bare::Bare;
use crate::cycles::Cycles;
use crate::sides::Sides;

type Failure = Box<dyn Error>;

/// Packets as the data plane hands them over: they lie one behind the other.
#[derive(Clone, Copy)]
struct Shape {
    /// Octets of inner packet.
    inner_len: usize,
    packets: u64,
}

/// 44 packets of 1,400 octets are a TCP segment of 64 KiB.
const SHAPES: [Shape; 3] = [
    Shape {
        inner_len: 1400,
        packets: 44,
    },
    Shape {
        inner_len: 512,
        packets: 64,
    },
    Shape {
        inner_len: 64,
        packets: 64,
    },
];

/// Something that seals a burst in place and opens it again.
trait Subject {
    fn seal(&mut self);
    fn open(&mut self);
}

fn main() -> Result<(), Failure> {
    println!("reference cycles are those of {}", cycles::source());
    let mut criterion = Criterion::default()
        .with_measurement(Cycles)
        .configure_from_args();
    for shape in SHAPES {
        for direction in [Direction::Seal, Direction::Open] {
            let name = format!("{}/{}", direction.name(), shape.inner_len);
            let mut group = criterion.benchmark_group(name);
            group
                .warm_up_time(Duration::from_millis(300))
                .measurement_time(Duration::from_secs(1))
                .throughput(Throughput::Bytes(u64::try_from(shape.inner_len)?));
            let mut bare = Bare::new(shape)?;
            measure(&mut group, "bare AES-128-GCM", shape, direction, &mut bare);
            for suite in suites() {
                let mut sides = Sides::new(suite, shape)?;
                measure(&mut group, &suite.to_string(), shape, direction, &mut sides);
            }
            group.finish();
        }
    }
    criterion.final_summary();
    Ok(())
}

#[derive(Clone, Copy)]
enum Direction {
    Seal,
    Open,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Open => "open",
        }
    }
}

fn measure(
    group: &mut BenchmarkGroup<'_, Cycles>,
    name: &str,
    shape: Shape,
    direction: Direction,
    subject: &mut impl Subject,
) {
    group.bench_function(name, |b| {
        b.iter_custom(|packets| {
            let bursts = packets.div_ceil(shape.packets);
            let mut spent = 0;
            for _ in 0..bursts {
                spent += match direction {
                    Direction::Seal => cycles::spent_in(|| subject.seal()),
                    // Opening in place leaves plain text, and a number opens once.
                    Direction::Open => {
                        subject.seal();
                        cycles::spent_in(|| subject.open())
                    }
                };
            }
            // Whole bursts were run; Criterion wants the cost of what it asked for.
            let run = u128::from(bursts * shape.packets);
            u64::try_from(u128::from(spent) * u128::from(packets) / run).unwrap_or(u64::MAX)
        });
    });
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
