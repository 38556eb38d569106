//! CSV as a stream with bounds: physical lines, ragged rows, quotes that are never closed.
//!
//! `csv-core` splits the records (RFC 4180, CRLF and LF). The loop around it is ours because the reader of
//! the `csv` crate grows its buffer with the record, so one open quote would pull a whole file into memory.

use std::io::Read;

use csv_core::{ReadRecordResult, ReaderBuilder};

use super::decode::{ByteStream, detect_delimiter};
use super::error::SourceError;
use super::rows::{BadReason, COLUMNS_MAX, Cells};
use super::source::Delimiter;

const BUFFER_BYTES: usize = 64 * 1024;
/// Most bytes of one record, its delimiters and quotes left out. Rows of agreed tags are below a kibibyte.
const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where a row stands, and whether its cells could be taken.
pub(super) type Place = (u64, Result<(), BadReason>);

/// Records of a text.
pub(super) struct CsvReader {
    name: String,
    input: ByteStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    exhausted: bool,
    core: csv_core::Reader,
    record: Vec<u8>,
    ends: Vec<usize>,
    /// The line at `start`, from 1.
    line: u64,
    header: Vec<String>,
    /// Instead of the line, the number of the row is told.
    numbered: Option<u64>,
}

impl CsvReader {
    /// Reads the header; the delimiter is taken from it where none is given.
    pub(super) fn open(
        input: ByteStream,
        delimiter: Option<Delimiter>,
        name: String,
    ) -> Result<Self, SourceError> {
        let mut reader = Self {
            name,
            input,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            exhausted: false,
            core: csv_core::Reader::new(),
            record: vec![0; BUFFER_BYTES],
            ends: vec![0; COLUMNS_MAX + 1],
            line: 1,
            header: Vec::new(),
            numbered: None,
        };
        while reader.end < BUFFER_BYTES && !reader.exhausted {
            reader.fill()?;
        }
        reader.skip_line_ends()?;
        let delimiter = delimiter.unwrap_or_else(|| detect_delimiter(reader.ready()));
        reader.core = ReaderBuilder::new().delimiter(delimiter.byte()).build();
        let Some((_, fields)) = reader.record()? else {
            return Err(SourceError::Empty {
                source_name: reader.name,
            });
        };
        for index in 0..fields {
            let cell = std::str::from_utf8(reader.field(index)).map_err(|_| {
                SourceError::HeaderEncoding {
                    source_name: reader.name.clone(),
                }
            })?;
            reader.header.push(cell.trim().to_owned());
        }
        Ok(reader)
    }

    /// Tells rows by their number: the lines of what a database sends are nothing that a person can look up.
    pub(super) fn without_lines(mut self) -> Self {
        self.numbered = Some(0);
        self
    }

    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Puts the selected cells of the next row into `cells`.
    pub(super) fn next_row(
        &mut self,
        selection: &[usize],
        cells: &mut Cells,
    ) -> Result<Option<Place>, SourceError> {
        let Some((line, found)) = self.record()? else {
            return Ok(None);
        };
        let place = match &mut self.numbered {
            Some(number) => {
                *number += 1;
                *number
            }
            None => line,
        };
        let expected = self.header.len();
        let taken = if found == expected {
            selection
                .iter()
                .try_for_each(|index| cells.push_bytes(self.field(*index)))
        } else {
            Err(BadReason::Ragged { found, expected })
        };
        Ok(Some((place, taken)))
    }

    fn field(&self, index: usize) -> &[u8] {
        let start = index
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0);
        let end = self.ends.get(index).copied().unwrap_or(start);
        self.record.get(start..end).unwrap_or_default()
    }

    fn ready(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads one record into `record` and `ends`: the line where it starts, and its number of fields.
    fn record(&mut self) -> Result<Option<(u64, usize)>, SourceError> {
        if !self.skip_line_ends()? {
            return Ok(None);
        }
        let line = self.line;
        let (mut written, mut fields) = (0, 0);
        loop {
            if self.start == self.end && !self.exhausted {
                self.fill()?;
            }
            let at_end = self.start == self.end;
            // A line end behind the last byte completes a record without one; inside an open quote it does not.
            let input = if at_end {
                b"\n"
            } else {
                self.buffer.get(self.start..self.end).unwrap_or_default()
            };
            let (result, read, bytes, ends) = self.core.read_record(
                input,
                self.record.get_mut(written..).unwrap_or_default(),
                self.ends.get_mut(fields..).unwrap_or_default(),
            );
            if !at_end {
                self.advance(read);
            }
            written += bytes;
            fields += ends;
            match result {
                ReadRecordResult::Record if fields > COLUMNS_MAX => {
                    return Err(self.too_many_columns(line));
                }
                ReadRecordResult::Record => return Ok(Some((line, fields))),
                ReadRecordResult::OutputFull => self.grow_record(line)?,
                ReadRecordResult::OutputEndsFull => return Err(self.too_many_columns(line)),
                ReadRecordResult::InputEmpty if at_end => {
                    return Err(SourceError::OpenQuote {
                        source_name: self.name.clone(),
                        line,
                    });
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    fn too_many_columns(&self, line: u64) -> SourceError {
        SourceError::TooManyColumns {
            source_name: self.name.clone(),
            line,
        }
    }

    fn grow_record(&mut self, line: u64) -> Result<(), SourceError> {
        let bytes = self.record.len() * 2;
        if bytes > RECORD_BYTES_MAX {
            let source_name = self.name.clone();
            return Err(SourceError::RowTooLong {
                source_name,
                line,
                max: RECORD_BYTES_MAX,
            });
        }
        self.record.resize(bytes, 0);
        Ok(())
    }

    /// Skips the second half of a CRLF and blank lines; `false` at the end of the input.
    fn skip_line_ends(&mut self) -> Result<bool, SourceError> {
        loop {
            let ready = self.ready();
            let blank = ready
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            let more = blank < ready.len();
            self.advance(blank);
            if more {
                return Ok(true);
            }
            if self.exhausted {
                return Ok(false);
            }
            self.fill()?;
        }
    }

    /// Steps over bytes that were taken, and counts their lines.
    fn advance(&mut self, bytes: usize) {
        let taken = self.ready().iter().take(bytes);
        self.line += taken
            .filter(|byte| **byte == b'\n')
            .map(|_| 1_u64)
            .sum::<u64>();
        self.start += bytes;
    }

    /// Reads more behind what is ready, from the beginning of the buffer when nothing is.
    fn fill(&mut self) -> Result<(), SourceError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        let read = loop {
            match self.input.read(free) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(SourceError::Unreadable {
                        source_name: self.name.clone(),
                        error,
                    });
                }
                Ok(read) => break read,
            }
        };
        self.end += read;
        self.exhausted |= read == 0;
        Ok(())
    }
}
