//! What a side submits: records of one fixed length, each beginning with a match id, in rising order of the match ids.
//!
//! The order is a function of what is submitted, so it tells nothing that the records do not. It lets the join go
//! through both sides once, without a table of either, and shows a match id that is there twice.

use std::io::{self, Read};

use counterfoil_proto::limits::{ROWS_MAX, SUBMISSION_BYTES_MAX};
use counterfoil_proto::payload::Layout;
use counterfoil_proto::{WireError, fixed};
use counterfoil_psi::SEAL_OVERHEAD;
use counterfoil_psi::SessionId;
use zeroize::Zeroizing;

use super::budget::Share;

/// Bytes of a match id.
pub(crate) const MATCH_ID_BYTES: usize = 16;
/// Bytes of a recipient's record: match id and row key.
pub(crate) const KEY_RECORD_BYTES: usize = MATCH_ID_BYTES + 32;

/// Bytes of a row key.
pub(crate) const KEY_BYTES: usize = 32;

/// A submission in memory, whole; wiped when dropped.
pub(crate) struct Submission {
    pub(crate) session: SessionId,
    /// Columns of the sealed rows; the recipient's keys have none, unless it brings tags of its own.
    pub(crate) layout: Option<Layout>,
    record_bytes: usize,
    /// Whole records each, in blocks of [`block_bytes`] but for the last: nothing is moved when more arrives, so no copy of a row
    /// key is left behind, and no more memory is touched than what arrived.
    blocks: Vec<Zeroizing<Vec<u8>>>,
    bytes: usize,
    bytes_expected: usize,
    last: Option<[u8; MATCH_ID_BYTES]>,
    /// Of the memory that submissions may take; given back with the submission.
    share: Option<Share>,
}

impl Submission {
    /// For sealed rows of this layout.
    pub(crate) fn rows(
        session: &[u8],
        count: u64,
        count_max: u64,
        layout: Layout,
    ) -> Result<Self, WireError> {
        let record_bytes = MATCH_ID_BYTES + layout.payload_len() + SEAL_OVERHEAD;
        Self::new(session, count, count_max, record_bytes, Some(layout))
    }

    /// For sealed rows of this layout, each followed by the key of the recipient's row.
    pub(crate) fn keyed_rows(
        session: &[u8],
        count: u64,
        count_max: u64,
        layout: Layout,
    ) -> Result<Self, WireError> {
        let record_bytes = MATCH_ID_BYTES + layout.payload_len() + SEAL_OVERHEAD + KEY_BYTES;
        Self::new(session, count, count_max, record_bytes, Some(layout))
    }

    /// For row keys.
    pub(crate) fn keys(session: &[u8], count: u64, count_max: u64) -> Result<Self, WireError> {
        Self::new(session, count, count_max, KEY_RECORD_BYTES, None)
    }

    /// For row keys, each followed by the recipient's own sealed row of this layout.
    pub(crate) fn keys_and_rows(
        session: &[u8],
        count: u64,
        count_max: u64,
        layout: Layout,
    ) -> Result<Self, WireError> {
        let record_bytes = KEY_RECORD_BYTES + layout.payload_len() + SEAL_OVERHEAD;
        Self::new(session, count, count_max, record_bytes, Some(layout))
    }

    fn new(
        session: &[u8],
        count: u64,
        count_max: u64,
        record_bytes: usize,
        layout: Option<Layout>,
    ) -> Result<Self, WireError> {
        let max = count_max.min(ROWS_MAX);
        if count > max {
            return Err(WireError::TooLarge {
                field: "count",
                max,
            });
        }
        let bytes = count.saturating_mul(record_bytes as u64);
        if bytes > SUBMISSION_BYTES_MAX {
            return Err(WireError::TooLarge {
                field: "submission",
                max: SUBMISSION_BYTES_MAX,
            });
        }
        Ok(Self {
            session: SessionId::from_bytes(fixed("session", session)?),
            layout,
            record_bytes,
            // Grows as bytes arrive: a header alone reserves nothing.
            blocks: Vec::new(),
            bytes: 0,
            bytes_expected: usize::try_from(bytes).unwrap_or(usize::MAX),
            last: None,
            share: None,
        })
    }

    /// Bytes that were declared.
    pub(crate) fn bytes_expected(&self) -> u64 {
        self.bytes_expected as u64
    }

    /// Keeps what was set aside for the submission as long as it lives.
    pub(crate) fn keep(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// Adds a piece: whole records, not more than declared, and each match id above the one before.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), WireError> {
        if !piece.len().is_multiple_of(self.record_bytes) {
            return Err(WireError::Malformed {
                field: "submission",
                why: "a piece does not end with a whole record",
            });
        }
        if self.bytes + piece.len() > self.bytes_expected {
            return Err(WireError::TooLarge {
                field: "submission",
                max: self.bytes_expected as u64,
            });
        }
        self.last = rising(self.last, piece.chunks_exact(self.record_bytes))?;
        let full = block_bytes(self.record_bytes);
        let mut rest = piece;
        while !rest.is_empty() {
            let missing = self.bytes_expected - self.bytes;
            let mut block = self
                .blocks
                .pop_if(|last| last.len() < full)
                .unwrap_or_else(|| Zeroizing::new(Vec::with_capacity(full.min(missing))));
            let (now, later) = rest.split_at(rest.len().min(full - block.len()));
            block.extend_from_slice(now);
            self.blocks.push(block);
            self.bytes += now.len();
            rest = later;
        }
        Ok(())
    }

    /// Takes everything that was declared from a file.
    pub(crate) fn read_from(&mut self, mut from: impl Read) -> io::Result<Result<(), WireError>> {
        // Room for what was declared was checked; what is not there ends the reading.
        let full = block_bytes(self.record_bytes);
        while self.bytes < self.bytes_expected {
            let missing = self.bytes_expected - self.bytes;
            let mut block = Zeroizing::new(vec![0; full.min(missing)]);
            from.read_exact(&mut block)?;
            self.bytes += block.len();
            self.blocks.push(block);
        }
        let more = from.read(&mut [0])?;
        if more > 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let records = self
            .blocks
            .iter()
            .flat_map(|block| block.chunks_exact(self.record_bytes));
        Ok(rising(None, records).map(|_| ()))
    }

    /// Everything that was declared has come.
    pub(crate) fn check_complete(&self) -> Result<(), WireError> {
        if self.bytes == self.bytes_expected {
            return Ok(());
        }
        Err(WireError::Length {
            field: "submission",
            want: self.bytes_expected,
            got: self.bytes,
        })
    }

    /// All records, one after the other.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().map(|block| block.as_slice())
    }

    /// Number of records.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.bytes / self.record_bytes
    }

    /// Records in the order in which they came: match id, and the rest.
    pub(crate) fn records(&self) -> impl Iterator<Item = ([u8; MATCH_ID_BYTES], &[u8])> {
        self.parts()
            .flat_map(|block| block.chunks_exact(self.record_bytes))
            .filter_map(|record| {
                let (match_id, rest) = record.split_first_chunk()?;
                Some((*match_id, rest))
            })
    }
}

/// Checks that the match ids of these records rise, from above the `last` one before them; gives the last of all.
fn rising<'r>(
    mut last: Option<[u8; MATCH_ID_BYTES]>,
    records: impl Iterator<Item = &'r [u8]>,
) -> Result<Option<[u8; MATCH_ID_BYTES]>, WireError> {
    for record in records {
        let match_id = record.first_chunk().copied();
        if last >= match_id {
            return Err(WireError::Malformed {
                field: "submission",
                why: "its match ids do not rise",
            });
        }
        last = match_id;
    }
    Ok(last)
}

/// Bytes of a block: as many whole records as a mebibyte holds, or one.
const fn block_bytes(record_bytes: usize) -> usize {
    let records = (1 << 20) / record_bytes;
    record_bytes * if records == 0 { 1 } else { records }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u64) -> Submission {
        Submission::keys(&[0; 32], count, 10).unwrap()
    }

    /// Records with these match ids.
    fn records(ids: &[u8]) -> Vec<u8> {
        let record = |id: &u8| [[*id; MATCH_ID_BYTES].as_slice(), &[7; 32]].concat();
        ids.iter().flat_map(record).collect()
    }

    #[test]
    fn exactly_what_was_declared_is_taken() {
        let mut submission = keys(3);
        submission.push(&records(&[1, 2])).unwrap();
        assert!(submission.check_complete().is_err());
        submission.push(&records(&[4])).unwrap();
        assert_eq!(submission.check_complete(), Ok(()));
        assert_eq!(submission.len(), 3);
        assert_eq!(submission.records().last(), Some(([4; 16], &[7; 32][..])));
        let bytes = records(&[1, 2, 4]);
        assert_eq!(submission.parts().collect::<Vec<_>>().concat(), bytes);
        let mut read = keys(3);
        read.read_from(bytes.as_slice()).unwrap().unwrap();
        assert_eq!(read.check_complete(), Ok(()));
        let disorder = records(&[1, 4, 2]);
        assert!(keys(3).read_from(disorder.as_slice()).unwrap().is_err());
        for wrong in [records(&[1, 2]), records(&[1, 2, 4, 5])] {
            assert!(keys(3).read_from(wrong.as_slice()).is_err());
        }
    }

    #[test]
    fn more_than_a_block_comes_back_in_pieces_of_any_size() {
        const RECORDS: usize = 50_000;
        let bytes: Vec<u8> = (1..=RECORDS as u128)
            .flat_map(|id| [id.to_be_bytes().as_slice(), &[7; 32]].concat())
            .collect();
        for piece in [1, 1_000, 21_845, RECORDS] {
            let mut submission =
                Submission::keys(&[0; 32], RECORDS as u64, RECORDS as u64).unwrap();
            for piece in bytes.chunks(piece * KEY_RECORD_BYTES) {
                submission.push(piece).unwrap();
            }
            assert_eq!(submission.check_complete(), Ok(()));
            assert!(submission.parts().all(|part| part.len() <= 1 << 20));
            assert!(submission.parts().collect::<Vec<_>>().concat() == bytes);
            assert_eq!(submission.records().count(), RECORDS);
        }
        let mut read = Submission::keys(&[0; 32], RECORDS as u64, RECORDS as u64).unwrap();
        read.read_from(bytes.as_slice()).unwrap().unwrap();
        assert!(read.parts().collect::<Vec<_>>().concat() == bytes);
    }

    #[test]
    fn match_ids_must_rise_within_a_piece_and_from_one_to_the_next() {
        for pieces in [
            [&[2_u8, 1][..], &[3]],
            [&[1, 1], &[3]],
            [&[1, 2], &[2]],
            [&[1, 2], &[1]],
        ] {
            let mut submission = keys(3);
            let pushed = pieces.map(|ids| submission.push(&records(ids)));
            assert!(pushed.iter().any(Result::is_err), "{pieces:?}");
        }
    }

    #[test]
    fn refusals() {
        assert!(matches!(
            Submission::keys(&[0; 32], 11, 10).err(),
            Some(WireError::TooLarge {
                field: "count",
                max: 10
            })
        ));
        assert!(matches!(
            Submission::keys(&[0; 31], 1, 10).err(),
            Some(WireError::Length {
                want: 32,
                got: 31,
                ..
            })
        ));
        assert!(matches!(
            keys(1).push(&[0; 47]),
            Err(WireError::Malformed { .. })
        ));
        assert!(matches!(
            keys(1).push(&[0; 2 * KEY_RECORD_BYTES]),
            Err(WireError::TooLarge { .. })
        ));
    }
}
