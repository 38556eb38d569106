//! From rows to a set of identifiers, with what belongs to each, in one pass and bounded memory.

use std::borrow::Cow;
use std::collections::HashSet;

use counterfoil_psi::{Identifier, IdentifierSet, Insertion, Normaliser, Refusal, SetError};
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::error::SourceError;
use super::payloads::Payloads;
use super::report::ReadReport;
use super::rows::{Read, Row};
use super::source::Source;

/// Rows between two calls of the progress callback.
const PROGRESS_ROWS: u64 = 1 << 16;

/// Why a set of identifiers could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Rows, but not one identifier.
    #[error(
        "not one of the {rows} rows of `{source_name}` has a usable {kind} in column `{column}`: {why}; is it the right \
         column, type and default region?",
        rows = .0.rows, source_name = .0.source, kind = .0.kind, column = .0.column, why = why_none(.0)
    )]
    NoneUsable(Box<ReadReport>),
    /// The set is full.
    #[error(transparent)]
    Set(#[from] SetError),
}

/// Which cells of a source are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The column that holds the identifiers.
    pub column: &'a str,
    /// How its cells become identifiers.
    pub normaliser: Normaliser,
    /// The columns that `decide` looks at.
    pub others: &'a [&'a str],
    /// Bytes that are kept with each row.
    pub payload_bytes: usize,
    /// Identifiers that join the set after all rows, unless a row has them, with zeros for a payload.
    pub added: &'a [Identifier],
}

/// What to do with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to the set, with what was written as its payload.
    Keep,
    /// It is fine and not wanted: outside a segment, for example.
    Leave,
    /// It is fine and its person did not consent, for this reason: the person is left out, whatever was said of
    /// earlier rows.
    Withheld(Cow<'static, str>),
    /// It cannot be used, for this reason, which must not quote a cell.
    Invalid(Cow<'static, str>),
}

/// Decides on a row and writes its payload into the given bytes, which are zero.
pub type Decide<'a> = &'a mut dyn FnMut(&Row<'_>, &mut [u8]) -> Verdict;

/// A set of identifiers, what was kept with each, and what became of the other rows.
#[derive(Debug)]
pub struct Loaded {
    /// The identifiers.
    pub set: IdentifierSet,
    /// The payload of each identifier, by its index in the set.
    pub payloads: Payloads,
    /// The count of all rows.
    pub report: ReadReport,
    /// How many were added: the last of the set.
    pub added: u32,
}

/// Reads a source to its end: the wanted column becomes a set of identifiers, each row counted in the report.
///
/// `decide` sees every row with a valid identifier and chooses; without it all are kept. Of several rows of one
/// identifier the first counts, whatever `decide` says of the others: otherwise a person would have other tags
/// in a segment than outside it. Only [`Verdict::Withheld`] counts in every row. `progress` is told the number of rows now and then and at the end. `rng` keys
/// the tables of this set.
///
/// # Errors
/// Whatever the source has, and [`LoadError::NoneUsable`] if no row holds an identifier (a segment that chooses
/// none is not an error).
pub fn read_identifiers<R: CryptoRng + ?Sized>(
    source: &Source,
    wanted: &Wanted<'_>,
    decide: Option<Decide<'_>>,
    progress: &mut dyn FnMut(u64),
    rng: &mut R,
) -> Result<Loaded, LoadError> {
    let mut rows = source.open()?;
    let mut columns = vec![wanted.column];
    columns.extend(wanted.others);
    rows.select(&columns)?;
    let mut loader = Loader::new(rows.name(), wanted, decide, &mut *rng);
    while let Some(read) = rows.next_row()? {
        loader.take(&read)?;
        if loader.report.rows.is_multiple_of(PROGRESS_ROWS) {
            progress(loader.report.rows);
        }
    }
    progress(loader.report.rows);
    loader.finish(wanted.added, rng)
}

struct Loader<'a> {
    normaliser: Normaliser,
    decide: Option<Decide<'a>>,
    set: IdentifierSet,
    passed_over: PassedOver,
    /// Indices of identifiers that were taken and then withheld.
    taken_back: HashSet<u32>,
    payloads: Payloads,
    payload: Zeroizing<Vec<u8>>,
    report: ReadReport,
}

impl<'a> Loader<'a> {
    fn new<R: CryptoRng + ?Sized>(
        source_name: &str,
        wanted: &Wanted<'_>,
        decide: Option<Decide<'a>>,
        rng: &mut R,
    ) -> Self {
        let kind = wanted.normaliser.kind();
        Self {
            normaliser: wanted.normaliser,
            decide,
            set: IdentifierSet::new(kind, rng),
            passed_over: PassedOver::new(rng),
            taken_back: HashSet::new(),
            payloads: Payloads::new(wanted.payload_bytes),
            payload: Zeroizing::new(vec![0; wanted.payload_bytes]),
            report: ReadReport::new(source_name, wanted.column, kind),
        }
    }

    fn take(&mut self, read: &Read<'_>) -> Result<(), SetError> {
        self.report.rows += 1;
        let row = match read {
            Read::Row(row) => row,
            Read::Bad(bad) => {
                // The reason without its figures, so that rows of all widths are one sort.
                self.report
                    .add_invalid(bad.line, Cow::Borrowed(bad.reason.sort()));
                return Ok(());
            }
        };
        match self.normaliser.normalise(row.cell(0).unwrap_or_default()) {
            Ok(identifier) => self.take_identifier(row, &identifier)?,
            Err(Refusal::Empty) => self.report.empty.add(row.line()),
            Err(refusal) => self
                .report
                .add_invalid(row.line(), refusal.to_string().into()),
        }
        Ok(())
    }

    fn take_identifier(&mut self, row: &Row<'_>, identifier: &Identifier) -> Result<(), SetError> {
        if self.passed_over.contains(identifier) {
            self.report.duplicates.add(row.line());
            return Ok(());
        }
        self.payload.fill(0);
        let verdict = match &mut self.decide {
            Some(decide) => decide(row, &mut self.payload),
            None => Verdict::Keep,
        };
        match verdict {
            Verdict::Keep => match self.set.insert(identifier)? {
                Insertion::New(_) => {
                    self.payloads.push(&self.payload);
                    self.report.accepted += 1;
                }
                Insertion::Duplicate(_) => self.report.duplicates.add(row.line()),
            },
            Verdict::Leave => {
                self.passed_over.insert(identifier);
                self.report.not_selected += 1;
            }
            Verdict::Withheld(reason) => {
                if let Some(index) = self.set.position(identifier) {
                    // This row counts for the person, and the one that was taken for its repetition.
                    self.taken_back.insert(index);
                    self.report.accepted -= 1;
                    self.report.duplicates.add(row.line());
                }
                self.passed_over.insert(identifier);
                self.report.add_withheld(row.line(), reason);
            }
            Verdict::Invalid(reason) => {
                self.passed_over.insert(identifier);
                self.report.add_invalid(row.line(), reason);
            }
        }
        Ok(())
    }

    fn finish<R: CryptoRng + ?Sized>(
        mut self,
        added: &[Identifier],
        rng: &mut R,
    ) -> Result<Loaded, LoadError> {
        self.report.sort();
        let usable = self.report.accepted + self.report.not_selected + self.report.withheld_rows();
        if usable == 0 {
            return Err(LoadError::NoneUsable(Box::new(self.report)));
        }
        if !self.taken_back.is_empty() {
            let keep = |index: u32| !self.taken_back.contains(&index);
            self.set = self.set.filtered(keep, rng)?;
            self.payloads = self.payloads.filtered(keep);
        }
        self.payload.fill(0);
        let mut new = 0;
        for identifier in added {
            if !self.passed_over.contains(identifier)
                && let Insertion::New(_) = self.set.insert(identifier)?
            {
                self.payloads.push(&self.payload);
                new += 1;
            }
        }
        self.set.close();
        Ok(Loaded {
            added: new,
            set: self.set,
            payloads: self.payloads,
            report: self.report,
        })
    }
}

/// Identifiers whose first row was not kept, as hashes under a salt that is lost with this value.
///
/// 128 bits: the chance that two of 10^7 identifiers agree, and one is taken for a duplicate, is below 2^-82.
struct PassedOver {
    salt: Zeroizing<[u8; 32]>,
    hashes: HashSet<[u8; 16]>,
}

impl PassedOver {
    fn new<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut salt = Zeroizing::new([0; 32]);
        rng.fill_bytes(salt.as_mut_slice());
        Self {
            salt,
            hashes: HashSet::new(),
        }
    }

    fn contains(&self, identifier: &Identifier) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&self.hash(identifier))
    }

    fn insert(&mut self, identifier: &Identifier) {
        let hash = self.hash(identifier);
        self.hashes.insert(hash);
    }

    fn hash(&self, identifier: &Identifier) -> [u8; 16] {
        let digest = Sha256::new()
            .chain_update(self.salt.as_slice())
            .chain_update(identifier.as_bytes())
            .finalize();
        let mut hash = [0; 16];
        for (to, from) in hash.iter_mut().zip(digest) {
            *to = from;
        }
        hash
    }
}

fn why_none(report: &ReadReport) -> String {
    let others = report.table().into_iter().skip(2);
    let told: Vec<String> = others
        .map(|row| format!("{} {} (lines {})", row.rows, row.what, row.lines))
        .collect();
    told.join(", ")
}
