//! The log file's format, as functions over bytes; the server does the writing.
//!
//! ```text
//! file   = magic "CFLOG\r\n\0" | version u16 = 1 | origin length u16 | origin | check[8]
//! frame  = magic FF 43 46 31 | body length u32 | entries u32 | first index u64 | check[8]
//!          | body check[16] | body          one frame is one atomic batch
//! body   = (entry length u16 | entry) repeated
//! ```
//!
//! Integers are big-endian; the body is laid out as a tiled-log entry bundle. A check is
//! SHA-256 of what stands before it (the body's: of the body), cut short. CRC-32C would be
//! enough against accidents; SHA-256 is linked already, as fast as the disk, and at 64 and
//! 128 bits leaves no chance match for the rules below to stumble over. It is no defence
//! against a person, who can compute it too: that is the signed tree's task.
//!
//! The header has a check of its own because everything hangs on its length: were that
//! unprotected, one flipped bit in an old frame would look like an unfinished last one,
//! and cutting there would drop good entries.

mod recover;
mod scan;

#[cfg(test)]
mod tests;

use sha2::{Digest as _, Sha256};

pub use recover::{Recovery, RecoveryError, plan_recovery};
pub use scan::{Batch, End, Scan, ScanError, Step};

use crate::{
    entry::EntryBytes,
    note::{KeyName, NoteError},
};

/// The largest body of a frame in bytes.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(crate) const FILE_MAGIC: [u8; 8] = *b"CFLOG\r\n\0";
pub(crate) const FILE_VERSION: u16 = 1;
// 0xFF is in no UTF-8 text, so no entry can hold what looks like a frame.
pub(crate) const FRAME_MAGIC: [u8; 4] = [0xFF, b'C', b'F', b'1'];
/// Magic, length, count, first index and their check.
pub(crate) const HEADER_LEN: usize = 4 + 4 + 4 + 8 + CHECK_LEN;
/// Bytes of a frame before its body: the header and the body's check.
pub const FRAME_START_LEN: usize = HEADER_LEN + BODY_CHECK_LEN;
pub(crate) const CHECK_LEN: usize = 8;
pub(crate) const BODY_CHECK_LEN: usize = 16;

/// A batch or file that cannot be written. The fault is the caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A batch without entries.
    #[error("a batch must have at least one entry")]
    Empty,
    /// A batch over the bound.
    #[error("a batch has `{bytes}` bytes, more than {BATCH_BYTES_MAX}; write it as several")]
    Size {
        /// Its length.
        bytes: usize,
    },
    /// The file's header names no log.
    #[error(transparent)]
    Origin(#[from] NoteError),
}

/// The bytes that a log file begins with. Write them to a new name, flush and rename: then
/// no crash leaves a file with half a header.
#[must_use]
pub fn encode_file_header(origin: &KeyName) -> Vec<u8> {
    let mut bytes = FILE_MAGIC.to_vec();
    bytes.extend(FILE_VERSION.to_be_bytes());
    // A key name has at most 256 bytes.
    bytes.extend((origin.as_str().len() as u16).to_be_bytes());
    bytes.extend(origin.as_str().as_bytes());
    let check: [u8; CHECK_LEN] = check(&bytes);
    bytes.extend(check);
    bytes
}

/// The frame of one batch, whose first entry has `first_index` in the log. Append it in
/// one write and flush before anyone is told of it; until then write no other.
///
/// # Errors
/// [`FrameError::Empty`] or [`FrameError::Size`].
pub fn encode_batch(first_index: u64, entries: &[EntryBytes]) -> Result<Vec<u8>, FrameError> {
    let size: usize = entries.iter().map(|entry| 2 + entry.as_bytes().len()).sum();
    if entries.is_empty() {
        return Err(FrameError::Empty);
    }
    if size > BATCH_BYTES_MAX {
        return Err(FrameError::Size { bytes: size });
    }
    let mut body = Vec::with_capacity(size);
    for entry in entries {
        // An entry has at most 65,535 bytes.
        body.extend((entry.as_bytes().len() as u16).to_be_bytes());
        body.extend(entry.as_bytes());
    }
    let header = Header {
        body_len: size as u32,
        count: entries.len() as u32,
        first_index,
    };
    let mut frame = Vec::with_capacity(FRAME_START_LEN + size);
    frame.extend(header.encode());
    frame.extend(check::<BODY_CHECK_LEN>(&body));
    frame.extend(body);
    Ok(frame)
}

/// What a frame says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body_len: u32,
    pub(crate) count: u32,
    pub(crate) first_index: u64,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = FRAME_MAGIC.to_vec();
        bytes.extend(self.body_len.to_be_bytes());
        bytes.extend(self.count.to_be_bytes());
        bytes.extend(self.first_index.to_be_bytes());
        let check: [u8; CHECK_LEN] = check(&bytes);
        bytes.extend(check);
        bytes
    }

    /// Reads a header off the front; nothing unless its check fits.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (body_len, rest) = rest.split_first_chunk::<4>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (first_index, _) = rest.split_first_chunk::<8>()?;
        let header = Self {
            body_len: u32::from_be_bytes(*body_len),
            count: u32::from_be_bytes(*count),
            first_index: u64::from_be_bytes(*first_index),
        };
        let bounded = (1..=BATCH_BYTES_MAX).contains(&(header.body_len as usize));
        // Compared last: most bytes that are no header fail on the magic, without hashing.
        (*magic == FRAME_MAGIC && bounded && bytes.get(..HEADER_LEN)? == header.encode())
            .then_some(header)
    }
}

pub(crate) fn check<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let hash = Sha256::digest(bytes);
    // N is 8 or 16 of the 32 bytes.
    hash.first_chunk().copied().unwrap_or([0; N])
}
