//! How often elimination fails where it can be seen to: with few dense places.

use rand_core::Rng as _;

use super::super::super::tests::rng;
use super::*;

/// That a random binary matrix of `rows` rows and `places` columns lacks full rank: each row must lie outside the space of those
/// before it, which is 2^i of 2^places vectors after i of them.
fn rank_lacks(rows: usize, places: usize) -> f64 {
    let full: f64 = (0..rows)
        .map(|i| 1.0 - 2_f64.powi(i as i32 - places as i32))
        .product();
    1.0 - full
}

/// Against the exact probability, five standard deviations to either side, and Lemma 2.1 of RR22, which bounds it by
/// 2^(g - d). What is used is d = 56.
#[test]
fn elimination_fails_as_rarely_as_rank_is_missing() {
    const TRIALS: u32 = 40_000;
    let mut rng = rng(31);
    for places in 8..=12 {
        for rows in [1, 2, 3, 5, 8] {
            let failures = (0..TRIALS)
                .filter(|_| {
                    let equations = (0..rows).map(|_| {
                        let value = u128::from(rng.next_u64());
                        (rng.next_u64() & ((1 << places) - 1), value)
                    });
                    let equations: Vec<(u64, u128)> = equations.collect();
                    let mut dense = vec![0; places];
                    let solved = eliminate(Zeroizing::new(equations.clone()), &mut dense);
                    if solved.is_ok() {
                        for (mask, value) in equations {
                            assert_eq!(masked_sum(mask, &dense), value);
                        }
                    }
                    solved.is_err()
                })
                .count();
            let probability = rank_lacks(rows, places);
            let lemma = 2_f64.powi(rows as i32 - places as i32);
            assert!(probability <= lemma);
            let mean = f64::from(TRIALS) * probability;
            assert!(
                (failures as f64 - mean).abs() <= 5.0 * mean.sqrt() + 1.0,
                "{rows} rows, {places} places: {failures} where {mean} are expected"
            );
        }
    }
}
