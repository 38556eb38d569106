//! Resident identity numbers of the People's Republic of China: GB 11643-1999, ISO 7064.

use zeroize::Zeroizing;

use super::{Identifier, IdentifierKind, Refusal};

/// Rules of resident ids: 18 characters, a province of GB/T 2260 or one of the codes of
/// residence permits, a birth date, the check digit of ISO 7064 MOD 11-2. The old 15-digit
/// form and foreigners' permanent residence cards (leading 9) are refused.
pub const RESIDENT_ID_RULES_VERSION: &str = "resident_id/1";

/// Province-level codes of GB/T 2260, and 81 to 83 of the residence permits for people from
/// Hong Kong, Macau and Taiwan.
const PROVINCES: [u8; 35] = [
    11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52,
    53, 54, 61, 62, 63, 64, 65, 71, 81, 82, 83,
];

/// Years that a birth date may have. There is no clock here: that a date lies in the
/// future is for the data's owner to notice.
const YEARS: std::ops::RangeInclusive<u32> = 1800..=2099;

pub(super) fn normalise(text: &str) -> Result<Identifier, Refusal> {
    let characters: [u8; 18] = text
        .as_bytes()
        .try_into()
        .map_err(|_| Refusal::ResidentIdShape)?;
    let [digits @ .., last] = characters;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::ResidentIdShape);
    }
    let check = match last {
        b'0'..=b'9' => u32::from(last - b'0'),
        b'x' | b'X' => 10,
        _ => return Err(Refusal::ResidentIdShape),
    };
    let [p1, p2, _, _, _, _, date @ .., _, _, _] = digits;
    if !PROVINCES.contains(&(10 * (p1 - b'0') + (p2 - b'0'))) {
        return Err(Refusal::ResidentIdProvince);
    }
    if !is_date(date) {
        return Err(Refusal::ResidentIdDate);
    }
    if !check_fits(&digits, check) {
        return Err(Refusal::ResidentIdCheck);
    }
    Ok(Identifier::new(
        IdentifierKind::ResidentId,
        ["", &Zeroizing::new(text.to_ascii_uppercase())],
    ))
}

fn is_date(date: [u8; 8]) -> bool {
    let [year @ .., m1, m2, d1, d2] = date.map(|digit| u32::from(digit - b'0'));
    let year = year.into_iter().fold(0, |value, digit| 10 * value + digit);
    let (month, day) = (10 * m1 + m2, 10 * d1 + d2);
    YEARS.contains(&year) && (1..=days_in(year, month)).contains(&day)
}

const fn days_in(year: u32, month: u32) -> u32 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 0,
    }
}

/// ISO 7064 MOD 11-2, the pure system with modulus 11 and radix 2: the value of the string,
/// check character included, is 1 modulo 11.
fn check_fits(digits: &[u8; 17], check: u32) -> bool {
    let product = digits
        .iter()
        .fold(0, |p, digit| (p + u32::from(digit - b'0')) * 2 % 11);
    (product + check) % 11 == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Result<String, Refusal> {
        normalise(text).map(|id| id.expose_value().to_owned())
    }

    /// The two worked examples of GB 11643-1999.
    const EXAMPLES: [&str; 2] = ["11010519491231002X", "440524188001010014"];

    #[test]
    fn the_examples_of_the_standard_pass() {
        for example in EXAMPLES {
            assert_eq!(value(example).as_deref(), Ok(example));
        }
        assert_eq!(
            value("11010519491231002x").as_deref(),
            Ok("11010519491231002X")
        );
    }

    #[test]
    fn malformed_values_are_refused_with_their_reason() {
        for (name, text, refusal) in [
            ("short", "11010519491231002", Refusal::ResidentIdShape),
            ("old_15_digits", "110105491231002", Refusal::ResidentIdShape),
            ("long", "11010519491231002XX", Refusal::ResidentIdShape),
            (
                "letter_inside",
                "1101051949123100AX",
                Refusal::ResidentIdShape,
            ),
            (
                "other_last_letter",
                "11010519491231002Y",
                Refusal::ResidentIdShape,
            ),
            ("x_inside", "1101051949123X002X", Refusal::ResidentIdShape),
            (
                "province_10",
                "10010519491231002X",
                Refusal::ResidentIdProvince,
            ),
            (
                "province_99",
                "99010519491231002X",
                Refusal::ResidentIdProvince,
            ),
            ("month_13", "11010519491331002X", Refusal::ResidentIdDate),
            ("month_00", "11010519490031002X", Refusal::ResidentIdDate),
            ("day_00", "11010519491200002X", Refusal::ResidentIdDate),
            ("day_32", "11010519491232002X", Refusal::ResidentIdDate),
            (
                "no_leap_day_1900",
                "11010519000229002X",
                Refusal::ResidentIdDate,
            ),
            ("year_1799", "11010517991231002X", Refusal::ResidentIdDate),
            ("check", "110105194912310020", Refusal::ResidentIdCheck),
        ] {
            assert_eq!(value(text), Err(refusal), "{name}");
        }
    }

    #[test]
    fn leap_days_pass() {
        assert_eq!(days_in(2000, 2), 29);
        assert_eq!(days_in(1900, 2), 28);
        assert_eq!(days_in(2024, 2), 29);
        assert_eq!(days_in(2023, 2), 28);
    }

    proptest! {
        /// What MOD 11-2 is for: no single wrong digit and no swap of neighbours passes.
        #[test]
        fn the_check_digit_finds_single_errors_and_swaps(at in 0usize..17, to in b'0'..=b'9') {
            for example in EXAMPLES {
                let mut changed = example.as_bytes().to_vec();
                changed[at] = to;
                let changed = String::from_utf8(changed).unwrap();
                prop_assert_eq!(value(&changed).is_ok(), changed == example);
                let mut swapped = example.as_bytes().to_vec();
                swapped.swap(at, at + 1);
                let swapped = String::from_utf8(swapped).unwrap();
                prop_assert_eq!(value(&swapped).is_ok(), swapped == example);
            }
        }
    }
}
