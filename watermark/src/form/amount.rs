//! Amounts: the parity of the fourth significant digit, or of a lower one if the tolerance asks it.

use std::fmt;

use super::Mark;
use super::number::Number;
use crate::error::MarkError;

/// One step of the fourth significant digit is at most a thousandth of the amount.
const SIGNIFICANT: u32 = 4;

/// An amount that moves by at most `tolerance` units of 10^-places, and by at most a thousandth.
#[derive(Clone, Debug)]
pub(super) struct Amount {
    places: u32,
    /// Power of ten of the largest step that the tolerance permits, in units.
    step_power_max: u32,
    tolerance: u64,
}

impl Amount {
    pub(super) fn new(tolerance: Number) -> Result<Self, MarkError> {
        let Number {
            negative,
            magnitude,
            places,
        } = tolerance.trimmed();
        match magnitude.checked_ilog10() {
            Some(step_power_max) if !negative => Ok(Self {
                places,
                step_power_max,
                tolerance: magnitude,
            }),
            _ => Err(MarkError::Tolerance),
        }
    }

    pub(super) fn mark(&self, cell: &str, mark: Mark) -> Option<Number> {
        let number = self.padded(cell.parse().ok()?)?;
        let step = self.step(number)?;
        if colour(number.magnitude, step) == mark.bit {
            return None;
        }
        let moved = |up: bool| {
            let moved = if up {
                number.magnitude.checked_add(step)?
            } else {
                number.magnitude.checked_sub(step)?
            };
            // Over a power of ten the fourth digit would be another one.
            (moved.checked_ilog10() == number.magnitude.checked_ilog10()).then_some(moved)
        };
        let magnitude = moved(mark.tie).or_else(|| moved(!mark.tie))?;
        Some(Number {
            magnitude,
            ..number
        })
    }

    pub(super) fn colour(&self, cell: &str) -> Option<bool> {
        let number = self.padded(Number::lenient(cell)?.trimmed())?;
        Some(colour(number.magnitude, self.step(number)?))
    }

    /// The number with at least as many places as the tolerance has.
    fn padded(&self, number: Number) -> Option<Number> {
        let more = self.places.saturating_sub(number.places);
        let magnitude = number.magnitude.checked_mul(10_u64.checked_pow(more)?)?;
        let places = number.places + more;
        Some(Number {
            magnitude,
            places,
            ..number
        })
    }

    /// The unit of the digit that is marked, in units of the padded number's last place. `None` if
    /// the amount has no such digit at the tolerance's resolution.
    fn step(&self, number: Number) -> Option<u64> {
        let digits = number.magnitude.checked_ilog10()? + 1;
        let finer = number.places.checked_sub(self.places)?;
        let fourth = digits.checked_sub(SIGNIFICANT)?;
        let power = fourth.min(self.step_power_max + finer);
        // Below the last place of the tolerance nothing is marked.
        if power < finer {
            None
        } else {
            10_u64.checked_pow(power)
        }
    }
}

fn colour(magnitude: u64, step: u64) -> bool {
    (magnitude / step) % 2 == 1
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "|{}e-{}", self.tolerance, self.places)
    }
}
