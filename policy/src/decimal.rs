//! Exact decimals: the only numbers with fractions in this crate.
//!
//! A float would make two institutions disagree about `0.1 + 0.2`, about which side of a
//! band's edge a value lies, and about an agreement's digest.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;

/// Most digits before and after the point.
///
/// 18 + 18 digits give a count of 10^-18 units below 10^36, and `i128` holds 1.7 * 10^38.
const DIGITS_MAX: usize = 18;
const UNITS_PER_ONE: i128 = 1_000_000_000_000_000_000;
/// 10^36: a number with 19 digits before the point has as many units or more.
const UNITS_MAX: u128 = 1_000_000_000_000_000_000_000_000_000_000_000_000;

/// An exact decimal number with at most 18 digits before and 18 after the point.
///
/// Text form: `-?digits[.digits]`; no exponent, no `+`, no thousands separator. Written
/// without superfluous zeros, so equal numbers have equal text; `-0` is `0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal {
    /// The number in units of 10^-18.
    units: i128,
}

/// The text is not a decimal of the form [`Decimal`] reads. Says nothing of the text,
/// which may be a customer's cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number of at most 18 digits before and 18 after the point")]
pub struct NotADecimal;

impl Decimal {
    /// 0.
    pub const ZERO: Self = Self { units: 0 };

    /// The exact sum; `None` where it has more than 18 digits before the point.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let units = self.units.checked_add(other.units)?;
        (units.unsigned_abs() < UNITS_MAX).then_some(Self { units })
    }

    /// What is left of `self` after `other` is taken away, at least 0.
    #[must_use]
    pub fn left_after(self, other: Self) -> Self {
        Self {
            units: self.units.saturating_sub(other.units).max(0),
        }
    }

    /// Half of it, rounded down to 18 digits.
    #[must_use]
    pub fn half(self) -> Self {
        Self {
            units: self.units.div_euclid(2),
        }
    }

    /// Whether it is above 0.
    #[must_use]
    pub fn is_positive(self) -> bool {
        self.units > 0
    }

    /// The nearest float.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "the callers want a float; those who may not exceed the decimal use `to_f64_below`"
    )]
    pub fn to_f64(self) -> f64 {
        // Through the text, because Rust reads decimals to the nearest float; a quotient of two floats is off by more.
        let text = self.to_string();
        text.parse()
            .unwrap_or(self.units as f64 / UNITS_PER_ONE as f64)
    }

    /// A float that is at most the decimal: the one below the nearest, which is off by half a unit in the last place at most.
    #[must_use]
    pub fn to_f64_below(self) -> f64 {
        self.to_f64().next_down()
    }

    /// How many whole steps it makes, rounded to the nearest, halves away from 0; `None` for a step that is not above 0.
    #[must_use]
    pub fn steps(self, step: Self) -> Option<i64> {
        if !step.is_positive() {
            return None;
        }
        let half = step.units / 2;
        let away = if self.units < 0 { -half } else { half };
        let steps = self.units.checked_add(away)?.checked_div(step.units)?;
        i64::try_from(steps).ok()
    }
}

impl From<i64> for Decimal {
    /// Exact: |i64| < 10^19, so the product stays below 10^37.
    fn from(whole: i64) -> Self {
        Self {
            units: i128::from(whole) * UNITS_PER_ONE,
        }
    }
}

impl Decimal {
    /// The number in millionths, if it is a whole number of them and fits.
    pub(crate) fn parts_per_million(self) -> Option<u32> {
        const MILLIONTH: i128 = UNITS_PER_ONE / 1_000_000;
        let whole = self.units % MILLIONTH == 0;
        whole
            .then(|| u32::try_from(self.units / MILLIONTH).ok())
            .flatten()
    }
}

impl FromStr for Decimal {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(NotADecimal),
            Some(parts) => parts,
            None => (digits, ""),
        };
        if whole.is_empty() || whole.len() > DIGITS_MAX || fraction.len() > DIGITS_MAX {
            return Err(NotADecimal);
        }
        let padding = std::iter::repeat_n(b'0', DIGITS_MAX - fraction.len());
        let mut units: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
            if !digit.is_ascii_digit() {
                return Err(NotADecimal);
            }
            units = units * 10 + i128::from(digit - b'0');
        }
        let units = if negative { -units } else { units };
        Ok(Self { units })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.units < 0 { "-" } else { "" };
        let magnitude = self.units.unsigned_abs();
        let one = UNITS_PER_ONE.unsigned_abs();
        write!(f, "{sign}{}", magnitude / one)?;
        let fraction = magnitude % one;
        if fraction != 0 {
            let digits = format!("{fraction:018}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({self})")
    }
}

serde_as_text!(Decimal);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn text_has_one_spelling_per_number() {
        for (read, written) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("007.50", "7.5"),
            ("-12.034", "-12.034"),
            (
                "999999999999999999.999999999999999999",
                "999999999999999999.999999999999999999",
            ),
        ] {
            assert_eq!(decimal(read).to_string(), written);
        }
    }

    #[test]
    fn comparison_is_exact_where_a_float_is_not() {
        assert!(decimal("9007199254740993") > decimal("9007199254740992"));
        assert_eq!(decimal("0.30"), decimal("0.3"));
        assert!(decimal("-2") < decimal("-1.999999999999999999"));
    }

    #[test]
    fn what_is_not_a_plain_decimal_is_refused() {
        for text in [
            "",
            "-",
            ".",
            "1.",
            ".5",
            "+1",
            "1e3",
            "1,000",
            " 1",
            "--1",
            "1.2.3",
            "\u{0661}",
            "NaN",
            "inf",
            "1000000000000000000",
            "0.0000000000000000001",
        ] {
            assert_eq!(text.parse::<Decimal>(), Err(NotADecimal), "{text}");
        }
    }

    #[test]
    fn sums_are_exact_and_bounded() {
        let third = decimal("0.1").checked_add(decimal("0.2"));
        assert_eq!(third, Some(decimal("0.3")));
        assert_eq!(
            decimal("999999999999999999").checked_add(decimal("1")),
            None
        );
        assert_eq!(decimal("0.3").left_after(decimal("0.1")), decimal("0.2"));
        assert_eq!(decimal("0.1").left_after(decimal("0.3")), Decimal::ZERO);
        assert_eq!(decimal("0.5").half(), decimal("0.25"));
    }

    #[test]
    fn steps_round_to_the_nearest() {
        let steps = |value: &str, step: &str| decimal(value).steps(decimal(step));
        assert_eq!(steps("1234.5", "1"), Some(1235));
        assert_eq!(steps("-1234.5", "1"), Some(-1235));
        assert_eq!(steps("0.049", "0.1"), Some(0));
        assert_eq!(steps("3", "0"), None);
        assert_eq!(steps("3", "-1"), None);
    }

    proptest! {
        /// A float from below: read back exactly it never exceeds the decimal. Floats below 2^53 with few digits are decimals
        /// of at most 18 digits only by chance, so the comparison is in units of 2^-60, exactly.
        #[test]
        fn a_float_from_below_is_not_above(units in 1_i128..1_000_000_000_000_000_000_000) {
            let decimal = Decimal { units };
            let float = decimal.to_f64_below();
            // float * 2^60 is whole for floats of at least 2^-8; smaller ones are cut, which only helps.
            let scaled = (float * 2_f64.powi(60)) as i128;
            prop_assert!(float < 2_f64.powi(-8) || scaled.checked_mul(UNITS_PER_ONE).is_none_or(|left| left <= units << 60));
            prop_assert!(decimal.to_f64() - float <= float * 1e-15);
        }

        #[test]
        fn display_parses_back(whole in 0u64..10u64.pow(18), fraction in 0u64..10u64.pow(18), negative: bool) {
            let text = format!("{}{whole}.{fraction:018}", if negative { "-" } else { "" });
            let value = decimal(&text);
            prop_assert_eq!(decimal(&value.to_string()), value);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,50}") {
            let _ = text.parse::<Decimal>();
        }

        #[test]
        fn order_agrees_with_integers(a: i64, b: i64) {
            prop_assert_eq!(Decimal::from(a).cmp(&Decimal::from(b)), a.cmp(&b));
        }
    }
}
