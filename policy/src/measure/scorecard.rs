//! Weight of evidence and information value from noised counts.
//!
//! With g and b the good and bad customers of a bin and G and B those of all bins, WOE = ln((g/G) / (b/B)) and
//! IV = sum over bins of (g/G - b/B) * WOE (Siddiqi, Credit Risk Scorecards, 2006, chapter 6).

use serde::Serialize;

use super::interval::{Weighted, combined_half_width, half_width, variance};
use super::noisy::NoisyPart;
use super::plan::Groups;
use super::query::Noise;

/// The scorecard of one tag.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scorecard {
    /// One for each group of the tag, in their order.
    pub bins: Vec<Bin>,
    /// Over the bins that have a weight of evidence.
    pub information_value: f64,
    /// Lower end of its 95% interval.
    pub information_value_low: f64,
    /// Upper end.
    pub information_value_high: f64,
    /// A bin has too little signal, so that the value is of little use.
    pub weak: bool,
}

/// One bin. What is not known for noise is absent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// The group.
    pub group: Box<str>,
    /// Good customers, as noised.
    pub good: i64,
    /// Bad customers, as noised.
    pub bad: i64,
    /// Weight of evidence.
    pub woe: Option<f64>,
    /// Lower end of its 95% interval.
    pub woe_low: Option<f64>,
    /// Upper end.
    pub woe_high: Option<f64>,
    /// Too little signal: the noise may be more than half of one of both counts.
    pub weak: bool,
}

/// `axes` are the bins and the outcome, of which one value is bad.
pub(super) fn of(axes: &[Groups], bad: &str, part: &NoisyPart, noise: Noise) -> Option<Scorecard> {
    let [rows, outcome] = axes else { return None };
    let bad_first = outcome.labels.first().is_some_and(|label| **label == *bad);
    let counts: Vec<(i64, i64)> = part
        .numbers
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [first, second] if bad_first => Some((*second, *first)),
            [first, second] => Some((*first, *second)),
            _ => None,
        })
        .collect();
    let weights = Weights::of(&counts, part.scale, noise);
    let bins: Vec<Bin> = rows
        .labels
        .iter()
        .zip(&counts)
        .zip(&weights.bins)
        .map(|((group, (good, bad)), woe)| bin(group, *good, *bad, woe.as_ref(), part.scale, noise))
        .collect();
    let bias = weights.iv_bias();
    let (value, width) = ((weights.iv - bias).max(0.0), weights.iv_half_width() + bias);
    Some(Scorecard {
        weak: bins.iter().any(|bin| bin.weak) || bias >= value,
        bins,
        information_value: value,
        information_value_low: (value - width).max(0.0),
        information_value_high: value + width,
    })
}

fn bin(
    group: &str,
    good: i64,
    bad: i64,
    woe: Option<&(f64, f64)>,
    scale: f64,
    noise: Noise,
) -> Bin {
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    let drowned = (good.min(bad) as f64) < 2.0 * half_width(noise, scale);
    Bin {
        group: group.into(),
        good,
        bad,
        woe: woe.map(|(woe, _)| *woe),
        woe_low: woe.map(|(woe, width)| woe - width),
        woe_high: woe.map(|(woe, width)| woe + width),
        weak: drowned || woe.is_none(),
    }
}

struct Weights {
    /// For each bin with good and bad customers: WOE and half of its interval's width.
    bins: Vec<Option<(f64, f64)>>,
    iv: f64,
    /// By how much the information value changes with each count.
    slopes: Vec<f64>,
    /// Of the bins that have a weight: their shares of all good and of all bad customers.
    shares: Vec<(f64, f64)>,
    goods: f64,
    bads: f64,
    noise: Noise,
    scale: f64,
}

impl Weights {
    /// Bins without a positive count of both have no weight, and no part in the information value; their customers are of all.
    fn of(counts: &[(i64, i64)], scale: f64, noise: Noise) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
        let usable: Vec<Option<(f64, f64)>> = counts
            .iter()
            .map(|(good, bad)| (*good > 0 && *bad > 0).then_some((*good as f64, *bad as f64)))
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
        let (goods, bads) = counts
            .iter()
            .fold((0.0, 0.0), |(goods, bads), (good, bad)| {
                (goods + (*good).max(0) as f64, bads + (*bad).max(0) as f64)
            });
        let weighted = |weight| Weighted {
            weight,
            noise,
            scale,
        };
        let others = counts.len().saturating_sub(1);
        let bins = usable.iter().map(|counts| {
            let (good, bad) = (*counts)?;
            let woe = ((good / goods) / (bad / bads)).ln();
            // ln g - ln G - ln b + ln B, to first order; G and B hold g and b, and as much noise for each other bin.
            let mut terms = vec![
                weighted(1.0 / good - 1.0 / goods),
                weighted(1.0 / bad - 1.0 / bads),
            ];
            terms.extend((0..others).flat_map(|_| [weighted(1.0 / goods), weighted(1.0 / bads)]));
            Some((woe, combined_half_width(&terms)))
        });
        let bins: Vec<Option<(f64, f64)>> = bins.collect();
        let shares: Vec<(f64, f64)> = usable
            .iter()
            .flatten()
            .map(|(good, bad)| (good / goods, bad / bads))
            .collect();
        let (iv, slopes) = information_value(&shares, goods, bads);
        Self {
            shares,
            goods,
            bads,
            bins,
            iv,
            slopes,
            noise,
            scale,
        }
    }

    /// By how much noise raises the information value on average, to second order: half of each count's variance times the value's
    /// second derivative by it, d2IV/dp2 = 1/p + q/p^2 and d2IV/dq2 = 1/q + p/q^2. Near 0 it is most of what is seen, and the slopes
    /// that the interval rests on vanish; so it is taken off, and the interval is wider by it.
    fn iv_bias(&self) -> f64 {
        let of_bin = |(p, q): &(f64, f64)| {
            let good = (1.0 / p + q / (p * p)) / (self.goods * self.goods);
            let bad = (1.0 / q + p / (q * q)) / (self.bads * self.bads);
            good + bad
        };
        let curvature: f64 = self.shares.iter().map(of_bin).sum();
        0.5 * variance(self.noise, self.scale) * curvature
    }

    fn iv_half_width(&self) -> f64 {
        let terms: Vec<_> = self
            .slopes
            .iter()
            .map(|weight| Weighted {
                weight: *weight,
                noise: self.noise,
                scale: self.scale,
            })
            .collect();
        combined_half_width(&terms)
    }
}

/// IV and its derivative by each count. With p = g/G, q = b/B and W = ln(p/q): dIV/dp = W + 1 - q/p, dIV/dq = -W + 1 - p/q, and
/// dp_i/dg_j = ((i = j) - p_i) / G.
fn information_value(shares: &[(f64, f64)], goods: f64, bads: f64) -> (f64, Vec<f64>) {
    let iv = shares.iter().map(|(p, q)| (p - q) * (p / q).ln()).sum();
    let by_share: Vec<(f64, f64)> = shares
        .iter()
        .map(|(p, q)| {
            let woe = (p / q).ln();
            (woe + 1.0 - q / p, -woe + 1.0 - p / q)
        })
        .collect();
    let mean = shares.iter().zip(&by_share);
    let (mean_good, mean_bad) = mean.fold((0.0, 0.0), |(good, bad), ((p, q), (dp, dq))| {
        (good + p * dp, bad + q * dq)
    });
    let slopes = by_share
        .iter()
        .flat_map(|(dp, dq)| [(dp - mean_good) / goods, (dq - mean_bad) / bads]);
    (iv, slopes.collect())
}
