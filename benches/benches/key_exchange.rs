//! A key exchange of every group: making a key pair, and agreeing.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use vgw_crypto::{Group, KeyPair, Secret, SecretRandom};

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    let random = || SecretRandom::new(ChaCha20Rng::seed_from_u64(1));
    for &group in Group::ALL {
        let peer = KeyPair::generate(group, &mut random())?;
        criterion.bench_function(&format!("key exchange/group {group}"), |b| {
            b.iter_batched(
                random,
                |mut random| exchange(group, &mut random, peer.public()),
                BatchSize::SmallInput,
            );
        });
    }
    criterion.final_summary();
    Ok(())
}

fn exchange(group: Group, random: &mut SecretRandom, peer: &[u8]) -> Option<Secret> {
    let pair = KeyPair::generate(group, random).ok()?;
    black_box(pair.public());
    pair.agree(peer).ok()
}
