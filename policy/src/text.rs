//! Small text forms shared by every document: one error, names, closed lists, hex ids.
//!
//! Each type has private contents and one constructor that checks
//! ([`FromStr`](std::str::FromStr)), so a value that exists is well formed. Serde goes
//! through the same constructor.

/// Longest piece of offending input that an error repeats, in characters.
const ECHO_MAX: usize = 80;

/// A piece of text that is not in the form its place asks for.
///
/// The offending text is repeated, escaped and cut to 80 characters. Nothing that may
/// hold a customer's value is ever parsed into this error: cells have errors without text
/// ([`crate::tag::Unmapped`], [`crate::segment::EvalError`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{input}` is not {what}; give {would_pass}")]
pub struct Malformed {
    what: &'static str,
    input: String,
    would_pass: &'static str,
}

impl Malformed {
    pub(crate) fn new(what: &'static str, input: &str, would_pass: &'static str) -> Self {
        Self {
            what,
            input: echo(input),
            would_pass,
        }
    }

    /// What the text should have been, in words: "an organisation name".
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// The form that would have been accepted, in words.
    #[must_use]
    pub fn would_pass(&self) -> &'static str {
        self.would_pass
    }
}

/// Input as an error may show it: control characters escaped, at most 80 characters.
pub(crate) fn echo(input: &str) -> String {
    let mut shown: String = input
        .chars()
        .take(ECHO_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if input.chars().nth(ECHO_MAX).is_some() {
        shown.push_str("..");
    }
    shown
}

/// Serde through `Display` and `FromStr`, so that every wire form is checked once.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

/// A name: text of bounded length over a fixed alphabet.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $length:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text::Malformed;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let allowed: fn(char) -> bool = $allowed;
                if $length.contains(&text.len()) && text.chars().all(allowed) {
                    Ok(Self(text.into()))
                } else {
                    Err($crate::text::Malformed::new($what, text, $rule))
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        $crate::text::serde_as_text!($name);
    };
}

pub(crate) use name_type;

/// A closed list of words, each with its definition.
macro_rules! closed_list {
    (
        $(#[$doc:meta])*
        $name:ident, $what:literal, $would_pass:literal,
        { $($variant:ident = $text:literal: $definition:literal,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = $definition] $variant,)+
        }

        impl $name {
            /// Every member, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word that stands for this member in documents.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// What the word means, in one sentence.
            #[must_use]
            pub fn definition(self) -> &'static str {
                match self { $(Self::$variant => $definition,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text::Malformed;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::text::Malformed::new($what, text, $would_pass)),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        $crate::text::serde_as_text!($name);
    };
}
pub(crate) use closed_list;

/// A fixed number of bytes, written as lower-case hex.
macro_rules! hex_bytes {
    ($(#[$doc:meta])* $name:ident, $length:literal, $what:literal, $would_pass:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Wraps the bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text::Malformed;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $length];
                // One spelling per value: upper case is refused, so that equal ids are equal text.
                let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) if lower => Ok(Self(bytes)),
                    _ => Err($crate::text::Malformed::new($what, text, $would_pass)),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        $crate::text::serde_as_text!($name);
    };
}

fn slug(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

fn snake(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

name_type!(
    /// An institution's name on the broker: `[a-z0-9-]{2,63}`.
    OrgName,
    "an organisation name",
    "2 to 63 characters of a-z, 0-9 and -",
    (2..=63),
    slug
);
name_type!(
    /// An agreement's id, stable over its versions: `[a-z0-9-]{2,63}`.
    AgreementId,
    "an agreement id",
    "2 to 63 characters of a-z, 0-9 and -",
    (2..=63),
    slug
);
name_type!(
    /// A dataset's name in its owner's configuration: `[a-z0-9-]{2,63}`.
    DatasetName,
    "a dataset name",
    "2 to 63 characters of a-z, 0-9 and -",
    (2..=63),
    slug
);
name_type!(
    /// A tag's name, the column header of a delivery: `[a-z0-9_]{1,63}`.
    TagName,
    "a tag name",
    "1 to 63 characters of a-z, 0-9 and _",
    (1..=63),
    snake
);
name_type!(
    /// A taxonomy's name: `[a-z0-9-]{2,63}`.
    TaxonomyName,
    "a taxonomy name",
    "2 to 63 characters of a-z, 0-9 and -",
    (2..=63),
    slug
);
name_type!(
    /// What a tag is about, for advice on minimisation: `[a-z0-9_]{1,63}`.
    Subject,
    "a subject",
    "1 to 63 characters of a-z, 0-9 and _",
    (1..=63),
    snake
);
name_type!(
    /// A segment's name: `[a-z0-9-]{2,63}`.
    SegmentName,
    "a segment name",
    "2 to 63 characters of a-z, 0-9 and -",
    (2..=63),
    slug
);
name_type!(
    /// An opaque id of a person at an institution: `[a-z0-9._-]{1,64}`.
    ///
    /// It enters the log; the person's name lives in a directory outside it.
    UserId,
    "a user id",
    "1 to 64 characters of a-z, 0-9, dot, _ and -",
    (1..=64),
    |c| slug(c) || c == '.' || c == '_'
);
name_type!(
    /// Names a document that an institution keeps: `[A-Za-z0-9._/-]{1,64}`. Opaque here; it enters the log.
    Reference,
    "a document's reference",
    "1 to 64 characters of A-Z, a-z, 0-9, dot, _, / and -",
    (1..=64),
    |c| c.is_ascii_alphanumeric() || "._/-".contains(c)
);
name_type!(
    /// A recipient's contact as people were told it: 1 to 128 printable ASCII characters without
    /// blanks, such as an e-mail address, a telephone number or a page.
    ContactText,
    "a contact",
    "1 to 128 printable ASCII characters without blanks, like privacy@example.com",
    (1..=128),
    |c| c.is_ascii_graphic() && c != '`'
);
name_type!(
    /// A method of handling as people were told it: `[a-z0-9_]{1,63}`.
    MethodName,
    "a method of handling",
    "1 to 63 characters of a-z, 0-9 and _",
    (1..=63),
    snake
);
name_type!(
    /// A category of data as people were told it: `[a-z0-9_]{1,63}`.
    CategoryName,
    "a category of data",
    "1 to 63 characters of a-z, 0-9 and _",
    (1..=63),
    snake
);
name_type!(
    /// Which HPKE suite a delivery key belongs to; opaque here: `[a-z0-9_-]{1,64}`.
    SuiteId,
    "a suite id",
    "1 to 64 characters of a-z, 0-9, _ and -",
    (1..=64),
    |c| slug(c) || c == '_'
);

hex_bytes!(
    /// A flow's id: 16 random bytes chosen by the recipient, also the request's nonce.
    ///
    /// Whoever stores flows accepts an id once; see [`crate::decision::Usage`].
    FlowId,
    16,
    "a flow id",
    "32 lower-case hex digits"
);
hex_bytes!(
    /// A scoring's id: 8 random bytes chosen by its maker, short enough to be typed by its checker.
    ScoringId,
    8,
    "a scoring's id",
    "16 lower-case hex digits"
);
hex_bytes!(
    /// SHA-256 of an agreement's canonical bytes: what both institutions sign.
    AgreementDigest,
    32,
    "an agreement digest",
    "64 lower-case hex digits"
);
hex_bytes!(
    /// SHA-256 of a file, or of what is sent in its place.
    ContentDigest,
    32,
    "a digest",
    "64 lower-case hex digits"
);
hex_bytes!(
    /// SHA-256 of a taxonomy's definitions in canonical form.
    TaxonomyDigest,
    32,
    "a taxonomy digest",
    "64 lower-case hex digits"
);
hex_bytes!(
    /// SHA-256 of a request's canonical body: what a session binds itself to.
    RequestDigest,
    32,
    "a request digest",
    "64 lower-case hex digits"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_have_bounds_and_an_alphabet() {
        assert!("north-bank".parse::<OrgName>().is_ok());
        for refused in ["", "a", "North", "a_b", "a b", "b\u{e4}nk", &"a".repeat(64)] {
            assert!(refused.parse::<OrgName>().is_err(), "{refused}");
        }
        assert!("j.doe_1-x".parse::<UserId>().is_ok());
        assert!("J.Doe".parse::<UserId>().is_err());
    }

    #[test]
    fn an_error_repeats_a_bounded_escaped_piece_of_the_input() {
        let error = format!("\u{1b}[31m{}", "x".repeat(500)).parse::<OrgName>();
        let shown = error.unwrap_err().to_string();
        assert!(shown.contains("\\u{1b}") && shown.len() < 300, "{shown}");
    }

    #[test]
    fn hex_has_one_spelling() {
        let id: FlowId = "00112233445566778899aabbccddeeff".parse().unwrap();
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
        assert!(
            "00112233445566778899AABBCCDDEEFF"
                .parse::<FlowId>()
                .is_err()
        );
        assert!("0011".parse::<FlowId>().is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_round_trips(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<UserId>() { prop_assert_eq!(name.as_str(), &text); }
            if let Ok(id) = text.parse::<FlowId>() { prop_assert_eq!(id.to_string(), text); }
        }
    }
}
