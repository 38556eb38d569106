//! Parquet as a stream of text rows: only the selected columns, a batch of rows at a time.

use std::fs::File;
use std::path::Path;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::csv::Place;
use super::decode::open_file;
use super::error::SourceError;
use super::render::{Meaning, Render};
use super::rows::{BadReason, COLUMNS_MAX, Cells};

/// Rows decoded at once: enough to spread the cost of a call, and at most a few mebibytes of short cells.
const BATCH_ROWS: usize = 1024;

/// Rows of a Parquet file. Columns with repeated values (lists, maps) are left out of the header.
pub(super) struct ParquetReader {
    name: String,
    file: SerializedFileReader<File>,
    header: Vec<String>,
    /// For each column of the header, its number among the leaves of the file.
    leaves: Vec<usize>,
    next_group: usize,
    group_rows_left: usize,
    batch_rows_left: usize,
    columns: Vec<Box<dyn Column>>,
    row: u64,
}

impl ParquetReader {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let file = open_file(path)?;
        check_magic(&file, &name)?;
        let file =
            SerializedFileReader::new(file).map_err(|error| damaged(&name, &error.to_string()))?;
        let schema = file.metadata().file_metadata().schema_descr();
        if schema.num_columns() > COLUMNS_MAX {
            return Err(SourceError::TooManyColumns {
                source_name: name,
                line: 1,
            });
        }
        let flat = schema
            .columns()
            .iter()
            .enumerate()
            .filter(|(_, column)| column.max_rep_level() == 0);
        let (leaves, header) = flat
            .map(|(index, column)| (index, column.path().string()))
            .unzip();
        Ok(Self {
            name,
            file,
            header,
            leaves,
            next_group: 0,
            group_rows_left: 0,
            batch_rows_left: 0,
            columns: Vec::new(),
            row: 0,
        })
    }

    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Rows of the file by its own word.
    pub(super) fn total_rows(&self) -> u64 {
        self.file
            .metadata()
            .file_metadata()
            .num_rows()
            .try_into()
            .unwrap_or(u64::MAX)
    }

    /// Refuses selected columns whose values have no text form.
    pub(super) fn check_types(&self, selection: &[usize]) -> Result<(), SourceError> {
        selection
            .iter()
            .try_for_each(|index| self.meaning(*index).map(|_| ()))
    }

    /// Puts the selected cells of the next row into `cells`.
    pub(super) fn next_row(
        &mut self,
        selection: &[usize],
        cells: &mut Cells,
    ) -> Result<Option<Place>, SourceError> {
        while self.batch_rows_left == 0 {
            if self.group_rows_left > 0 {
                self.next_batch()?;
            } else if !self.open_group(selection)? {
                return Ok(None);
            }
        }
        self.batch_rows_left -= 1;
        self.row += 1;
        let mut taken = Ok(());
        for column in &mut self.columns {
            // Every column steps on, also behind a bad cell: they must stay at the same row.
            let cell = cells.push_with(|out| column.take(out));
            taken = taken.and(cell);
        }
        Ok(Some((self.row, taken)))
    }

    fn leaf(&self, index: usize) -> usize {
        self.leaves.get(index).copied().unwrap_or_default()
    }

    fn meaning(&self, index: usize) -> Result<Meaning, SourceError> {
        let schema = self.file.metadata().file_metadata().schema_descr();
        Meaning::of(&schema.column(self.leaf(index))).map_err(|kind| SourceError::ColumnType {
            source_name: self.name.clone(),
            column: self.header.get(index).cloned().unwrap_or_default(),
            kind,
        })
    }

    fn open_group(&mut self, selection: &[usize]) -> Result<bool, SourceError> {
        if self.next_group >= self.file.num_row_groups() {
            return Ok(false);
        }
        let failed = |error: parquet::errors::ParquetError| damaged(&self.name, &error.to_string());
        let group = self.file.get_row_group(self.next_group).map_err(failed)?;
        let mut columns = Vec::with_capacity(selection.len());
        for index in selection {
            let leaf = self.leaf(*index);
            let schema = self.file.metadata().file_metadata().schema_descr();
            let reader = group.get_column_reader(leaf).map_err(failed)?;
            columns.push(column(reader, &schema.column(leaf), self.meaning(*index)?));
        }
        let rows = usize::try_from(group.metadata().num_rows());
        self.group_rows_left =
            rows.map_err(|_| damaged(&self.name, "a row group of negative length"))?;
        drop(group);
        self.columns = columns;
        self.next_group += 1;
        Ok(true)
    }

    fn next_batch(&mut self) -> Result<(), SourceError> {
        let wanted = self.group_rows_left.min(BATCH_ROWS);
        for column in &mut self.columns {
            let read = column
                .refill(wanted)
                .map_err(|error| damaged(&self.name, &error.to_string()))?;
            if read != wanted {
                return Err(damaged(
                    &self.name,
                    "a column is shorter than its row group",
                ));
            }
        }
        self.group_rows_left -= wanted;
        self.batch_rows_left = wanted;
        Ok(())
    }
}

fn damaged(name: &str, detail: &str) -> SourceError {
    SourceError::DamagedParquet {
        source_name: name.to_owned(),
        detail: detail.to_owned(),
    }
}

/// Tells a file of another kind from a damaged one: Parquet begins with `PAR1`.
fn check_magic(mut file: &File, name: &str) -> Result<(), SourceError> {
    use std::io::{Read, Seek};
    let mut magic = Vec::new();
    let looked = file
        .take(4)
        .read_to_end(&mut magic)
        .and_then(|_| file.rewind());
    looked.map_err(|error| SourceError::Unreadable {
        source_name: name.to_owned(),
        error,
    })?;
    match magic.as_slice() {
        [] => Err(damaged(name, "it has no bytes")),
        b"PAR1" => Ok(()),
        b"PARE" => Err(SourceError::WrongKind {
            source_name: name.to_owned(),
            looks: "an encrypted Parquet file",
            expected: "Parquet",
            advice: "decrypt it first",
        }),
        _ => Err(SourceError::WrongKind {
            source_name: name.to_owned(),
            looks: "something else",
            expected: "Parquet",
            advice: "if it is text, give its name the ending .csv",
        }),
    }
}

/// One column of the current row group.
trait Column: Send {
    /// Decodes the next `rows` rows; the number that there were.
    fn refill(&mut self, rows: usize) -> parquet::errors::Result<usize>;
    /// Appends the next cell; nothing for an absent value.
    fn take(&mut self, out: &mut String) -> Result<(), BadReason>;
}

struct Typed<T: DataType> {
    reader: ColumnReaderImpl<T>,
    meaning: Meaning,
    /// The level at which a value is there.
    present: i16,
    levels: Vec<i16>,
    values: Vec<T::T>,
    next_level: usize,
    next_value: usize,
}

impl<T: DataType> Column for Typed<T>
where
    T::T: Render,
{
    fn refill(&mut self, rows: usize) -> parquet::errors::Result<usize> {
        self.levels.clear();
        self.values.clear();
        (self.next_level, self.next_value) = (0, 0);
        let mut total = 0;
        while total < rows {
            let levels = (self.present > 0).then_some(&mut self.levels);
            let (records, ..) =
                self.reader
                    .read_records(rows - total, levels, None, &mut self.values)?;
            if records == 0 {
                break;
            }
            total += records;
        }
        Ok(total)
    }

    fn take(&mut self, out: &mut String) -> Result<(), BadReason> {
        if self.present > 0 {
            let level = self.levels.get(self.next_level).copied();
            self.next_level += 1;
            if level != Some(self.present) {
                return Ok(());
            }
        }
        let value = self
            .values
            .get(self.next_value)
            .ok_or(BadReason::OutOfRange)?;
        self.next_value += 1;
        value.render(self.meaning, out)
    }
}

fn column(
    reader: ColumnReader,
    descriptor: &ColumnDescriptor,
    meaning: Meaning,
) -> Box<dyn Column> {
    fn typed<T: DataType>(
        reader: ColumnReaderImpl<T>,
        present: i16,
        meaning: Meaning,
    ) -> Box<dyn Column>
    where
        T::T: Render,
    {
        let (levels, values) = (Vec::new(), Vec::new());
        Box::new(Typed {
            reader,
            meaning,
            present,
            levels,
            values,
            next_level: 0,
            next_value: 0,
        })
    }
    let present = descriptor.max_def_level();
    match reader {
        ColumnReader::BoolColumnReader(reader) => typed(reader, present, meaning),
        ColumnReader::Int32ColumnReader(reader) => typed(reader, present, meaning),
        ColumnReader::Int64ColumnReader(reader) => typed(reader, present, meaning),
        ColumnReader::Int96ColumnReader(reader) => typed(reader, present, meaning),
        ColumnReader::FloatColumnReader(reader) => typed(reader, present, meaning),
        ColumnReader::DoubleColumnReader(reader) => typed(reader, present, meaning),
        ColumnReader::ByteArrayColumnReader(reader) => typed(reader, present, meaning),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => typed(reader, present, meaning),
    }
}
