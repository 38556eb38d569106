//! A leaked file, and the ways in which its columns may be the lineage's.

use crate::error::MarkError;
use crate::form::Reading;
use crate::lineage::Lineage;
use crate::tag::MarkTag;

/// Most readings of a file that are scored; their e-values are averaged.
pub const ASSIGNMENTS_MAX: usize = 64;
/// Most steps of the search for them.
const STEPS_MAX: usize = 100_000;
/// Of the cells that are not empty, in percent, how many must fit a column for it to be compatible.
const FIT_PERCENT_MIN: usize = 50;
/// A reading is left out if another one of the same pair of columns fits so many cells in a hundred more.
const FIT_PERCENT_MARGIN: usize = 5;

/// The rows of a leaked file whose identifiers the owner knows, as mark tags and text.
#[derive(Clone)]
pub struct Leak {
    tags: Vec<MarkTag>,
    columns: Vec<Vec<Box<str>>>,
}

/// Holds what people wrote.
impl std::fmt::Debug for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rows, columns) = (self.tags.len(), self.columns.len());
        write!(f, "Leak({rows} rows of {columns} columns, redacted)")
    }
}

impl Leak {
    /// A file by columns.
    ///
    /// # Errors
    /// [`MarkError::Ragged`] if a column has not one cell for each tag.
    pub fn new(tags: Vec<MarkTag>, columns: Vec<Vec<Box<str>>>) -> Result<Self, MarkError> {
        let expected = tags.len();
        match columns.iter().position(|column| column.len() != expected) {
            Some(index) => Err(MarkError::Ragged {
                index,
                found: columns.get(index).map_or(0, Vec::len),
                expected,
            }),
            None => Ok(Self { tags, columns }),
        }
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tags.len()
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    pub(crate) fn tags(&self) -> &[MarkTag] {
        &self.tags
    }

    pub(crate) fn column(&self, index: usize) -> &[Box<str>] {
        self.columns.get(index).map_or(&[], Vec::as_slice)
    }
}

/// A column of the file, taken for a column of the lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// In the file, counted from 0.
    pub found: usize,
    /// In the lineage, counted from 0.
    pub column: usize,
    /// How its cells are written.
    pub reading: Reading,
}

/// One way to read the file: no column of the file and none of the lineage occurs twice.
pub type Assignment = Vec<Match>;

/// Every way to read the file that its cells permit.
///
/// `known[i]` is the lineage's column that the file's column `i` is known to be, if it is. The
/// choice looks at the file and never at a symbol, so it tells nothing about any candidate.
///
/// # Errors
/// [`MarkError::TooAmbiguous`] beyond [`ASSIGNMENTS_MAX`]; [`MarkError::NoColumn`].
pub fn assignments(
    lineage: &Lineage,
    leak: &Leak,
    known: &[Option<usize>],
) -> Result<Vec<Assignment>, MarkError> {
    let mut options = Vec::new();
    for found in 0..leak.width() {
        let known = known.get(found).copied().flatten();
        if let Some(index) = known.filter(|known| *known >= lineage.columns().len()) {
            return Err(MarkError::NoColumn { index });
        }
        options.push(compatible(lineage, leak, found, known));
    }
    let readable = options.iter().filter(|own| !own.is_empty()).count();
    let mut search = Search {
        options: &options,
        found: Vec::new(),
        most: 0,
        steps: 0,
    };
    search.extend(0, readable, &mut Vec::new())?;
    Ok(search.found)
}

fn compatible(lineage: &Lineage, leak: &Leak, found: usize, known: Option<usize>) -> Assignment {
    let mut options = Vec::new();
    for (column, definition) in lineage.columns().iter().enumerate() {
        if known.is_some_and(|known| known != column) {
            continue;
        }
        let form = definition.form();
        let filled = leak
            .column(found)
            .iter()
            .filter(|cell| !cell.trim().is_empty());
        let filled_count = filled.clone().count();
        let fits = form.readings().into_iter().map(|reading| {
            let fitting = filled
                .clone()
                .filter(|cell| form.fits(cell, reading))
                .count();
            (reading, fitting * 100 / filled_count.max(1))
        });
        let fits: Vec<_> = fits.collect();
        let best = fits.iter().map(|(_, percent)| *percent).max().unwrap_or(0);
        let enough = FIT_PERCENT_MIN.max(best.saturating_sub(FIT_PERCENT_MARGIN));
        let fits = fits.into_iter().filter(|(_, percent)| *percent >= enough);
        options.extend(fits.map(|(reading, _)| Match {
            found,
            column,
            reading,
        }));
    }
    options
}

/// Looks for all assignments that read as many columns as can be read together.
struct Search<'o> {
    options: &'o [Assignment],
    found: Vec<Assignment>,
    /// Columns that each of `found` reads.
    most: usize,
    steps: usize,
}

impl Search<'_> {
    /// Takes the file's columns from `at` on, each as one of its options or as none; `left` of
    /// them have options.
    fn extend(&mut self, at: usize, left: usize, begun: &mut Assignment) -> Result<(), MarkError> {
        self.steps += 1;
        let limit = ASSIGNMENTS_MAX;
        if self.steps > STEPS_MAX || self.found.len() > limit {
            return Err(MarkError::TooAmbiguous { limit });
        }
        if begun.len() + left < self.most.max(1) {
            return Ok(());
        }
        let Some(own) = self.options.get(at) else {
            if begun.len() > self.most {
                self.most = begun.len();
                self.found.clear();
            }
            self.found.push(begun.clone());
            return Ok(());
        };
        let left = left - usize::from(!own.is_empty());
        for option in own {
            if begun.iter().all(|other| other.column != option.column) {
                begun.push(*option);
                self.extend(at + 1, left, begun)?;
                begun.pop();
            }
        }
        self.extend(at + 1, left, begun)
    }
}

#[cfg(test)]
mod tests;
