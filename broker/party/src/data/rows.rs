//! One streaming interface to rows, wherever they come from.

use std::fmt;

use super::csv::CsvReader;
use super::error::SourceError;
use super::parquet::ParquetReader;

/// Most rows of one source, and so of one flow.
pub const ROWS_MAX: u64 = counterfoil_proto::limits::ROWS_MAX;
/// Most columns of a source.
pub const COLUMNS_MAX: usize = 4096;
/// Most bytes of a cell; a longer one makes its row bad.
pub const CELL_BYTES_MAX: usize = 64 * 1024;
/// Columns listed in a message, at most.
const SHOWN_COLUMNS: usize = 30;

/// Rows of a source, read one after the other. Memory holds one row (Parquet: one batch), never the table.
pub struct Rows {
    reader: Reader,
    columns: Vec<String>,
    selection: Vec<usize>,
    selected: Vec<String>,
    cells: Cells,
    rows: u64,
    first_bad: Option<(u64, BadReason)>,
    any_good: bool,
}

enum Reader {
    Csv(Box<CsvReader>),
    Parquet(Box<ParquetReader>),
}

/// The next thing that a source has.
#[derive(Clone, Copy, Debug)]
pub enum Read<'a> {
    /// A row.
    Row(Row<'a>),
    /// A row that cannot be used.
    Bad(BadRow),
}

/// A row: its selected cells as text, and where it stands.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    line: u64,
    names: &'a [String],
    cells: &'a Cells,
}

/// A row that cannot be used, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The line (text files) or the number of the row (Parquet, databases), from 1.
    pub line: u64,
    /// What is wrong.
    pub reason: BadReason,
}

/// Why a row cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReason {
    /// Another number of cells than the header has.
    #[error("has {found} cells where the header has {expected}")]
    Ragged {
        /// Cells of the row.
        found: usize,
        /// Cells of the header.
        expected: usize,
    },
    /// A selected cell is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A selected cell is longer than [`CELL_BYTES_MAX`].
    #[error("has a cell longer than {CELL_BYTES_MAX} bytes")]
    CellTooLong,
    /// A value out of the range that its type allows.
    #[error("has a value outside the range of its type")]
    OutOfRange,
}

impl BadReason {
    /// The reason without figures, under which rows are counted together.
    #[must_use]
    pub fn sort(self) -> &'static str {
        match self {
            Self::Ragged { .. } => "another number of cells than the header",
            Self::NotUtf8 => {
                "not UTF-8 (for a file from a Chinese spreadsheet: `iconv -f GB18030 -t UTF-8`)"
            }
            Self::CellTooLong => "a cell longer than 65536 bytes",
            Self::OutOfRange => "a value outside the range of its type",
        }
    }
}

/// The cells of a row, one after the other in one buffer that is used again for the next row.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    text: String,
    ends: Vec<usize>,
}

impl Cells {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Adds a cell that is already text.
    pub(super) fn push(&mut self, cell: &str) -> Result<(), BadReason> {
        self.push_with(|text| {
            text.push_str(cell);
            Ok(())
        })
    }

    /// Adds a cell, if its bytes are text.
    pub(super) fn push_bytes(&mut self, cell: &[u8]) -> Result<(), BadReason> {
        if cell.len() > CELL_BYTES_MAX {
            return Err(BadReason::CellTooLong);
        }
        self.push(std::str::from_utf8(cell).map_err(|_| BadReason::NotUtf8)?)
    }

    /// Adds the cell that `write` appends.
    pub(super) fn push_with(
        &mut self,
        write: impl FnOnce(&mut String) -> Result<(), BadReason>,
    ) -> Result<(), BadReason> {
        let before = self.text.len();
        write(&mut self.text)?;
        if self.text.len() - before > CELL_BYTES_MAX {
            return Err(BadReason::CellTooLong);
        }
        self.ends.push(self.text.len());
        Ok(())
    }

    /// The cell at a place of the selection, from 0.
    #[must_use]
    pub fn cell(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(start..end)
    }
}

impl<'a> Row<'a> {
    /// The line where the row starts (text files) or its number (Parquet, databases), from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The cell at a place of the selection, from 0; an absent value is empty text.
    #[must_use]
    pub fn cell(&self, index: usize) -> Option<&'a str> {
        self.cells.cell(index)
    }

    /// The cell of a selected column by name; an absent value is empty text.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&'a str> {
        let index = self.names.iter().position(|name| name == column)?;
        self.cells.cell(index)
    }
}

impl fmt::Debug for Row<'_> {
    /// The place only: cells are personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row(line {})", self.line)
    }
}

impl Rows {
    pub(super) fn from_csv(reader: CsvReader) -> Result<Self, SourceError> {
        let columns = reader.header().to_vec();
        Self::new(Reader::Csv(Box::new(reader)), columns)
    }

    pub(super) fn from_parquet(reader: ParquetReader) -> Result<Self, SourceError> {
        if reader.total_rows() > ROWS_MAX {
            return Err(SourceError::TooManyRows {
                source_name: reader.name().to_owned(),
            });
        }
        let columns = reader.header().to_vec();
        Self::new(Reader::Parquet(Box::new(reader)), columns)
    }

    fn new(reader: Reader, columns: Vec<String>) -> Result<Self, SourceError> {
        let rows = Self {
            reader,
            selection: (0..columns.len()).collect(),
            selected: columns.clone(),
            columns,
            cells: Cells::default(),
            rows: 0,
            first_bad: None,
            any_good: false,
        };
        let mut names: Vec<&String> = rows
            .columns
            .iter()
            .filter(|name| !name.is_empty())
            .collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair.first() == pair.last()) {
            Some(pair) => Err(SourceError::DuplicateColumn {
                source_name: rows.name().to_owned(),
                column: pair.first().map(|name| (*name).clone()).unwrap_or_default(),
            }),
            None => Ok(rows),
        }
    }

    /// The path or the place that the rows come from, as messages show it.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.reader {
            Reader::Csv(reader) => reader.name(),
            Reader::Parquet(reader) => reader.name(),
        }
    }

    /// The columns of the source, in its order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows were read so far, bad ones too.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.rows
    }

    /// Reads only these columns from here on, in this order; Parquet does not touch the others at all.
    /// Columns named twice are read once.
    ///
    /// # Errors
    /// [`SourceError::NoColumn`], which lists the columns there are.
    pub fn select(&mut self, names: &[&str]) -> Result<(), SourceError> {
        let mut selection = Vec::with_capacity(names.len());
        for name in names {
            let index = self.columns.iter().position(|column| column == name);
            let index = index.ok_or_else(|| self.no_column(name))?;
            if !selection.contains(&index) {
                selection.push(index);
            }
        }
        if let Reader::Parquet(reader) = &mut self.reader {
            reader.check_types(&selection)?;
        }
        self.selected = selection
            .iter()
            .filter_map(|index| self.columns.get(*index).cloned())
            .collect();
        self.selection = selection;
        Ok(())
    }

    /// The next row; `None` behind the last one.
    ///
    /// # Errors
    /// What makes reading on impossible: the source breaks off, a quote is never closed, more than
    /// [`ROWS_MAX`] rows; and at the end that there was no row, or none that could be used.
    pub fn next_row(&mut self) -> Result<Option<Read<'_>>, SourceError> {
        self.cells.clear();
        let read = match &mut self.reader {
            Reader::Csv(reader) => reader.next_row(&self.selection, &mut self.cells)?,
            Reader::Parquet(reader) => reader.next_row(&self.selection, &mut self.cells)?,
        };
        let Some((line, outcome)) = read else {
            return self.end().map(|()| None);
        };
        self.rows += 1;
        if self.rows > ROWS_MAX {
            return Err(SourceError::TooManyRows {
                source_name: self.name().to_owned(),
            });
        }
        Ok(Some(match outcome {
            Ok(()) => {
                self.any_good = true;
                Read::Row(Row {
                    line,
                    names: &self.selected,
                    cells: &self.cells,
                })
            }
            Err(reason) => {
                self.first_bad.get_or_insert((line, reason));
                Read::Bad(BadRow { line, reason })
            }
        }))
    }

    fn end(&self) -> Result<(), SourceError> {
        let source_name = self.name().to_owned();
        match self.first_bad {
            _ if self.rows == 0 => Err(SourceError::NoRows { source_name }),
            Some((line, reason)) if !self.any_good => Err(SourceError::AllRowsBad {
                source_name,
                rows: self.rows,
                line,
                reason: reason.to_string(),
                hint: match reason {
                    BadReason::Ragged { .. } => {
                        "; is the delimiter the right one? set it with `--delimiter`"
                    }
                    BadReason::NotUtf8 => {
                        "; convert the file, for one from a Chinese spreadsheet with `iconv -f GB18030 -t UTF-8`"
                    }
                    BadReason::CellTooLong | BadReason::OutOfRange => "",
                },
            }),
            _ => Ok(()),
        }
    }

    fn no_column(&self, column: &str) -> SourceError {
        let mut existing: Vec<String> = self
            .columns
            .iter()
            .take(SHOWN_COLUMNS)
            .map(|name| format!("`{name}`"))
            .collect();
        if self.columns.len() > SHOWN_COLUMNS {
            existing.push(format!("{} more", self.columns.len() - SHOWN_COLUMNS));
        }
        SourceError::NoColumn {
            source_name: self.name().to_owned(),
            column: column.to_owned(),
            existing: existing.join(", "),
            hint: self.column_hint(column),
        }
    }

    fn column_hint(&self, column: &str) -> String {
        if let [only] = self.columns.as_slice()
            && let Some(found) = only.chars().find(|c| matches!(c, ',' | ';' | '\t' | '|'))
        {
            let found = if found == '\t' {
                "tab".to_owned()
            } else {
                found.to_string()
            };
            return format!("; the delimiter is probably wrong, try `--delimiter '{found}'`");
        }
        match self
            .columns
            .iter()
            .find(|name| name.eq_ignore_ascii_case(column))
        {
            Some(near) => format!("; upper and lower case differ, did you mean `{near}`?"),
            None => String::new(),
        }
    }
}
