//! What matching costs over its unavoidable part: `dh` of n x n items against the 3(n + n)
//! bare multiplications of curve25519-dalek, both on all cores, in one process.
//!
//! `cargo bench -p counterfoil-psi` runs n = 16,384; set `ITEMS` for another n.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counterfoil_psi::{IdentifierKind, IdentifierSet, Normaliser, SessionId, Token, dh};
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

/// Runs of each measurement; the median is shown.
const RUNS: usize = 3;

fn main() {
    let items = std::env::var("ITEMS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(16_384);
    let Some((normalise, set)) = normalised(items) else {
        eprintln!("the generated phones were refused");
        return;
    };
    let raw = median(|| multiplications(6 * items));
    let full = median(|| matching(&set));
    println!(
        "{items} x {items} items, {} cores",
        rayon::current_num_threads()
    );
    println!(
        "normalise and insert   {:8.2} us an item, one core",
        micros(normalise, items)
    );
    println!(
        "3(n + m) raw products  {:8.2} us an item and side",
        micros(raw, 2 * items)
    );
    println!(
        "dh, both sides         {:8.2} us an item and side",
        micros(full, 2 * items)
    );
    println!(
        "ratio                  {:8.2}",
        full.as_secs_f64() / raw.as_secs_f64()
    );
}

fn micros(time: Duration, count: u32) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(count)
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    times.get(RUNS / 2).copied().unwrap_or_default()
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

fn normalised(items: u32) -> Option<(Duration, Arc<IdentifierSet>)> {
    let normaliser = Normaliser::new(IdentifierKind::Phone, "CN".parse().ok());
    normaliser.normalise("13900000000").ok()?; // builds the tables
    let raw: Vec<String> = (0..items)
        .map(|n| format!("138{:08}", u64::from(n) * 95))
        .collect();
    let mut set = IdentifierSet::new(IdentifierKind::Phone, &mut rng());
    let start = Instant::now();
    for phone in &raw {
        set.insert(&normaliser.normalise(phone).ok()?).ok()?;
    }
    Some((start.elapsed(), Arc::new(set)))
}

fn multiplications(count: u32) {
    let scalar = Scalar::random(&mut rng());
    let point = RistrettoPoint::random(&mut rng());
    (0..count).into_par_iter().for_each(|_| {
        black_box(black_box(point) * black_box(scalar));
    });
}

fn matching(set: &Arc<IdentifierSet>) {
    if let Err(error) = both_sides(set) {
        eprintln!("{error}");
    }
}

fn both_sides(set: &Arc<IdentifierSet>) -> Result<[Vec<Token>; 2], dh::Error> {
    let session = SessionId::from_bytes([1; 32]);
    let size = u32::try_from(set.len()).unwrap_or(u32::MAX);
    let (mut oq, mut oe) = dh::begin(session, set.clone(), size, &mut rng())?;
    let (mut rq, mut re) = dh::begin(session, set.clone(), size, &mut rng())?;
    while let Some(chunk) = oq.next_chunk()? {
        oq.accept_reply(&re.reply(&chunk)?)?;
    }
    while let Some(chunk) = rq.next_chunk()? {
        rq.accept_reply(&oe.reply(&chunk)?)?;
    }
    Ok([oq.finish(oe.finish()?)?, rq.finish(re.finish()?)?])
}
