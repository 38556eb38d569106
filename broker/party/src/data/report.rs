//! What became of the rows of a source: counts and lines, never a value.

use std::borrow::Cow;

use counterfoil_psi::IdentifierKind;
use serde::{Serialize, Serializer};

/// Lines shown of each sort of rows that were left out.
pub const SHOWN_LINES: usize = 20;
/// Different reasons told apart; rows with a further one are counted under a common reason.
const REASONS_MAX: usize = 64;

/// What became of the rows of a source.
///
/// `rows = accepted + not_selected + withheld + empty + duplicates + invalid`, each row counted once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadReport {
    /// The path or place, without a password.
    pub source: String,
    /// The identifier column.
    pub column: String,
    /// The type of the identifiers.
    #[serde(serialize_with = "label")]
    pub kind: IdentifierKind,
    /// All rows, without the header.
    pub rows: u64,
    /// Rows in the set.
    pub accepted: u64,
    /// Rows that are usable and were not chosen, by a segment for example.
    pub not_selected: u64,
    /// Rows of people without a consent that covers the flow, by reason, most frequent first.
    pub withheld: Vec<Invalid>,
    /// Rows without an identifier.
    pub empty: Lines,
    /// Rows whose identifier an earlier row has: the first row of a person counts.
    pub duplicates: Lines,
    /// Rows that cannot be used, by reason, most frequent first.
    pub invalid: Vec<Invalid>,
}

/// How many rows, and where the first of them are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// How many.
    pub count: u64,
    /// The first [`SHOWN_LINES`] of them: lines of a text file, numbers of rows elsewhere.
    pub first: Vec<u64>,
}

/// Rows that are left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invalid {
    /// The reason.
    pub reason: Cow<'static, str>,
    /// The rows.
    #[serde(flatten)]
    pub lines: Lines,
}

/// A line of the report as a table: what, how many, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRow {
    /// What became of the rows.
    pub what: String,
    /// How many there are.
    pub rows: u64,
    /// The first lines, as text; empty where they are not collected.
    pub lines: String,
}

impl ReadReport {
    pub(super) fn new(source: &str, column: &str, kind: IdentifierKind) -> Self {
        Self {
            source: source.to_owned(),
            column: column.to_owned(),
            kind,
            rows: 0,
            accepted: 0,
            not_selected: 0,
            withheld: Vec::new(),
            empty: Lines::default(),
            duplicates: Lines::default(),
            invalid: Vec::new(),
        }
    }

    /// How many rows cannot be used, for all reasons.
    #[must_use]
    pub fn invalid_rows(&self) -> u64 {
        self.invalid.iter().map(|invalid| invalid.lines.count).sum()
    }

    /// How many rows are left out for want of consent, for all reasons.
    #[must_use]
    pub fn withheld_rows(&self) -> u64 {
        self.withheld.iter().map(|held| held.lines.count).sum()
    }

    /// The report as a table; what did not occur is left out.
    #[must_use]
    pub fn table(&self) -> Vec<TableRow> {
        let plain = |what: &str, rows| TableRow {
            what: what.to_owned(),
            rows,
            lines: String::new(),
        };
        let placed = |what: String, lines: &Lines| TableRow {
            what,
            rows: lines.count,
            lines: lines.to_string(),
        };
        let mut table = vec![plain("rows", self.rows), plain("accepted", self.accepted)];
        let mut further = vec![plain("not selected", self.not_selected)];
        let withheld = self.withheld.iter();
        further
            .extend(withheld.map(|held| placed(format!("left out: {}", held.reason), &held.lines)));
        further.push(placed("empty".to_owned(), &self.empty));
        further.push(placed("duplicate".to_owned(), &self.duplicates));
        further.extend(
            self.invalid
                .iter()
                .map(|invalid| placed(format!("invalid: {}", invalid.reason), &invalid.lines)),
        );
        table.extend(further.into_iter().filter(|row| row.rows > 0));
        table
    }

    pub(super) fn add_invalid(&mut self, line: u64, reason: Cow<'static, str>) {
        add(&mut self.invalid, line, reason);
    }

    pub(super) fn add_withheld(&mut self, line: u64, reason: Cow<'static, str>) {
        add(&mut self.withheld, line, reason);
    }

    /// Puts the most frequent reason first.
    pub(super) fn sort(&mut self) {
        for reasons in [&mut self.invalid, &mut self.withheld] {
            reasons.sort_by_key(|reason| std::cmp::Reverse(reason.lines.count));
        }
    }
}

/// Counts a line under its reason.
pub(super) fn add(reasons: &mut Vec<Invalid>, line: u64, reason: Cow<'static, str>) {
    if let Some(known) = reasons.iter_mut().find(|known| known.reason == reason) {
        return known.lines.add(line);
    }
    let reason = if reasons.len() < REASONS_MAX {
        reason
    } else {
        Cow::Borrowed("other reasons")
    };
    if let Some(other) = reasons.iter_mut().find(|other| other.reason == reason) {
        return other.lines.add(line);
    }
    reasons.push(Invalid {
        reason,
        lines: Lines {
            count: 1,
            first: vec![line],
        },
    });
}

impl Lines {
    pub(super) fn add(&mut self, line: u64) {
        self.count += 1;
        if self.first.len() < SHOWN_LINES {
            self.first.push(line);
        }
    }
}

impl std::fmt::Display for Lines {
    /// `3, 7, 12, …`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut numbers: Vec<String> = self.first.iter().map(u64::to_string).collect();
        if self.count > self.first.len() as u64 {
            numbers.push("…".to_owned());
        }
        f.write_str(&numbers.join(", "))
    }
}

fn label<S: Serializer>(kind: &IdentifierKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.label())
}
