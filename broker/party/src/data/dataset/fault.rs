//! What can be wrong with a dataset.

use counterfoil_psi::{IdentifierKind, UnknownKind, UnknownRegion};

use crate::data::error::SourceError;

/// What can be wrong with a dataset.
#[derive(Debug, thiserror::Error)]
pub enum DatasetFault {
    /// The file cannot be read.
    #[error("cannot read the datasets: {0}")]
    File(#[from] std::io::Error),
    /// Not TOML, or a key that is unknown, missing or of another type.
    #[error("{0}")]
    Syntax(String),
    /// The source of a dataset.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A type of identifier that does not exist.
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    /// A region that does not exist.
    #[error(transparent)]
    Region(#[from] UnknownRegion),
    /// A region where none is meant.
    #[error("only phones have a default region: leave it out for `{0}`")]
    RegionWithoutPhone(IdentifierKind),
    /// A name that an agreement could not carry.
    #[error("`{0}` is not a name: use 1 to 64 of a-z, 0-9, `_` and `-`, beginning with a letter")]
    Name(String),
    /// A name or type that is already taken.
    #[error("{what} `{name}` is there twice: keep one")]
    Twice {
        /// What is named so.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Nothing to match by.
    #[error("`identifiers` is empty: add at least one `{{ type = \"phone\", column = \"…\" }}`")]
    NoIdentifiers,
    /// Former identifiers of customers whom nothing else tells apart.
    #[error(
        "`former` needs `customer`: without a key of their own, former identifiers are nobody's"
    )]
    FormerWithoutCustomer,
    /// An empty text where one is needed.
    #[error("`{0}` is empty: write something there or leave the entry out")]
    Empty(&'static str),
    /// Consent records in a source of their own that nothing joins to the dataset, or the other way round.
    #[error(
        "`source` and `key` of consent records go together: give both, or neither for columns of the dataset"
    )]
    ConsentKey,
    /// An offset from UTC that is none.
    #[error(
        "`utc_offset` is no offset like `+08:00`: give the one in which the consent records write days"
    )]
    UtcOffset,
    /// A taxonomy that is not here.
    #[error("taxonomy `{name}` version {version} is not here: give {would_pass}")]
    NoTaxonomy {
        /// The taxonomy.
        name: String,
        /// The version.
        version: u32,
        /// What would pass.
        would_pass: String,
    },
    /// A tag that the taxonomy does not have.
    #[error(
        "`{tag}` is not a tag of {taxonomy}, so it is not classified: `counterfoil taxonomy show` lists its tags"
    )]
    UnknownTag {
        /// The name.
        tag: String,
        /// The taxonomy.
        taxonomy: String,
    },
    /// A tag of class C3.
    #[error(
        "`{0}` is of class C3 (authentication data), which never leaves its institution: take it out"
    )]
    NeverLeaves(String),
    /// A mapping to what is no value of the tag.
    #[error("`{value}` is no value of tag `{tag}`: give {would_pass}")]
    NotAValue {
        /// What the mapping gives.
        value: String,
        /// The tag.
        tag: String,
        /// What would pass.
        would_pass: String,
    },
    /// Bands that do not ascend, or two without an end.
    #[error("bands overlap: give ascending `below`, and `below` in all but the last")]
    BandsOverlap,
    /// An edge that is no number.
    #[error("`below` is not a decimal number: give one like 500000 or 0.5")]
    NotAnEdge,
    /// A form of dates that is not known, or of no date.
    #[error("this is not a form of dates, or the tag is none: give one of {0}")]
    NotADatePattern(String),
    /// More than one way to read a cell.
    #[error("a tag has one of `values`, `bands` and `date`: keep one")]
    TwoRules,
    /// A rate that is none.
    #[error("`expected_rate`: {0}")]
    ExpectedRate(counterfoil_policy::text::Malformed),
    /// A database without a query.
    #[error("a postgres:// source needs a query: add `sql = \"SELECT …\"`")]
    NoSql,
}
