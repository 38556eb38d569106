//! Bad input, one test each, and the good input beside it.

mod database;
mod dataset;
mod identifiers;
mod output;
mod parquet;
mod text;

use std::path::{Path, PathBuf};

use super::{Read, Rows, Source, SourceError};

/// A directory with one file in it.
struct Scratch {
    directory: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn source(path: &Path) -> Source {
    Source::parse(path.to_str().unwrap()).unwrap()
}

/// A row in a test: its line, and its cells or what is wrong with it.
type Seen = (u64, Result<Vec<String>, String>);

fn good(line: u64, cells: &[&str]) -> Seen {
    (
        line,
        Ok(cells.iter().map(|cell| (*cell).to_owned()).collect()),
    )
}

fn bad(line: u64, reason: &str) -> Seen {
    (line, Err(reason.to_owned()))
}

fn drain(rows: &mut Rows, width: usize) -> Result<Vec<Seen>, SourceError> {
    let mut seen = Vec::new();
    while let Some(read) = rows.next_row()? {
        seen.push(match read {
            Read::Row(row) => {
                let cells = (0..width).map(|index| row.cell(index).unwrap().to_owned());
                (row.line(), Ok(cells.collect()))
            }
            Read::Bad(bad) => (bad.line, Err(bad.reason.to_string())),
        });
    }
    Ok(seen)
}

fn read_columns(source: &Source, columns: &[&str]) -> Result<Vec<Seen>, SourceError> {
    let mut rows = source.open()?;
    rows.select(columns)?;
    drain(&mut rows, columns.len())
}

/// The message of a source that cannot be read, with the directory of the test taken out.
fn refusal(path: &Path, columns: &[&str]) -> String {
    let outcome =
        Source::parse(path.to_str().unwrap()).and_then(|source| read_columns(&source, columns));
    let directory = format!("{}/", path.parent().unwrap().display());
    outcome.unwrap_err().to_string().replace(&directory, "")
}
