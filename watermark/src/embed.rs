//! Embedding: a flow's cells with the symbols of its recipient and of itself.

use crate::form::{Mark, Marks};
use crate::keys::{DatasetKey, SymbolKey};
use crate::lineage::{Column, Lineage};
use crate::position::{BATCH, Class, Lanes, Params, Places, Prefix, Symbols, prefix};
use crate::tag::MarkTag;

/// The keys of one delivery.
pub struct Embedder<'l> {
    lineage: &'l Lineage,
    places: Places,
    recipient: Symbols,
    flow: Symbols,
}

/// A cell that a mark changes.
#[derive(Clone, PartialEq, Eq)]
pub struct Changed {
    /// The row, counted from 0.
    pub row: usize,
    /// What is delivered instead.
    pub cell: String,
}

/// Tells something of a person.
impl std::fmt::Debug for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changed(redacted)")
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
    ) -> Vec<Changed> {
        let mut changed = Vec::new();
        let channels = column.form().channels();
        if channels == 0 {
            return changed;
        }
        let mut cells = cells.into_iter();
        let mut batch = Batch::default();
        for (number, tags) in tags.chunks(BATCH).enumerate() {
            batch.fill(self, column, channels, tags);
            for (place, cell) in cells.by_ref().take(tags.len()).enumerate() {
                let marks = batch.marks.get(place).copied().unwrap_or_default();
                if let Some(cell) = column.form().mark(cell, &marks) {
                    let row = number * BATCH + place;
                    changed.push(Changed { row, cell });
                }
            }
        }
        changed
    }

    /// The lineage.
    #[must_use]
    pub fn lineage(&self) -> &Lineage {
        self.lineage
    }
}

/// Working memory for rows that are marked together.
#[derive(Default)]
struct Batch {
    prefixes: Vec<Prefix>,
    params: Vec<[Option<Params>; crate::position::LANES]>,
    marks: Vec<Marks>,
}

impl Batch {
    fn fill(&mut self, keys: &Embedder<'_>, column: &Column, channels: usize, tags: &[MarkTag]) {
        self.prefixes.clear();
        self.params.clear();
        self.marks.clear();
        let prefixes = tags.iter().map(|tag| prefix(*tag, column.digest()));
        self.prefixes.extend(prefixes);
        let selected = column.selected();
        (keys.places).params(&self.prefixes, selected, channels, &mut self.params);
        let recipient = self.lanes(&keys.recipient, Class::Recipient);
        let flow = self.lanes(&keys.flow, Class::Flow);
        let mut recipient = recipient.iter();
        let mut flow = flow.iter();
        for params in &self.params {
            let mut ours = None;
            let mut theirs = None;
            if has(params, Class::Recipient) {
                ours = recipient.next();
            }
            if has(params, Class::Flow) {
                theirs = flow.next();
            }
            let mut marks = Marks::default();
            for (lane, (mark, params)) in marks.iter_mut().zip(params).enumerate() {
                let Some(params) = params else { continue };
                let lanes = match params.class {
                    Class::Recipient => ours,
                    Class::Flow => theirs,
                };
                let symbol = lanes.and_then(|lanes| lanes.get(lane).copied());
                *mark = symbol.map(|symbol| Mark {
                    bit: symbol < params.threshold(),
                    tie: params.tie,
                });
            }
            self.marks.push(marks);
        }
    }

    /// The symbols' lanes of the rows that have a position of this class, in their order.
    fn lanes(&self, symbols: &Symbols, class: Class) -> Vec<Lanes> {
        let wanted = self.prefixes.iter().zip(&self.params);
        let wanted = wanted.filter(|(_, params)| has(params.as_slice(), class));
        let prefixes: Vec<Prefix> = wanted.map(|(prefix, _)| *prefix).collect();
        let mut lanes = [Lanes::default(); BATCH];
        symbols.lanes(&prefixes, &mut lanes);
        lanes.into_iter().take(prefixes.len()).collect()
    }
}

fn has(params: &[Option<Params>], class: Class) -> bool {
    params.iter().flatten().any(|params| params.class == class)
}

#[cfg(test)]
mod tests;
