//! How far a noised figure may be from the exact one: from the mechanism alone, never from the exact figure.
//!
//! Floats, because an interval is read by people and decides nothing.

use super::query::Noise;

/// The chance with which an exact figure lies outside its interval.
pub const ALPHA: f64 = 0.05;
/// The 97.5% point of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;
/// From here on the discrete Gaussian's quantiles are those of the continuous one to less than one whole number.
const SMOOTH_FROM: f64 = 64.0;

/// The least whole w such that the noise is at most w away from 0 with probability 95% or more.
///
/// Discrete Laplace: P(|X| > w) = 2 e^(-(w+1)/s) / (1 + e^(-1/s)), from its mass (1 - p)/(1 + p) p^|x| with p = e^(-1/s)
/// (Ghosh, Roughgarden and Sundararajan, Universally utility-maximizing privacy mechanisms, 2012). Discrete Gaussian: its mass is
/// proportional to e^(-x^2 / 2 s^2) (Canonne, Kamath and Steinke, The discrete Gaussian for differential privacy, 2020), added up.
#[must_use]
pub fn half_width(noise: Noise, scale: f64) -> f64 {
    match noise {
        Noise::Laplace => {
            let outside = 2.0 / (ALPHA * (1.0 + (-1.0 / scale).exp()));
            ((scale * outside.ln()).ceil() - 1.0).max(0.0)
        }
        Noise::Gaussian if scale >= SMOOTH_FROM => (Z * scale).ceil(),
        Noise::Gaussian => discrete_gaussian(scale),
    }
}

/// Below [`SMOOTH_FROM`], where ten standard deviations are a few hundred terms.
fn discrete_gaussian(scale: f64) -> f64 {
    let mass = |x: u32| (-f64::from(x).powi(2) / (2.0 * scale * scale)).exp();
    // Beyond 640 = 10 * 64 the tail weighs less than 10^-22 of all.
    let all = 1.0 + 2.0 * (1..=640).map(mass).sum::<f64>();
    let mut inside = 1.0;
    let mut width = 0;
    while inside < (1.0 - ALPHA) * all && width < 640 {
        width += 1;
        inside += 2.0 * mass(width);
    }
    f64::from(width)
}

/// Variance of the noise. Laplace: 2p / (1 - p)^2 with p = e^(-1/s).
#[must_use]
pub fn variance(noise: Noise, scale: f64) -> f64 {
    match noise {
        Noise::Laplace => {
            // 1 / (2 sinh^2(1/2s)) without the loss of digits of 1 - p for large scales.
            let half = 0.5 / scale;
            0.5 / half.sinh().powi(2)
        }
        // A tight bound (Canonne, Kamath and Steinke 2020, corollary 9).
        Noise::Gaussian => scale * scale,
    }
}

/// One of several noises that are added up, times a weight.
#[derive(Clone, Copy, Debug)]
pub struct Weighted {
    /// The weight.
    pub weight: f64,
    /// The distribution.
    pub noise: Noise,
    /// Its scale.
    pub scale: f64,
}

/// Half the width of a 95% interval around a weighted sum of independent noises.
///
/// Of the two that weigh most it takes the exact distribution (of two Laplace variables, or the normal one), and stretches it to
/// the variance of all: more terms only bring a sum nearer to normal, whose 95% point is at fewer standard deviations.
#[must_use]
pub fn combined_half_width(terms: &[Weighted]) -> f64 {
    let mut spread: Vec<(f64, Noise)> = terms
        .iter()
        .map(|term| {
            let deviation = variance(term.noise, term.scale).sqrt() * term.weight.abs();
            (deviation, term.noise)
        })
        .filter(|(deviation, _)| *deviation > 0.0)
        .collect();
    spread.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total = spread.iter().map(|(d, _)| d * d).sum::<f64>().sqrt();
    match spread.as_slice() {
        [] => 0.0,
        [(_, Noise::Gaussian), ..] => Z * total,
        [(first, _)] => two_laplace(*first, 0.0),
        [(first, _), (second, _), ..] => {
            two_laplace(*first, *second) * total / first.hypot(*second)
        }
    }
}

/// The 95% point of |X + Y| for independent Laplace variables with these standard deviations, the first the larger.
///
/// With scales a > b the tail is (a^2 e^(-t/a) - b^2 e^(-t/b)) / (a^2 - b^2), and (1 + t/2a) e^(-t/a) where they are equal: the
/// convolution of the two densities, integrated.
fn two_laplace(first: f64, second: f64) -> f64 {
    let (a, b) = (first / 2_f64.sqrt(), second / 2_f64.sqrt());
    let tail = |t: f64| {
        if b < a * 1e-6 {
            (-t / a).exp()
        } else if b > a * 0.999 {
            (1.0 + t / (2.0 * a)) * (-t / a).exp()
        } else {
            (a * a * (-t / a).exp() - b * b * (-t / b).exp()) / (a * a - b * b)
        }
    };
    // The tail falls, is 1 at 0 and below ALPHA at 8 scales: (1 + 4) e^-8 < 0.002.
    let (mut low, mut high) = (0.0, 8.0 * a);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if tail(middle) > ALPHA {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_of_single_noises() {
        // By hand: scale 1, w = 2 leaves 2e^-3 / (1 + e^-1) = 0.0728 outside, w = 3 leaves 0.0268.
        for (noise, scale, width) in [
            (Noise::Laplace, 1.0, 3.0),
            (Noise::Laplace, 10.0, 30.0),
            (Noise::Laplace, 0.1, 0.0),
            (Noise::Laplace, 1e9, 2_995_732_273.0),
            // scipy 1.11: sums of exp(-x^2/2s^2).
            (Noise::Gaussian, 1.0, 2.0),
            (Noise::Gaussian, 10.0, 20.0),
            (Noise::Gaussian, 100.0, 196.0),
        ] {
            let got = half_width(noise, scale);
            assert!((got - width).abs() < 1.5, "{noise} {scale}: {got}");
            assert!(
                scale > 1e8 || (got - width).abs() < 0.5,
                "{noise} {scale}: {got}"
            );
        }
    }

    #[test]
    fn a_width_is_the_least_that_holds_95_percent() {
        for scale in [0.5, 1.0, 2.0, 7.3, 50.0] {
            let outside =
                |w: f64| 2.0 * (-(w + 1.0) / scale).exp() / (1.0 + (-1.0_f64 / scale).exp());
            let width = half_width(Noise::Laplace, scale);
            assert!(outside(width) <= ALPHA);
            assert!(width == 0.0 || outside(width - 1.0) > ALPHA);
        }
    }

    #[test]
    fn variances_are_those_of_the_masses() {
        for scale in [0.5, 1.0, 4.0] {
            let p = (-1.0_f64 / scale).exp();
            let by_mass: f64 = (1..2000)
                .map(|x| 2.0 * f64::from(x).powi(2) * (1.0 - p) / (1.0 + p) * p.powi(x))
                .sum();
            assert!((variance(Noise::Laplace, scale) / by_mass - 1.0).abs() < 1e-9);
        }
        // Large scales: 2 s^2 less a sixth, as the series of sinh says.
        assert!((variance(Noise::Laplace, 1e8) / 2e16 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn combined_widths_lie_between_those_of_one_laplace_and_of_a_normal_sum() {
        let term = |weight| Weighted {
            weight,
            noise: Noise::Laplace,
            scale: 100.0,
        };
        let deviation = variance(Noise::Laplace, 100.0).sqrt();
        let per_deviation = |weights: &[f64]| {
            let terms: Vec<_> = weights.iter().copied().map(term).collect();
            let total = weights.iter().map(|w| w * w).sum::<f64>().sqrt() * deviation;
            combined_half_width(&terms) / total
        };
        // ln 20 / sqrt 2 = 2.118 for one.
        assert!((per_deviation(&[1.0]) - 2.1183).abs() < 1e-3);
        assert!((per_deviation(&[-3.0]) - 2.1183).abs() < 1e-3);
        for weights in [
            &[1.0, 1.0][..],
            &[1.0, 0.5],
            &[1.0, 0.9995],
            &[1.0, 1.0, 1.0, 1.0],
        ] {
            let got = per_deviation(weights);
            assert!(got > Z && got < 2.1183, "{weights:?}: {got}");
        }
        assert_eq!(combined_half_width(&[]), 0.0);
    }
}
