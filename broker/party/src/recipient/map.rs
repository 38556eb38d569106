//! The match map of a flow: for each own row its match id, identifier and carried cells.
//!
//! It is written before the row keys are submitted, so that a delivery that was released just before a crash can
//! still be read: the tokens of the session are gone then, on purpose. It holds identifiers in clear, like the file
//! that they came from: 0600, under `flows/`, removed when the flow is over. Removing a file does not overwrite
//! the disk; a home belongs on an encrypted one.
//!
//! Format: `counterfoil match map 1\n`, `u32` cells of a row, then for each row 16 bytes match id and its cells, each
//! `u32` length and UTF-8. Integers are big-endian.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use counterfoil_policy::text::FlowId;
use counterfoil_psi::{IdentifierSet, Token};

use crate::data::{CELL_BYTES_MAX, COLUMNS_MAX, Payloads};
use crate::error::{Error, Result};
use crate::home::Home;

use super::carry::{Carried, Place};

const MAGIC: &[u8] = b"counterfoil match map 1\n";

/// The file of a flow's map, within the home.
pub(super) fn relative(flow: FlowId) -> String {
    format!("flows/{flow}.map")
}

/// How the names of maps that are being written begin.
pub(super) fn part_prefix(flow: FlowId) -> String {
    format!(".{flow}.map.")
}

/// What the map is made of.
pub(super) struct Own {
    pub(super) set: std::sync::Arc<IdentifierSet>,
    pub(super) places: Payloads,
    pub(super) carried: Carried,
    /// Carried cells of each row.
    pub(super) carried_cells: usize,
}

/// Writes the map: on return it is durable and whole, or it is not there. `tokens` are in the order of the set.
///
/// Blocks.
///
/// # Errors
/// [`Error::Io`], such as a full disk.
pub(super) fn write(home: &Path, flow: FlowId, own: &Own, tokens: &[Token]) -> Result<()> {
    let path = home.join(relative(flow));
    let directory = path.parent().unwrap_or(home).to_owned();
    let failed = |error| Error::io("write", &path, error);
    // Made with mode 0600; a crash leaves a file with another name, which goes with all else that is kept of the flow.
    let mut part = tempfile::Builder::new()
        .prefix(&part_prefix(flow))
        .tempfile_in(&directory)
        .map_err(failed)?;
    write_rows(BufWriter::new(part.as_file_mut()), own, tokens).map_err(failed)?;
    part.as_file().sync_all().map_err(failed)?;
    part.persist(&path)
        .map_err(|refused| failed(refused.error))?;
    File::open(&directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed)
}

fn write_rows(mut to: impl Write, own: &Own, tokens: &[Token]) -> io::Result<()> {
    let broken = || io::Error::other("the set and its rows do not fit");
    let cells = u32::try_from(1 + own.carried_cells).map_err(|_| broken())?;
    to.write_all(MAGIC)?;
    to.write_all(&cells.to_be_bytes())?;
    for (index, token) in (0..).zip(tokens) {
        let identifier = own.set.expose_value(index).ok_or_else(broken)?;
        let place = usize::try_from(index)
            .ok()
            .and_then(|index| own.places.get(index));
        let carried = place
            .and_then(Place::from_bytes)
            .and_then(|place| own.carried.raw(place, own.carried_cells))
            .ok_or_else(broken)?;
        to.write_all(token.match_id().as_bytes())?;
        to.write_all(
            &u32::try_from(identifier.len())
                .map_err(|_| broken())?
                .to_be_bytes(),
        )?;
        to.write_all(identifier.as_bytes())?;
        to.write_all(carried)?;
    }
    to.flush()
}

/// A map that is read row by row.
pub(super) struct MapReader {
    path: PathBuf,
    from: BufReader<File>,
    cells: usize,
    row: Vec<String>,
}

impl MapReader {
    /// Opens the map of a flow. Blocks, as does reading on.
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

    /// The next row: match id, then identifier and carried cells.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub(super) fn next_row(&mut self) -> Result<Option<([u8; 16], &[String])>> {
        let mut id = [0; 16];
        let Some((first, rest)) = id.split_first_mut() else {
            return Ok(None);
        };
        match self.from.read(std::slice::from_mut(first)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(Error::io("read", &self.path, error)),
        }
        self.fill(rest)?;
        for index in 0..self.cells {
            let cell = self.cell()?;
            if let Some(place) = self.row.get_mut(index) {
                *place = cell;
            }
        }
        Ok(Some((id, &self.row)))
    }

    fn cell(&mut self) -> Result<String> {
        let length = self.length()?;
        if length > CELL_BYTES_MAX {
            return Err(self.damaged());
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| self.damaged())
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

    fn damaged(&self) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            why: "it is not a whole match map; the delivery cannot be read, ask for the flow again"
                .to_owned(),
        }
    }
}

/// Removes the map of a flow, if there is one.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn remove(home: &Home, flow: FlowId) -> Result<()> {
    home.remove(relative(flow))
}
