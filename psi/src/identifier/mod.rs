//! From what stands in a file to the one spelling that both sides hash.
//!
//! Two institutions match a customer only if both arrive at the same bytes, so the rules
//! are part of the agreement: it names the kind and [`IdentifierKind::rules_version`], and an
//! agent whose version differs must refuse. Any change of outcome, also by new data in the
//! phone library, takes a new version.

mod email;
mod phone;
mod resident_id;
mod set;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use email::EMAIL_RULES_VERSION;
pub use phone::{PHONE_RULES_VERSION, Region};
pub use resident_id::RESIDENT_ID_RULES_VERSION;
pub use set::{IdentifierSet, Insertion, SetError};

/// Longest raw value that is looked at, in bytes. An e-mail address has at most 254, and
/// full-width characters take three bytes each.
const RAW_BYTES_MAX: usize = 1024;

/// What sort of identifier a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdentifierKind {
    /// A telephone number, canonically E.164.
    Phone,
    /// An 18-character resident identity number of the People's Republic of China (GB 11643).
    ResidentId,
    /// An e-mail address.
    Email,
}

impl IdentifierKind {
    /// The name in agreements, configuration and the hashed encoding.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::ResidentId => "resident_id",
            Self::Email => "email",
        }
    }

    /// The version of this kind's rules, which the agreement names.
    #[must_use]
    pub const fn rules_version(self) -> &'static str {
        match self {
            Self::Phone => PHONE_RULES_VERSION,
            Self::ResidentId => RESIDENT_ID_RULES_VERSION,
            Self::Email => EMAIL_RULES_VERSION,
        }
    }
}

impl fmt::Display for IdentifierKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A name that is no identifier kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown identifier kind `{name}`; use `phone`, `resident_id` or `email`")]
pub struct UnknownKind {
    name: String,
}

impl FromStr for IdentifierKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Phone, Self::ResidentId, Self::Email]
            .into_iter()
            .find(|kind| kind.label() == name)
            .ok_or_else(|| UnknownKind {
                name: name.to_owned(),
            })
    }
}

/// Why a value was left out. Holds no part of the value; the message says what would be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// Nothing there, or only white space.
    #[error("the value is empty")]
    Empty,
    /// Longer than any identifier of this kind.
    #[error("the value is too long for an identifier of its kind")]
    TooLong,
    /// A phone with a character that no phone number has.
    #[error("not a phone number: use digits, spaces, `-`, `.`, `/`, brackets and one leading `+`")]
    PhoneCharacter,
    /// A phone that a spreadsheet turned into a decimal fraction.
    #[error(
        "a spreadsheet made a decimal number of this phone (it ends in `.0`); export the column as text"
    )]
    PhoneDecimal,
    /// A national number, and no region to read it in.
    #[error("the phone has no country code: write it with `+`, or set the column's default region")]
    PhoneRegion,
    /// Not a number that its country assigns.
    #[error(
        "not a valid phone number: write it as `+`, country code and number, or as dialled in the default region"
    )]
    PhoneInvalid,
    /// Not 17 digits and a digit or `X`.
    #[error("not a resident id: use 17 digits and a last digit or `X`")]
    ResidentIdShape,
    /// The first two digits are no province.
    #[error("the resident id does not begin with the code of a province")]
    ResidentIdProvince,
    /// Digits 7 to 14 are no day of the calendar.
    #[error("the resident id does not hold a birth date as year, month and day in digits 7 to 14")]
    ResidentIdDate,
    /// The last character does not fit the others.
    #[error("the check digit of the resident id does not fit; look for a typing error")]
    ResidentIdCheck,
    /// Not one local part, one `@` and a domain.
    #[error("not an e-mail address: use one `@` with a name before it and a domain after it")]
    EmailShape,
    /// The part before the `@` is malformed.
    #[error(
        "the part of the e-mail address before `@` is malformed: use 1 to 64 of a-z, 0-9 and !#$%&'*+-/=?^_`{{|}}~, with single dots between them"
    )]
    EmailLocal,
    /// The part after the `@` is malformed.
    #[error(
        "the domain of the e-mail address is malformed: use labels of a-z, 0-9 and inner `-` with dots between them (international domains in their `xn--` form)"
    )]
    EmailDomain,
}

/// One identifier in canonical form. Wiped when dropped; its `Debug` shows the kind only.
#[derive(PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Identifier {
    #[zeroize(skip)]
    kind: IdentifierKind,
    /// Label, one zero byte, value. No label holds a zero byte, so kinds cannot be confused.
    bytes: Bytes,
}

/// Bytes that stand in place as long as they are few: a telephone number takes no memory of its own, which would have to
/// be found, wiped and given back for each.
#[derive(PartialEq, Eq, Zeroize)]
enum Bytes {
    Few(u8, [u8; FEW]),
    Many(Vec<u8>),
}

/// Bytes that stand in place: a phone's are 22 at the most, a resident id's 30.
const FEW: usize = 38;

impl Bytes {
    fn of(parts: &[&[u8]]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum();
        let mut few = [0; FEW];
        let (Some(mut rest), Ok(short)) = (few.get_mut(..length), u8::try_from(length)) else {
            let mut many = Vec::with_capacity(length);
            for part in parts {
                many.extend_from_slice(part);
            }
            return Self::Many(many);
        };
        for part in parts {
            let (to, after) = rest.split_at_mut_checked(part.len()).unwrap_or_default();
            to.copy_from_slice(part.get(..to.len()).unwrap_or_default());
            rest = after;
        }
        Self::Few(short, few)
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Few(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Many(bytes) => bytes,
        }
    }
}

impl Identifier {
    /// `value`, in parts, must be canonical for `kind`; only the normalisers call this.
    fn new(kind: IdentifierKind, value: [&str; 2]) -> Self {
        let [first, second] = value.map(str::as_bytes);
        let bytes = Bytes::of(&[kind.label().as_bytes(), &[0], first, second]);
        Self { kind, bytes }
    }

    /// What sort of identifier this is.
    #[must_use]
    pub const fn kind(&self) -> IdentifierKind {
        self.kind
    }

    /// The canonical bytes that are hashed: the kind's label, a zero byte, the value.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The value in clear (E.164, resident id, address), for a recipient's own output file.
    /// Never for a log, an error or a message.
    #[must_use]
    pub fn expose_value(&self) -> &str {
        value_of(self.kind, self.as_bytes())
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifier({}, <redacted>)", self.kind)
    }
}

/// The value inside canonical bytes. Values are ASCII by construction.
fn value_of(kind: IdentifierKind, bytes: &[u8]) -> &str {
    let value = bytes.get(kind.label().len() + 1..).unwrap_or_default();
    str::from_utf8(value).unwrap_or_default()
}

/// Reads one column: a kind and, for phones, the region in which national numbers are meant.
///
/// ```
/// use counterfoil_psi::{IdentifierKind, Normaliser};
///
/// let phones = Normaliser::new(IdentifierKind::Phone, Some("CN".parse()?));
/// let written_so = phones.normalise("138-1234-5678").expect("a Chinese mobile");
/// let or_so = phones.normalise("+86 138 1234 5678").expect("the same");
/// assert_eq!(written_so, or_so);
/// # Ok::<(), counterfoil_psi::UnknownRegion>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Normaliser {
    kind: IdentifierKind,
    region: Option<Region>,
}

impl Normaliser {
    /// `default_region` matters to phones only. Without it, phones need their country code.
    #[must_use]
    pub const fn new(kind: IdentifierKind, default_region: Option<Region>) -> Self {
        Self {
            kind,
            region: default_region,
        }
    }

    /// The kind of the column.
    #[must_use]
    pub const fn kind(&self) -> IdentifierKind {
        self.kind
    }

    /// Brings a value to its canonical form. Normalising a canonical value changes nothing.
    ///
    /// All kinds begin alike: characters that differ only in form become one (Unicode NFKC:
    /// full-width digits, for example), and white space around the value is cut off.
    ///
    /// # Errors
    /// A [`Refusal`], which says what would have been accepted and holds nothing of the value.
    pub fn normalise(&self, raw: &str) -> Result<Identifier, Refusal> {
        if raw.len() > RAW_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let composed = compatible_form(raw);
        let result = self.read(composed.trim());
        if let Cow::Owned(mut copy) = composed {
            copy.zeroize();
        }
        result
    }

    fn read(&self, text: &str) -> Result<Identifier, Refusal> {
        if text.is_empty() {
            return Err(Refusal::Empty);
        }
        match self.kind {
            IdentifierKind::Phone => phone::normalise(text, self.region),
            IdentifierKind::ResidentId => resident_id::normalise(text),
            IdentifierKind::Email => email::normalise(text),
        }
    }
}

/// NFKC. ASCII is in that form already, and most values are ASCII.
fn compatible_form(raw: &str) -> Cow<'_, str> {
    if raw.is_ascii() {
        return Cow::Borrowed(raw);
    }
    // Room for the worst case (U+FDFA: 3 bytes to 33), so that growing leaves no copies behind.
    let mut composed = String::with_capacity(raw.len() * 11);
    composed.extend(raw.nfkc());
    Cow::Owned(composed)
}

/// The name of a region that the phone rules do not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown region `{name}`; use a two-letter ISO 3166 code such as `CN`, `DE` or `US`")]
pub struct UnknownRegion {
    name: String,
}

#[cfg(test)]
mod tests;
