//! Tags: what is told of a customer, and in which form.
//!
//! Every tag has a hierarchy of levels. Level 0 is the value as the owner holds it, level
//! n is that value after n steps of generalisation, and above the last level stands `*`,
//! the suppressed cell, which is always allowed. The agreement names the level at which
//! the tag is delivered; a delivery may be coarser, never finer.
//!
//! Two kinds of hierarchy exist. *Closed* ones (categorical, ordinal) list every value and
//! map it to a parent, level by level. *Banded* ones (score, amount, number, date) cut the
//! line at edges: `<e` below the first, `[a,b)` between two, `>=e` from the last. Edges of
//! a coarser level are a subset of the finer one's, so every band has one parent. They may
//! have bounds, `min` and `max`, both inclusive: a value beyond is no value of the tag.

mod bands;
mod bounds;
mod check;
mod closed;
mod coarser;
mod fields;

use std::fmt;

use serde_json::{Value as Json, json};

use crate::decimal::Decimal;
use crate::taxonomy::SecurityLevel;
use crate::text::{TagName, closed_list};

use bands::Bands;
use closed::Closed;

pub(crate) use bounds::{Bounds, Point, PointKind};
pub(crate) use check::{TagProblem, TagSpec};
pub(crate) use fields::{Fields, Written};

closed_list!(
    /// What sort of value a tag holds.
    TagKind, "a kind of tag", "one of categorical, ordinal, score, amount, date, number",
    {
        Categorical = "categorical": "One of a closed list of values without order.",
        Ordinal = "ordinal": "One of a closed list of values, lowest first.",
        Score = "score": "A number on a model's scale.",
        Amount = "amount": "A number in a unit of money.",
        Date = "date": "An RFC 3339 full-date.",
        Number = "number": "Any other number.",
    }
);

impl TagKind {
    /// Whether the tag takes one of a closed list of values.
    #[must_use]
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Categorical | Self::Ordinal)
    }
}

closed_list!(
    /// Sensitivity after JR/T 0171-2020. C3 (authentication data) has no member here: a tag
    /// of that class cannot be constructed.
    DataClass, "a data class that may be delivered", "C1 or C2",
    {
        C1 = "C1": "Information for use inside an institution.",
        C2 = "C2": "Information that identifies a person or tells of their finances.",
    }
);

closed_list!(
    /// In which form a tag is delivered.
    Form, "a form", "one of exact, level, banded",
    {
        Exact = "exact": "The value as the owner holds it (level 0).",
        Level = "level": "A closed value, generalised to a named level.",
        Banded = "banded": "A number or date, told as the band it lies in.",
    }
);

/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 128;
/// The suppressed cell: the top of every hierarchy.
pub const SUPPRESSED: &str = "*";
/// Loss of a suppressed cell, in parts per million; an ungeneralised cell has loss 0.
pub const LOSS_PPM_MAX: u32 = 1_000_000;

/// A tag's value in a form that its tag admits.
///
/// Tells something of a person, so `Debug` does not show it. At most
/// [`VALUE_BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Box<str>);

impl Value {
    /// The suppressed cell, `*`.
    #[must_use]
    pub fn suppressed() -> Self {
        Self(SUPPRESSED.into())
    }

    /// The text as it is delivered.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the cell tells nothing.
    #[must_use]
    pub fn is_suppressed(&self) -> bool {
        &*self.0 == SUPPRESSED
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(redacted)")
    }
}

/// Why a cell has no value in its tag. Never shows the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Unmapped {
    /// Nothing but blanks.
    #[error("the cell is empty")]
    Empty,
    /// More than [`VALUE_BYTES_MAX`] bytes.
    #[error("the cell is longer than 128 bytes")]
    TooLong,
    /// Not in the closed list, not a band of the tag, or finer than agreed.
    #[error("the value is outside the tag's domain; map it to one of the agreed values")]
    OutsideDomain,
    /// Not an exact decimal.
    #[error(
        "the cell is not a decimal number like 1234.5; write it without separators, unit or sign of a currency"
    )]
    NotANumber,
    /// Not a full-date.
    #[error("the cell is not a date like 2026-11-23; name another form with `date` in the mapping")]
    NotADate,
    /// A number or date below the tag's `min` or above its `max`.
    #[error(
        "the value lies outside the tag's bounds (`min`, `max`); correct it, or map it as empty with `null`"
    )]
    OutOfBounds,
}

/// A checked tag of an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    name: TagName,
    meaning: Box<str>,
    kind: TagKind,
    class: DataClass,
    security_level: SecurityLevel,
    tolerance: Decimal,
    form: Form,
    level: usize,
    hierarchy: Hierarchy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hierarchy {
    Closed(Closed),
    Banded(Bands),
}

impl Tag {
    /// The tag's name, the header of its column.
    #[must_use]
    pub fn name(&self) -> &TagName {
        &self.name
    }

    /// What the tag says of a customer, in a sentence.
    #[must_use]
    pub fn meaning(&self) -> &str {
        &self.meaning
    }

    /// The sort of value.
    #[must_use]
    pub fn kind(&self) -> TagKind {
        self.kind
    }

    /// The sensitivity class.
    #[must_use]
    pub fn class(&self) -> DataClass {
        self.class
    }

    /// The security level after JR/T 0197-2020. Not [`level`](Self::level), which is how far
    /// the tag is generalised.
    #[must_use]
    pub fn security_level(&self) -> SecurityLevel {
        self.security_level
    }

    /// By how much a watermark may move an exact value, in the tag's unit (days for dates);
    /// 0 if values must stay as they are.
    #[must_use]
    pub fn tolerance(&self) -> Decimal {
        self.tolerance
    }

    /// The agreed form.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The level at which the tag is delivered: 0 is exact, n the nth level of its hierarchy.
    #[must_use]
    pub fn level(&self) -> usize {
        self.level
    }

    /// Levels above 0 that the hierarchy names, `*` not counted.
    #[must_use]
    pub fn level_count(&self) -> usize {
        match &self.hierarchy {
            Hierarchy::Closed(closed) => closed.levels().len(),
            Hierarchy::Banded(bands) => bands.levels().len(),
        }
    }

    /// The tag at the first level of its hierarchy; exact if it has none.
    #[must_use]
    pub fn at_first_level(&self) -> Self {
        let form = if self.kind.is_closed() {
            Form::Level
        } else {
            Form::Banded
        };
        match self.level_count() {
            0 => self.clone(),
            _ => Self {
                form,
                level: 1,
                ..self.clone()
            },
        }
    }

    /// The tag told exactly, with its values and bounds alone.
    #[must_use]
    pub(crate) fn without_hierarchy(&self) -> Self {
        let hierarchy = match &self.hierarchy {
            Hierarchy::Closed(closed) => {
                Hierarchy::Closed(Closed::new(closed.values().to_vec(), Vec::new()))
            }
            Hierarchy::Banded(bands) => Hierarchy::Banded(bands.without_levels()),
        };
        Self {
            tolerance: Decimal::from(0),
            form: Form::Exact,
            level: 0,
            hierarchy,
            ..self.clone()
        }
    }

    /// How many different values can be delivered, `*` not counted; `None` if unbounded.
    #[must_use]
    pub fn distinct_values(&self) -> Option<usize> {
        self.distinct_values_at(self.level)
    }

    /// How many different values there are at a level, `*` not counted; `None` if unbounded.
    #[must_use]
    pub fn distinct_values_at(&self, level: usize) -> Option<usize> {
        match &self.hierarchy {
            Hierarchy::Closed(closed) => Some(closed.labels_at(level)),
            Hierarchy::Banded(bands) => bands.labels_at(level),
        }
    }

    /// Whether exact numbers or dates are delivered: points, not labels.
    pub(crate) fn is_exact_point(&self) -> bool {
        !self.kind.is_closed() && self.level == 0
    }

    /// All values that are delivered where nothing is made coarser, in their order; `None` if they are unbounded.
    pub(crate) fn delivered_labels(&self) -> Option<Vec<String>> {
        match &self.hierarchy {
            Hierarchy::Closed(closed) => Some(closed.labels_in_order(self.level)),
            Hierarchy::Banded(bands) => bands.labels_in_order(self.level),
        }
    }

    /// The owner's cell in the agreed form. Blanks around the cell are ignored.
    ///
    /// # Errors
    /// [`Unmapped`] if the cell has no value in this tag. The owner counts it, shows line
    /// numbers, and sends [`Value::suppressed`] or leaves the row out.
    pub fn generalise(&self, raw: &str) -> Result<Value, Unmapped> {
        let cell = checked_cell(raw.trim())?;
        match &self.hierarchy {
            Hierarchy::Closed(closed) => closed.generalise(cell, self.level),
            Hierarchy::Banded(bands) => bands.generalise(cell, self.level),
        }
    }

    /// Text that a peer sent as a value of this tag, at the agreed level or coarser.
    ///
    /// # Errors
    /// [`Unmapped`] if it is finer than agreed, outside the domain or not in the one
    /// spelling that [`generalise`](Self::generalise) writes.
    pub fn admit(&self, text: &str) -> Result<Value, Unmapped> {
        let cell = checked_cell(text)?;
        if cell == SUPPRESSED {
            return Ok(Value::suppressed());
        }
        let admitted = match &self.hierarchy {
            Hierarchy::Closed(closed) => closed.admits(cell, self.level),
            Hierarchy::Banded(bands) => bands.admits(cell, self.level),
        };
        admitted
            .then(|| Value(cell.into()))
            .ok_or(Unmapped::OutsideDomain)
    }

    /// Whether [`admit`](Self::admit) takes the text.
    #[must_use]
    pub fn accepts(&self, text: &str) -> bool {
        self.admit(text).is_ok()
    }

    /// The value one step up: the nearest ancestor with another label, at last `*`.
    ///
    /// `None` if the cell is suppressed already. A value that is not of this tag goes to
    /// `*` at once, so nothing unknown stays visible.
    #[must_use]
    pub fn coarser(&self, value: &Value) -> Option<Value> {
        if value.is_suppressed() {
            return None;
        }
        let parent = match &self.hierarchy {
            Hierarchy::Closed(closed) => closed.coarser(value.as_str()),
            Hierarchy::Banded(bands) => bands.coarser(value.as_str()),
        };
        Some(parent.unwrap_or_else(Value::suppressed))
    }

    /// Information lost when a cell is told as `value`, 0 to [`LOSS_PPM_MAX`].
    ///
    /// The share of the domain that the label could stand for: (covered - 1) / (all - 1)
    /// leaves, the loss metric of Iyengar, "Transforming data to satisfy privacy
    /// constraints" (KDD 2002). Leaves are the closed list's values or the finest bands;
    /// where exact numbers are delivered a band has no single leaf and counts covered / all.
    #[must_use]
    pub fn loss_ppm(&self, value: &Value) -> u32 {
        if value.is_suppressed() {
            return LOSS_PPM_MAX;
        }
        let (covered, all) = match &self.hierarchy {
            Hierarchy::Closed(closed) => closed.leaves(value.as_str()),
            Hierarchy::Banded(bands) => bands.leaves(value.as_str(), self.level),
        };
        match all {
            0 => 0,
            all => u32::try_from(covered.min(all) as u64 * u64::from(LOSS_PPM_MAX) / all as u64)
                .unwrap_or(LOSS_PPM_MAX),
        }
    }

    /// The closed list's values in their order; empty for banded kinds.
    #[must_use]
    pub fn values(&self) -> &[Box<str>] {
        match &self.hierarchy {
            Hierarchy::Closed(closed) => closed.values(),
            Hierarchy::Banded(_) => &[],
        }
    }

    /// Where the values of a number or date lie; open for closed lists.
    pub(crate) fn bounds(&self) -> Bounds {
        match &self.hierarchy {
            Hierarchy::Closed(_) => Bounds::default(),
            Hierarchy::Banded(bands) => bands.bounds(),
        }
    }

    pub(crate) fn to_spec(&self) -> TagSpec {
        TagSpec {
            name: self.name.clone(),
            meaning: self.meaning.clone(),
            kind: self.kind,
            class: self.class,
            security_level: self.security_level,
            tolerance: self.tolerance,
            form: self.form,
            level: Some(self.level as u64),
            written: self.written(),
        }
    }

    fn written(&self) -> Written {
        match &self.hierarchy {
            Hierarchy::Closed(closed) => Written {
                values: closed.values().to_vec(),
                levels: closed.levels().to_vec(),
                ..Written::default()
            },
            Hierarchy::Banded(bands) => {
                let text = |point: Option<Point>| point.map(|point| point.to_string());
                Written {
                    bands: bands.edge_texts(),
                    min: text(bands.bounds().min),
                    max: text(bands.bounds().max),
                    ..Written::default()
                }
            }
        }
    }

    /// The definition without the form in which it is delivered, for canonical documents.
    pub(crate) fn definition_json(&self) -> serde_json::Map<String, Json> {
        let written = self.written();
        let mut fields = serde_json::Map::new();
        let mut insert = |key: &str, value| fields.insert(key.to_owned(), value);
        insert("name", json!(self.name));
        insert("meaning", json!(self.meaning));
        insert("kind", json!(self.kind));
        insert("class", json!(self.class));
        insert("security_level", json!(self.security_level.number()));
        insert("tolerance", json!(self.tolerance));
        if self.kind.is_closed() {
            insert("values", json!(written.values));
            insert("levels", json!(written.levels));
        } else {
            insert("bands", json!(written.bands));
        }
        // Left out where there are none, so that what has no bounds keeps its digest.
        for (key, bound) in [("min", written.min), ("max", written.max)] {
            if let Some(bound) = bound {
                insert(key, json!(bound));
            }
        }
        fields
    }
}

fn checked_cell(cell: &str) -> Result<&str, Unmapped> {
    match cell.len() {
        0 => Err(Unmapped::Empty),
        1..=VALUE_BYTES_MAX => Ok(cell),
        _ => Err(Unmapped::TooLong),
    }
}

#[cfg(test)]
mod tests;
