//! Rows of text to CSV or Parquet bytes.
//!
//! **Formulas.** The values come from the partner, and a spreadsheet runs a cell that begins with `=`, `+`, `-`
//! or `@` (OWASP, "CSV Injection"). A plain number or an E.164 telephone number (`+8613800138000`) is harmless
//! and goes out as it is. Any other such cell gets a leading `'` in CSV: a spreadsheet then shows it as text, a
//! program sees one more character, and the count of such cells is told. Agreed tags come from closed domains and have none of
//! these, so a count above zero is worth a look. Cells with any usual delimiter are quoted, not only those with a comma,
//! because a spreadsheet of another locale splits at `;` and would find a formula in the middle of a cell.
//! Parquet has no such readers and keeps every value.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use super::output::{Format, Written};

/// Text gathered before it is written.
const BUFFER_BYTES: usize = 64 * 1024;
/// A row group ends at this many rows or bytes: what the writer holds in memory.
const GROUP_ROWS: usize = 64 * 1024;
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// A table being written to `W`.
pub(super) struct Encoder<W: Write + Send> {
    width: usize,
    written: Written,
    kind: Kind<W>,
}

enum Kind<W: Write + Send> {
    Csv { sink: W, buffer: Vec<u8> },
    Parquet(Box<Groups<W>>),
}

struct Groups<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Gathered>,
    rows: usize,
    bytes: usize,
}

/// The cells of a column that wait for their row group: 1 for a value, 0 for null.
#[derive(Default)]
struct Gathered {
    values: Vec<ByteArray>,
    levels: Vec<i16>,
}

impl<W: Write + Send> Encoder<W> {
    pub(super) fn new(sink: W, format: Format, columns: &[&str]) -> io::Result<Self> {
        let mut encoder = Self {
            width: columns.len(),
            written: Written {
                rows: 0,
                neutralised: 0,
            },
            kind: match format {
                Format::Csv => Kind::Csv {
                    sink,
                    buffer: Vec::new(),
                },
                Format::Parquet => Kind::Parquet(Box::new(Groups::new(sink, columns)?)),
            },
        };
        if format == Format::Csv {
            encoder.write_row(columns.iter().copied())?;
            encoder.written.rows = 0;
        }
        Ok(encoder)
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn written(&self) -> Written {
        self.written
    }

    /// Adds a row; the number of its cells, which the caller compares with the width.
    pub(super) fn write_row<'a>(
        &mut self,
        cells: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<usize> {
        self.written.rows += 1;
        match &mut self.kind {
            Kind::Csv { sink, buffer } => {
                let mut count = 0;
                for cell in cells {
                    if count > 0 {
                        buffer.push(b',');
                    }
                    self.written.neutralised += u64::from(push_cell(buffer, cell, self.width == 1));
                    count += 1;
                }
                buffer.push(b'\n');
                if buffer.len() >= BUFFER_BYTES {
                    sink.write_all(buffer)?;
                    buffer.clear();
                }
                Ok(count)
            }
            Kind::Parquet(groups) => groups.write_row(cells),
        }
    }

    /// Writes what is left, and gives the sink back.
    pub(super) fn finish(self) -> io::Result<W> {
        match self.kind {
            Kind::Csv { mut sink, buffer } => {
                sink.write_all(&buffer)?;
                sink.flush()?;
                Ok(sink)
            }
            Kind::Parquet(mut groups) => {
                groups.flush()?;
                groups.file.into_inner().map_err(io_error)
            }
        }
    }
}

/// Appends a cell; whether it had to be neutralised.
fn push_cell(out: &mut Vec<u8>, cell: &str, alone: bool) -> bool {
    let formula = is_formula(cell);
    let special = |c: char| matches!(c, '"' | ',' | ';' | '\t' | '|' | '\r' | '\n');
    let quoted = cell.contains(special) || cell.trim() != cell || (alone && cell.is_empty());
    if quoted {
        out.push(b'"');
    }
    if formula {
        out.push(b'\'');
    }
    for byte in cell.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    if quoted {
        out.push(b'"');
    }
    formula
}

/// Whether a spreadsheet would take the cell for a formula. The wide forms are read like the narrow ones in
/// East Asian locales.
fn is_formula(cell: &str) -> bool {
    let mut rest = cell.chars();
    match rest.next() {
        Some('=' | '@' | '\t' | '\r' | '\n' | '＝' | '＠' | '＋' | '－') => true,
        Some('+' | '-') => !is_number(rest.as_str()),
        _ => false,
    }
}

/// Digits with at most one decimal point among them.
fn is_number(text: &str) -> bool {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(part)
}

impl<W: Write + Send> Groups<W> {
    fn new(sink: W, columns: &[&str]) -> io::Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let schema = schema(columns).map_err(io_error)?;
        Ok(Self {
            file: SerializedFileWriter::new(sink, schema, Arc::new(properties))
                .map_err(io_error)?,
            columns: columns.iter().map(|_| Gathered::default()).collect(),
            rows: 0,
            bytes: 0,
        })
    }

    fn write_row<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) -> io::Result<usize> {
        let mut count = 0;
        for cell in cells {
            if let Some(column) = self.columns.get_mut(count) {
                column.levels.push(i16::from(!cell.is_empty()));
                if !cell.is_empty() {
                    column.values.push(cell.into());
                }
            }
            self.bytes += cell.len() + size_of::<ByteArray>();
            count += 1;
        }
        self.rows += 1;
        if count == self.columns.len() && (self.rows == GROUP_ROWS || self.bytes >= GROUP_BYTES) {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.rows > 0 {
            self.write_group().map_err(io_error)?;
            (self.rows, self.bytes) = (0, 0);
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        for gathered in &mut self.columns {
            if let Some(mut column) = group.next_column()? {
                let levels = Some(gathered.levels.as_slice());
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&gathered.values, levels, None)?;
                column.close()?;
            }
            gathered.values.clear();
            gathered.levels.clear();
        }
        group.close()?;
        Ok(())
    }
}

fn schema(columns: &[&str]) -> Result<TypePtr, ParquetError> {
    let field = |name: &&str| {
        let field = Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(Some(LogicalType::String));
        field.build().map(Arc::new)
    };
    let fields = columns.iter().map(field).collect::<Result<_, _>>()?;
    Type::group_type_builder("delivery")
        .with_fields(fields)
        .build()
        .map(Arc::new)
}

/// The error of the system inside one of the Parquet writer, so that a full disk is known as one.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}
