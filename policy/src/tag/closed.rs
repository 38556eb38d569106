//! Hierarchies over closed lists of values.

use std::collections::BTreeMap;

use super::{Unmapped, Value};

/// Parent of each label, by label.
pub(crate) type ParentMap = BTreeMap<Box<str>, Box<str>>;

/// INVARIANT (one set per label): a label that occurs at several levels stands for the same
/// set of values at each, and each level's map has exactly the labels of the level below as
/// keys. Established in `check`; so every label has one parent and the steps end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    values: Vec<Box<str>>,
    levels: Vec<ParentMap>,
    labels: BTreeMap<Box<str>, Label>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Label {
    is_value: bool,
    highest_level: usize,
    values_covered: usize,
    parent: Option<Box<str>>,
}

impl Closed {
    pub(super) fn new(values: Vec<Box<str>>, levels: Vec<ParentMap>) -> Self {
        let mut labels: BTreeMap<Box<str>, Label> = BTreeMap::new();
        for (level, covered) in coverage(&values, &levels).into_iter().enumerate() {
            for (text, values) in covered {
                let next = levels.get(level).and_then(|map| map.get(&text)).cloned();
                let label = labels.entry(text.clone()).or_default();
                label.is_value |= level == 0;
                label.highest_level = level;
                label.values_covered = values.len();
                label.parent = next.filter(|parent| *parent != text);
            }
        }
        Self {
            values,
            levels,
            labels,
        }
    }

    pub(super) fn values(&self) -> &[Box<str>] {
        &self.values
    }

    pub(super) fn levels(&self) -> &[ParentMap] {
        &self.levels
    }

    pub(super) fn labels_at(&self, level: usize) -> usize {
        let Some(map) = level
            .checked_sub(1)
            .and_then(|index| self.levels.get(index))
        else {
            return self.values.len();
        };
        map.values()
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    }

    /// The labels of a level, each where the first of its values stands.
    pub(super) fn labels_in_order(&self, level: usize) -> Vec<String> {
        let mut labels: Vec<String> = Vec::new();
        for value in &self.values {
            if let Ok(label) = self.generalise(value, level)
                && !labels.iter().any(|known| *known == label.as_str())
            {
                labels.push(label.as_str().to_owned());
            }
        }
        labels
    }

    pub(super) fn generalise(&self, cell: &str, level: usize) -> Result<Value, Unmapped> {
        // A label of a higher level is no value: the owner's cells hold values only.
        if !self.labels.get(cell).is_some_and(|label| label.is_value) {
            return Err(Unmapped::OutsideDomain);
        }
        let mut label = cell;
        for map in self.levels.iter().take(level) {
            label = map.get(label).ok_or(Unmapped::OutsideDomain)?;
        }
        Ok(Value(label.into()))
    }

    pub(super) fn admits(&self, text: &str, level: usize) -> bool {
        self.labels
            .get(text)
            .is_some_and(|label| label.highest_level >= level)
    }

    /// The next label up; `None` means the next is `*`.
    pub(super) fn coarser(&self, text: &str) -> Option<Value> {
        let parent = self.labels.get(text)?.parent.clone()?;
        Some(Value(parent))
    }

    /// Values covered and all, less one each.
    pub(super) fn leaves(&self, text: &str) -> (usize, usize) {
        let covered = self
            .labels
            .get(text)
            .map_or(1, |label| label.values_covered);
        (
            covered.saturating_sub(1),
            self.values.len().saturating_sub(1),
        )
    }
}

/// For each level from 0: every label with the indices of the values it covers, ascending.
pub(super) fn coverage(
    values: &[Box<str>],
    levels: &[ParentMap],
) -> Vec<BTreeMap<Box<str>, Vec<usize>>> {
    let mut current: Vec<Option<Box<str>>> = values.iter().cloned().map(Some).collect();
    let mut all = vec![by_label(&current)];
    for map in levels {
        current = current
            .into_iter()
            .map(|label| label.and_then(|label| map.get(&label).cloned()))
            .collect();
        all.push(by_label(&current));
    }
    all
}

fn by_label(labels: &[Option<Box<str>>]) -> BTreeMap<Box<str>, Vec<usize>> {
    let mut covered: BTreeMap<Box<str>, Vec<usize>> = BTreeMap::new();
    for (index, label) in labels.iter().enumerate() {
        if let Some(label) = label {
            covered.entry(label.clone()).or_default().push(index);
        }
    }
    covered
}
