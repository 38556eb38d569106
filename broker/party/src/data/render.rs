//! Parquet values as text: one form for each value, the same on every machine.
//!
//! Numbers in plain decimal notation, dates and times as in ISO 8601, instants in UTC with a `Z`. Sources:
//! the Parquet format's `LogicalTypes.md`.

use std::fmt::Write as _;

use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::schema::types::ColumnDescriptor;
use time::{Date, OffsetDateTime, Time};

use super::rows::BadReason;

/// Julian day number of 1970-01-01.
const EPOCH_JULIAN_DAY: i32 = 2_440_588;
const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// Bytes of the widest decimal that is read: 38 digits fit 128 bits.
const DECIMAL_BYTES_MAX: usize = 16;

/// What the stored value of a column means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The value itself; bytes are text.
    Plain,
    Unsigned,
    Decimal {
        scale: u32,
    },
    /// Days since 1970-01-01.
    Date,
    /// Time of day, in units of so many nanoseconds.
    Time {
        unit_nanos: i64,
    },
    /// Time since 1970-01-01T00:00, in units of so many nanoseconds; an instant where `utc`.
    Timestamp {
        unit_nanos: i64,
        utc: bool,
    },
    Uuid,
}

impl Meaning {
    /// The meaning of a column, or the name of its type where it has no text form here.
    pub(super) fn of(column: &ColumnDescriptor) -> Result<Self, String> {
        if let Some(logical) = column.logical_type_ref() {
            return Self::of_logical(logical).ok_or_else(|| format!("{logical:?}"));
        }
        match column.converted_type() {
            ConvertedType::DECIMAL => Self::decimal(column.type_scale()),
            ConvertedType::DATE => Some(Self::Date),
            ConvertedType::TIME_MILLIS => Some(Self::Time {
                unit_nanos: 1_000_000,
            }),
            ConvertedType::TIME_MICROS => Some(Self::Time { unit_nanos: 1_000 }),
            ConvertedType::TIMESTAMP_MILLIS => Some(Self::Timestamp {
                unit_nanos: 1_000_000,
                utc: true,
            }),
            ConvertedType::TIMESTAMP_MICROS => Some(Self::Timestamp {
                unit_nanos: 1_000,
                utc: true,
            }),
            ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64 => Some(Self::Unsigned),
            ConvertedType::INTERVAL | ConvertedType::BSON => None,
            _ if column.physical_type() == Physical::INT96 => Some(Self::Timestamp {
                unit_nanos: 1,
                utc: true,
            }),
            _ => Some(Self::Plain),
        }
        .ok_or_else(|| column.converted_type().to_string())
    }

    fn of_logical(logical: &LogicalType) -> Option<Self> {
        let nanos = |unit: &TimeUnit| match unit {
            TimeUnit::MILLIS => 1_000_000,
            TimeUnit::MICROS => 1_000,
            TimeUnit::NANOS => 1,
        };
        match logical {
            LogicalType::String | LogicalType::Enum | LogicalType::Json | LogicalType::Unknown => {
                Some(Self::Plain)
            }
            LogicalType::Integer(kind) => Some(if kind.is_signed {
                Self::Plain
            } else {
                Self::Unsigned
            }),
            LogicalType::Decimal(kind) => Self::decimal(kind.scale),
            LogicalType::Date => Some(Self::Date),
            LogicalType::Time(kind) => Some(Self::Time {
                unit_nanos: nanos(&kind.unit),
            }),
            LogicalType::Timestamp(kind) => Some(Self::Timestamp {
                unit_nanos: nanos(&kind.unit),
                utc: kind.is_adjusted_to_u_t_c,
            }),
            LogicalType::Uuid => Some(Self::Uuid),
            _ => None,
        }
    }

    fn decimal(scale: i32) -> Option<Self> {
        u32::try_from(scale)
            .ok()
            .filter(|scale| *scale <= 38)
            .map(|scale| Self::Decimal { scale })
    }
}

/// A stored value that can be shown as text.
pub(super) trait Render {
    /// Appends the value.
    fn render(&self, meaning: Meaning, out: &mut String) -> Result<(), BadReason>;
}

impl Render for bool {
    fn render(&self, _: Meaning, out: &mut String) -> Result<(), BadReason> {
        out.push_str(if *self { "true" } else { "false" });
        Ok(())
    }
}

impl Render for i32 {
    fn render(&self, meaning: Meaning, out: &mut String) -> Result<(), BadReason> {
        match meaning {
            Meaning::Unsigned => append(out, self.cast_unsigned()),
            _ => i64::from(*self).render(meaning, out),
        }
    }
}

impl Render for i64 {
    fn render(&self, meaning: Meaning, out: &mut String) -> Result<(), BadReason> {
        match meaning {
            Meaning::Unsigned => append(out, self.cast_unsigned()),
            Meaning::Decimal { scale } => decimal(i128::from(*self), scale, out),
            Meaning::Date => {
                let days = i32::try_from(*self)
                    .ok()
                    .and_then(|days| days.checked_add(EPOCH_JULIAN_DAY));
                let date = days
                    .and_then(|days| Date::from_julian_day(days).ok())
                    .ok_or(BadReason::OutOfRange)?;
                append(out, iso_date(date))
            }
            Meaning::Time { unit_nanos } => {
                let nanos = i128::from(*self) * i128::from(unit_nanos);
                if !(0..24 * 3600 * NANOS_PER_SECOND).contains(&nanos) {
                    return Err(BadReason::OutOfRange);
                }
                time_of_day(instant(nanos)?.time(), out)
            }
            Meaning::Timestamp { unit_nanos, utc } => {
                timestamp(i128::from(*self) * i128::from(unit_nanos), utc, out)
            }
            Meaning::Plain | Meaning::Uuid => append(out, self),
        }
    }
}

impl Render for Int96 {
    /// Nanoseconds of the day, then the Julian day: how older writers stored instants.
    fn render(&self, _: Meaning, out: &mut String) -> Result<(), BadReason> {
        let [low, high, day] =
            *<&[u32; 3]>::try_from(self.data()).map_err(|_| BadReason::OutOfRange)?;
        let of_day = (i128::from(high) << 32) | i128::from(low);
        let days = i128::from(day) - i128::from(EPOCH_JULIAN_DAY);
        timestamp(days * 86_400 * NANOS_PER_SECOND + of_day, true, out)
    }
}

impl Render for f32 {
    fn render(&self, _: Meaning, out: &mut String) -> Result<(), BadReason> {
        append(out, self)
    }
}

impl Render for f64 {
    /// The shortest decimal that reads back as the same number, without an exponent; `13800138000.0`, which
    /// some writers make of a telephone number, is `13800138000`.
    fn render(&self, _: Meaning, out: &mut String) -> Result<(), BadReason> {
        append(out, self)
    }
}

impl Render for ByteArray {
    fn render(&self, meaning: Meaning, out: &mut String) -> Result<(), BadReason> {
        bytes(self.data(), meaning, out)
    }
}

impl Render for FixedLenByteArray {
    fn render(&self, meaning: Meaning, out: &mut String) -> Result<(), BadReason> {
        bytes(self.data(), meaning, out)
    }
}

fn bytes(data: &[u8], meaning: Meaning, out: &mut String) -> Result<(), BadReason> {
    match meaning {
        Meaning::Decimal { scale } => decimal(big_endian(data)?, scale, out),
        Meaning::Uuid => {
            for (index, byte) in data.iter().enumerate() {
                if matches!(index, 4 | 6 | 8 | 10) {
                    out.push('-');
                }
                append(out, format_args!("{byte:02x}"))?;
            }
            Ok(())
        }
        _ => {
            out.push_str(std::str::from_utf8(data).map_err(|_| BadReason::NotUtf8)?);
            Ok(())
        }
    }
}

/// A two's complement number of at most 128 bits.
fn big_endian(data: &[u8]) -> Result<i128, BadReason> {
    if data.len() > DECIMAL_BYTES_MAX {
        return Err(BadReason::OutOfRange);
    }
    let sign = if data.first().is_some_and(|byte| *byte >= 0x80) {
        -1
    } else {
        0
    };
    Ok(data
        .iter()
        .fold(sign, |number, byte| (number << 8) | i128::from(*byte)))
}

fn decimal(unscaled: i128, scale: u32, out: &mut String) -> Result<(), BadReason> {
    if unscaled < 0 {
        out.push('-');
    }
    let one = 10_u128.checked_pow(scale).ok_or(BadReason::OutOfRange)?;
    let (whole, part) = (unscaled.unsigned_abs() / one, unscaled.unsigned_abs() % one);
    match scale {
        0 => append(out, whole),
        _ => append(
            out,
            format_args!("{whole}.{part:0width$}", width = scale as usize),
        ),
    }
}

fn timestamp(nanos: i128, utc: bool, out: &mut String) -> Result<(), BadReason> {
    let at = instant(nanos)?;
    append(out, format_args!("{}T", iso_date(at.date())))?;
    time_of_day(at.time(), out)?;
    if utc {
        out.push('Z');
    }
    Ok(())
}

fn instant(nanos: i128) -> Result<OffsetDateTime, BadReason> {
    OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| BadReason::OutOfRange)
}

fn iso_date(date: Date) -> impl std::fmt::Display {
    std::fmt::from_fn(move |f| {
        write!(
            f,
            "{:04}-{:02}-{:02}",
            date.year(),
            u8::from(date.month()),
            date.day()
        )
    })
}

/// `hh:mm:ss`, and the fraction only as far as it is not zero.
fn time_of_day(time: Time, out: &mut String) -> Result<(), BadReason> {
    append(
        out,
        format_args!(
            "{:02}:{:02}:{:02}",
            time.hour(),
            time.minute(),
            time.second()
        ),
    )?;
    if time.nanosecond() > 0 {
        append(out, format_args!(".{:09}", time.nanosecond()))?;
        out.truncate(out.trim_end_matches('0').len());
    }
    Ok(())
}

fn append(out: &mut String, value: impl std::fmt::Display) -> Result<(), BadReason> {
    write!(out, "{value}").map_err(|_| BadReason::OutOfRange)
}
