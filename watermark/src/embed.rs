//! Embedding: a flow's cells with the symbols of its recipient and of itself.

use crate::form::{Mark, Marks};
use crate::keys::{DatasetKey, SymbolKey};
use crate::lineage::{Column, Lineage};
use crate::position::{BATCH, Class, LANES, Lanes, Params, Places, Prefix, Symbols, prefix};
use crate::tag::MarkTag;

/// The keys of one delivery.
pub struct Embedder<'l> {
    lineage: &'l Lineage,
    places: Places,
    recipient: Symbols,
    flow: Symbols,
}

/// The cells of a column that its marks change, by row.
///
/// In one piece of text: a million small strings cost more than the marks do.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Row, and where its cell ends in the text.
    rows: Vec<(usize, usize)>,
    text: String,
}

impl Changes {
    /// Row, counted from 0, and what is delivered instead; in the order of the rows.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut start = 0;
        self.rows.iter().map(move |(row, end)| {
            let cell = self.text.get(start..*end).unwrap_or_default();
            start = *end;
            (*row, cell)
        })
    }

    /// Cells that are changed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no cell is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Cells tell something of a person.
impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Changes({} cells, redacted)", self.len())
    }
}

impl<'l> Embedder<'l> {
    /// For one flow of a lineage.
    #[must_use]
    pub fn new(
        lineage: &'l Lineage,
        dataset: &DatasetKey,
        recipient: &SymbolKey,
        flow: &SymbolKey,
    ) -> Self {
        Self {
            lineage,
            places: Places::new(dataset, lineage.flow_share()),
            recipient: Symbols::new(recipient),
            flow: Symbols::new(flow),
        }
    }

    /// The cells of a column that its marks change. Rows beyond the shorter of both are not looked at.
    ///
    /// What happens to a cell depends on its own tag and value, the keys and the column, on nothing
    /// else of the flow.
    pub fn mark<'c>(
        &self,
        column: &Column,
        tags: &[MarkTag],
        cells: impl IntoIterator<Item = &'c str>,
    ) -> Changes {
        let mut changes = Changes::default();
        let channels = column.form().channels();
        if channels == 0 {
            return changes;
        }
        let mut cells = cells.into_iter();
        let mut batch = Batch::default();
        for (number, tags) in tags.chunks(BATCH).enumerate() {
            batch.fill(self, column, channels, tags);
            for (place, cell) in cells.by_ref().take(tags.len()).enumerate() {
                let marks = batch.marks.get(place).copied().unwrap_or_default();
                if column.form().mark_into(cell, &marks, &mut changes.text) {
                    let row = number * BATCH + place;
                    changes.rows.push((row, changes.text.len()));
                }
            }
        }
        changes
    }

    /// The lineage.
    #[must_use]
    pub fn lineage(&self) -> &Lineage {
        self.lineage
    }
}

/// Working memory for rows that are marked together.
struct Batch {
    prefixes: Vec<Prefix>,
    params: Vec<[Option<Params>; LANES]>,
    marks: [Marks; BATCH],
    /// Those of the rows that have a position.
    chosen: Vec<Prefix>,
    recipient: [Lanes; BATCH],
    flow: [Lanes; BATCH],
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            prefixes: Vec::with_capacity(BATCH),
            params: Vec::with_capacity(BATCH),
            marks: [Marks::default(); BATCH],
            chosen: Vec::with_capacity(BATCH),
            recipient: [Lanes::default(); BATCH],
            flow: [Lanes::default(); BATCH],
        }
    }
}

impl Batch {
    fn fill(&mut self, keys: &Embedder<'_>, column: &Column, channels: usize, tags: &[MarkTag]) {
        self.prefixes.clear();
        self.params.clear();
        self.chosen.clear();
        let prefixes = tags.iter().map(|tag| prefix(*tag, column.digest()));
        self.prefixes.extend(prefixes);
        let selected = column.selected();
        (keys.places).params(&self.prefixes, selected, channels, &mut self.params);
        let rows = self.prefixes.iter().zip(&self.params);
        let chosen = rows.filter(|(_, params)| has_position(params));
        self.chosen.extend(chosen.map(|(prefix, _)| *prefix));
        // Of both, though each position asks one of them: a block costs less than to sort the rows by it.
        keys.recipient.lanes(&self.chosen, &mut self.recipient);
        keys.flow.lanes(&self.chosen, &mut self.flow);
        let mut symbols = self.recipient.iter().zip(&self.flow);
        for (params, marks) in self.params.iter().zip(&mut self.marks) {
            *marks = Marks::default();
            if has_position(params)
                && let Some((recipient, flow)) = symbols.next()
            {
                let lanes = recipient.iter().zip(flow);
                for ((mark, params), (recipient, flow)) in marks.iter_mut().zip(params).zip(lanes) {
                    *mark = params.map(|params| {
                        let symbol = match params.class {
                            Class::Recipient => *recipient,
                            Class::Flow => *flow,
                        };
                        Mark {
                            bit: symbol < params.threshold(),
                            tie: params.tie,
                        }
                    });
                }
            }
        }
    }
}

#[inline]
fn has_position(params: &[Option<Params>; LANES]) -> bool {
    params.iter().any(Option::is_some)
}

#[cfg(test)]
mod tests;
