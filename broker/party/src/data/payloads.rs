//! What is kept with each identifier of a set.

use std::fmt;

use zeroize::{Zeroize as _, Zeroizing};

/// Payloads in one block of memory.
const BLOCK_PAYLOADS: usize = 4096;

/// Byte strings of one length, in blocks that never move, so that none leaves a copy behind; wiped when dropped.
///
/// A block that is full keeps the places alone that are not zero in all of its strings: numbers into a dictionary of few values
/// then take a byte each, and not four.
pub struct Payloads {
    length: usize,
    full: Vec<Block>,
    /// The block that is being filled.
    open: Zeroizing<Vec<u8>>,
    count: usize,
}

/// The strings of a full block.
struct Block {
    /// The places of a string that are kept.
    places: Vec<usize>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Payloads {
    /// None yet, of `length` bytes each.
    #[must_use]
    pub fn new(length: usize) -> Self {
        Self {
            length,
            full: Vec::new(),
            open: Zeroizing::new(Vec::with_capacity(BLOCK_PAYLOADS * length)),
            count: 0,
        }
    }

    /// Bytes of each.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Reads the payload at an index of the set into the bytes given, as many as each has. `None` if there is none.
    #[must_use]
    pub fn read(&self, index: usize, into: &mut [u8]) -> Option<()> {
        if index >= self.count || into.len() != self.length {
            return None;
        }
        let place = index % BLOCK_PAYLOADS;
        let Some(block) = self.full.get(index / BLOCK_PAYLOADS) else {
            let start = place * self.length;
            into.copy_from_slice(self.open.get(start..start + self.length)?);
            return Some(());
        };
        into.fill(0);
        let start = place * block.places.len();
        let kept = block.bytes.get(start..start + block.places.len())?;
        for (place, byte) in block.places.iter().zip(kept) {
            *into.get_mut(*place)? = *byte;
        }
        Some(())
    }

    /// Those whose index `keep` takes, in the same order.
    pub(super) fn filtered(&self, keep: impl Fn(u32) -> bool) -> Self {
        let mut kept = Self::new(self.length);
        let mut payload = Zeroizing::new(vec![0; self.length]);
        let indices = (0_u32..).zip(0..self.count);
        for (_, index) in indices.filter(|(number, _)| keep(*number)) {
            if self.read(index, &mut payload).is_some() {
                kept.push(&payload);
            }
        }
        kept
    }

    /// Adds one, for the next index; it has the length of all.
    pub fn push(&mut self, payload: &[u8]) {
        self.open.extend_from_slice(payload);
        self.count += 1;
        if self.count.is_multiple_of(BLOCK_PAYLOADS) {
            self.full.push(Block::of(&self.open, self.length));
            self.open.zeroize();
        }
    }
}

impl Block {
    fn of(strings: &[u8], length: usize) -> Self {
        let strings = || strings.chunks_exact(length.max(1));
        let mut used = vec![0; length];
        for string in strings() {
            for (used, byte) in used.iter_mut().zip(string) {
                *used |= byte;
            }
        }
        let used = used.iter().enumerate().filter(|(_, byte)| **byte != 0);
        let places: Vec<usize> = used.map(|(place, _)| place).collect();
        let mut bytes = Zeroizing::new(Vec::with_capacity(BLOCK_PAYLOADS * places.len()));
        for string in strings() {
            bytes.extend(places.iter().filter_map(|place| string.get(*place)));
        }
        Self { places, bytes }
    }
}

impl fmt::Debug for Payloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Payloads({} x {} bytes, <redacted>)",
            self.count, self.length
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_payload_comes_back_and_a_block_keeps_what_is_not_zero() {
        let payload = |index: u32| {
            let mut payload = [0; 8];
            payload[..4].copy_from_slice(&(index % 200).to_be_bytes());
            payload[4..].copy_from_slice(&index.to_be_bytes());
            payload
        };
        let mut payloads = Payloads::new(8);
        for index in 0..10_000 {
            payloads.push(&payload(index));
        }
        let mut read = [7; 8];
        for index in 0..10_000 {
            payloads.read(index as usize, &mut read).unwrap();
            assert_eq!(read, payload(index));
        }
        // Of the first number a byte, of the second two.
        assert_eq!(payloads.full[1].places, [3, 6, 7]);
        assert_eq!(payloads.read(10_000, &mut read), None);
        assert_eq!(payloads.read(0, &mut [0; 7]), None);
        let few = payloads.filtered(|index| index % 2 == 1);
        few.read(2_500, &mut read).unwrap();
        assert_eq!((few.len(), read), (5_000, payload(5_001)));
    }

    #[test]
    fn payloads_of_no_bytes_are_counted() {
        let mut payloads = Payloads::new(0);
        for _ in 0..5_000 {
            payloads.push(&[]);
        }
        assert_eq!(payloads.len(), 5_000);
        assert_eq!(payloads.read(4_999, &mut []), Some(()));
        assert_eq!(payloads.read(5_000, &mut []), None);
    }
}
