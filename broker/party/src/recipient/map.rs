//! The match map of a bucket: for each slot its match id, the key of the owner's row, and which own row it is.
//!
//! It is written before the row keys are submitted, so that a delivery that was released just before a crash can still be read, and
//! so that the keys can be submitted again to a broker that lost them: the tokens of the session are gone then, on purpose. 0600, under
//! `flows/`, removed when the flow is over.
//!
//! Format: `counterfoil match map 4\n`, 32 bytes session, `u32` bytes of an own sealed row (0 where the flow takes none), then for each
//! slot `u32` own row (2^32 - 1 for a dummy), 16 bytes match id, 32 bytes key and the own sealed row, in rising order of the match ids.
//! Integers are big-endian.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use counterfoil_policy::text::FlowId;
use counterfoil_proto::delivery::DeliveredRows;
use counterfoil_psi::{PAYLOAD_BYTES_MAX, Role, SEAL_OVERHEAD, SET_MAX, SealKey, SessionId, Token};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::flow::Ordered;

use super::files;

const MAGIC: &[u8] = b"counterfoil match map 4\n";

/// Bytes of a slot without an own sealed row: own row, match id, key.
const SLOT_BYTES: usize = 4 + KEY_RECORD_BYTES;

/// No map is longer.
const FILE_BYTES_MAX: u64 =
    1024 + (SLOT_BYTES + PAYLOAD_BYTES_MAX + SEAL_OVERHEAD) as u64 * SET_MAX as u64;

/// Bytes of a submitted key: match id and row key.
const KEY_RECORD_BYTES: usize = 16 + 32;

const DUMMY: u32 = u32::MAX;

/// The file of a bucket's map, within the home.
pub(super) fn relative(flow: FlowId, bucket: u32) -> String {
    format!("flows/{flow}.{bucket}.map")
}

/// The map of one bucket, in memory; wiped when dropped.
pub(super) struct BucketMap {
    pub(super) session: SessionId,
    /// Of the own sealed row of each slot.
    sealed_bytes: usize,
    slots: Zeroizing<Vec<u8>>,
}

impl BucketMap {
    /// Of the tokens of a bucket: first those of the own rows `part`, then those of dummies.
    pub(super) fn new(session: SessionId, part: &[u32], tokens: Vec<Token>) -> Self {
        let mut slots = Zeroizing::new(Vec::with_capacity(tokens.len() * SLOT_BYTES));
        for (match_id, place, token) in Ordered::new(tokens) {
            let row = part.get(place).copied().unwrap_or(DUMMY);
            slots.extend_from_slice(&row.to_be_bytes());
            slots.extend_from_slice(match_id.as_bytes());
            slots.extend_from_slice(token.row_key(Role::Owner).expose());
        }
        Self {
            session,
            sealed_bytes: 0,
            slots,
        }
    }

    /// As [`BucketMap::new`], with the own sealed row of each slot: `seal` takes the place of the slot in the bucket and appends.
    ///
    /// # Errors
    /// What sealing gives.
    pub(super) fn sealing(
        session: SessionId,
        part: &[u32],
        tokens: Vec<Token>,
        sealed_bytes: usize,
        seal: impl Fn(SealKey, usize, &mut Vec<u8>) -> Result<()>,
    ) -> Result<Self> {
        let slot_bytes = SLOT_BYTES + sealed_bytes;
        let mut slots = Zeroizing::new(Vec::with_capacity(tokens.len() * slot_bytes));
        for (match_id, place, token) in Ordered::new(tokens) {
            let row = part.get(place).copied().unwrap_or(DUMMY);
            slots.extend_from_slice(&row.to_be_bytes());
            slots.extend_from_slice(match_id.as_bytes());
            slots.extend_from_slice(token.row_key(Role::Owner).expose());
            seal(token.into_seal_key(Role::Recipient), place, &mut slots)?;
        }
        Ok(Self {
            session,
            sealed_bytes,
            slots,
        })
    }

    /// Writes the map: on return it is durable and whole, or it is not there. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`], such as a full disk.
    pub(super) fn write(&self, home: &Path, flow: FlowId, bucket: u32) -> Result<()> {
        files::write(&home.join(relative(flow, bucket)), |file| {
            file.write_all(MAGIC)?;
            file.write_all(self.session.as_bytes())?;
            let sealed_bytes = u32::try_from(self.sealed_bytes).map_err(std::io::Error::other)?;
            file.write_all(&sealed_bytes.to_be_bytes())?;
            file.write_all(&self.slots)
        })
    }

    /// Reads the map of a bucket, if it is there. Blocks.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub(super) fn load(home: &Path, flow: FlowId, bucket: u32) -> Result<Option<Self>> {
        let path = home.join(relative(flow, bucket));
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let length = file.metadata().map_or(0, |known| known.len());
        let length = usize::try_from(length.min(FILE_BYTES_MAX)).unwrap_or(0);
        let mut head = [0; MAGIC.len() + 32 + 4];
        // The slots' own buffer from the first: there is no copy to wipe.
        let mut slots = Zeroizing::new(vec![0; length.saturating_sub(head.len())]);
        file.read_exact(&mut head)
            .and_then(|()| file.read_exact(&mut slots))
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => files::damaged(&path),
                _ => Error::io("read", &path, error),
            })?;
        let fields = head
            .strip_prefix(MAGIC)
            .and_then(<[u8]>::split_first_chunk)
            .and_then(|(session, rest)| Some((session, rest.first_chunk()?)));
        let map = fields.and_then(|(session, sealed_bytes)| {
            Some(Self {
                session: SessionId::from_bytes(*session),
                sealed_bytes: usize::try_from(u32::from_be_bytes(*sealed_bytes)).ok()?,
                slots,
            })
        });
        map.filter(Self::is_sound)
            .map(Some)
            .ok_or_else(|| files::damaged(&path))
    }

    /// Whole slots, whose match ids rise.
    fn is_sound(&self) -> bool {
        let ids = self
            .slots
            .chunks_exact(self.slot_bytes())
            .map(|slot| slot.get(4..20));
        self.slots.len().is_multiple_of(self.slot_bytes()) && ids.is_sorted_by(|a, b| a < b)
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() / self.slot_bytes()
    }

    fn slot_bytes(&self) -> usize {
        SLOT_BYTES.saturating_add(self.sealed_bytes)
    }

    /// Bytes of what is submitted for a slot.
    pub(super) fn record_bytes(&self) -> usize {
        KEY_RECORD_BYTES + self.sealed_bytes
    }

    /// What is submitted for a slot: match id, row key, and the own sealed row if there is one.
    pub(super) fn key_record(&self, slot: usize) -> Option<&[u8]> {
        let start = slot.checked_mul(self.slot_bytes())?;
        self.slots.get(start + 4..start + self.slot_bytes())
    }

    /// Match id and own row of each slot that is not a dummy's, in rising order of the match ids.
    fn rows(&self) -> impl Iterator<Item = ([u8; 16], u32)> {
        self.slots
            .chunks_exact(self.slot_bytes())
            .filter_map(|slot| {
                let (row, rest) = slot.split_first_chunk()?;
                let row = u32::from_be_bytes(*row);
                (row != DUMMY).then_some((*rest.first_chunk()?, row))
            })
    }
}

/// For each own row the number of the delivered one that is its, over the maps of all buckets.
pub(super) struct Placed {
    /// By own row; as long as the last that has one. [`NOTHING`] for the others.
    numbers: Vec<u32>,
    count: usize,
}

const NOTHING: u32 = u32::MAX;

impl Placed {
    /// The number of the delivered row that belongs to an own one.
    pub(super) fn of(&self, row: usize) -> Option<usize> {
        let number = self.numbers.get(row).filter(|number| **number != NOTHING);
        number.and_then(|number| usize::try_from(*number).ok())
    }

    /// Own rows that have one.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn place(&mut self, row: u32, number: usize) -> Option<()> {
        let row = usize::try_from(row).ok().filter(|_| row < SET_MAX)?;
        if row >= self.numbers.len() {
            self.numbers.resize(row + 1, NOTHING);
        }
        let place = self.numbers.get_mut(row)?;
        // A row is in one bucket, once.
        (*place == NOTHING).then_some(())?;
        *place = u32::try_from(number).ok()?;
        self.count += 1;
        Some(())
    }
}

/// Finds the own row of each delivered one, over the maps of all buckets. Blocks.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`]; a bucket without a map too.
pub(super) fn place(
    home: &Path,
    flow: FlowId,
    buckets: u32,
    delivered: &DeliveredRows,
) -> Result<Placed> {
    let mut placed = Placed {
        numbers: Vec::new(),
        count: 0,
    };
    for bucket in 0..buckets {
        let damaged = || files::damaged(&home.join(relative(flow, bucket)));
        let map = BucketMap::load(home, flow, bucket)?.ok_or_else(damaged)?;
        let mut at = 0;
        for (match_id, row) in map.rows() {
            at = reached(delivered, at, &match_id);
            if delivered.get(at).is_some_and(|(id, _)| *id == match_id) {
                placed.place(row, at).ok_or_else(damaged)?;
            }
        }
    }
    Ok(placed)
}

/// The first delivered row from `from` on whose match id is not below this one. It steps on by ever more and then searches between,
/// so that what it costs is the logarithm of how far it is, in small buckets and in large ones.
fn reached(delivered: &DeliveredRows, from: usize, match_id: &[u8; 16]) -> usize {
    let below = |number: usize| delivered.get(number).is_some_and(|(id, _)| id < match_id);
    let (mut low, mut step) = (from, 1);
    while below(low + step - 1) {
        low += step;
        step *= 2;
    }
    let mut high = low + step - 1;
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
