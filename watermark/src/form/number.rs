//! Decimal numbers as text: exact, whatever their length.

use std::fmt;
use std::str::FromStr;

/// Most digits of a number, before and after the point together.
const DIGITS_MAX: usize = 18;

/// A decimal number: a whole number of units of 10^-places.
///
/// At most 18 digits; a cell with more carries no mark. Text form: `-?digits[.digits]` without superfluous zeros; the same spelling
/// that the policy crate gives its decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    pub(super) negative: bool,
    /// Below 10^18.
    pub(super) magnitude: u64,
    pub(super) places: u32,
}

/// The text is not a decimal number of at most 18 digits. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number of at most 18 digits")]
pub struct NotANumber;

impl FromStr for Number {
    type Err = NotANumber;

    /// Takes the one spelling and no other: a delivery that had two would tell marked cells from others.
    fn from_str(text: &str) -> Result<Self, NotANumber> {
        let number = Self::plain(text).ok_or(NotANumber)?;
        let ([b'-', digits @ ..] | digits) = text.as_bytes();
        let leading_zero = matches!(digits, [b'0', next, ..] if *next != b'.');
        let trailing_zero = number.places > 0 && digits.ends_with(b"0");
        let negative_zero = number.negative && number.magnitude == 0;
        if leading_zero || trailing_zero || negative_zero {
            return Err(NotANumber);
        }
        Ok(number)
    }
}

impl Number {
    pub(super) fn units(magnitude: i64, places: u32) -> Self {
        Self {
            negative: magnitude < 0,
            magnitude: magnitude.unsigned_abs(),
            places,
        }
    }

    /// `-?digits[.digits]`, zeros as they are.
    fn plain(text: &str) -> Option<Self> {
        let (negative, digits) = match text.as_bytes() {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        // One of them may be the point: 19 digits fit a magnitude.
        if digits.len() > DIGITS_MAX + 1 {
            return None;
        }
        let mut magnitude: u64 = 0;
        let mut point = None;
        for (place, byte) in digits.iter().enumerate() {
            match byte {
                b'0'..=b'9' => magnitude = magnitude * 10 + u64::from(byte - b'0'),
                b'.' if point.is_none() => point = Some(place),
                _ => return None,
            }
        }
        let whole = point.unwrap_or(digits.len());
        let fraction = point.map_or(0, |point| digits.len() - point - 1);
        let ends_in_point = point.is_some() && fraction == 0;
        if whole == 0 || ends_in_point || whole + fraction > DIGITS_MAX {
            return None;
        }
        Some(Self {
            negative,
            magnitude,
            places: u32::try_from(fraction).ok()?,
        })
    }

    /// A number as it may stand in a leaked file: signs of currency, blanks and separators of
    /// thousands are ignored, zeros are as they are. A comma is a decimal point if it is the last
    /// separator and not before three digits.
    pub(super) fn lenient(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(number) = Self::plain(text) {
            return Some(number);
        }
        let last = text.rfind([',', '.'])?;
        let after = text.len().checked_sub(last + 1)?;
        let repeated = text.matches([',', '.']).count() > 1
            && text.matches(',').count() != 1
            && text.matches('.').count() != 1;
        let comma = text.as_bytes().get(last) == Some(&b',');
        let thousands = comma && after == 3;
        let is_point = !(repeated || thousands);
        let mut plain = String::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            match character {
                '0'..='9' | '-' => plain.push(character),
                ',' | '.' if at == last && is_point => plain.push('.'),
                ',' | '.' | ' ' | '\u{a0}' | '\'' | '+' | '$' | '\u{a5}' | '\u{20ac}'
                | '\u{a3}' => {}
                _ => return None,
            }
        }
        Self::plain(&plain)
    }

    /// In units of 10^-places; `None` if it has more places than that, or too many digits.
    pub(super) fn in_units(self, places: u32) -> Option<i64> {
        let trimmed = self.trimmed();
        let more = places.checked_sub(trimmed.places)?;
        let scaled = trimmed.magnitude.checked_mul(10_u64.checked_pow(more)?)?;
        let units = i64::try_from(scaled).ok()?;
        Some(if self.negative { -units } else { units })
    }

    /// Multiplied by ten to a power.
    pub(super) fn scaled(self, power: i8) -> Option<Self> {
        let places = i64::from(self.places) - i64::from(power);
        match u32::try_from(places) {
            Ok(places) => Some(Self { places, ..self }),
            Err(_) => {
                let power = u32::try_from(-places).ok()?;
                let magnitude = self.magnitude.checked_mul(10_u64.checked_pow(power)?)?;
                let places = 0;
                Some(Self {
                    magnitude,
                    places,
                    ..self
                })
            }
        }
    }

    /// Writes the one spelling behind `out`. By hand, because it is most of what marking a number costs.
    pub(super) fn write(self, out: &mut String) {
        let Self {
            negative,
            magnitude,
            places,
        } = self.trimmed();
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        // A sign, a point and the digits: as many as a magnitude or as the places have, and one before the point.
        let mut text = [0; 2 * DIGITS_MAX + 4];
        let mut start = text.len();
        let mut rest = magnitude;
        let mut written = 0;
        let mut slots = text.iter_mut().rev();
        let mut put = |byte: u8| {
            if let Some(slot) = slots.next() {
                *slot = byte;
                start -= 1;
            }
        };
        // A digit before the point at least.
        while rest > 0 || written <= places {
            if written == places && places > 0 {
                put(b'.');
            }
            // Below 10, so it fits.
            put(b'0' + (rest % 10) as u8);
            rest /= 10;
            written += 1;
        }
        if negative && magnitude > 0 {
            put(b'-');
        }
        let text = text.get(start..).unwrap_or_default();
        out.push_str(std::str::from_utf8(text).unwrap_or_default());
    }

    /// Without zeros at the end of the fraction.
    pub(super) fn trimmed(mut self) -> Self {
        while self.places > 0 && self.magnitude.is_multiple_of(10) {
            self.magnitude /= 10;
            self.places -= 1;
        }
        self
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}
