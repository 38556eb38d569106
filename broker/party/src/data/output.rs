//! Writing a delivery: the entire file or none.
//!
//! Rows go to a temporary file beside the target, which is synced and only then given its name. A full disk, an
//! error or a kill before that leaves the target as it was; a temporary file that a kill left is removed by the
//! next run. The mode is 0600: the file holds what the partner knows of customers.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::encode::Encoder;

const PART_SUFFIX: &str = ".part";

/// What can go wrong with an output file.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A name that tells no format.
    #[error("`{path}` names no format: end it in .csv or .parquet")]
    Format {
        /// The path as given.
        path: PathBuf,
    },
    /// Something of that name is there.
    #[error("`{path}` exists already: name another file, or replace it with `--overwrite`")]
    Exists {
        /// The path as given.
        path: PathBuf,
    },
    /// A directory of that name is there.
    #[error("`{path}` is a directory: name a file in it")]
    Directory {
        /// The path as given.
        path: PathBuf,
    },
    /// The directory of the file is not there.
    #[error("there is no directory `{path}`: create it first")]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The disk or the quota is full.
    #[error(
        "no space is left to write `{path}`: nothing was written there and nothing is lost, free some space"
    )]
    DiskFull {
        /// The path as given.
        path: PathBuf,
    },
    /// The system refused for another reason.
    #[error("cannot write `{path}`: {error}")]
    Io {
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A row that does not fit the columns: our own mistake, so nothing is written.
    #[error("row {row} of the output has {found} cells where it has {expected} columns")]
    Ragged {
        /// The row, from 1.
        row: u64,
        /// Its cells.
        found: usize,
        /// The columns.
        expected: usize,
    },
}

/// The format of an output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text: UTF-8 without a mark, commas, LF.
    Csv,
    /// Parquet: every column an optional string, an empty cell is null.
    Parquet,
}

impl Format {
    /// The format that the end of a name tells.
    ///
    /// # Errors
    /// [`OutputError::Format`] for any end but `.csv` and `.parquet`.
    pub fn of(path: &Path) -> Result<Self, OutputError> {
        let extension = path
            .extension()
            .and_then(|text| text.to_str())
            .map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(OutputError::Format {
                path: path.to_owned(),
            }),
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// Rows, without the header.
    pub rows: u64,
    /// Cells that a spreadsheet would have run as a formula and that got a leading `'` (CSV only).
    pub neutralised: u64,
}

/// What becomes of a file that stands at the target already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is written.
    Refuse,
    /// It stays, and that is well if it is, to the byte, what would have been written: a run that was killed had written it.
    Same,
    /// It is replaced.
    Replace,
}

/// A file that is being written. Dropped before [`finish`](Self::finish), it leaves nothing.
pub struct OutputFile {
    target: PathBuf,
    existing: Existing,
    encoder: Encoder<NamedTempFile>,
}

impl OutputFile {
    /// Starts a file with these columns; its format is that of its name. Call it before the work whose result
    /// it takes: what can be refused is refused here.
    ///
    /// # Errors
    /// An unknown format, a target that exists where that is to be refused, a directory that is not there or not writable.
    pub fn create(path: &Path, columns: &[&str], existing: Existing) -> Result<Self, OutputError> {
        let format = Format::of(path)?;
        match fs::symlink_metadata(path) {
            Ok(there) if there.is_dir() => {
                return Err(OutputError::Directory {
                    path: path.to_owned(),
                });
            }
            Ok(_) if existing == Existing::Refuse => {
                return Err(OutputError::Exists {
                    path: path.to_owned(),
                });
            }
            _ => {}
        }
        let directory = directory_of(path);
        if !directory.is_dir() {
            return Err(OutputError::NoDirectory {
                path: directory.to_owned(),
            });
        }
        let prefix = part_prefix(path);
        remove_leftovers(directory, &prefix);
        let part = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(PART_SUFFIX)
            .tempfile_in(directory);
        let part = part.map_err(|error| failed(path, error))?;
        // Marks the file as in use for the runs that look for leftovers; on a file system without locks a
        // leftover is not removed, which is only untidy.
        drop(part.as_file().try_lock());
        let encoder = Encoder::new(part, format, columns).map_err(|error| failed(path, error))?;
        Ok(Self {
            target: path.to_owned(),
            existing,
            encoder,
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`OutputError::DiskFull`], [`OutputError::Io`], [`OutputError::Ragged`]; the file is then dropped.
    pub fn write_row<'a>(
        &mut self,
        cells: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), OutputError> {
        let found = self
            .encoder
            .write_row(cells)
            .map_err(|error| failed(&self.target, error))?;
        let expected = self.encoder.width();
        if found == expected {
            return Ok(());
        }
        Err(OutputError::Ragged {
            row: self.encoder.written().rows,
            found,
            expected,
        })
    }

    /// Completes the file: everything on disk, then its name, then the directory on disk.
    ///
    /// # Errors
    /// As [`write_row`](Self::write_row), and [`OutputError::Exists`] if the target appeared meanwhile, or has to be the same and
    /// is not.
    pub fn finish(self) -> Result<Written, OutputError> {
        let Self {
            target,
            existing,
            encoder,
        } = self;
        let fail = |error| failed(&target, error);
        let written = encoder.written();
        let mut part = encoder.finish().map_err(fail)?;
        part.flush().map_err(fail)?;
        // A crash before this line leaves a part file, from here on a whole one under its temporary name.
        part.as_file().sync_all().map_err(fail)?;
        let is_there =
            existing == Existing::Same && are_same(part.path(), &target).map_err(fail)?;
        if !is_there {
            let named = match existing {
                Existing::Replace => part.persist(&target),
                Existing::Refuse | Existing::Same => part.persist_noclobber(&target),
            };
            named.map_err(|refusal| failed(&target, refusal.error))?;
        }
        // A crash here leaves either name; the content is safe.
        File::open(directory_of(&target))
            .and_then(|directory| directory.sync_all())
            .map_err(fail)?;
        Ok(written)
    }
}

/// Whether a second file is there and has the bytes of the first.
fn are_same(first: &Path, second: &Path) -> io::Result<bool> {
    let second = match File::open(second) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let first = File::open(first)?;
    if first.metadata()?.len() != second.metadata()?.len() {
        return Ok(false);
    }
    let [mut first, mut second] = [first, second].map(BufReader::new);
    loop {
        let (one, other) = (first.fill_buf()?, second.fill_buf()?);
        let both = one.len().min(other.len());
        if both == 0 {
            return Ok(one.is_empty() && other.is_empty());
        }
        if one.get(..both) != other.get(..both) {
            return Ok(false);
        }
        first.consume(both);
        second.consume(both);
    }
}

/// The error of the system in our words.
pub(super) fn failed(path: &Path, error: io::Error) -> OutputError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OutputError::DiskFull { path },
        io::ErrorKind::AlreadyExists => OutputError::Exists { path },
        _ => OutputError::Io { path, error },
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn part_prefix(path: &Path) -> String {
    format!(
        ".{}.",
        path.file_name().unwrap_or_default().to_string_lossy()
    )
}

/// Removes what killed runs left of the same target. A part whose lock is held is being written.
fn remove_leftovers(directory: &Path, prefix: &str) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_part = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix(PART_SUFFIX));
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        // The middle is the random part of the name: six characters.
        if is_file && is_part.is_some_and(|middle| middle.len() == 6) {
            let Ok(file) = File::open(entry.path()) else {
                continue;
            };
            match file.try_lock() {
                // Best effort: a leftover that stays is only untidy.
                Ok(()) => drop(fs::remove_file(entry.path())),
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
            }
        }
    }
}
