//! Taxonomies: the shared, versioned meaning of tags.
//!
//! A taxonomy says of each tag what it means, which values it has, how sensitive it is and
//! how it is generalised, so that two institutions that exchange `wealth_tier` mean the same.
//! An agreement names one ([`TaxonomyRef`]) and takes over the definitions of the tags it
//! uses, whole: what is signed explains itself, and a broker needs no taxonomy at all.
//! An agent that has the named version checks that the definitions are those of it
//! ([`Agreement::check_taxonomy`](crate::agreement::Agreement::check_taxonomy)).
//!
//! `cn-finance` is built in. An institution's own taxonomy is one more file of the same
//! form, which may extend another:
//!
//! ```
//! use counterfoil_policy::taxonomy::Library;
//!
//! let library = Library::load(&[("pets.toml", r#"
//! version_of_format = 1
//! name = "pets"
//! version = 1
//! extends = { name = "cn-finance", version = 1 }
//!
//! [[tags]]
//! name = "pet"
//! meaning = "The animal that the customer insured."
//! subject = "holdings"
//! kind = "categorical"
//! class = "C1"
//! security_level = 2
//! values = ["cat", "dog", "horse"]
//! levels = [{ cat = "small", dog = "small", horse = "large" }]
//! "#)])?;
//! let pets = library.find(&"pets".parse()?, 1).ok_or("it was loaded")?;
//! assert!(pets.definition(&"pet".parse()?).is_some());
//! assert!(pets.definition(&"wealth_tier".parse()?).is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod definition;
mod library;
mod read;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::finding::Findings;
use crate::purpose::Purpose;
use crate::tag::DataClass;
use crate::text::{Subject, TagName, TaxonomyDigest, TaxonomyName, closed_list};

pub use definition::Definition;
pub(crate) use definition::Use;
pub use library::{FileFindings, Library};
pub(crate) use read::{security_level, sentence, tolerance_of};

/// Largest taxonomy as people write it, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

closed_list!(
    /// Sensitivity after JR/T 0171-2020, personal financial information.
    Class, "a class", "one of C1, C2, C3",
    {
        C1 = "C1": "Information for use inside an institution.",
        C2 = "C2": "Information that identifies a person or tells of their finances.",
        C3 = "C3": "Authentication data: passwords, biometrics, card verification codes. It never leaves.",
    }
);

impl Class {
    /// The class, if data of it may be delivered at all.
    #[must_use]
    pub fn deliverable(self) -> Option<DataClass> {
        match self {
            Self::C1 => Some(DataClass::C1),
            Self::C2 => Some(DataClass::C2),
            Self::C3 => None,
        }
    }
}

impl From<DataClass> for Class {
    fn from(class: DataClass) -> Self {
        match class {
            DataClass::C1 => Self::C1,
            DataClass::C2 => Self::C2,
        }
    }
}

/// A security level after JR/T 0197-2020, from 1 (public) to 5 (harms national security).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SecurityLevel(u8);

impl SecurityLevel {
    /// The level of a number from 1 to 5.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (1..=5).contains(&number).then_some(Self(number))
    }

    /// The number, 1 to 5.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

/// Which taxonomy: name, version and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaxonomyRef {
    /// The name.
    pub name: TaxonomyName,
    /// The version, from 1.
    pub version: u32,
    /// SHA-256 of its definitions.
    pub digest: TaxonomyDigest,
}

impl fmt::Display for TaxonomyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} version {}", self.name, self.version)
    }
}

/// How much of a subject a purpose needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// Values generalised to this level, or to the tag's last if it has fewer.
    Level(usize),
}

/// Advice: the coarsest form that is adequate to a purpose, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adequacy {
    /// How much is needed.
    pub need: Need,
    /// Why, in a sentence.
    pub why: Box<str>,
}

/// A checked taxonomy. Equal digests mean equal definitions; advice may differ.
#[derive(Clone, Debug)]
pub struct Taxonomy {
    reference: TaxonomyRef,
    definitions: BTreeMap<TagName, Definition>,
    adequacy: BTreeMap<(Subject, Purpose), Adequacy>,
}

impl Taxonomy {
    fn new(
        name: TaxonomyName,
        version: u32,
        definitions: BTreeMap<TagName, Definition>,
        adequacy: BTreeMap<(Subject, Purpose), Adequacy>,
    ) -> Result<Self, Findings> {
        let tags: Vec<_> = definitions.values().map(Definition::json).collect();
        let document = json!({ "name": name, "version": version, "tags": tags });
        let canonical = serde_json_canonicalizer::to_vec(&document).map_err(|error| {
            Findings::of_document(format!("no canonical form: {error}"), "plain definitions")
        })?;
        Ok(Self {
            reference: TaxonomyRef {
                name,
                version,
                digest: TaxonomyDigest::from_bytes(Sha256::digest(canonical).into()),
            },
            definitions,
            adequacy,
        })
    }

    /// Name, version and digest.
    #[must_use]
    pub fn reference(&self) -> &TaxonomyRef {
        &self.reference
    }

    /// Every definition, by name; those of an extended taxonomy too.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.values()
    }

    /// The definition of a tag.
    #[must_use]
    pub fn definition(&self, name: &TagName) -> Option<&Definition> {
        self.definitions.get(name)
    }

    /// The coarsest form of a subject that is adequate to a purpose, if the taxonomy says.
    #[must_use]
    pub fn adequacy(&self, subject: &Subject, purpose: Purpose) -> Option<&Adequacy> {
        self.adequacy.get(&(subject.clone(), purpose))
    }

    /// Names of tags, for messages: the nearest in spelling first, at most eight.
    pub(crate) fn near(&self, name: &str) -> String {
        let mut names: Vec<&str> = self.definitions.keys().map(TagName::as_str).collect();
        let shared = |other: &str| {
            name.chars()
                .zip(other.chars())
                .take_while(|(a, b)| a == b)
                .count()
        };
        names.sort_by_key(|other| std::cmp::Reverse(shared(other)));
        names.truncate(8);
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
