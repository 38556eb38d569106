//! Telephone numbers to E.164 (ITU-T E.164: a country code and at most 15 digits in all).
//!
//! Validity and dialling habits of every country come from Google's libphonenumber, through
//! the crate `phonenumber`. Two things are done around it:
//!
//! - The crate reads the number's *own* trunk-prefix rules from the default region even where
//!   the number has a country code of another (`+86 138...` read in region US loses its 1). So a
//!   number in international form, also one dialled with the region's international prefix,
//!   is handed over without a region, and one that is valid as it stands is taken as it stands.
//! - The crate takes some 30 us a number behind a lock that all threads share, and milliseconds
//!   when numbers of many regions alternate (it keeps a hundred patterns compiled). The `fast`
//!   path takes well-formed numbers in under 1 us and leaves the others to the crate; a test
//!   compares the two on random numbers of many regions.
//! - A number without its trunk prefix may begin with the same digits (`+7 812 ...`, Saint
//!   Petersburg, trunk prefix 8). The crate refuses those; here they stand.

mod fast;

use std::fmt;
use std::str::FromStr;

use phonenumber::country;
use zeroize::{Zeroize, Zeroizing};

use super::{Identifier, IdentifierKind, Refusal, UnknownRegion};

/// Rules of phone numbers: the steps of this module, and the metadata of libphonenumber that
/// the crate carries. Two versions of the metadata may disagree about a number range.
pub const PHONE_RULES_VERSION: &str = "phone/1+libphonenumber-9.0.33";

/// Digits of the longest thing that may be dialled: 15 of E.164 after an international prefix.
const DIGITS_MAX: usize = 20;
/// Digits of the longest E.164 number.
const E164_DIGITS_MAX: usize = 15;

/// A region by its ISO 3166 code, in which numbers without a country code are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Region(country::Id);

impl FromStr for Region {
    type Err = UnknownRegion;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        name.parse()
            .ok()
            .filter(|id: &country::Id| phonenumber::metadata::DATABASE.by_id(id.as_ref()).is_some())
            .map(Self)
            .ok_or_else(|| UnknownRegion {
                name: name.to_owned(),
            })
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({self})")
    }
}

/// `text` is in NFKC, trimmed and not empty.
pub(super) fn normalise(text: &str, region: Option<Region>) -> Result<Identifier, Refusal> {
    let dialled = Dialled::read(text)?;
    let number = dialled.resolve(region)?;
    if let Some(digits) = fast::e164(&number) {
        return Ok(Identifier::new(
            IdentifierKind::Phone,
            ["+", digits.as_str()],
        ));
    }
    let e164 = by_library(&number).ok_or(Refusal::PhoneInvalid)?;
    Ok(Identifier::new(IdentifierKind::Phone, ["", &e164]))
}

/// What is left of a phone when everything but its digits is gone.
struct Dialled {
    plus: bool,
    /// ASCII digits.
    digits: Digits,
}

/// A number of which it is known how to read it.
enum Number {
    /// Country code and national number, as after `+`.
    International(Digits),
    /// As dialled inside a region.
    National(Digits, Region),
}

impl Dialled {
    fn read(text: &str) -> Result<Self, Refusal> {
        // Telling `171123456.0` from a number of one digit more is past guessing.
        if text.ends_with(".0") {
            return Err(Refusal::PhoneDecimal);
        }
        let mut plus = false;
        let mut digits = Digits::default();
        for character in text.chars() {
            match character {
                '0'..='9' => digits.push(character)?,
                '+' if !plus && digits.is_empty() => plus = true,
                _ if is_separator(character) => {}
                _ => return Err(Refusal::PhoneCharacter),
            }
        }
        if digits.is_empty() {
            return Err(Refusal::PhoneInvalid);
        }
        Ok(Self { plus, digits })
    }

    fn resolve(self, region: Option<Region>) -> Result<Number, Refusal> {
        if self.plus {
            return Ok(Number::International(self.digits));
        }
        let region = region.ok_or(Refusal::PhoneRegion)?;
        Ok(
            match fast::international_prefix(region, self.digits.as_str()) {
                Some(prefix) => Number::International(self.digits.without(prefix)),
                None => Number::National(self.digits, region),
            },
        )
    }
}

/// What people put between digits, and what they copy along without seeing it: the
/// characters of no width that address books wrap numbers in.
const fn is_separator(character: char) -> bool {
    matches!(
        character,
        ' ' | '\t' | '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2015}' | '\u{2212}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

/// The reading of the crate: `None` where the number is not valid, or where its E.164 form would
/// itself be read as another number.
fn by_library(number: &Number) -> Option<Zeroizing<String>> {
    let e164 = match number {
        Number::International(digits) => library_e164(None, &digits.with_plus()),
        Number::National(digits, region) => library_e164(Some(region.0), digits.as_str()),
    }?;
    let again = library_e164(None, &e164)?;
    (again == e164 && e164.len() <= 1 + E164_DIGITS_MAX).then_some(e164)
}

fn library_e164(region: Option<country::Id>, text: &str) -> Option<Zeroizing<String>> {
    let parsed = phonenumber::parse(region, text)
        .ok()
        .filter(phonenumber::is_valid)?;
    Some(Zeroizing::new(
        parsed.format().mode(phonenumber::Mode::E164).to_string(),
    ))
}

/// At most [`DIGITS_MAX`] ASCII digits, without an allocation. Wiped when dropped.
#[derive(Clone, Default, Zeroize)]
#[zeroize(drop)]
struct Digits {
    bytes: [u8; DIGITS_MAX],
    length: usize,
}

impl Digits {
    fn push(&mut self, digit: char) -> Result<(), Refusal> {
        let place = self
            .bytes
            .get_mut(self.length)
            .ok_or(Refusal::PhoneInvalid)?;
        *place = digit as u8;
        self.length += 1;
        Ok(())
    }

    /// These digits, one after the other, if they fit.
    fn joined(parts: [&str; 2]) -> Option<Self> {
        let mut joined = Self::default();
        for part in parts {
            let to = joined
                .bytes
                .get_mut(joined.length..joined.length + part.len())?;
            to.copy_from_slice(part.as_bytes());
            joined.length += part.len();
        }
        Some(joined)
    }

    const fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn as_str(&self) -> &str {
        self.bytes
            .get(..self.length)
            .and_then(|b| str::from_utf8(b).ok())
            .unwrap_or_default()
    }

    /// These digits without the first `count`.
    fn without(&self, count: usize) -> Self {
        let mut rest = Self::default();
        for (to, from) in rest.bytes.iter_mut().zip(self.bytes.iter().skip(count)) {
            *to = *from;
        }
        rest.length = self.length.saturating_sub(count);
        rest
    }

    fn with_plus(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(1 + self.length));
        text.push('+');
        text.push_str(self.as_str());
        text
    }
}

#[cfg(test)]
mod tests;
