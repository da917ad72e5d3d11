//! Criterion benches and throughput runs.
