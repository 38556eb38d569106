//! What can be wrong with a source, each with what to do about it.

use std::io;
use std::path::PathBuf;

use super::rows::{COLUMNS_MAX, ROWS_MAX};

/// A source that cannot be used. No variant carries the content of a cell or a password.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The specification names no kind of source that can be read.
    #[error(
        "`{spec}` is not a source: give a file that ends in .csv, .tsv, .txt or .parquet, or a \
         postgres:// URL with a query"
    )]
    Spec {
        /// What was given, without a password.
        spec: String,
    },
    /// A delimiter that cannot separate columns.
    #[error(
        "`{given}` cannot be a delimiter: give one of `,` `;` `|` `tab` or another punctuation mark"
    )]
    Delimiter {
        /// What was given.
        given: String,
    },
    /// An option that this kind of source does not have.
    #[error("`{source_name}` takes no {option}: {advice}")]
    Option {
        /// The source.
        source_name: String,
        /// The option.
        option: &'static str,
        /// What to do instead.
        advice: &'static str,
    },
    /// The URL of a database is malformed or unsafe.
    #[error("the postgres:// URL is refused: {reason}")]
    Url {
        /// Why, and what would pass.
        reason: String,
    },
    /// A file that is not there.
    #[error("there is no file `{path}`: check the path, it is relative to the current directory")]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// A directory where a file was expected.
    #[error("`{path}` is a directory: name one file in it")]
    Directory {
        /// The path as given.
        path: PathBuf,
    },
    /// The file or the database could not be read.
    #[error("cannot read `{source_name}`: {error}")]
    Unreadable {
        /// The source.
        source_name: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The file is of another kind than its name says.
    #[error("`{source_name}` looks like {looks}, not like {expected}: {advice}")]
    WrongKind {
        /// The source.
        source_name: String,
        /// What its first bytes say.
        looks: &'static str,
        /// What its name promises.
        expected: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A Parquet file without an intact end.
    #[error(
        "`{source_name}` is not a whole Parquet file (it is cut off or damaged: {detail}): copy or export it again"
    )]
    DamagedParquet {
        /// The source.
        source_name: String,
        /// What the reader said.
        detail: String,
    },
    /// A Parquet column of a type that has no text form here.
    #[error(
        "column `{column}` of `{source_name}` has the type {kind}, which has no text form here: cast it to a string"
    )]
    ColumnType {
        /// The source.
        source_name: String,
        /// The column.
        column: String,
        /// Its Parquet type.
        kind: String,
    },
    /// A consent record that cannot be relied on: nothing is read on.
    #[error("line {line} of `{source_name}`: {why}")]
    Consent {
        /// The source.
        source_name: String,
        /// The line (text files) or number of the row, from 1.
        line: u64,
        /// What is wrong, and what would pass.
        why: &'static str,
    },
    /// Not one byte.
    #[error("`{source_name}` is empty: expected a header line and at least one row")]
    Empty {
        /// The source.
        source_name: String,
    },
    /// Columns but not one row.
    #[error("`{source_name}` has a header but no rows: nothing can be matched")]
    NoRows {
        /// The source.
        source_name: String,
    },
    /// A column that the source does not have.
    #[error("`{source_name}` has no column `{column}`: it has {existing}{hint}")]
    NoColumn {
        /// The source.
        source_name: String,
        /// The column asked for.
        column: String,
        /// The columns there are, as a list for a person.
        existing: String,
        /// What is probably wrong; empty where nothing stands out.
        hint: String,
    },
    /// Two columns of one name: which of them is meant cannot be known.
    #[error("`{source_name}` has two columns named `{column}`: rename one")]
    DuplicateColumn {
        /// The source.
        source_name: String,
        /// The name.
        column: String,
    },
    /// The header is not text in UTF-8.
    #[error(
        "the header of `{source_name}` is not UTF-8: convert the file, for one from a Chinese spreadsheet with \
         `iconv -f GB18030 -t UTF-8`"
    )]
    HeaderEncoding {
        /// The source.
        source_name: String,
    },
    /// More columns than [`COLUMNS_MAX`].
    #[error(
        "line {line} of `{source_name}` has more than {COLUMNS_MAX} columns: select the ones that are needed"
    )]
    TooManyColumns {
        /// The source.
        source_name: String,
        /// Where.
        line: u64,
    },
    /// One row of more bytes than fit the bound.
    #[error(
        "the row that starts on line {line} of `{source_name}` is longer than {max} bytes: probably a quote that \
         is never closed"
    )]
    RowTooLong {
        /// The source.
        source_name: String,
        /// Where the row starts.
        line: u64,
        /// The bound.
        max: usize,
    },
    /// The file ends inside a quoted cell.
    #[error(
        "a quote opened in the row that starts on line {line} of `{source_name}` is never closed: close it, or \
         export the file again if it was cut off"
    )]
    OpenQuote {
        /// The source.
        source_name: String,
        /// Where the row starts.
        line: u64,
    },
    /// More rows than [`ROWS_MAX`].
    #[error(
        "`{source_name}` has more than {ROWS_MAX} rows, the most that one flow takes: split it, or read it by a \
         query that selects fewer"
    )]
    TooManyRows {
        /// The source.
        source_name: String,
    },
    /// Not one row could be read.
    #[error(
        "not one of the {rows} rows of `{source_name}` can be read: line {line} {reason}{hint}"
    )]
    AllRowsBad {
        /// The source.
        source_name: String,
        /// How many rows there are.
        rows: u64,
        /// The first of them.
        line: u64,
        /// What is wrong with it.
        reason: String,
        /// What is probably wrong; empty where nothing stands out.
        hint: &'static str,
    },
}
