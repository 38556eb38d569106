//! Reading a leaked file, of which nobody says how it is written.

use std::fmt::Write as _;
use std::io::{Cursor, Read as _};
use std::path::Path;

use calamine::{Data, Reader as _, open_workbook_auto_from_rs};
use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::Encoding;
use sha2::{Digest as _, Sha256};

use crate::data::{Read, Rows, leaked_parquet, leaked_text};
use crate::error::{Error, Result};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Most rows, as the broker takes them.
const ROWS_MAX: usize = counterfoil_proto::limits::LEAK_ROWS_MAX;

/// A leaked file as a table of text. Holds what it holds in memory only, so `Debug` shows sizes alone.
pub(super) struct LeakedFile {
    /// Digest of its bytes.
    pub(super) sha256: [u8; 32],
    /// The columns' names, as far as it has any.
    pub(super) columns: Vec<String>,
    /// Cells, column by column.
    pub(super) cells: Vec<Vec<Box<str>>>,
    /// Rows, those that could not be taken too.
    pub(super) rows: u64,
    /// Rows that could not be taken.
    pub(super) bad: u64,
}

impl std::fmt::Debug for LeakedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LeakedFile({} rows, redacted)", self.rows)
    }
}

impl LeakedFile {
    /// Reads CSV of any usual delimiter and encoding, Excel workbooks (their first sheet that has rows) and Parquet, told apart
    /// by their first bytes and not by their names.
    ///
    /// # Errors
    /// The file is none of these, too large or empty.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|e| Error::io("read", path, e))?;
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("read", path, e))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(input(path, "it has more than 512 MiB: cut it into parts"));
        }
        let sha256 = Sha256::digest(&bytes).into();
        let rows = match kind(&bytes) {
            Kind::Parquet => leaked_parquet(path)?,
            Kind::Workbook => text_rows(sheet(path, bytes)?, path)?,
            Kind::Text => text_rows(decoded(&bytes), path)?,
        };
        let mut read = Self {
            sha256,
            columns: rows.columns().to_vec(),
            cells: Vec::new(),
            rows: 0,
            bad: 0,
        };
        read.cells = vec![Vec::new(); read.columns.len()];
        read.take(rows, path)?;
        Ok(read)
    }

    fn take(&mut self, mut rows: Rows, path: &Path) -> Result<()> {
        while let Some(next) = rows.next_row()? {
            self.rows += 1;
            if self.rows > ROWS_MAX as u64 {
                return Err(input(
                    path,
                    "it has more rows than are scored at once: take a part of it",
                ));
            }
            match next {
                Read::Bad(_) => self.bad += 1,
                Read::Row(row) => {
                    for (index, column) in self.cells.iter_mut().enumerate() {
                        column.push(row.cell(index).unwrap_or_default().into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Rows that were taken.
    pub(super) fn taken(&self) -> usize {
        self.cells.first().map_or(0, Vec::len)
    }
}

enum Kind {
    Parquet,
    Workbook,
    Text,
}

/// By magic numbers: Parquet; ZIP (xlsx, xlsb, ods); compound file (xls).
fn kind(bytes: &[u8]) -> Kind {
    match bytes {
        [b'P', b'A', b'R', b'1', ..] => Kind::Parquet,
        [b'P', b'K', 3, 4, ..] | [0xD0, 0xCF, 0x11, 0xE0, ..] => Kind::Workbook,
        _ => Kind::Text,
    }
}

/// As UTF-8: by its byte order mark, or else as it most likely was meant.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let encoding = match Encoding::for_bom(bytes) {
        Some((encoding, _)) => encoding,
        None => {
            let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
            detector.feed(bytes, true);
            detector.guess(None, Utf8Detection::Allow)
        }
    };
    // What has no meaning in the encoding becomes U+FFFD, and the cell then fits nothing.
    let (text, ..) = encoding.decode(bytes);
    text.into_owned().into_bytes()
}

/// The first sheet with rows, as CSV.
fn sheet(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let unreadable = |why: String| {
        input(
            path,
            &format!("it looks like a workbook and cannot be read: {why}"),
        )
    };
    let mut workbook =
        open_workbook_auto_from_rs(Cursor::new(bytes)).map_err(|e| unreadable(e.to_string()))?;
    for name in workbook.sheet_names() {
        let range = workbook
            .worksheet_range(&name)
            .map_err(|e| unreadable(e.to_string()))?;
        if range.height() < 2 {
            continue;
        }
        let mut text = String::new();
        for row in range.rows() {
            for (place, cell) in row.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                let cell = cell_text(cell).replace('"', "\"\"");
                // Writing to a string does not fail.
                let _ = write!(text, "\"{cell}\"");
            }
            text.push('\n');
        }
        return Ok(text.into_bytes());
    }
    Err(input(path, "no sheet of it has rows"))
}

/// A cell as people see it; dates as the days that spreadsheets count, which the marks' forms read.
fn cell_text(cell: &Data) -> String {
    match cell {
        Data::Empty | Data::Error(_) => String::new(),
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => text.clone(),
        Data::Int(number) => number.to_string(),
        Data::Float(number) => number.to_string(),
        Data::Bool(value) => value.to_string(),
        Data::DateTime(moment) => moment.as_f64().floor().to_string(),
    }
}

fn text_rows(text: Vec<u8>, path: &Path) -> Result<Rows> {
    Ok(leaked_text(text, path.display().to_string())?)
}

fn input(path: &Path, why: &str) -> Error {
    Error::Input(format!("`{}`: {why}", path.display()))
}

#[cfg(test)]
mod tests;
