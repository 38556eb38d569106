//! Canary identifiers: identifiers of nobody that an owner mixes into a flow, so that a recipient who tries all numbers of a range
//! is noticed.
//!
//! The owner commits to them before the flow; the broker, which opens a row only where both sides hold its identifier, counts those
//! that were hit, and stops the release from [`threshold`] on. A recipient that brings a share f of the range that the canaries were
//! drawn from hits about f times their number.
//!
//! **What it must not become.** An owner could call real customers its canaries, and read from a flow that stops or goes on whether the
//! recipient has one of them. So what decides is not the number of hits but that number with discrete Laplace noise of
//! [`EPSILON`]: whether one identifier was hit changes the probability of a stop, and that of none, by a factor of e^0.5 at most, whatever
//! the owner mixed in and knows of the others (differential privacy of the owner's view of this outcome, one flow; flows add up). And
//! one hit stops a flow no more often than [`FALSE_STOP_MAX`].

use std::fmt;
use std::str::FromStr;

use crate::decimal::Decimal;
use crate::text::{Malformed, serde_as_text};

/// Most canaries of a flow.
pub const CANARIES_MAX: u32 = 16_384;
/// What may be told of one identifier by whether one flow is stopped.
pub const EPSILON: f64 = 0.5;
/// The chance with which a flow of an honest recipient is stopped, at most.
pub const FALSE_STOP_MAX: f64 = 1e-6;

/// The share of the canaries that an honest recipient is expected to hold all the same, because a number was given to somebody
/// since: 0 to 0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedRate(Decimal);

impl FromStr for ExpectedRate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let value = text.parse::<Decimal>().ok();
        let most: Option<Decimal> = "0.1".parse().ok();
        value
            .filter(|value| *value >= Decimal::ZERO && most.is_some_and(|most| *value <= most))
            .map(Self)
            .ok_or_else(|| {
                Malformed::new(
                    "an expected rate of canaries",
                    text,
                    "a decimal from 0 to 0.1, such as 0.0001",
                )
            })
    }
}

impl fmt::Display for ExpectedRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

serde_as_text!(ExpectedRate);

/// From how many noised hits on a flow is stopped: a recipient whose hits are independent and as rare as expected gets there with
/// probability [`FALSE_STOP_MAX`] at most.
///
/// The least `a` that a binomial number of hits reaches with half of that probability, and the least `b` that the noise does: the sum
/// is below `a + b - 1` unless one of the two happens.
#[must_use]
pub fn threshold(canaries: u32, rate: ExpectedRate) -> u32 {
    let hits = least_rare(canaries, rate.0.to_f64());
    // P(X >= b) = p^b / (1 + p), with p = e^-epsilon.
    let p = (-EPSILON).exp();
    let noise = (FALSE_STOP_MAX / 2.0 * (1.0 + p)).ln() / -EPSILON;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a constant, about 28"
    )]
    let noise = noise.ceil() as u32;
    hits.saturating_add(noise).saturating_sub(1)
}

/// The least number that a binomial variable reaches with probability [`FALSE_STOP_MAX`] / 2 at most.
fn least_rare(trials: u32, rate: f64) -> u32 {
    if rate <= 0.0 {
        return 1;
    }
    let n = f64::from(trials);
    // Logarithms of the masses from 0 on: a mass itself may be below the smallest float.
    let mut mass = n * (-rate).ln_1p();
    let mut masses = vec![mass];
    for k in 0..trials {
        let k = f64::from(k);
        mass += ((n - k) / (k + 1.0)).ln() + (rate / (1.0 - rate)).ln();
        masses.push(mass);
    }
    let mut tail = 0.0;
    let rare = masses.iter().rev().take_while(|mass| {
        tail += mass.exp();
        tail <= FALSE_STOP_MAX / 2.0
    });
    let rare = u32::try_from(rare.count()).unwrap_or(u32::MAX);
    trials.saturating_add(1).saturating_sub(rare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(canaries: u32, rate: &str) -> u32 {
        threshold(canaries, rate.parse().unwrap())
    }

    /// Against sums of exact fractions (Python's `fractions`): the binomial part, and 28 more for the noise.
    #[test]
    fn thresholds_are_those_of_exact_sums() {
        for (canaries, rate, expected) in [
            (50, "0.0001", 31),
            (1_000, "0.0001", 33),
            (1_000, "0.01", 58),
            (10_000, "0.0001", 38),
            (200, "0.1", 72),
            (1_000, "0", 29),
        ] {
            assert_eq!(at(canaries, rate), expected, "{canaries} {rate}");
        }
    }

    #[test]
    fn the_largest_numbers_are_counted_and_one_hit_never_stops_a_flow() {
        let most = at(CANARIES_MAX, "0.1");
        assert!((1_638..2_200).contains(&most), "{most}");
        for canaries in [0, 1, 2] {
            assert!(at(canaries, "0") > 1);
        }
    }

    #[test]
    fn rates_outside_are_refused() {
        for text in ["", "-0.1", "0.11", "1", "NaN", "1e-3"] {
            assert!(text.parse::<ExpectedRate>().is_err(), "{text}");
        }
        let rate: ExpectedRate = "0.00010".parse().unwrap();
        assert_eq!(rate.to_string(), "0.0001");
    }
}
