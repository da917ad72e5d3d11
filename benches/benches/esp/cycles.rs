//! Criterion's measure: ticks of the time-stamp counter. On every x86-64 CPU of
//! the last ten years it ticks at one rate, whatever the core's clock does: what
//! it counts are reference cycles. A core that runs faster than the reference
//! does more work in one of them.

use std::time::{Duration, Instant};

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter};

/// Ticks that `work` takes.
pub fn spent_in(work: impl FnOnce()) -> u64 {
    let start = now();
    work();
    now().wrapping_sub(start)
}

#[cfg(target_arch = "x86_64")]
fn now() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction; it touches no memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Elsewhere a tick is a nanosecond.
#[cfg(not(target_arch = "x86_64"))]
fn now() -> u64 {
    use std::sync::LazyLock;
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What ticks, and how fast: measured, since the kernel tells no program.
pub fn source() -> String {
    let wall = Instant::now();
    let ticks = spent_in(|| {
        while wall.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
    });
    let megahertz = u128::from(ticks) * 1000 / wall.elapsed().as_nanos();
    format!("a counter of {megahertz} MHz")
}

/// Ticks as Criterion's unit of measurement.
pub struct Cycles;

impl Measurement for Cycles {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        now()
    }

    fn end(&self, start: u64) -> u64 {
        now().wrapping_sub(start)
    }

    fn add(&self, one: &u64, other: &u64) -> u64 {
        one + other
    }

    fn zero(&self) -> u64 {
        0
    }

    #[allow(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "Criterion computes with floats"
    )]
    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &Formatter
    }
}

struct Formatter;

impl ValueFormatter for Formatter {
    fn scale_values(&self, _typical: f64, _values: &mut [f64]) -> &'static str {
        "cycles"
    }

    #[allow(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "Criterion computes with floats"
    )]
    fn scale_throughputs(
        &self,
        _typical: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        let (amount, unit) = match throughput {
            Throughput::Elements(count) => (*count, "elements/cycle"),
            Throughput::Bits(count) => (*count, "bits/cycle"),
            Throughput::Bytes(count) | Throughput::BytesDecimal(count) => (*count, "B/cycle"),
            Throughput::ElementsAndBytes { bytes, .. } => (*bytes, "B/cycle"),
        };
        for value in values {
            *value = amount as f64 / *value;
        }
        unit
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "cycles"
    }
}
