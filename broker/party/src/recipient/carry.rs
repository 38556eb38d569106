//! What the recipient's own file holds beside the identifier, kept for the output.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::Path;

use crate::data::{CELL_BYTES_MAX, Payloads, Row};

/// Bytes of a row's number, which is kept as the payload of its identifier.
const NUMBER_BYTES: usize = 4;

/// Cells of rows, in a file without a name that is gone with this value or this process: in memory they would be what
/// bounds the size of a flow. It lies in the home, where the same cells are kept anyway until the flow is over.
///
/// The cells of every row that is looked at are written, and those of rows that repeat an identifier passed over again: a row's number says
/// which it is.
pub(super) struct Carried {
    cells: usize,
    /// None where no column is carried.
    spool: Option<BufWriter<File>>,
    next: u32,
}

impl Carried {
    /// For so many cells of each row; the file is made in this directory.
    pub(super) fn new(cells: usize, directory: &Path) -> io::Result<Self> {
        let spool = match cells {
            0 => None,
            _ => Some(BufWriter::new(tempfile::tempfile_in(directory)?)),
        };
        Ok(Self {
            cells,
            spool,
            next: 0,
        })
    }

    /// Bytes of a payload that [`push`](Self::push) fills.
    pub(super) fn number_bytes(&self) -> usize {
        self.spool.as_ref().map_or(0, |_| NUMBER_BYTES)
    }

    /// Cells of each row.
    pub(super) fn cells(&self) -> usize {
        self.cells
    }

    /// Keeps the cells of a row with these names, and writes its number.
    pub(super) fn push(
        &mut self,
        row: &Row<'_>,
        names: &[&str],
        number: &mut [u8],
    ) -> io::Result<()> {
        let Some(spool) = &mut self.spool else {
            return Ok(());
        };
        for name in names {
            let cell = row.get(name).unwrap_or_default();
            let length = u32::try_from(cell.len()).map_err(io::Error::other)?;
            spool.write_all(&length.to_be_bytes())?;
            spool.write_all(cell.as_bytes())?;
        }
        for (to, from) in number.iter_mut().zip(self.next.to_be_bytes()) {
            *to = from;
        }
        self.next = self
            .next
            .checked_add(1)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(())
    }

    /// Reads the cells again from the first row on, of the rows with these numbers, which rise.
    pub(super) fn read(self, numbers: Payloads) -> io::Result<CarriedRows> {
        let spool = match self.spool {
            None => None,
            Some(spool) => {
                let mut file = spool.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.rewind()?;
                Some(BufReader::new(file))
            }
        };
        Ok(CarriedRows {
            cells: self.cells,
            spool,
            numbers,
            at: 0,
            raw: Vec::new(),
        })
    }
}

/// The cells of the rows that are kept, in their order.
pub(super) struct CarriedRows {
    cells: usize,
    spool: Option<BufReader<File>>,
    numbers: Payloads,
    /// The number of the row that comes next in the file.
    at: u32,
    raw: Vec<u8>,
}

impl CarriedRows {
    /// The cells of the row at an index of the set, each with its length in front; to be called with each index in turn.
    pub(super) fn raw(&mut self, index: usize) -> io::Result<&[u8]> {
        let broken = || io::Error::other("the set and its rows do not fit");
        self.raw.clear();
        let Some(spool) = &mut self.spool else {
            return Ok(&self.raw);
        };
        let mut number = [0; 4];
        self.numbers.read(index, &mut number).ok_or_else(broken)?;
        let number = u32::from_be_bytes(number);
        while self.at <= number {
            self.raw.clear();
            for _ in 0..self.cells {
                let mut length = [0; 4];
                spool.read_exact(&mut length)?;
                self.raw.extend_from_slice(&length);
                let length =
                    usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
                if length > CELL_BYTES_MAX {
                    return Err(broken());
                }
                let start = self.raw.len();
                self.raw.resize(start + length, 0);
                spool.read_exact(self.raw.get_mut(start..).unwrap_or_default())?;
            }
            self.at += 1;
        }
        Ok(&self.raw)
    }
}
