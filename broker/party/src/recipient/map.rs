//! The match map of a bucket: for each slot its match id, the key of the owner's row, and which own row it is.
//!
//! It is written before the row keys are submitted, so that a delivery that was released just before a crash can still be read, and
//! so that the keys can be submitted again to a broker that lost them: the tokens of the session are gone then, on purpose. 0600, under
//! `flows/`, removed when the flow is over.
//!
//! Format: `counterfoil match map 2\n`, 32 bytes session, then for each slot `u32` own row (2^32 - 1 for a dummy), 16 bytes match id
//! and 32 bytes key. Integers are big-endian.

use std::collections::HashMap;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use counterfoil_policy::text::FlowId;
use counterfoil_psi::{Role, SessionId, Token};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

use super::files;

const MAGIC: &[u8] = b"counterfoil match map 2\n";

/// Bytes of a slot: own row, match id, key.
const SLOT_BYTES: usize = 4 + KEY_RECORD_BYTES;

/// Bytes of a submitted key: match id and row key.
pub(super) const KEY_RECORD_BYTES: usize = 16 + 32;

const DUMMY: u32 = u32::MAX;

/// The file of a bucket's map, within the home.
pub(super) fn relative(flow: FlowId, bucket: u32) -> String {
    format!("flows/{flow}.{bucket}.map")
}

/// The map of one bucket, in memory; wiped when dropped.
pub(super) struct BucketMap {
    pub(super) session: SessionId,
    slots: Zeroizing<Vec<u8>>,
}

impl BucketMap {
    /// Of the tokens of a bucket: first those of the own rows `part`, then those of dummies.
    pub(super) fn new(session: SessionId, part: &[u32], tokens: &[Token]) -> Self {
        let mut slots = Zeroizing::new(Vec::with_capacity(tokens.len() * SLOT_BYTES));
        let rows = part.iter().copied().chain(std::iter::repeat(DUMMY));
        for (token, row) in tokens.iter().zip(rows) {
            slots.extend_from_slice(&row.to_be_bytes());
            slots.extend_from_slice(token.match_id().as_bytes());
            slots.extend_from_slice(token.row_key(Role::Owner).expose());
        }
        Self { session, slots }
    }

    /// Writes the map: on return it is durable and whole, or it is not there. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`], such as a full disk.
    pub(super) fn write(&self, home: &Path, flow: FlowId, bucket: u32) -> Result<()> {
        files::write(&home.join(relative(flow, bucket)), |file| {
            let mut to = BufWriter::new(file);
            to.write_all(MAGIC)?;
            to.write_all(self.session.as_bytes())?;
            to.write_all(&self.slots)?;
            to.flush()
        })
    }

    /// Reads the map of a bucket, if it is there. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub(super) fn load(home: &Path, flow: FlowId, bucket: u32) -> Result<Option<Self>> {
        let path = home.join(relative(flow, bucket));
        let bytes = match fs::read(&path) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        Self::parse(&bytes)
            .map(Some)
            .ok_or_else(|| files::damaged(&path))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (session, slots) = rest.split_first_chunk()?;
        slots.len().is_multiple_of(SLOT_BYTES).then(|| Self {
            session: SessionId::from_bytes(*session),
            slots: Zeroizing::new(slots.to_vec()),
        })
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() / SLOT_BYTES
    }

    /// What is submitted for a slot: match id and row key.
    pub(super) fn key_record(&self, slot: usize) -> Option<&[u8]> {
        let start = slot.checked_mul(SLOT_BYTES)?;
        self.slots.get(start + 4..start + SLOT_BYTES)
    }

    /// Match id and own row of each slot that is not a dummy's.
    fn rows(&self) -> impl Iterator<Item = ([u8; 16], u32)> {
        self.slots.chunks_exact(SLOT_BYTES).filter_map(|slot| {
            let (row, rest) = slot.split_first_chunk()?;
            let row = u32::from_be_bytes(*row);
            (row != DUMMY).then_some((*rest.first_chunk()?, row))
        })
    }
}

/// Finds the own row of each delivered one, over the maps of all buckets. What is left in `delivered` is of no own row. Blocks.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`]; a bucket without a map too.
pub(super) fn place<T>(
    home: &Path,
    flow: FlowId,
    buckets: u32,
    delivered: &mut HashMap<[u8; 16], T>,
) -> Result<HashMap<u32, T>> {
    let mut placed = HashMap::with_capacity(delivered.len());
    for bucket in 0..buckets {
        let path: PathBuf = home.join(relative(flow, bucket));
        let map = BucketMap::load(home, flow, bucket)?.ok_or_else(|| files::damaged(&path))?;
        for (match_id, row) in map.rows() {
            if let Some(values) = delivered.remove(&match_id) {
                placed.insert(row, values);
            }
        }
    }
    Ok(placed)
}
