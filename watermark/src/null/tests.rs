use super::*;

/// ln of n!, summed.
fn ln_factorial(n: u32) -> f64 {
    (1..=n).map(|factor| f64::from(factor).ln()).sum()
}

fn chance(count: u32, k: u32, p: f64) -> f64 {
    let ways = ln_factorial(count) - ln_factorial(k) - ln_factorial(count - k);
    (ways + f64::from(k) * p.ln() + f64::from(count - k) * (1.0 - p).ln()).exp()
}

/// Adds up all outcomes one by one.
fn slow_tail([low, middle, high]: Counts, least: u64) -> f64 {
    let [p_low, p_middle, p_high] = chances();
    let mut tail = 0.0;
    for a in 0..=low {
        for b in 0..=middle {
            for c in 0..=high {
                if score([a, b, c]) >= least {
                    tail += chance(low, a, p_low)
                        * chance(middle, b, p_middle)
                        * chance(high, c, p_high);
                }
            }
        }
    }
    tail
}

#[test]
fn the_tail_is_the_sum_over_all_outcomes() {
    for reads in [[0, 0, 0], [5, 0, 0], [0, 7, 0], [9, 12, 10], [3, 20, 17]] {
        let null = Null::new(reads);
        for matches in [[0, 0, 0], [1, 2, 3], [2, 6, 8], reads] {
            let matches = [0, 1, 2].map(|at| matches[at].min(reads[at]));
            let (fast, slow) = (null.tail(score(matches)), slow_tail(reads, score(matches)));
            assert!(
                (fast / slow - 1.0).abs() < 1e-9,
                "{reads:?} {matches:?}: {fast} {slow}"
            );
        }
    }
}

#[test]
fn far_tails_end_at_the_least_that_is_told() {
    let reads = [5000, 5000, 5000];
    let null = Null::new(reads);
    assert_eq!(null.tail(score(reads)), P_MIN);
    assert!((null.tail(0) - 1.0).abs() < 1e-9);
    let mean = chances().map(|p| (p * 5000.0) as u32);
    assert!((null.tail(score(mean)) - 0.5).abs() < 0.02);
}

#[test]
fn a_hundred_thousand_reads_are_no_burden() {
    let reads = [300_000, 300_000, 300_000];
    let matches = [34_400, 151_000, 266_800];
    let tail = Null::new(reads).tail(score(matches));
    let z = deviations(reads, matches);
    // The normal tail, Q(z) ~ phi(z) / z (1 - 1/z^2).
    let normal =
        (-z * z / 2.0).exp() / (z * (2.0 * std::f64::consts::PI).sqrt()) * (1.0 - 1.0 / z / z);
    assert!((tail / normal - 1.0).abs() < 0.1, "{tail} {normal}");
}
