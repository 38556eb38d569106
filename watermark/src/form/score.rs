//! Scores: two symbols in one number, a coarse one that outlives rounding to tens.

use std::fmt;

use super::number::Number;
use super::{Colours, Mark, Reading};
use crate::error::MarkError;
use crate::position::LANES;

/// Largest tolerance, in units of its last digit.
const TOLERANCE_MAX: i64 = 1000;
/// Values of one coarse colour that lie together: those that round to one ten.
const DECADE: i64 = 10;

/// A number in units of 10^-places that moves by at most `tolerance` units.
#[derive(Clone, Debug)]
pub(super) struct Score {
    places: u32,
    tolerance: i64,
    domain: Option<(i64, i64)>,
}

impl Score {
    pub(super) fn new(
        tolerance: Number,
        domain: Option<(Number, Number)>,
    ) -> Result<Self, MarkError> {
        let places = tolerance.trimmed().places;
        let units = tolerance.in_units(places).unwrap_or(0);
        if !(1..=TOLERANCE_MAX).contains(&units) {
            return Err(MarkError::Tolerance);
        }
        let domain = match domain {
            Some((low, high)) => {
                let ends = low.in_units(places).zip(high.in_units(places));
                Some(
                    ends.filter(|(low, high)| low < high)
                        .ok_or(MarkError::Domain)?,
                )
            }
            None => None,
        };
        Ok(Self {
            places,
            tolerance: units,
            domain,
        })
    }

    /// Of the values within tolerance and domain, the one with the right coarse colour if there
    /// is one, then the right fine colour, then the nearest, then in the tie's direction.
    pub(super) fn mark(
        &self,
        cell: &str,
        coarse: Option<Mark>,
        fine: Option<Mark>,
    ) -> Option<Number> {
        let value = cell.parse::<Number>().ok()?.in_units(self.places)?;
        let best = self.best(value, coarse, fine);
        (best != value).then(|| Number::units(best, self.places))
    }

    fn best(&self, value: i64, coarse: Option<Mark>, fine: Option<Mark>) -> i64 {
        // A value outside the domain is nobody's to move.
        if !self.contains(value) {
            return value;
        }
        let miss = |mark: Option<Mark>, colour: bool| mark.is_some_and(|mark| mark.bit != colour);
        let misses = |moved: i64| {
            (
                miss(coarse, coarse_colour(moved)),
                miss(fine, fine_colour(moved)),
            )
        };
        let up_first = fine.or(coarse).is_some_and(|mark| mark.tie);
        let (mut least, mut best) = (misses(value), value);
        for distance in 1..=self.tolerance {
            let first = if up_first { distance } else { -distance };
            for moved in [value + first, value - first] {
                if least == (false, false) {
                    return best;
                }
                let found = misses(moved);
                if found < least && self.contains(moved) {
                    (least, best) = (found, moved);
                }
            }
        }
        best
    }

    fn contains(&self, value: i64) -> bool {
        self.domain
            .is_none_or(|(low, high)| (low..=high).contains(&value))
    }

    pub(super) fn colours(&self, cell: &str, reading: Reading) -> Colours {
        match self.read(cell, reading) {
            Some(value) => [Some(coarse_colour(value)), Some(fine_colour(value))],
            None => [None; LANES],
        }
    }

    pub(super) fn fits(&self, cell: &str, reading: Reading) -> bool {
        self.read(cell, reading)
            .is_some_and(|value| self.contains(value))
    }

    fn read(&self, cell: &str, reading: Reading) -> Option<i64> {
        let power = match reading {
            Reading::Scaled(power) => power.checked_neg()?,
            Reading::AsDelivered | Reading::Date(_) => 0,
        };
        let number = Number::lenient(cell)?.scaled(power)?;
        number.in_units(self.places)
    }

    /// Over all places in two decades and all four pairs of symbols.
    pub(super) fn misses(&self) -> [f64; LANES] {
        let mark = |bit| Some(Mark { bit, tie: false });
        let (mut coarse_misses, mut fine_misses, mut all) = (0.0, 0.0, 0.0);
        for value in 0..2 * DECADE {
            for (coarse, fine) in [(false, false), (false, true), (true, false), (true, true)] {
                let unbounded = Self {
                    domain: None,
                    ..self.clone()
                };
                let moved = unbounded.best(value, mark(coarse), mark(fine));
                coarse_misses += f64::from(u8::from(coarse_colour(moved) != coarse));
                fine_misses += f64::from(u8::from(fine_colour(moved) != fine));
                all += 1.0;
            }
        }
        [coarse_misses / all, fine_misses / all]
    }
}

fn coarse_colour(value: i64) -> bool {
    (value + DECADE / 2).div_euclid(DECADE).rem_euclid(2) == 1
}

fn fine_colour(value: i64) -> bool {
    value.rem_euclid(2) == 1
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "|{}e-{}", self.tolerance, self.places)?;
        match self.domain {
            Some((low, high)) => write!(f, "|{low}..{high}"),
            None => Ok(()),
        }
    }
}
