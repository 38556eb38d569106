//! Reading a log file from its start, one batch in memory at a time.

use std::io::{self, Read};

use super::{
    BATCH_BYTES_MAX, BODY_CHECK_LEN, CHECK_LEN, FILE_MAGIC, FILE_VERSION, FRAME_MAGIC,
    FRAME_START_LEN, HEADER_LEN, Header, check,
};
use crate::{entry::EntryBytes, note::KeyName};

/// What a disk writes whole or not at all. A sector of a new part of the file that was
/// never written reads as zeros.
const SECTOR: u64 = 512;
const FRAME_BYTES_MAX: usize = FRAME_START_LEN + BATCH_BYTES_MAX;

/// A log file that cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The source failed.
    #[error("cannot read the log: {0}")]
    Io(#[from] io::Error),
    /// Not a log file, or its header is damaged.
    #[error("the file is no log, or its header is damaged; restore it from a copy")]
    Header,
    /// Written by another version.
    #[error("the log file has format version `{found}`, and this program reads {FILE_VERSION}")]
    Version {
        /// The version it has.
        found: u16,
    },
    /// Another log's file.
    #[error("the file is of log `{found}`, not of `{expected}`")]
    Origin {
        /// The log that was asked for.
        expected: KeyName,
        /// The log that the header names.
        found: KeyName,
    },
}

/// One batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where its frame begins in the file.
    pub offset: u64,
    /// The log index of its first entry.
    pub first_index: u64,
    /// Its entries, at least one.
    pub entries: Vec<EntryBytes>,
}

/// How a file ends: after `entries` good entries, at `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a whole batch.
    Clean {
        /// The file's length.
        offset: u64,
        /// The good entries.
        entries: u64,
    },
    /// With a last batch whose write did not finish; nothing follows it.
    Torn {
        /// Where the unfinished batch begins.
        offset: u64,
        /// The good entries before it.
        entries: u64,
    },
    /// With something that no interrupted append leaves.
    Corrupt {
        /// Where the first bad frame begins.
        offset: u64,
        /// The good entries before it.
        entries: u64,
        /// What is wrong there.
        reason: &'static str,
    },
}

/// What [`Scan::step`] read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A good batch; call again.
    Batch(Batch),
    /// The end; every later call says the same.
    End(End),
}

/// A reader of log files. Memory: at most one frame, 16 MiB, twice.
#[derive(Debug)]
pub struct Scan<R> {
    source: R,
    origin: KeyName,
    offset: u64,
    entries: u64,
    end: Option<End>,
}

impl<R: Read> Scan<R> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// [`ScanError`] when it is not the header of a log file of this version.
    pub fn open(mut source: R) -> Result<Self, ScanError> {
        let start: [u8; 12] = read_array(&mut source)?.ok_or(ScanError::Header)?;
        let [m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, l0, l1] = start;
        if [m0, m1, m2, m3, m4, m5, m6, m7] != FILE_MAGIC {
            return Err(ScanError::Header);
        }
        let version = u16::from_be_bytes([v0, v1]);
        let name_len = u16::from_be_bytes([l0, l1]);
        let name = read_up_to(&mut source, usize::from(name_len))?;
        let found: [u8; CHECK_LEN] = read_array(&mut source)?.ok_or(ScanError::Header)?;
        let mut header = start.to_vec();
        header.extend(&name);
        if found != check(&header) {
            return Err(ScanError::Header);
        }
        if version != FILE_VERSION {
            return Err(ScanError::Version { found: version });
        }
        let name = String::from_utf8(name).map_err(|_| ScanError::Header)?;
        let origin = KeyName::new(name).map_err(|_| ScanError::Header)?;
        let offset = (header.len() + CHECK_LEN) as u64;
        Ok(Self {
            source,
            origin,
            offset,
            entries: 0,
            end: None,
        })
    }

    /// The log that the file is of.
    pub const fn origin(&self) -> &KeyName {
        &self.origin
    }

    /// Checks that the file is of the log that the caller means.
    ///
    /// # Errors
    /// [`ScanError::Origin`] when not.
    pub fn expect_origin(&self, expected: &KeyName) -> Result<(), ScanError> {
        if self.origin == *expected {
            return Ok(());
        }
        Err(ScanError::Origin {
            expected: expected.clone(),
            found: self.origin.clone(),
        })
    }

    /// Reads the next batch, or tells how the file ends.
    ///
    /// # Errors
    /// [`ScanError::Io`] when the source fails.
    pub fn step(&mut self) -> Result<Step, ScanError> {
        if let Some(end) = self.end {
            return Ok(Step::End(end));
        }
        let mut frame = read_up_to(&mut self.source, FRAME_START_LEN)?;
        if frame.is_empty() {
            return Ok(self.finish(Verdict::Clean));
        }
        let header = Header::decode(&frame);
        if let Some(header) = header {
            frame.extend(read_up_to(&mut self.source, header.body_len as usize)?);
        }
        if let Some(entries) = header.and_then(|header| self.batch(header, &frame)) {
            let batch = Batch {
                offset: self.offset,
                first_index: self.entries,
                entries,
            };
            self.offset += frame.len() as u64;
            self.entries += batch.entries.len() as u64;
            return Ok(Step::Batch(batch));
        }
        // One byte more than any one frame has, to see whether more follows.
        let room = (FRAME_BYTES_MAX + 1).saturating_sub(frame.len());
        let seen = frame.len();
        frame.extend(read_up_to(&mut self.source, room)?);
        let verdict = classify(self.offset, self.entries, header, seen, &frame);
        Ok(self.finish(verdict))
    }

    /// The entries of a frame, when all of it is right.
    fn batch(&self, header: Header, frame: &[u8]) -> Option<Vec<EntryBytes>> {
        let body = frame.get(FRAME_START_LEN..)?;
        let found = frame.get(HEADER_LEN..FRAME_START_LEN)?;
        let whole = body.len() == header.body_len as usize && header.first_index == self.entries;
        if !whole || found != check::<BODY_CHECK_LEN>(body) {
            return None;
        }
        let entries = split_body(body)?;
        (entries.len() == header.count as usize).then_some(entries)
    }

    fn finish(&mut self, verdict: Verdict) -> Step {
        let (offset, entries) = (self.offset, self.entries);
        let end = match verdict {
            Verdict::Clean => End::Clean { offset, entries },
            Verdict::Torn => End::Torn { offset, entries },
            Verdict::Corrupt(reason) => End::Corrupt {
                offset,
                entries,
                reason,
            },
        };
        self.end = Some(end);
        Step::End(end)
    }
}

enum Verdict {
    Clean,
    Torn,
    Corrupt(&'static str),
}

/// Tells an append that a crash interrupted from damage to what was once flushed.
///
/// `rest` is the file from `offset`, the bad frame's start, to its end or past the longest
/// frame; `seen` is how much of it the frame itself has. An interrupted append leaves one
/// frame that is short, or that has whole sectors of zeros (the file grew, the data did not
/// come), and nothing after it: the next append starts only when the last was flushed.
/// Everything else was damaged later, and what cannot be told apart counts as damage.
fn classify(
    offset: u64,
    entries: u64,
    header: Option<Header>,
    seen: usize,
    rest: &[u8],
) -> Verdict {
    if rest.len() > FRAME_BYTES_MAX {
        return Verdict::Corrupt("a frame is damaged and more than one frame's length follows it");
    }
    if frame_follows(rest) {
        return Verdict::Corrupt("a frame is damaged and another follows it");
    }
    let Some(header) = header else {
        return classify_headless(offset, rest);
    };
    if header.first_index != entries {
        return Verdict::Corrupt("a frame is not the next one: frames were lost or moved");
    }
    let frame_len = FRAME_START_LEN + header.body_len as usize;
    if rest.len() < frame_len {
        return Verdict::Torn;
    }
    if rest.len() > seen {
        return Verdict::Corrupt("a frame is damaged and other bytes follow it");
    }
    if has_lost_sector(offset, rest) {
        return Verdict::Torn;
    }
    Verdict::Corrupt("the last frame is whole and its content was altered")
}

/// As [`classify`], when no header can be read.
fn classify_headless(offset: u64, rest: &[u8]) -> Verdict {
    let short = rest.len() < HEADER_LEN && starts_like_frame(rest);
    let header = rest.get(..HEADER_LEN).unwrap_or(rest);
    if short || rest.iter().all(|byte| *byte == 0) || has_lost_sector_in(offset, rest, header.len())
    {
        Verdict::Torn
    } else {
        Verdict::Corrupt("a frame's header is damaged")
    }
}

fn starts_like_frame(rest: &[u8]) -> bool {
    rest.iter()
        .zip(&FRAME_MAGIC)
        .all(|(byte, magic)| byte == magic)
}

/// Whether a frame begins anywhere after the first byte.
fn frame_follows(rest: &[u8]) -> bool {
    let mut starts = rest
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, byte)| **byte == FRAME_MAGIC[0]);
    starts.any(|(at, _)| rest.get(at..).and_then(Header::decode).is_some())
}

fn has_lost_sector(offset: u64, rest: &[u8]) -> bool {
    has_lost_sector_in(offset, rest, rest.len())
}

/// Whether a sector that begins in the first `len` bytes of `rest` is all zeros. A good
/// frame has no such sector: it begins with 0xFF, ends with an entry's byte, and its
/// entries have no zeros (INVARIANT no-control-bytes), so not even a piece of one bit
/// flipped is taken for a lost sector.
fn has_lost_sector_in(offset: u64, rest: &[u8], len: usize) -> bool {
    let first = (SECTOR - offset % SECTOR) as usize;
    let (head, tail) = rest.split_at_checked(first).unwrap_or((rest, &[]));
    let starts = std::iter::once(0).chain((first..).step_by(SECTOR as usize));
    let pieces = std::iter::once(head).chain(tail.chunks(SECTOR as usize));
    starts
        .zip(pieces)
        .take_while(|(start, _)| *start < len)
        .any(|(_, piece)| piece.iter().all(|byte| *byte == 0))
}

fn split_body(mut body: &[u8]) -> Option<Vec<EntryBytes>> {
    let mut entries = Vec::new();
    while !body.is_empty() {
        let (len, rest) = body.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        entries.push(EntryBytes::new(entry).ok()?);
        body = rest;
    }
    Some(entries)
}

fn read_array<const N: usize>(source: &mut impl Read) -> io::Result<Option<[u8; N]>> {
    Ok(read_up_to(source, N)?.try_into().ok())
}

/// Reads `len` bytes, or fewer at the end of the source.
fn read_up_to(source: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
