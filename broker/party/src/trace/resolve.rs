//! From identifiers in a leaked file to the owner's customers, and from these to mark tags.

use std::collections::HashMap;

use counterfoil_psi::Normaliser;
use counterfoil_watermark::{MarkTag, TagBits, TraceKey};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::file::LeakedFile;
use crate::data::{Dataset, Read, Source};
use crate::error::{Error, Result};

/// Of the cells of a column that are not empty, how many in a hundred must be identifiers of one type.
const FIT_PERCENT_MIN: usize = 50;
/// Cells that are looked at to tell what a column holds.
const LOOKED_AT: usize = 2_000;

/// What became of the rows of a leaked file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// Rows of the file.
    pub rows: u64,
    /// Rows whose customers the owner knows.
    pub used: u64,
    /// Rows that could not be read.
    pub bad: u64,
    /// Rows without a valid identifier.
    pub without_identifier: u64,
    /// Rows whose identifiers are none of the dataset's.
    pub unknown: u64,
    /// Rows whose identifiers belong to different customers.
    pub contradictory: u64,
    /// Why only reference codes are looked at; none if marks are scored.
    pub codes_only: Option<String>,
    /// Columns in which identifiers were found, with their type.
    pub identifier_columns: Vec<String>,
}

/// The mark tag of each row that has one, by the row's index in the file.
pub(super) struct Tagged {
    pub(super) tags: Vec<(usize, MarkTag)>,
    /// Columns of the file that hold identifiers: nothing of them is sent.
    pub(super) identifiers: Vec<usize>,
    pub(super) resolved: Resolved,
}

/// Whose row it is, as far as is known yet.
#[derive(Clone)]
enum Owner {
    Nobody,
    Customer(MarkTag),
    Several,
}

/// Looks every identifier of the file up in the owner's data. Blocks.
///
/// # Errors
/// The dataset cannot be read, or no column of the file holds identifiers of one of its types.
pub(super) fn resolve(
    file: &LeakedFile,
    dataset: &Dataset,
    lineage: &str,
    key: &TraceKey,
    bits: TagBits,
) -> Result<Tagged> {
    let columns = identifier_columns(file, dataset);
    if columns.is_empty() {
        let kinds = dataset.identifiers().iter().map(|i| i.kind().to_string());
        return Err(Error::Input(format!(
            "no column of the file holds identifiers of the dataset ({}): without one nobody can be told whose rows they are",
            kinds.collect::<Vec<_>>().join(", ")
        )));
    }
    let wanted = Wanted::of(file, &columns);
    let mut owners = vec![Owner::Nobody; file.taken()];
    let mark = |customer: &[u8]| key.tag(lineage, customer, bits);
    // What was delivered under a number that changed since is still its customer's.
    for source in std::iter::once(dataset.source()).chain(dataset.former()) {
        look_up(source, dataset, &wanted, mark, &mut owners)?;
    }
    Ok(tagged(file, &columns, &wanted, &owners))
}

/// Finds the owners of rows among the customers of a source, as far as it has columns of identifiers.
fn look_up(
    source: &Source,
    dataset: &Dataset,
    wanted: &Wanted,
    mark: impl Fn(&[u8]) -> MarkTag,
    owners: &mut [Owner],
) -> Result<()> {
    let customer = dataset.customer_key();
    let mut rows = source.open()?;
    let there = |name: &str| rows.columns().iter().any(|column| column == name);
    let identifiers = dataset.identifiers().iter().map(|i| i.column());
    let mut names: Vec<&str> = identifiers.filter(|name| there(name)).collect();
    names.push(customer.column());
    rows.select(&names)?;
    while let Some(read) = rows.next_row()? {
        let Read::Row(row) = read else { continue };
        let mut tag = None;
        for identifier in dataset.identifiers() {
            let cell = row.get(identifier.column()).unwrap_or_default();
            let Some(found) = wanted.rows_of(identifier.normaliser(), cell) else {
                continue;
            };
            let tag = *tag.get_or_insert_with(|| {
                let cell = row.get(customer.column()).unwrap_or_default();
                customer.read(cell).map(|id| mark(&id))
            });
            let Some(tag) = tag else { continue };
            for index in found {
                if let Some(owner) = owners.get_mut(*index) {
                    *owner = owner.with(tag);
                }
            }
        }
    }
    Ok(())
}

impl Owner {
    fn with(&self, tag: MarkTag) -> Self {
        match self {
            Self::Nobody => Self::Customer(tag),
            Self::Customer(before) if *before == tag => self.clone(),
            _ => Self::Several,
        }
    }
}

fn tagged(
    file: &LeakedFile,
    columns: &[(usize, Normaliser)],
    wanted: &Wanted,
    owners: &[Owner],
) -> Tagged {
    let mut resolved = Resolved {
        rows: file.rows,
        bad: file.bad,
        identifier_columns: columns
            .iter()
            .map(|(index, normaliser)| {
                let name = file.columns.get(*index).map_or("", String::as_str);
                format!("{} ({})", name.escape_debug(), normaliser.kind())
            })
            .collect(),
        ..Resolved::default()
    };
    let mut tags = Vec::new();
    for (index, owner) in owners.iter().enumerate() {
        match owner {
            Owner::Customer(tag) => tags.push((index, *tag)),
            Owner::Several => resolved.contradictory += 1,
            Owner::Nobody if wanted.has(index) => resolved.unknown += 1,
            Owner::Nobody => resolved.without_identifier += 1,
        }
    }
    resolved.used = tags.len() as u64;
    Tagged {
        tags,
        identifiers: columns.iter().map(|(index, _)| *index).collect(),
        resolved,
    }
}

/// The columns that hold identifiers, each with the type that fits most of its cells.
fn identifier_columns(file: &LeakedFile, dataset: &Dataset) -> Vec<(usize, Normaliser)> {
    let best = |(index, cells): (usize, &Vec<Box<str>>)| {
        let filled: Vec<_> = cells
            .iter()
            .filter(|cell| !cell.trim().is_empty())
            .take(LOOKED_AT)
            .collect();
        let fits = dataset.identifiers().iter().map(|identifier| {
            let normaliser = identifier.normaliser();
            let valid = filled
                .iter()
                .filter(|cell| normaliser.normalise(cell).is_ok());
            (valid.count() * 100 / filled.len().max(1), normaliser)
        });
        let (percent, normaliser) = fits.max_by_key(|(percent, _)| *percent)?;
        (percent >= FIT_PERCENT_MIN).then_some((index, normaliser))
    };
    file.cells.iter().enumerate().filter_map(best).collect()
}

/// The rows of each identifier of the file.
struct Wanted {
    /// By a hash: no second copy of the identifiers.
    rows: HashMap<[u8; 32], Vec<usize>>,
    has: Vec<bool>,
}

impl Wanted {
    fn of(file: &LeakedFile, columns: &[(usize, Normaliser)]) -> Self {
        let mut wanted = Self {
            rows: HashMap::new(),
            has: vec![false; file.taken()],
        };
        for (column, normaliser) in columns {
            for (index, cell) in file.cells.get(*column).into_iter().flatten().enumerate() {
                if let Ok(identifier) = normaliser.normalise(cell) {
                    let key = keyed(*normaliser, identifier.as_bytes());
                    wanted.rows.entry(key).or_default().push(index);
                    if let Some(has) = wanted.has.get_mut(index) {
                        *has = true;
                    }
                }
            }
        }
        wanted
    }

    fn rows_of(&self, normaliser: Normaliser, cell: &str) -> Option<&[usize]> {
        let identifier = normaliser.normalise(cell).ok()?;
        let key = keyed(normaliser, identifier.as_bytes());
        self.rows.get(&key).map(Vec::as_slice)
    }

    fn has(&self, index: usize) -> bool {
        self.has.get(index).copied().unwrap_or(false)
    }
}

/// Identifiers of different types never meet.
fn keyed(normaliser: Normaliser, identifier: &[u8]) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(normaliser.kind().label());
    hash.chain_update([0])
        .chain_update(identifier)
        .finalize()
        .into()
}
