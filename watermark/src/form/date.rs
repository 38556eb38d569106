//! Dates: the parity of the day, counted from a fixed day.

use std::fmt;

use time::{Date, Month};

use super::{Mark, Reading};
use crate::error::MarkError;

/// How dates are written in a leaked file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateStyle {
    /// 2026-11-23, 2026/11/23, 2026.11.23 or 20261123.
    YearFirst,
    /// 23.11.2026, 23/11/2026 or 23-11-2026.
    DayFirst,
    /// 11/23/2026, 11-23-2026 or 11.23.2026.
    MonthFirst,
    /// Days since 1899-12-30, as spreadsheets count.
    Serial,
}

impl DateStyle {
    pub(super) const ALL: [Self; 4] = [
        Self::YearFirst,
        Self::DayFirst,
        Self::MonthFirst,
        Self::Serial,
    ];

    fn read(self, cell: &str) -> Option<Date> {
        let cell = cell.trim();
        let cell = cell.split_once(['T', ' ']).map_or(cell, |(date, _)| date);
        let mut fields = cell.split(['-', '/', '.']);
        let parts = (fields.next()?, fields.next(), fields.next(), fields.next());
        let (year, month, day) = match (self, parts) {
            (Self::YearFirst, (year, Some(month), Some(day), None))
            | (Self::DayFirst, (day, Some(month), Some(year), None))
            | (Self::MonthFirst, (month, Some(day), Some(year), None)) => (year, month, day),
            (Self::YearFirst, (all, None, ..)) if all.len() == 8 => {
                (all.get(..4)?, all.get(4..6)?, all.get(6..)?)
            }
            (Self::Serial, (days, None, ..)) => return serial(days),
            _ => return None,
        };
        if year.len() != 4 || day.is_empty() || day.len() > 2 || month.len() > 2 {
            return None;
        }
        let month = Month::try_from(digits::<u8>(month)?).ok()?;
        Date::from_calendar_date(i32::from(digits::<u16>(year)?), month, digits(day)?).ok()
    }
}

/// Digits alone: `parse` would take a sign.
fn digits<N: std::str::FromStr>(text: &str) -> Option<N> {
    let all = text.bytes().all(|byte| byte.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

fn serial(days: &str) -> Option<Date> {
    let epoch = Date::from_calendar_date(1899, Month::December, 30).ok()?;
    let days: i32 = digits(days).filter(|days| (1..=100_000).contains(days))?;
    Date::from_julian_day(epoch.to_julian_day() + days).ok()
}

/// Dates that move by one day.
#[derive(Clone, Debug)]
pub(super) struct Dates {
    domain: Option<(Date, Date)>,
}

impl Dates {
    pub(super) fn new(domain: Option<(Date, Date)>) -> Result<Self, MarkError> {
        match domain {
            Some((first, last)) if first >= last => Err(MarkError::Domain),
            _ => Ok(Self { domain }),
        }
    }

    pub(super) fn mark(&self, cell: &str, mark: Mark) -> Option<String> {
        let date = DateStyle::YearFirst.read(cell)?;
        // Another spelling would tell marked cells from others.
        if written(date) != cell || !self.contains(date) || colour(date) == mark.bit {
            return None;
        }
        let day = |up: bool| {
            let day = if up {
                date.next_day()
            } else {
                date.previous_day()
            };
            day.filter(|day| self.contains(*day) && (0..=9999).contains(&day.year()))
        };
        day(mark.tie).or_else(|| day(!mark.tie)).map(written)
    }

    fn contains(&self, date: Date) -> bool {
        self.domain
            .is_none_or(|(first, last)| (first..=last).contains(&date))
    }

    pub(super) fn colour(&self, cell: &str, reading: Reading) -> Option<bool> {
        self.read(cell, reading).map(colour)
    }

    pub(super) fn fits(&self, cell: &str, reading: Reading) -> bool {
        self.read(cell, reading)
            .is_some_and(|date| self.contains(date))
    }

    fn read(&self, cell: &str, reading: Reading) -> Option<Date> {
        match reading {
            Reading::Date(style) => style.read(cell),
            Reading::AsDelivered | Reading::Scaled(_) => DateStyle::YearFirst.read(cell),
        }
    }
}

fn colour(date: Date) -> bool {
    date.to_julian_day().rem_euclid(2) == 1
}

fn written(date: Date) -> String {
    format!(
        "{:04}-{:02}-{:02}",
        date.year(),
        u8::from(date.month()),
        date.day()
    )
}

impl fmt::Display for Dates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.domain {
            Some((first, last)) => write!(f, "|{}..{}", written(first), written(last)),
            None => Ok(()),
        }
    }
}
