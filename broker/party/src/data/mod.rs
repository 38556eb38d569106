//! What an institution reads and writes: rows in, identifiers out of them, the delivery back to disk.
//!
//! In data-flow order: [`Source`] names a CSV or Parquet file or a PostgreSQL query, [`Rows`] streams it,
//! [`read_identifiers`] turns one column into a set without duplicates, [`DatasetFile`] says which dataset is
//! where, [`OutputFile`] writes what an exchange brought, whole or not at all.
//!
//! Everything here blocks: call it from a thread of its own (`spawn_blocking`). A table is never held in
//! memory, a bad row is counted and left out, and a message tells lines and columns, never a value.

mod check;
mod consent;
mod csv;
mod customer;
mod dataset;
mod decode;
mod encode;
mod error;
mod identifiers;
mod mapping;
mod output;
mod parquet;
mod payloads;
mod postgres;
mod redact;
mod render;
mod report;
mod rows;
mod source;
mod unmapped;
mod utf16;

#[cfg(test)]
mod tests;

pub use check::{CanaryReport, DatasetReport, IdentifierReport, TagReport, check_dataset};
pub use consent::{Asked, ConsentRecords, ConsentReport, Proof, Proofs};
pub use customer::CustomerKey;
pub use dataset::{
    CanaryError, CanaryRecords, DATASETS, Dataset, DatasetError, DatasetFault, DatasetFile,
    IdentifierColumn,
};
pub use error::SourceError;
pub use identifiers::{Decide, LoadError, Loaded, Verdict, Wanted, read_identifiers};
pub use mapping::Mapping;
pub use output::{Existing, Format, OutputError, OutputFile, Written};
pub use payloads::Payloads;
pub use report::{Invalid, Lines, ReadReport, SHOWN_LINES, TableRow};
pub use rows::{BadReason, BadRow, CELL_BYTES_MAX, COLUMNS_MAX, Cells, ROWS_MAX, Read, Row, Rows};
pub use source::{Delimiter, Source};
pub(crate) use source::{leaked_parquet, leaked_text};
pub(crate) use unmapped::Tally;
pub use unmapped::{ShownCell, UnmappedCells};
