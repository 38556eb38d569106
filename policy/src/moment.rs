//! Dates and instants as documents write them. This crate never reads a clock.

use std::fmt;
use std::str::FromStr;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

use crate::text::{Malformed, serde_as_text};

/// 9999-12-31T23:59:59Z, the last instant with a four-digit year (RFC 3339).
const UNIX_SECONDS_MAX: i64 = 253_402_300_799;

/// A whole second in UTC between 1970 and 9999, written `2026-11-23T03:20:00Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z; `None` outside the years 1970 to 9999.
    #[must_use]
    pub fn from_unix_seconds(seconds: i64) -> Option<Self> {
        (0..=UNIX_SECONDS_MAX)
            .contains(&seconds)
            .then_some(Self(seconds))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.0
    }

    /// This instant moved by `seconds`, held within the representable years.
    #[must_use]
    pub fn saturating_add_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds).clamp(0, UNIX_SECONDS_MAX))
    }

    /// Midnight UTC at which `date` begins.
    #[must_use]
    pub fn start_of(date: Date) -> Self {
        let seconds = PrimitiveDateTime::new(date, Time::MIDNIGHT)
            .assume_utc()
            .unix_timestamp();
        Self(seconds.clamp(0, UNIX_SECONDS_MAX))
    }
}

impl From<OffsetDateTime> for Timestamp {
    /// The second in which `moment` lies, held within the representable years.
    fn from(moment: OffsetDateTime) -> Self {
        Self(moment.unix_timestamp().clamp(0, UNIX_SECONDS_MAX))
    }
}

impl FromStr for Timestamp {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refused = || {
            Malformed::new(
                "a UTC time",
                text,
                "RFC 3339 to the second with `Z`, like 2026-11-23T03:20:00Z",
            )
        };
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| refused())?;
        let moment = Self::from_unix_seconds(parsed.unix_timestamp()).ok_or_else(refused)?;
        // RFC 3339 has many spellings of one instant; a signed document needs one.
        if moment.to_string() == text {
            Ok(moment)
        } else {
            Err(refused())
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp(self.0).map_err(|_| fmt::Error)?;
        let (date, time) = (moment.date(), moment.time());
        write!(
            f,
            "{}T{:02}:{:02}:{:02}Z",
            date_text(date),
            time.hour(),
            time.minute(),
            time.second()
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

serde_as_text!(Timestamp);

/// Reads an RFC 3339 full-date (`2026-11-23`), years 0000 to 9999.
pub(crate) fn parse_date(text: &str) -> Option<Date> {
    let form = format_description!("[year]-[month]-[day]");
    // The length keeps out signs and longer years, which `time` would read.
    if text.len() == 10 && text.starts_with(|c: char| c.is_ascii_digit()) {
        Date::parse(text, form).ok()
    } else {
        None
    }
}

/// Writes a date as RFC 3339 full-date.
pub(crate) fn date_text(date: Date) -> String {
    format!(
        "{:04}-{:02}-{:02}",
        date.year(),
        u8::from(date.month()),
        date.day()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_spelling_per_instant() {
        let moment: Timestamp = "2026-11-23T03:20:00Z".parse().unwrap();
        assert_eq!(moment.unix_seconds(), 1_795_404_000);
        for refused in [
            "2026-11-23t03:20:00z",
            "2026-11-23 03:20:00Z",
            "2026-11-23T03:20:00.0Z",
            "2026-11-23T03:20:00+00:00",
            "2026-11-23T11:20:00+08:00",
            "2026-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-11-23",
        ] {
            assert!(refused.parse::<Timestamp>().is_err(), "{refused}");
        }
    }

    #[test]
    fn dates_are_full_dates_only() {
        assert!(parse_date("2024-02-29").is_some());
        for refused in [
            "2023-02-29",
            "2024-2-29",
            "+024-02-29",
            "-024-02-29",
            "20240229",
            "2024-02-29 ",
        ] {
            assert!(parse_date(refused).is_none(), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn every_second_round_trips(seconds in 0..=UNIX_SECONDS_MAX) {
            let moment = Timestamp::from_unix_seconds(seconds).unwrap();
            prop_assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Timestamp>();
            let _ = parse_date(&text);
        }
    }
}
