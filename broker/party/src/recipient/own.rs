//! The recipient's own rows, kept until the flow is over: for the output, and to go on with the flow after a crash.
//!
//! They are kept rather than read again because the source may have changed by then, and another set must not be matched in the
//! middle of a flow. The file holds identifiers in clear, like the one that they came from: 0600, under `flows/`, removed when the
//! flow is over. Removing a file does not overwrite the disk; a home belongs on an encrypted one.
//!
//! Format: `counterfoil own rows 1\n`, `u32` cells of a row, then for each row its cells, each `u32` length and UTF-8; the first is
//! the identifier. Integers are big-endian.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_policy::text::FlowId;
use counterfoil_psi::{IdentifierKind, IdentifierSet, Insertion, Normaliser};

use crate::data::{CELL_BYTES_MAX, COLUMNS_MAX, Payloads};
use crate::error::{Error, Result};

use super::carry::Carried;
use super::files;

const MAGIC: &[u8] = b"counterfoil own rows 1\n";

/// The file of a flow's rows, within the home.
pub(super) fn relative(flow: FlowId) -> String {
    format!("flows/{flow}.own")
}

/// The own identifiers.
pub(super) struct Own {
    pub(super) set: Arc<IdentifierSet>,
}

/// The own identifiers as they were read, with what the file holds beside each.
pub(super) struct Read {
    pub(super) own: Own,
    pub(super) carried: Carried,
    /// Of each own identifier, for `carried`.
    pub(super) numbers: Payloads,
}

/// Writes the rows: on return they are durable and whole, or not there. Blocks.
///
/// # Errors
/// [`Error::Io`], such as a full disk.
pub(super) fn write(home: &Path, flow: FlowId, read: Read) -> Result<Own> {
    let Read {
        own,
        carried,
        numbers,
    } = read;
    files::write(&home.join(relative(flow)), |file| {
        write_rows(BufWriter::new(file), &own.set, carried, numbers)
    })?;
    Ok(own)
}

fn write_rows(
    mut to: impl Write,
    set: &IdentifierSet,
    carried: Carried,
    numbers: Payloads,
) -> io::Result<()> {
    let broken = || io::Error::other("the set and its rows do not fit");
    let cells = u32::try_from(1 + carried.cells()).map_err(|_| broken())?;
    to.write_all(MAGIC)?;
    to.write_all(&cells.to_be_bytes())?;
    let mut carried = carried.read(numbers)?;
    for (index, number) in (0_usize..).zip(0_u32..).take(set.len()) {
        let identifier = set.expose_value(number).ok_or_else(broken)?;
        let length = u32::try_from(identifier.len()).map_err(|_| broken())?;
        to.write_all(&length.to_be_bytes())?;
        to.write_all(identifier.as_bytes())?;
        to.write_all(carried.raw(index)?)?;
    }
    to.flush()
}

/// Whether the rows of a flow were kept.
pub(super) fn is_kept(home: &Path, flow: FlowId) -> bool {
    home.join(relative(flow)).exists()
}

/// Reads the rows again, if they are there: the same set, in the same order. Blocks.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`].
pub(super) fn load(home: &Path, flow: FlowId, kind: IdentifierKind) -> Result<Option<Own>> {
    let path = home.join(relative(flow));
    if !path.exists() {
        return Ok(None);
    }
    let mut reader = OwnReader::open(home, flow)?;
    // What is canonical stays as it is, so the region does not matter.
    let normaliser = Normaliser::new(kind, None);
    let mut set = IdentifierSet::new(kind, &mut rand::rng());
    while let Some(identifier) = reader.next_row()?.and_then(<[String]>::first) {
        let identifier = normaliser.normalise(identifier).ok();
        let inserted = identifier.and_then(|identifier| set.insert(&identifier).ok());
        let Some(Insertion::New(_)) = inserted else {
            return Err(reader.damaged());
        };
    }
    set.close();
    Ok(Some(Own { set: Arc::new(set) }))
}

/// Own rows that are read one by one.
pub(super) struct OwnReader {
    path: PathBuf,
    from: BufReader<File>,
    cells: usize,
    row: Vec<String>,
}

impl OwnReader {
    /// Opens the rows of a flow. Blocks, as does reading on.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub(super) fn open(home: &Path, flow: FlowId) -> Result<Self> {
        let path = home.join(relative(flow));
        let file = File::open(&path).map_err(|error| Error::io("read", &path, error))?;
        let mut reader = Self {
            path,
            from: BufReader::new(file),
            cells: 0,
            row: Vec::new(),
        };
        let mut magic = [0; MAGIC.len()];
        reader.fill(&mut magic)?;
        let cells = reader.length()?;
        if magic != MAGIC || cells == 0 || cells > COLUMNS_MAX {
            return Err(reader.damaged());
        }
        reader.cells = cells;
        reader.row = vec![String::new(); cells];
        Ok(reader)
    }

    /// The next row: identifier and carried cells.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub(super) fn next_row(&mut self) -> Result<Option<&[String]>> {
        let mut length = [0; 4];
        let (first, rest) = length.split_at_mut(1);
        match self.from.read(first) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(Error::io("read", &self.path, error)),
        }
        self.fill(rest)?;
        let mut length = Some(u32::from_be_bytes(length));
        for index in 0..self.cells {
            let length = match length.take() {
                Some(first) => usize::try_from(first).unwrap_or(usize::MAX),
                None => self.length()?,
            };
            self.read_cell(index, length)?;
        }
        Ok(Some(&self.row))
    }

    /// Reads a cell into the place of the one of the row before.
    fn read_cell(&mut self, index: usize, length: usize) -> Result<()> {
        if length > CELL_BYTES_MAX {
            return Err(self.damaged());
        }
        let place = self.row.get_mut(index).map(std::mem::take);
        let mut bytes = place.unwrap_or_default().into_bytes();
        bytes.resize(length, 0);
        self.fill(&mut bytes)?;
        let cell = String::from_utf8(bytes).map_err(|_| self.damaged())?;
        if let Some(place) = self.row.get_mut(index) {
            *place = cell;
        }
        Ok(())
    }

    fn length(&mut self) -> Result<usize> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        usize::try_from(u32::from_be_bytes(bytes)).map_err(|_| self.damaged())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.from
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => self.damaged(),
                _ => Error::io("read", &self.path, error),
            })
    }

    /// The file is not what was written.
    pub(super) fn damaged(&self) -> Error {
        files::damaged(&self.path)
    }
}
