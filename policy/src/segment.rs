//! Segments: named predicates over the owner's own columns.
//!
//! A segment says which of the owner's rows take part in a flow. Its text stands in the
//! agreement, so both institutions sign it; only the owner's agent evaluates it.
//!
//! ```text
//! predicate  = conjunction { "or" conjunction }
//! conjunction = term { "and" term }
//! term       = "not" term | "(" predicate ")" | comparison
//! comparison = column ("=" | "!=" | "<" | "<=" | ">" | ">=") literal
//!            | column ["not"] "in" "(" literal { "," literal } ")"
//! column     = letter { letter | digit | "_" } | '"' any text '"'
//! literal    = "'" any text "'" | decimal | date
//! ```
//!
//! A quote inside quoted text is written twice. Words are case-insensitive, text
//! comparison is exact. A row belongs to a segment only if every cell the predicate names
//! reads as its column's type; there is no null and no third truth value.

mod lexer;
mod parser;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use time::Date;

use crate::decimal::Decimal;
use crate::moment::parse_date;
use crate::text::closed_list;

closed_list!(
    /// The type of a column in the owner's data.
    ColumnType, "a column type", "one of text, number, date",
    {
        Text = "text": "Compared for equality, byte for byte.",
        Number = "number": "An exact decimal, compared by value.",
        Date = "date": "An RFC 3339 full-date, compared by time.",
    }
);

/// Declared columns of a segment: name and type.
pub type Columns = BTreeMap<Box<str>, ColumnType>;

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
}

impl PredicateError {
    fn new(position: usize, problem: impl Into<String>, would_pass: impl Into<String>) -> Self {
        Self {
            position,
            problem: problem.into(),
            would_pass: would_pass.into(),
        }
    }

    /// Where in the text, in characters counted from 1.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

/// Why a row could not be judged. It is then not a member; the caller counts it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The row has no such column: wrong file or mapping, the same for every row.
    #[error("the dataset has no column `{0}`, which the segment uses; map it or correct the file")]
    MissingColumn(Box<str>),
    /// The cell does not read as the column's declared type. The value is not shown.
    #[error("a cell of column `{column}` is not a {expected}")]
    Cell {
        /// The column.
        column: Box<str>,
        /// Its declared type.
        expected: ColumnType,
    },
}

/// A predicate that parsed and type-checked against its declared columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    text: Box<str>,
    root: Expr,
    used: Columns,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Compare {
        column: Box<str>,
        operator: Operator,
        literal: Literal,
    },
    In {
        column: Box<str>,
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

/// A literal of the predicate or a cell read as its column's type.
///
/// The derived order is used only within one type, which the type check guarantees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Literal {
    Text(Box<str>),
    Number(Decimal),
    Date(Date),
}

impl Literal {
    fn column_type(&self) -> ColumnType {
        match self {
            Self::Text(_) => ColumnType::Text,
            Self::Number(_) => ColumnType::Number,
            Self::Date(_) => ColumnType::Date,
        }
    }
}

impl Predicate {
    /// Parses and type-checks `text` against the declared `columns`.
    ///
    /// # Errors
    /// [`PredicateError`] with the position: longer than [`PREDICATE_BYTES_MAX`], nested
    /// deeper than [`PREDICATE_DEPTH_MAX`], not in the grammar, a column that is not
    /// declared, or a literal of another type than its column.
    pub fn parse(text: &str, columns: &Columns) -> Result<Self, PredicateError> {
        if text.len() > PREDICATE_BYTES_MAX {
            return Err(PredicateError::new(
                1,
                format!("the predicate has {} bytes", text.len()),
                format!("at most {PREDICATE_BYTES_MAX} bytes pass"),
            ));
        }
        let tokens = lexer::tokens(text)?;
        let (root, used) = parser::parse(&tokens, text.chars().count() + 1, columns)?;
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

    /// The columns that the predicate reads, with their types.
    #[must_use]
    pub fn columns(&self) -> &Columns {
        &self.used
    }

    /// Whether a row is a member; `lookup` gives the row's cell in a column.
    ///
    /// Every column is read before anything is compared, so the answer does not depend on
    /// the order in which the predicate names them. Blanks around a number or a date are
    /// ignored; text is compared as it is.
    ///
    /// # Errors
    /// [`EvalError`] if a column is missing or a cell does not read as its column's type.
    pub fn eval<'r>(&self, lookup: impl Fn(&str) -> Option<&'r str>) -> Result<bool, EvalError> {
        let mut cells = Vec::with_capacity(self.used.len());
        for (column, &expected) in &self.used {
            let raw = lookup(column).ok_or_else(|| EvalError::MissingColumn(column.clone()))?;
            let cell = Cell::read(raw, expected).ok_or_else(|| EvalError::Cell {
                column: column.clone(),
                expected,
            })?;
            cells.push((&**column, cell));
        }
        Ok(self.root.holds(&cells))
    }
}

/// A row's cell, borrowed where it is text.
enum Cell<'r> {
    Text(&'r str),
    Number(Decimal),
    Date(Date),
}

impl<'r> Cell<'r> {
    fn read(raw: &'r str, expected: ColumnType) -> Option<Self> {
        match expected {
            ColumnType::Text => Some(Self::Text(raw)),
            ColumnType::Number => raw.trim_ascii().parse().ok().map(Self::Number),
            ColumnType::Date => parse_date(raw.trim_ascii()).map(Self::Date),
        }
    }

    /// `None` between different types, which the type check has ruled out.
    fn compare(&self, literal: &Literal) -> Option<Ordering> {
        match (self, literal) {
            (Self::Text(cell), Literal::Text(literal)) => Some((*cell).cmp(literal)),
            (Self::Number(cell), Literal::Number(literal)) => Some(cell.cmp(literal)),
            (Self::Date(cell), Literal::Date(literal)) => Some(cell.cmp(literal)),
            _ => None,
        }
    }
}

impl Expr {
    /// Recursion is bounded by [`PREDICATE_DEPTH_MAX`], which the parser enforces.
    fn holds(&self, cells: &[(&str, Cell<'_>)]) -> bool {
        let cell = |name: &str| {
            cells
                .iter()
                .find(|(column, _)| *column == name)
                .map(|(_, cell)| cell)
        };
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(cells)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(cells)),
            Self::Not(part) => !part.holds(cells),
            Self::Compare {
                column,
                operator,
                literal,
            } => cell(column)
                .and_then(|cell| cell.compare(literal))
                .is_some_and(|ordering| operator.holds(ordering)),
            Self::In { column, literals } => cell(column).is_some_and(|cell| {
                literals
                    .iter()
                    .any(|literal| cell.compare(literal) == Some(Ordering::Equal))
            }),
        }
    }
}

#[cfg(test)]
mod tests;
