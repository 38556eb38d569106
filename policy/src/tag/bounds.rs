//! Values on a line, and where they end.

use std::fmt;

use super::{TagKind, Unmapped};
use crate::decimal::Decimal;
use crate::moment::{date_text, parse_date};

/// A value on the line that bands cut. Points of one tag are all of one variant, so the
/// derived order is that of numbers or of days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    Number(Decimal),
    Date(time::Date),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Date(date) => f.write_str(&date_text(*date)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PointKind {
    Number,
    Date,
}

impl PointKind {
    /// What the values of a banded kind are.
    pub(crate) fn of(kind: TagKind) -> Self {
        if kind == TagKind::Date {
            Self::Date
        } else {
            Self::Number
        }
    }

    pub(crate) fn read(self, text: &str) -> Result<Point, Unmapped> {
        match self {
            Self::Number => text
                .parse()
                .map(Point::Number)
                .map_err(|_| Unmapped::NotANumber),
            Self::Date => parse_date(text).map(Point::Date).ok_or(Unmapped::NotADate),
        }
    }
}

/// The least and the greatest value of a tag, both inclusive; open where `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) min: Option<Point>,
    pub(crate) max: Option<Point>,
}

impl Bounds {
    /// The point itself if it lies within.
    pub(crate) fn hold(self, point: Point) -> Result<Point, Unmapped> {
        let within =
            self.min.is_none_or(|min| min <= point) && self.max.is_none_or(|max| point <= max);
        within.then_some(point).ok_or(Unmapped::OutOfBounds)
    }
}

/// `0 to 1000`, `0 and above`, `up to 1000`.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(f, "{min} to {max}"),
            (Some(min), None) => write!(f, "{min} and above"),
            (None, Some(max)) => write!(f, "up to {max}"),
            (None, None) => f.write_str("any"),
        }
    }
}
