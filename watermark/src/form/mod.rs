//! Forms: how a symbol is written into a cell and read from it.
//!
//! Every form colours its values with 0 and 1. A cell whose colour is the symbol stays; another
//! moves to a value of the other colour that the tolerance permits. What it moves to depends on
//! the value, the symbol, the tie bit and the form alone: two recipients with one symbol receive
//! one cell.

mod amount;
mod closed;
mod date;
mod number;
mod score;

use std::fmt::Write as _;

use crate::error::MarkError;
use crate::position::LANES;

pub use date::DateStyle;
pub use number::Number;

use amount::Amount;
use closed::Closed;
use date::Dates;
use score::Score;

/// How a column's cells carry symbols. Part of the column's identity: two columns of one name and
/// different forms have independent marks.
#[derive(Clone, Debug)]
pub struct Form(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Exact,
    Ordinal(Closed),
    Categorical(Closed),
    Score(Score),
    Amount(Amount),
    Date(Dates),
}

/// The symbol for a cell, and the direction in which it may be moved first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) bit: bool,
    pub(crate) tie: bool,
}

pub(crate) type Marks = [Option<Mark>; LANES];
pub(crate) type Colours = [Option<bool>; LANES];

/// How the cells of a leaked column are written, as far as their form leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As delivered.
    AsDelivered,
    /// Numbers were multiplied by ten to this power.
    Scaled(i8),
    /// Dates are written in this style.
    Date(DateStyle),
}

impl Form {
    /// Cells that are delivered byte for byte.
    #[must_use]
    pub fn exact() -> Self {
        Self(Kind::Exact)
    }

    /// A closed list in order: a cell moves by one step.
    ///
    /// `weights` is how often each value occurs, from the lineage's version and never from a flow;
    /// without it all values count as equally frequent.
    ///
    /// # Errors
    /// [`MarkError::Values`], [`MarkError::Weights`].
    pub fn ordinal<S: AsRef<str>>(
        values: &[S],
        weights: Option<&[u32]>,
    ) -> Result<Self, MarkError> {
        Closed::ordinal(values, weights).map(|closed| Self(Kind::Ordinal(closed)))
    }

    /// A closed list without order: a cell moves along a swap that the agreement declares.
    ///
    /// `swaps` are pairs of places in `values`. Values without a swap stay as they are.
    ///
    /// # Errors
    /// [`MarkError::Values`], [`MarkError::Weights`], [`MarkError::Swap`], and
    /// [`MarkError::OddRing`] if the swaps cannot be given two colours.
    pub fn categorical<S: AsRef<str>>(
        values: &[S],
        swaps: &[(u16, u16)],
        weights: Option<&[u32]>,
    ) -> Result<Self, MarkError> {
        Closed::categorical(values, swaps, weights).map(|closed| Self(Kind::Categorical(closed)))
    }

    /// A number that moves by at most `tolerance`, in units of the tolerance's last digit: 3
    /// leaves whole numbers, 0.3 moves tenths.
    ///
    /// # Errors
    /// [`MarkError::Tolerance`], [`MarkError::Domain`].
    pub fn score(tolerance: Number, domain: Option<(Number, Number)>) -> Result<Self, MarkError> {
        Score::new(tolerance, domain).map(|score| Self(Kind::Score(score)))
    }

    /// A number whose fourth significant digit moves by one, and so by at most a thousandth; by
    /// less where the tolerance is smaller.
    ///
    /// # Errors
    /// [`MarkError::Tolerance`].
    pub fn amount(tolerance: Number) -> Result<Self, MarkError> {
        Amount::new(tolerance).map(|amount| Self(Kind::Amount(amount)))
    }

    /// A date that moves by one day, within `domain` if there is one.
    ///
    /// # Errors
    /// [`MarkError::Domain`].
    pub fn date(domain: Option<(time::Date, time::Date)>) -> Result<Self, MarkError> {
        Dates::new(domain).map(|dates| Self(Kind::Date(dates)))
    }

    /// Symbols that a cell carries: 0 to 2.
    #[must_use]
    pub fn channels(&self) -> usize {
        match &self.0 {
            Kind::Exact => 0,
            Kind::Score(_) => 2,
            Kind::Ordinal(_) | Kind::Categorical(_) | Kind::Amount(_) | Kind::Date(_) => 1,
        }
    }

    /// Whether a tolerance bounds what a mark does to a cell, so that every cell may carry one.
    /// In the other forms a budget bounds how many cells change.
    #[must_use]
    pub fn has_tolerance(&self) -> bool {
        matches!(self.0, Kind::Score(_) | Kind::Amount(_) | Kind::Date(_))
    }

    /// Writes the cell with its marks behind `out`; whether it changes. Else nothing is written.
    pub(crate) fn mark_into(&self, cell: &str, marks: &Marks, out: &mut String) -> bool {
        let [first, second] = *marks;
        let number = match &self.0 {
            Kind::Exact => None,
            Kind::Ordinal(closed) | Kind::Categorical(closed) => {
                let moved = first.and_then(|first| closed.mark(cell, first));
                out.push_str(moved.unwrap_or_default());
                return moved.is_some();
            }
            Kind::Date(dates) => {
                let moved = first.and_then(|first| dates.mark(cell, first));
                out.push_str(moved.as_deref().unwrap_or_default());
                return moved.is_some();
            }
            Kind::Score(score) => score.mark(cell, first, second),
            Kind::Amount(amount) => first.and_then(|first| amount.mark(cell, first)),
        };
        if let Some(number) = number {
            number.write(out);
        }
        number.is_some()
    }

    /// The cell with its marks; `None` if it stays as it is.
    #[cfg(test)]
    pub(crate) fn mark(&self, cell: &str, marks: &Marks) -> Option<String> {
        let mut marked = String::new();
        self.mark_into(cell, marks, &mut marked).then_some(marked)
    }

    /// What the cell says of the symbols; `None` where it says nothing.
    pub(crate) fn colours(&self, cell: &str, reading: Reading) -> Colours {
        match &self.0 {
            Kind::Exact => [None; LANES],
            Kind::Ordinal(closed) | Kind::Categorical(closed) => [closed.colour(cell), None],
            Kind::Score(score) => score.colours(cell, reading),
            Kind::Amount(amount) => [amount.colour(cell), None],
            Kind::Date(dates) => [dates.colour(cell, reading), None],
        }
    }

    /// Whether the cell could stand in the column.
    pub(crate) fn fits(&self, cell: &str, reading: Reading) -> bool {
        match &self.0 {
            Kind::Exact => false,
            Kind::Ordinal(closed) | Kind::Categorical(closed) => closed.has(cell),
            Kind::Score(score) => score.fits(cell, reading),
            Kind::Amount(_) => Number::lenient(cell).is_some(),
            Kind::Date(dates) => dates.fits(cell, reading),
        }
    }

    /// The ways in which a leaked column of this form may be written.
    pub(crate) fn readings(&self) -> Vec<Reading> {
        match &self.0 {
            Kind::Score(_) => (-3..=3).map(Reading::Scaled).collect(),
            Kind::Date(_) => DateStyle::ALL.map(Reading::Date).into(),
            _ => vec![Reading::AsDelivered],
        }
    }

    /// The share of cells of which the mark cannot be read right, by channel, before any attack:
    /// where the tolerance or the plausible moves do not reach the other colour. Over the weights
    /// of a list, and over all places in the decade for scores.
    pub(crate) fn misses(&self) -> [f64; LANES] {
        match &self.0 {
            Kind::Exact => [0.5; LANES],
            Kind::Ordinal(closed) | Kind::Categorical(closed) => [closed.misses(), 0.0],
            Kind::Score(score) => score.misses(),
            Kind::Amount(_) | Kind::Date(_) => [0.0; LANES],
        }
    }

    /// The form as text with one spelling, for the column's digest.
    pub(crate) fn canonical(&self) -> String {
        let mut text = String::new();
        let written = match &self.0 {
            Kind::Exact => write!(text, "exact"),
            Kind::Ordinal(closed) => write!(text, "ordinal{closed}"),
            Kind::Categorical(closed) => write!(text, "categorical{closed}"),
            Kind::Score(score) => write!(text, "score{score}"),
            Kind::Amount(amount) => write!(text, "amount{amount}"),
            Kind::Date(dates) => write!(text, "date{dates}"),
        };
        // Writing to a string does not fail.
        written.map(|()| text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
