//! Segments: named predicates over the tags of a taxonomy.
//!
//! A segment says which of the owner's rows take part in a flow. Its text stands in the
//! agreement, so both institutions sign it; only the owner's agent evaluates it, on the
//! values that its mapping gives, before they are generalised.
//!
//! ```text
//! predicate  = conjunction { "or" conjunction }
//! conjunction = term { "and" term }
//! term       = "not" term | "(" predicate ")" | comparison
//! comparison = tag ("=" | "!=" | "<" | "<=" | ">" | ">=") literal
//!            | tag ["not"] "in" "(" literal { "," literal } ")"
//! tag        = letter { letter | digit | "_" }
//! literal    = "'" any text "'" | decimal | date
//! ```
//!
//! A quote inside quoted text is written twice. Words are case-insensitive, values are
//! exact. A literal must be of its tag's domain: one of a closed list's values, a number or
//! a date; values of an ordinal tag are ordered as its list is, those of a categorical one
//! are not. A row belongs to a segment only if it has a value in every tag that the
//! predicate names; there is no null and no third truth value.
//!
//! Belonging to a segment is told of everyone who is delivered. So a segment is charged as every
//! flow is, with its size class against the agreement's caps, named in the entry, and the tags by
//! which it chooses count as told: to the rules, to the consents and to the count of sensitive
//! data abroad. It has no cap of its own: a recipient that asks segment after segment to single
//! people out pays for each of them in full.

mod lexer;
mod parser;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::tag::{Bounds, Point, PointKind, Tag, TagKind, Unmapped};

/// What a tag's values are, to a predicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    /// One of these, lowest first.
    Ordered(Vec<Box<str>>),
    /// One of these, in no order.
    Unordered(Vec<Box<str>>),
    /// An exact decimal, compared by value.
    Number(Bounds),
    /// An RFC 3339 full-date, compared by time.
    Date(Bounds),
}

impl Domain {
    /// The values of a tag, before they are generalised.
    pub(crate) fn of(tag: &Tag) -> Self {
        match tag.kind() {
            TagKind::Ordinal => Self::Ordered(tag.values().to_vec()),
            TagKind::Categorical => Self::Unordered(tag.values().to_vec()),
            TagKind::Date => Self::Date(tag.bounds()),
            TagKind::Score | TagKind::Amount | TagKind::Number => Self::Number(tag.bounds()),
        }
    }

    fn is_ordered(&self) -> bool {
        !matches!(self, Self::Unordered(_))
    }

    /// A cell or a literal's text as a value.
    fn read(&self, text: &str) -> Result<Literal, Unmapped> {
        let text = text.trim();
        let (kind, bounds) = match self {
            Self::Ordered(values) | Self::Unordered(values) => {
                let place = values.iter().position(|value| **value == *text);
                return place.map(Literal::Place).ok_or(Unmapped::OutsideDomain);
            }
            Self::Number(bounds) => (PointKind::Number, bounds),
            Self::Date(bounds) => (PointKind::Date, bounds),
        };
        kind.read(text)
            .and_then(|point| bounds.hold(point))
            .map(Literal::Point)
    }
}

/// The tags that a predicate may name.
pub(crate) type Domains = BTreeMap<Box<str>, Domain>;

/// Longest predicate, in bytes.
pub const PREDICATE_BYTES_MAX: usize = 1024;
/// Deepest nesting of parentheses and `not`.
pub const PREDICATE_DEPTH_MAX: usize = 16;

/// What is wrong with a predicate, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {problem}; {would_pass}")]
pub struct PredicateError {
    pub(crate) position: usize,
    pub(crate) problem: String,
    pub(crate) would_pass: String,
    unknown_tag: Option<Box<str>>,
}

impl PredicateError {
    fn new(position: usize, problem: impl Into<String>, would_pass: impl Into<String>) -> Self {
        Self {
            position,
            problem: problem.into(),
            would_pass: would_pass.into(),
            unknown_tag: None,
        }
    }

    /// The tag that the predicate names and nobody told it of, if that is the fault.
    pub(crate) fn unknown_tag(&self) -> Option<&str> {
        self.unknown_tag.as_deref()
    }

    /// Where in the text, in characters counted from 1.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

/// Why a row could not be judged. It is then not a member; the caller counts it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tag `{tag}` of the segment: {why}")]
pub struct EvalError {
    /// The tag.
    pub tag: Box<str>,
    /// Why the row has no value in it. The cell is not shown.
    #[source]
    pub why: Unmapped,
}

/// A predicate that parsed and type-checked against the domains of its tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    text: Box<str>,
    root: Expr,
    used: Domains,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Compare {
        tag: Box<str>,
        operator: Operator,
        literal: Literal,
    },
    In {
        tag: Box<str>,
        literals: Vec<Literal>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    fn is_order(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }
}

/// A value of a tag's domain, in a predicate or in a row.
///
/// The derived order is used only within one domain, which the type check guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Literal {
    /// The place in the closed list.
    Place(usize),
    Point(Point),
}

impl Predicate {
    /// Parses and type-checks `text` against the tags that it may name.
    ///
    /// # Errors
    /// [`PredicateError`] with the position: longer than [`PREDICATE_BYTES_MAX`], nested
    /// deeper than [`PREDICATE_DEPTH_MAX`], not in the grammar, a tag that is not among
    /// `domains`, a literal that is no value of its tag, or an order where there is none.
    pub(crate) fn parse(text: &str, domains: &Domains) -> Result<Self, PredicateError> {
        if text.len() > PREDICATE_BYTES_MAX {
            return Err(PredicateError::new(
                1,
                format!("the predicate has {} bytes", text.len()),
                format!("at most {PREDICATE_BYTES_MAX} bytes pass"),
            ));
        }
        let tokens = lexer::tokens(text)?;
        let (root, used) = parser::parse(&tokens, text.chars().count() + 1, domains)?;
        Ok(Self {
            text: text.into(),
            root,
            used,
        })
    }

    /// The text as written in the agreement.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tags that the predicate names.
    #[must_use]
    pub fn tags(&self) -> BTreeSet<&str> {
        self.used.keys().map(AsRef::as_ref).collect()
    }

    /// Whether a row is a member; `lookup` gives the row's value in a tag, not generalised.
    ///
    /// Every tag is read before anything is compared, so the answer does not depend on the
    /// order in which the predicate names them.
    ///
    /// # Errors
    /// [`EvalError`] if the row has no value in a tag.
    pub fn eval<'r>(
        &self,
        lookup: impl Fn(&str) -> Result<Cow<'r, str>, Unmapped>,
    ) -> Result<bool, EvalError> {
        let mut values = Vec::with_capacity(self.used.len());
        for (tag, domain) in &self.used {
            let value = lookup(tag)
                .and_then(|cell| domain.read(&cell))
                .map_err(|why| EvalError {
                    tag: tag.clone(),
                    why,
                })?;
            values.push((&**tag, value));
        }
        Ok(self.root.holds(&values))
    }
}

impl Expr {
    /// Recursion is bounded by [`PREDICATE_DEPTH_MAX`], which the parser enforces.
    fn holds(&self, values: &[(&str, Literal)]) -> bool {
        let value = |name: &str| {
            values
                .iter()
                .find(|(tag, _)| *tag == name)
                .map(|(_, value)| *value)
        };
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(values)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(values)),
            Self::Not(part) => !part.holds(values),
            Self::Compare {
                tag,
                operator,
                literal,
            } => value(tag).is_some_and(|value| operator.holds(value.cmp(literal))),
            Self::In { tag, literals } => value(tag).is_some_and(|value| literals.contains(&value)),
        }
    }
}

#[cfg(test)]
mod tests;
