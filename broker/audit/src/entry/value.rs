//! The checked values that entries are made of.
//!
//! Each type has one way in, which checks; so an [`Entry`](super::Entry) that exists is
//! within its bounds. Error messages name the rule and never the value: a caller that
//! puts an identifier where a name belongs must not find it again in a log file.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use time::{
    OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem,
    macros::format_description,
};

/// The largest integer that RFC 8785 writes exactly: 2^53 - 1 (RFC 7493 section 2.2).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// The most items of a [`List`].
pub const LIST_ITEMS_MAX: usize = 256;
/// The largest canonical form of a [`Document`](super::Document), in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 32 * 1024;
/// The deepest nesting of a [`Document`](super::Document). A JSON parser stops somewhere (`serde_json` at
/// 128), and an entry that can be written but not read again would close the log for good.
pub const DOCUMENT_DEPTH_MAX: usize = 32;

/// A value that does not fit its type. The fault is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A text is empty, too long, or has characters its type does not take.
    #[error("{what} must be 1 to {max_bytes} bytes of {allowed}")]
    Text {
        /// The type.
        what: &'static str,
        /// Its limit.
        max_bytes: usize,
        /// The characters it takes.
        allowed: &'static str,
    },
    /// Not lower-case hex of the right length.
    #[error("{what} must be {bytes} bytes in lower-case hex")]
    Hex {
        /// The type.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// Not 16 bytes in canonical base64.
    #[error("salt must be 16 bytes in padded standard base64 (RFC 4648 section 4)")]
    Salt,
    /// Not a UUID of version 7 in its usual form.
    #[error("entry id must be a version 7 UUID in lower-case hyphenated form")]
    Id,
    /// Not a time in the one form that entries use.
    #[error(
        "time must be UTC from 1970 to 9999 in the form 2026-01-31T23:59:59.000000Z, with six digits of a second"
    )]
    Time,
    /// An integer that canonical JSON would round.
    #[error("integer must be at most {INTEGER_MAX}, the largest that canonical JSON keeps exact")]
    Integer,
    /// Too many items.
    #[error("list must have at most {LIST_ITEMS_MAX} items")]
    List,
    /// A document that is not an object, has a fraction in it, or is too large or deep.
    #[error(
        "document must be a JSON object without fractions, at most {DOCUMENT_BYTES_MAX} bytes and {DOCUMENT_DEPTH_MAX} levels"
    )]
    Document,
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $min:literal..=$max:literal, $allowed:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a text that keeps the rule above.
            ///
            /// # Errors
            /// [`ValueError::Text`] when it does not.
            pub fn new(text: impl Into<String>) -> Result<Self, ValueError> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if ($min..=$max).contains(&text.len()) && check(&text) {
                    Ok(Self(text))
                } else {
                    Err(ValueError::Text { what: $what, max_bytes: $max, allowed: $allowed })
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;
            fn try_from(text: String) -> Result<Self, ValueError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(
    /// The name of an institution: 2 to 63 of `a-z`, `0-9` and `-`.
    OrgName, "org name", 2..=63, "`a-z`, `0-9` and `-`, at least two",
    |text| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);
text_type!(
    /// A name or code: 1 to 256 bytes without control characters. Names of things (a
    /// dataset, a tag, a purpose), never a value of a person.
    Label, "label", 1..=256, "text without control characters",
    |text| !text.chars().any(char::is_control)
);
text_type!(
    /// A sentence for people, such as the reason of a revocation: 1 to 1,024 bytes
    /// without control characters.
    Sentence, "sentence", 1..=1024, "text without control characters",
    |text| !text.chars().any(char::is_control)
);
text_type!(
    /// A count as it is told: a bucket such as `10-99` or `under 10`, 1 to 32 bytes. A
    /// bare number other than `0` is refused, because an exact count is what buckets hide.
    CoarseCount, "coarse count", 1..=32, "printable ASCII that is not a bare number (give a bucket)",
    |text| text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && (text == "0" || !text.bytes().all(|b| b.is_ascii_digit()))
);

macro_rules! hex_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Takes the bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// Reads lower-case hex.
            ///
            /// # Errors
            /// [`ValueError::Hex`] when it is anything else.
            pub fn parse(text: &str) -> Result<Self, ValueError> {
                let mut bytes = [0; $bytes];
                let upper = text.bytes().any(|b| b.is_ascii_uppercase());
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) if !upper => Ok(Self(bytes)),
                    _ => Err(ValueError::Hex { what: $what, bytes: $bytes }),
                }
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;
            fn try_from(text: String) -> Result<Self, ValueError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

hex_type!(
    /// The id of one flow, drawn at random by its recipient: 16 bytes, written in hex.
    FlowId, "flow id", 16
);
hex_type!(
    /// A SHA-256 of something outside the log, written in hex.
    Digest, "SHA-256 digest", 32
);
hex_type!(
    /// A public key of 32 bytes (Ed25519 or X25519; the field says which), in hex.
    PublicKey, "public key", 32
);

/// 16 random bytes that keep a leaf hash, which every partner may see, from confirming a
/// guess of the entry's text. Written in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Salt([u8; 16]);

impl Salt {
    /// Takes the bytes, which must come from a cryptographic generator.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<String> for Salt {
    type Error = ValueError;
    fn try_from(text: String) -> Result<Self, ValueError> {
        let bytes = STANDARD.decode(text).map_err(|_| ValueError::Salt)?;
        bytes.try_into().map(Self).map_err(|_| ValueError::Salt)
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        STANDARD.encode(salt.0)
    }
}

const TIME_FORM: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
/// 9999-12-31T23:59:59.999999Z.
const TIME_MICROS_MAX: u64 = 253_402_300_799_999_999;

/// A moment in UTC, in whole microseconds from 1970 to 9999 (RFC 3339).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

impl Timestamp {
    /// Takes microseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`ValueError::Time`] after the year 9999.
    pub const fn from_unix_micros(micros: u64) -> Result<Self, ValueError> {
        if micros <= TIME_MICROS_MAX {
            Ok(Self(micros))
        } else {
            Err(ValueError::Time)
        }
    }

    /// Takes a moment of any offset; what is finer than a microsecond is cut.
    ///
    /// # Errors
    /// [`ValueError::Time`] outside 1970 to 9999.
    pub fn from_time(time: OffsetDateTime) -> Result<Self, ValueError> {
        let micros = time.unix_timestamp_nanos().div_euclid(1_000);
        u64::try_from(micros)
            .map_err(|_| ValueError::Time)
            .and_then(Self::from_unix_micros)
    }

    /// Reads the one form that [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    /// [`ValueError::Time`] for any other form, an equal moment written differently included.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let time = PrimitiveDateTime::parse(text, TIME_FORM).map_err(|_| ValueError::Time)?;
        let parsed = Self::from_time(time.assume_utc())?;
        if parsed.to_string() == text {
            Ok(parsed)
        } else {
            Err(ValueError::Time)
        }
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn unix_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since 1970, rounded down.
    #[must_use]
    pub const fn unix_millis(self) -> u64 {
        self.0 / 1_000
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .map_err(|_| fmt::Error)?;
        f.write_str(&time.format(TIME_FORM).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = ValueError;
    fn try_from(text: String) -> Result<Self, ValueError> {
        Self::parse(&text)
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

/// An unsigned integer that canonical JSON keeps exact: at most [`INTEGER_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Integer(u64);

impl Integer {
    /// Takes an integer.
    ///
    /// # Errors
    /// [`ValueError::Integer`] above [`INTEGER_MAX`].
    pub const fn new(value: u64) -> Result<Self, ValueError> {
        if value <= INTEGER_MAX {
            Ok(Self(value))
        } else {
            Err(ValueError::Integer)
        }
    }

    /// The integer.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Integer {
    type Error = ValueError;
    fn try_from(value: u64) -> Result<Self, ValueError> {
        Self::new(value)
    }
}

impl From<Integer> for u64 {
    fn from(value: Integer) -> Self {
        value.0
    }
}

/// At most [`LIST_ITEMS_MAX`] items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>", into = "Vec<T>")]
#[serde(bound(
    serialize = "T: Clone + Serialize",
    deserialize = "T: Deserialize<'de>"
))]
pub struct List<T>(Vec<T>);

impl<T> List<T> {
    /// Takes the items in their order.
    ///
    /// # Errors
    /// [`ValueError::List`] when there are too many.
    pub fn new(items: Vec<T>) -> Result<Self, ValueError> {
        if items.len() <= LIST_ITEMS_MAX {
            Ok(Self(items))
        } else {
            Err(ValueError::List)
        }
    }

    /// The items.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }
}

impl<T> TryFrom<Vec<T>> for List<T> {
    type Error = ValueError;
    fn try_from(items: Vec<T>) -> Result<Self, ValueError> {
        Self::new(items)
    }
}

impl<T> From<List<T>> for Vec<T> {
    fn from(list: List<T>) -> Self {
        list.0
    }
}
