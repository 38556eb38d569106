//! Verifying an export: memory for one line, the right edge of the tree, and the history.

use std::io::{self, BufRead, Read as _};

use serde::{Serialize, de::DeserializeOwned};

use super::{EntryLine, FORMAT, HeaderLine, Kind, LINE_BYTES_MAX};
use crate::{
    checkpoint::{CheckpointError, SignedCheckpoint, VerifiedCheckpoint},
    entry::{Entry, EntryBytes, EntryError},
    history::{Coverage, Finding, History},
    note::VerifierKey,
    tree::{Hash, ProofError, RootBuilder},
};

/// A verified export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it has all entries that the checkpoint signed.
    pub coverage: Coverage,
    /// How many entries it has, each of them shown to be in the signed log.
    pub entries: u64,
    /// The log's signed size and root.
    pub checkpoint: VerifiedCheckpoint,
    /// What does not hold together in the entries' story. The log is authentic all the
    /// same: these are questions to the broker.
    pub findings: Vec<Finding>,
    /// Findings more than are kept.
    pub findings_left_out: u64,
}

/// An export that is not what the log's key signed.
#[derive(Debug, thiserror::Error)]
#[error("line `{line}` of the export, after `{entries}` entries: {fault}")]
pub struct Failure {
    /// The first line that fails, from 1; one past the last when the whole does.
    pub line: u64,
    /// The entries before it that passed. In a whole export they matched their own leaf
    /// hash only, as the root is compared at the end.
    pub entries: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong with an export.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The source failed.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// A line over the bound, or without its newline.
    #[error("the line is longer than {LINE_BYTES_MAX} bytes or the file was cut off in it")]
    Line,
    /// No line at all.
    #[error("the file is empty")]
    Empty,
    /// Not the JSON of such a line.
    #[error("the line is malformed: {0}")]
    Shape(serde_json::Error),
    /// Another spelling of the same.
    #[error("the line is not in the one spelling that exports have: it was edited")]
    Spelling,
    /// Another format.
    #[error("the format is `{found}`, and this program reads `{FORMAT}`")]
    Format {
        /// The format it has.
        found: String,
    },
    /// The file brings another key than the trusted one.
    #[error(
        "the file names the log key `{found}`, and the trusted key is `{trusted}`: it is another log's export, or altered"
    )]
    OtherKey {
        /// The trusted key.
        trusted: Box<VerifierKey>,
        /// What the file has.
        found: String,
    },
    /// The header's origin is not the checkpoint's.
    #[error("the header names log `{found}`, and its checkpoint is of another")]
    Origin {
        /// What the header has.
        found: String,
    },
    /// The checkpoint is not the log's.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A whole export lacks an entry, or has them in another order.
    #[error("entry `{expected}` is missing or was moved: the line has entry `{found}`")]
    Order {
        /// The index that is next.
        expected: u64,
        /// The index that the line has.
        found: u64,
    },
    /// More entries than were signed.
    #[error("entry `{index}` is beyond the `{signed}` entries that were signed")]
    Unsigned {
        /// Its index.
        index: u64,
        /// The signed size.
        signed: u64,
    },
    /// Fewer entries than were signed.
    #[error(
        "the export ends before entry `{expected}`, and `{signed}` entries were signed: the last were cut off"
    )]
    CutOff {
        /// The first that is missing.
        expected: u64,
        /// The signed size.
        signed: u64,
    },
    /// An entry that is not the one its leaf hash was made of.
    #[error("entry `{index}` was altered: it does not fit the leaf hash beside it")]
    Altered {
        /// Its index.
        index: u64,
    },
    /// A part's entry without proof, or a proof in a whole export.
    #[error(
        "entry `{index}` has a proof in a whole export, or none in a part: the file was edited"
    )]
    ProofPlace {
        /// Its index.
        index: u64,
    },
    /// A part's entry that is not in the signed log.
    #[error("entry `{index}` is not shown to be in the signed log: {error}")]
    Proof {
        /// Its index.
        index: u64,
        /// Why.
        error: ProofError,
    },
    /// Bytes that the log has and that are no entry.
    #[error("entry `{index}` is no entry: {error}")]
    Entry {
        /// Its index.
        index: u64,
        /// Why.
        error: EntryError,
    },
    /// The entries are not those that were signed.
    #[error(
        "the entries have root `{computed}`, and `{signed}` was signed: some entry was altered together with its leaf hash, or put in another's place"
    )]
    Root {
        /// The root of the entries.
        computed: Hash,
        /// The root that was signed.
        signed: Hash,
    },
}

/// Verifies an export with the log's key, which must come from elsewhere: a key out of the
/// file would vouch for whatever else is in it.
///
/// # Errors
/// [`Failure`] at the first line that is not right.
pub fn verify(source: impl BufRead, trusted: &VerifierKey) -> Result<Report, Failure> {
    verify_each(source, trusted, |_, _| {})
}

/// As [`verify`], and shows every entry with its index. Of a whole export the root is compared at the end: what was
/// shown counts only once this returns well.
///
/// # Errors
/// As there.
pub fn verify_each(
    source: impl BufRead,
    trusted: &VerifierKey,
    mut visit: impl FnMut(u64, &Entry),
) -> Result<Report, Failure> {
    let mut lines = Lines {
        source,
        line: 0,
        buffer: Vec::new(),
    };
    let mut entries = 0;
    let outcome = verify_lines(&mut lines, trusted, &mut entries, &mut visit);
    outcome.map_err(|fault| Failure {
        line: lines.line,
        entries,
        fault,
    })
}

fn verify_lines(
    lines: &mut Lines<impl BufRead>,
    trusted: &VerifierKey,
    entries: &mut u64,
    visit: &mut impl FnMut(u64, &Entry),
) -> Result<Report, Fault> {
    let header: HeaderLine = lines.next()?.ok_or(Fault::Empty)?;
    let checkpoint = check_header(&header, trusted)?;
    let coverage = match header.kind {
        Kind::Whole => Coverage::Whole,
        Kind::Part => Coverage::Part,
    };
    let mut history = History::new(coverage);
    let mut root = RootBuilder::new();
    let mut next = 0;
    while let Some(line) = lines.next::<EntryLine>()? {
        let index = line.index.value();
        check_index(coverage, next, index, checkpoint.size())?;
        let entry = check_entry(coverage, &line, &checkpoint)?;
        root.push(line.leaf);
        history.apply(index, &entry);
        visit(index, &entry);
        next = index + 1;
        *entries += 1;
    }
    if coverage == Coverage::Whole {
        check_root(&root, &checkpoint)?;
    }
    let (findings, findings_left_out) = history.into_findings();
    Ok(Report {
        coverage,
        entries: *entries,
        checkpoint,
        findings,
        findings_left_out,
    })
}

fn check_header(header: &HeaderLine, trusted: &VerifierKey) -> Result<VerifiedCheckpoint, Fault> {
    if header.format != FORMAT {
        return Err(Fault::Format {
            found: header.format.clone(),
        });
    }
    if header.vkey != trusted.to_string() {
        let trusted = Box::new(trusted.clone());
        return Err(Fault::OtherKey {
            trusted,
            found: header.vkey.clone(),
        });
    }
    let checkpoint = SignedCheckpoint::parse(&header.checkpoint)?.verify(trusted)?;
    if header.origin != checkpoint.origin().as_str() {
        return Err(Fault::Origin {
            found: header.origin.clone(),
        });
    }
    Ok(checkpoint)
}

fn check_index(coverage: Coverage, expected: u64, found: u64, signed: u64) -> Result<(), Fault> {
    if found >= signed {
        return Err(Fault::Unsigned {
            index: found,
            signed,
        });
    }
    let fits = match coverage {
        Coverage::Whole => found == expected,
        Coverage::Part => found >= expected,
    };
    if fits {
        Ok(())
    } else {
        Err(Fault::Order { expected, found })
    }
}

fn check_entry(
    coverage: Coverage,
    line: &EntryLine,
    checkpoint: &VerifiedCheckpoint,
) -> Result<Entry, Fault> {
    let index = line.index.value();
    let altered = Fault::Altered { index };
    // Bytes that no entry can have were not made by the log.
    let Ok(bytes) = EntryBytes::new(line.entry.as_bytes()) else {
        return Err(altered);
    };
    if bytes.leaf_hash() != line.leaf {
        return Err(altered);
    }
    match (coverage, &line.proof) {
        (Coverage::Whole, None) => {}
        (Coverage::Part, Some(proof)) => proof
            .verify(&line.leaf, index, checkpoint.size(), &checkpoint.root())
            .map_err(|error| Fault::Proof { index, error })?,
        _ => return Err(Fault::ProofPlace { index }),
    }
    bytes.parse().map_err(|error| Fault::Entry { index, error })
}

fn check_root(root: &RootBuilder, checkpoint: &VerifiedCheckpoint) -> Result<(), Fault> {
    if root.size() != checkpoint.size() {
        return Err(Fault::CutOff {
            expected: root.size(),
            signed: checkpoint.size(),
        });
    }
    let (computed, signed) = (root.root(), checkpoint.root());
    if computed == signed {
        Ok(())
    } else {
        Err(Fault::Root { computed, signed })
    }
}

/// The file's lines, each read in its one spelling.
struct Lines<R> {
    source: R,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next<T: DeserializeOwned + Serialize>(&mut self) -> Result<Option<T>, Fault> {
        self.line += 1;
        self.buffer.clear();
        let bound = LINE_BYTES_MAX as u64;
        self.source
            .by_ref()
            .take(bound)
            .read_until(b'\n', &mut self.buffer)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let line = self.buffer.strip_suffix(b"\n").ok_or(Fault::Line)?;
        let value: T = serde_json::from_slice(line).map_err(Fault::Shape)?;
        let spelled = serde_json::to_vec(&value).map_err(Fault::Shape)?;
        if spelled == line {
            Ok(Some(value))
        } else {
            Err(Fault::Spelling)
        }
    }
}
