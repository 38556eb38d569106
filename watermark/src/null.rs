//! The exact distribution of a candidate's score if it is innocent.
//!
//! The score is Škorić's symmetric one (Škorić, Katzenbeisser, Celik 2008): a match of chance p
//! counts sqrt((1-p)/p), a mismatch -sqrt(p/(1-p)). The two outer biases have p(1-p) = 1/10, the
//! middle one 1/4, so up to a constant the score is `OUTER * a + MIDDLE * m`, with a matches of
//! outer and m of middle chance. Under the null a is the sum of two binomials and m a third.

use crate::likelihood::{Counts, chances};
use crate::position::BIASES;

/// Gain of a match over a mismatch, sqrt 10 and 2, in thousandths. Any weights give an exact test;
/// these are whole so that equal scores are equal.
pub(crate) const OUTER: u64 = 3162;
pub(crate) const MIDDLE: u64 = 2000;
/// Probabilities below this are given as this.
const P_MIN: f64 = 1e-300;
/// Logarithms of probabilities below this are 0 as a float.
const LN_ZERO: f64 = -745.0;

/// The null distribution for so many reads.
pub(crate) struct Null {
    /// P(a = first + i).
    outer: Vec<f64>,
    outer_first: u64,
    /// P(m >= first + i).
    middle_tail: Vec<f64>,
    middle_first: u64,
}

/// A candidate's score, in thousandths.
pub(crate) fn score(matches: Counts) -> u64 {
    let [low, middle, high] = matches;
    OUTER * (u64::from(low) + u64::from(high)) + MIDDLE * u64::from(middle)
}

/// How many standard deviations a score is above its mean under the null.
pub(crate) fn deviations(reads: Counts, matches: Counts) -> f64 {
    let mut mean = 0.0;
    let mut variance = 0.0;
    for ((count, p), gain) in reads.iter().zip(chances()).zip([OUTER, MIDDLE, OUTER]) {
        let (count, gain) = (f64::from(*count), gain as f64);
        mean += gain * count * p;
        variance += gain * gain * count * p * (1.0 - p);
    }
    if variance > 0.0 {
        (score(matches) as f64 - mean) / variance.sqrt()
    } else {
        0.0
    }
}

impl Null {
    pub(crate) fn new(reads: Counts) -> Self {
        let [low, middle, high] = reads;
        let [p_low, p_middle, p_high] = BIASES;
        let (first_low, low) = binomial(low, p_low);
        let (first_high, high) = binomial(high, p_high);
        let (middle_first, mut middle_tail) = binomial(middle, p_middle);
        let mut above = 0.0;
        for probability in middle_tail.iter_mut().rev() {
            above += *probability;
            *probability = above;
        }
        Self {
            outer: convolve(&low, &high),
            outer_first: first_low + first_high,
            middle_tail,
            middle_first,
        }
    }

    /// P(score >= `score`) for an innocent candidate; at least 10^-300.
    pub(crate) fn tail(&self, score: u64) -> f64 {
        let mut tail = 0.0;
        for (outer, probability) in (self.outer_first..).zip(&self.outer) {
            let left = score.saturating_sub(OUTER * outer);
            let middle_min = left.div_ceil(MIDDLE);
            let above = match middle_min.checked_sub(self.middle_first) {
                None | Some(0) => 1.0,
                Some(place) => usize::try_from(place)
                    .ok()
                    .and_then(|place| self.middle_tail.get(place).copied())
                    .unwrap_or(0.0),
            };
            tail += probability * above;
        }
        tail.clamp(P_MIN, 1.0)
    }
}

/// P(k), for `count` trials of chance `bias`/2^16, from the first k whose probability is not 0 as
/// a float to the last.
fn binomial(count: u32, bias: u16) -> (u64, Vec<f64>) {
    let p = f64::from(bias) / 65536.0;
    let odds = (p / (1.0 - p)).ln();
    let mut first = 0;
    let mut probabilities = Vec::new();
    let mut ln = f64::from(count) * (-p).ln_1p();
    for k in 0..=count {
        if ln > LN_ZERO {
            if probabilities.is_empty() {
                first = u64::from(k);
            }
            probabilities.push(ln.exp());
        } else if !probabilities.is_empty() {
            break;
        }
        // C(n, k + 1) / C(n, k) = (n - k) / (k + 1).
        ln += (f64::from(count - k) / f64::from(k + 1)).ln() + odds;
    }
    (first, probabilities)
}

fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; (a.len() + b.len()).saturating_sub(1)];
    for (at, x) in a.iter().enumerate() {
        for (out, y) in out.iter_mut().skip(at).zip(b) {
            *out += x * y;
        }
    }
    out
}

#[cfg(test)]
mod tests;
