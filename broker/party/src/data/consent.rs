//! The owner's consent records: columns of its dataset, or a second source that is joined to it.
//!
//! A record that cannot be read, or that names a recipient nobody has listed, stops the reading: with records in
//! doubt nothing leaves. A record that is fine and does not cover the flow only leaves its person out.

use std::collections::HashMap;

use counterfoil_policy::consent::{PROOF_BYTES, ReferenceKey, RowProof, Scope, Uncovered};
use counterfoil_policy::moment::Timestamp;
use counterfoil_psi::Normaliser;
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use time::UtcOffset;
use zeroize::Zeroizing;

use super::error::SourceError;
use super::rows::{Read, Row, Rows};
use super::source::Source;
use record::KEY;

mod check;
mod record;

pub use check::ConsentReport;
pub(super) use check::check_consent;

/// Where withdrawals stand, if nothing else is declared.
const WITHDRAWALS: &str = "withdrawn";

/// Where the consent records of a dataset are.
#[derive(Clone, Debug)]
pub struct ConsentRecords {
    /// Records of their own; `None` if they are columns of the dataset.
    pub(super) joined: Option<JoinedRecords>,
    pub(super) columns: ConsentColumns,
    /// Where a day of the records begins and ends.
    pub(super) utc_offset: UtcOffset,
    /// Every recipient that may occur in the records.
    pub(super) recipients: Vec<String>,
}

/// A second source, and how its rows find theirs in the dataset.
#[derive(Clone, Debug)]
pub(super) struct JoinedRecords {
    pub(super) source: Source,
    pub(super) key: String,
    pub(super) dataset_key: String,
    /// How a key becomes comparable, if it is an identifier; else it is compared as text without outer blanks.
    pub(super) normaliser: Option<Normaliser>,
}

/// The column of each field of a record.
#[derive(Clone, Debug)]
pub(super) struct ConsentColumns {
    pub(super) recipient: String,
    pub(super) contact: String,
    pub(super) purpose: String,
    pub(super) method: String,
    pub(super) categories: String,
    pub(super) given: String,
    pub(super) expires: String,
    pub(super) withdrawn: Option<String>,
    pub(super) reference: String,
}

impl ConsentColumns {
    /// A column of this name is looked at whether it was declared or not: a withdrawal nobody reads is one that is
    /// not honoured.
    fn notice_withdrawals(&mut self, columns: &[String]) {
        if self.withdrawn.is_none() {
            self.withdrawn = columns.iter().find(|name| *name == WITHDRAWALS).cloned();
        }
    }

    /// A row of the dataset in which nobody consented to anything.
    fn are_empty(&self, row: &Row<'_>) -> bool {
        self.names()
            .all(|name| row.get(name).unwrap_or_default().trim().is_empty())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let required = [
            &self.recipient,
            &self.contact,
            &self.purpose,
            &self.method,
            &self.categories,
            &self.given,
            &self.expires,
            &self.reference,
        ];
        required
            .into_iter()
            .chain(&self.withdrawn)
            .map(String::as_str)
    }
}

impl ConsentRecords {
    pub(super) fn relative_to(&mut self, folder: &std::path::Path) {
        if let Some(joined) = &mut self.joined {
            joined.source = joined.source.clone().relative_to(folder);
        }
    }

    /// Has `rows` yield the columns of the records, and their key if they have a source of their own.
    fn select(&self, rows: &mut Rows) -> Result<(), SourceError> {
        let key = self.joined.as_ref().map(|joined| joined.key.as_str());
        let mut columns: Vec<&str> = self.columns.names().chain(key).collect();
        columns.sort_unstable();
        columns.dedup();
        rows.select(&columns)
    }
}

/// What consents are compared with in one flow.
#[derive(Debug)]
pub struct Asked {
    /// What people must have consented to.
    pub scope: Scope,
    /// Turns references into what the broker sees.
    pub key: ReferenceKey,
    /// The time at which a consent must be in force.
    pub now: Timestamp,
}

/// A proof as it stands in a row.
pub type Proof = [u8; PROOF_BYTES];

/// Finds the proof of each row of a dataset.
#[derive(Debug)]
pub struct Proofs {
    records: ConsentRecords,
    asked: Asked,
    /// The persons of the second source, by the hash of their key.
    people: HashMap<[u8; 16], Person>,
    salt: Zeroizing<[u8; 32]>,
    source_name: String,
}

/// What the records of one person come to.
#[derive(Debug)]
struct Person {
    proof: Option<(Timestamp, Proof)>,
    withdrawn: Option<Timestamp>,
    why_not: Uncovered,
}

impl Default for Person {
    fn default() -> Self {
        Self {
            proof: None,
            withdrawn: None,
            why_not: Uncovered::Absent,
        }
    }
}

impl Person {
    /// Of the consents that cover the flow the latest counts. A withdrawal ends all that were given until it, its own
    /// record's among them.
    fn add(&mut self, judged: Judged) {
        match judged.proof {
            Ok(proof) => {
                if self.proof.is_none_or(|(given, _)| given < judged.given) {
                    self.proof = Some((judged.given, proof));
                }
            }
            Err(why_not) => {
                if why_not == Uncovered::Withdrawn {
                    self.withdrawn = self.withdrawn.max(judged.withdrawn);
                }
                self.why_not = why_not;
            }
        }
    }

    fn proof(&self) -> Result<Proof, Uncovered> {
        let (given, proof) = self.proof.ok_or(self.why_not)?;
        if self.withdrawn.is_some_and(|withdrawn| given <= withdrawn) {
            return Err(Uncovered::Withdrawn);
        }
        Ok(proof)
    }
}

struct Judged {
    given: Timestamp,
    /// Consents given until then are withdrawn, to the end of the day if only a day is known.
    withdrawn: Option<Timestamp>,
    proof: Result<Proof, Uncovered>,
}

impl Proofs {
    /// Reads the second source, if there is one. Blocks.
    ///
    /// # Errors
    /// [`SourceError`]: it cannot be read, a column is missing, or a record is wrong, with its line.
    pub fn load(
        records: ConsentRecords,
        asked: Asked,
        dataset: &Source,
    ) -> Result<Self, SourceError> {
        let mut salt = Zeroizing::new([0; 32]);
        rand::rng().fill_bytes(salt.as_mut_slice());
        let joined = records.joined.clone();
        let source = joined.as_ref().map_or(dataset, |joined| &joined.source);
        let mut rows = source.open()?;
        let mut records = records;
        records.columns.notice_withdrawals(rows.columns());
        let mut proofs = Self {
            records,
            asked,
            people: HashMap::new(),
            salt,
            source_name: source.to_string(),
        };
        if let Some(joined) = &joined {
            proofs.read(joined, &mut rows)?;
        }
        Ok(proofs)
    }

    fn read(&mut self, joined: &JoinedRecords, rows: &mut Rows) -> Result<(), SourceError> {
        self.records.select(rows)?;
        while let Some(read) = rows.next_row()? {
            let row = match read {
                Read::Row(row) => row,
                Read::Bad(bad) => return Err(self.fault(bad.line, bad.reason.sort())),
            };
            let Some(key) = self.key(joined, row.get(&joined.key)) else {
                return Err(self.fault(row.line(), KEY));
            };
            let judged = self.judge(&row)?;
            self.people.entry(key).or_default().add(judged);
        }
        Ok(())
    }

    /// What people must have consented to.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.asked.scope
    }

    /// Columns of the dataset that [`proof`](Self::proof) looks at.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        let joined = self.records.joined.as_ref();
        let own = match joined {
            None => Some(self.records.columns.names()),
            Some(_) => None,
        };
        own.into_iter()
            .flatten()
            .chain(joined.map(|joined| joined.dataset_key.as_str()))
    }

    /// The proof of a row of the dataset, or why it has none.
    ///
    /// # Errors
    /// The row's own record is wrong, with its line.
    pub fn proof(&self, row: &Row<'_>) -> Result<Result<Proof, Uncovered>, SourceError> {
        if let Some(joined) = &self.records.joined {
            let key = self.key(joined, row.get(&joined.dataset_key));
            let person = key.and_then(|key| self.people.get(&key));
            return Ok(person.map_or(Err(Uncovered::Absent), Person::proof));
        }
        if self.records.columns.are_empty(row) {
            return Ok(Err(Uncovered::Absent));
        }
        let mut person = Person::default();
        person.add(self.judge(row)?);
        Ok(person.proof())
    }

    fn judge(&self, row: &Row<'_>) -> Result<Judged, SourceError> {
        let dated = self.records.record(row);
        let dated = dated.map_err(|why| self.fault(row.line(), why))?;
        let covered = self.asked.scope.covers(&dated.record, self.asked.now);
        let mac = |days| RowProof::new(days, self.asked.key.mac(dated.reference)).to_bytes();
        Ok(Judged {
            given: dated.record.given,
            withdrawn: dated.withdrawn_until,
            proof: covered.map(mac),
        })
    }

    fn key(&self, joined: &JoinedRecords, cell: Option<&str>) -> Option<[u8; 16]> {
        let cell = cell?.trim();
        let mut hasher = Sha256::new().chain_update(self.salt.as_slice());
        match &joined.normaliser {
            Some(normaliser) => hasher.update(normaliser.normalise(cell).ok()?.as_bytes()),
            None if cell.is_empty() => return None,
            None => hasher.update(cell),
        }
        hasher.finalize().first_chunk().copied()
    }

    fn fault(&self, line: u64, why: &'static str) -> SourceError {
        SourceError::Consent {
            source_name: self.source_name.clone(),
            line,
            why,
        }
    }
}
