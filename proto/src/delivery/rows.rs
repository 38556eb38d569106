//! The rows of a delivery, as they stand in its plaintext: a million of them as values of their own would be millions of small
//! allocations at the broker, and again at the recipient.

use zeroize::Zeroizing;

use super::{malformed, short, too_large};
use crate::limits::{DELIVERY_BYTES_MAX, ROWS_MAX, VALUE_BYTES_MAX};
use crate::{WireError, fixed};

/// Bytes of a match id.
const MATCH_ID_BYTES: usize = 16;

/// Rows in rising order of their match ids, each with one value per column; wiped when dropped.
///
/// The order says nothing of either side's, and no match id can be there twice.
#[derive(Clone)]
pub struct DeliveredRows {
    columns: usize,
    bytes: Zeroizing<Vec<u8>>,
    /// Where each row begins in `bytes`.
    starts: Vec<u32>,
}

impl DeliveredRows {
    /// No rows yet, of so many columns.
    #[must_use]
    pub fn new(columns: usize) -> Self {
        Self::with_room(columns, 0, 0)
    }

    /// As [`new`](Self::new), with room for so many rows whose values take so many bytes: nothing then has to be moved, which
    /// would leave copies behind.
    #[must_use]
    pub fn with_room(columns: usize, rows: usize, value_bytes: usize) -> Self {
        let fixed = rows.saturating_mul(MATCH_ID_BYTES + columns);
        Self {
            columns,
            bytes: Zeroizing::new(Vec::with_capacity(fixed.saturating_add(value_bytes))),
            starts: Vec::with_capacity(rows),
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// A match id that is not above the one before, another number of values than columns, a value over
    /// [`VALUE_BYTES_MAX`], or more than [`DELIVERY_BYTES_MAX`] in all; the rows are then as before.
    pub fn push<'v>(
        &mut self,
        match_id: &[u8; MATCH_ID_BYTES],
        values: impl IntoIterator<Item = &'v str>,
    ) -> Result<(), WireError> {
        if self.last().is_some_and(|last| last >= match_id) {
            return Err(malformed("its match ids do not rise"));
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(match_id);
        let written = self.write_values(values).and_then(|()| {
            let place = u32::try_from(start).ok();
            place
                .filter(|_| self.bytes.len() as u64 <= DELIVERY_BYTES_MAX)
                .ok_or_else(|| too_large("delivery", DELIVERY_BYTES_MAX))
        });
        match written {
            Ok(place) => {
                self.starts.push(place);
                Ok(())
            }
            Err(error) => {
                self.bytes.truncate(start);
                Err(error)
            }
        }
    }

    fn write_values<'v>(
        &mut self,
        values: impl IntoIterator<Item = &'v str>,
    ) -> Result<(), WireError> {
        let mut count = 0;
        for value in values {
            let len = u8::try_from(value.len()).ok();
            let len = len.filter(|len| usize::from(*len) <= VALUE_BYTES_MAX);
            let len = len.ok_or_else(|| too_large("value", VALUE_BYTES_MAX as u64))?;
            self.bytes.push(len);
            self.bytes.extend_from_slice(value.as_bytes());
            count += 1;
        }
        if count == self.columns {
            return Ok(());
        }
        Err(malformed("a row has another number of values than columns"))
    }

    /// Values of each row.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Match id and values of the row with this number, from 0.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<(&[u8; MATCH_ID_BYTES], Values<'_>)> {
        let start = usize::try_from(*self.starts.get(number)?).ok()?;
        let (match_id, rest) = self.bytes.get(start..)?.split_first_chunk()?;
        let left = self.columns;
        Some((match_id, Values { rest, left }))
    }

    /// The rows, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8; MATCH_ID_BYTES], Values<'_>)> {
        (0..self.len()).filter_map(|number| self.get(number))
    }

    fn last(&self) -> Option<&[u8; MATCH_ID_BYTES]> {
        let (match_id, _) = self.get(self.len().checked_sub(1)?)?;
        Some(match_id)
    }

    /// What follows a delivery's head, without the padding.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads rows that begin at `start` in `bytes`; behind them come zeros.
    pub(super) fn decode(
        bytes: Zeroizing<Vec<u8>>,
        start: usize,
        columns: usize,
        rows: u64,
    ) -> Result<Self, WireError> {
        if rows > ROWS_MAX {
            return Err(too_large("rows", ROWS_MAX));
        }
        if bytes.len() as u64 > DELIVERY_BYTES_MAX {
            return Err(too_large("delivery", DELIVERY_BYTES_MAX));
        }
        let mut starts = Vec::new();
        let (mut at, mut last) = (start, None);
        for _ in 0..rows {
            starts.push(u32::try_from(at).map_err(|_| short())?);
            let id: [u8; MATCH_ID_BYTES] =
                fixed("match id", take(&bytes, &mut at, MATCH_ID_BYTES)?)?;
            if last.is_some_and(|last| last >= id) {
                return Err(malformed("its match ids do not rise"));
            }
            last = Some(id);
            for _ in 0..columns {
                let len = take(&bytes, &mut at, 1)?.first().copied().unwrap_or(0);
                let value = take(&bytes, &mut at, usize::from(len))?;
                std::str::from_utf8(value).map_err(|_| malformed("a value"))?;
            }
        }
        if bytes.iter().skip(at).any(|byte| *byte != 0) {
            return Err(malformed("its padding"));
        }
        Ok(Self {
            columns,
            bytes,
            starts,
        })
    }
}

fn take<'b>(bytes: &'b [u8], at: &mut usize, len: usize) -> Result<&'b [u8], WireError> {
    let end = at.checked_add(len).ok_or_else(short)?;
    let taken = bytes.get(*at..end).ok_or_else(short)?;
    *at = end;
    Ok(taken)
}

impl PartialEq for DeliveredRows {
    fn eq(&self, other: &Self) -> bool {
        let same = (self.columns, self.len()) == (other.columns, other.len());
        let mut pairs = self.iter().zip(other.iter());
        same && pairs.all(|((a, ours), (b, theirs))| a == b && ours.eq(theirs))
    }
}

impl Eq for DeliveredRows {}

impl std::fmt::Debug for DeliveredRows {
    /// How many: the rest is personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeliveredRows({} x {})", self.len(), self.columns)
    }
}

/// The values of a row, in the order of the columns.
#[derive(Clone)]
pub struct Values<'r> {
    rest: &'r [u8],
    left: usize,
}

impl<'r> Iterator for Values<'r> {
    type Item = &'r str;

    fn next(&mut self) -> Option<&'r str> {
        self.left = self.left.checked_sub(1)?;
        let (len, rest) = self.rest.split_first()?;
        let (value, rest) = rest.split_at_checked(usize::from(*len))?;
        self.rest = rest;
        std::str::from_utf8(value).ok()
    }
}
