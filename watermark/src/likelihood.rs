//! E-values: the evidence of matching symbols against a candidate's innocence.

use crate::position::BIASES;

/// The mixture over how much of the file is the candidate's. `theta` is the chance that a cell's
/// colour is the candidate's symbol for that reason, and not for chance.
pub const THETAS: [f64; 16] = [
    0.0, 0.02, 0.04, 0.07, 0.11, 0.16, 0.22, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.96, 0.99,
];

/// Reads of one channel, or those of them that match a candidate, by the chance with which an
/// innocent symbol matches: 7386, 32768 or 58150 in 2^16.
pub type Counts = [u32; 3];

/// The logarithms that every candidate needs.
#[derive(Clone, Debug)]
pub(crate) struct Likelihood {
    /// By theta: the logarithm for a match, by the read's chance, and for a mismatch.
    rows: [([f64; 3], f64); THETAS.len()],
}

impl Likelihood {
    pub(crate) fn new() -> Self {
        let row = |theta: f64| {
            let matching = chances().map(|p| (theta * (1.0 / p - 1.0)).ln_1p());
            (matching, (-theta).ln_1p())
        };
        Self {
            rows: THETAS.map(row),
        }
    }

    /// ln of E for the channels' reads and matches:
    /// half the mixture with one theta for all, half the product of each channel's own mixture.
    ///
    /// Both halves have expectation 1 for an innocent candidate, so E has (MARKS.md, theorem 1).
    pub(crate) fn ln_e(&self, channels: impl Iterator<Item = (Counts, Counts)>) -> f64 {
        let mut pooled = (Counts::default(), Counts::default());
        let mut product = 0.0;
        for (reads, matches) in channels {
            product += self.ln_mixture(reads, matches);
            add(&mut pooled.0, reads);
            add(&mut pooled.1, matches);
        }
        let pooled = self.ln_mixture(pooled.0, pooled.1);
        ln_mean([pooled, product])
    }

    fn ln_mixture(&self, reads: Counts, matches: Counts) -> f64 {
        let total: u32 = reads.iter().sum();
        let matched: u32 = matches.iter().sum();
        let missed = f64::from(total.saturating_sub(matched));
        ln_mean(self.rows.map(|(matching, missing)| {
            let terms = matching.iter().zip(matches);
            terms.map(|(ln, count)| ln * f64::from(count)).sum::<f64>() + missed * missing
        }))
    }
}

/// The chances with which an innocent symbol matches a read.
pub(crate) fn chances() -> [f64; 3] {
    BIASES.map(|bias| f64::from(bias) / 65536.0)
}

pub(crate) fn add(sum: &mut Counts, counts: Counts) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}

/// ln of the mean of what these are the logarithms of. Terms under e^-40 of the largest are left
/// out, which can only make the result smaller.
pub(crate) fn ln_mean<const N: usize>(terms: [f64; N]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    let near = terms
        .iter()
        .map(|term| term - largest)
        .filter(|term| *term > -40.0);
    largest + (near.map(f64::exp).sum::<f64>() / N as f64).ln()
}
