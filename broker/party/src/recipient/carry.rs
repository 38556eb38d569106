//! What the recipient's own file holds beside the identifier, kept for the output.

use zeroize::Zeroizing;

/// Bytes of a block; a row longer than that has a block of its own.
const BLOCK_BYTES: usize = 1 << 20;

/// Bytes of a [`Place`].
pub(super) const PLACE_BYTES: usize = 8;

/// Cells of rows, in blocks that never move and are wiped when dropped.
#[derive(Default)]
pub(super) struct Carried {
    blocks: Vec<Zeroizing<Vec<u8>>>,
}

/// Where a row's cells begin: block and offset. It is kept as the payload of the row's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    block: u32,
    offset: u32,
}

impl Place {
    pub(super) fn to_bytes(self) -> [u8; PLACE_BYTES] {
        (u64::from(self.block) << 32 | u64::from(self.offset)).to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let both = u64::from_be_bytes(bytes.try_into().ok()?);
        let block = u32::try_from(both >> 32).ok()?;
        let offset = u32::try_from(both & u64::from(u32::MAX)).ok()?;
        Some(Self { block, offset })
    }
}

impl Carried {
    /// Keeps the cells of a row; `None` where 2^32 blocks are full, which no machine holds.
    pub(super) fn push<'c>(
        &mut self,
        cells: impl Iterator<Item = &'c str> + Clone,
    ) -> Option<Place> {
        let needed: usize = cells.clone().map(|cell| 4 + cell.len()).sum();
        let fits = self
            .blocks
            .last()
            .is_some_and(|block| block.capacity() - block.len() >= needed);
        if !fits {
            self.blocks
                .push(Zeroizing::new(Vec::with_capacity(needed.max(BLOCK_BYTES))));
        }
        let block = u32::try_from(self.blocks.len()).ok()?.checked_sub(1)?;
        let bytes = self.blocks.last_mut()?;
        let offset = u32::try_from(bytes.len()).ok()?;
        for cell in cells {
            bytes.extend_from_slice(&u32::try_from(cell.len()).ok()?.to_be_bytes());
            bytes.extend_from_slice(cell.as_bytes());
        }
        Some(Place { block, offset })
    }

    /// The first `count` cells at a place, each with its length in front: as they stand in the map.
    pub(super) fn raw(&self, place: Place, count: usize) -> Option<&[u8]> {
        let block = self.blocks.get(usize::try_from(place.block).ok()?)?;
        let row = block.get(usize::try_from(place.offset).ok()?..)?;
        let mut rest = row;
        for _ in 0..count {
            let (len, tail) = rest.split_first_chunk::<4>()?;
            let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
            rest = tail.get(len..)?;
        }
        row.get(..row.len() - rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_across_blocks() {
        let mut carried = Carried::default();
        let long = "x".repeat(BLOCK_BYTES - 10);
        let rows = [
            vec!["a", ""],
            vec![long.as_str(), "b"],
            vec!["", "c"],
            vec![&long, &long],
        ];
        let places: Vec<_> = rows
            .iter()
            .map(|row| carried.push(row.iter().copied()).unwrap())
            .collect();
        for (row, place) in rows.iter().zip(places) {
            let place = Place::from_bytes(&place.to_bytes()).unwrap();
            let mut expected = Vec::new();
            for cell in row {
                expected.extend((cell.len() as u32).to_be_bytes());
                expected.extend(cell.as_bytes());
            }
            assert_eq!(carried.raw(place, 2).unwrap(), expected);
        }
        assert_eq!(Place::from_bytes(&[0; 7]), None);
        let nowhere = Place::from_bytes(&[0xFF; 8]).unwrap();
        assert_eq!(carried.raw(nowhere, 1), None);
    }

    #[test]
    fn no_cells_take_no_bytes() {
        let mut carried = Carried::default();
        let place = carried.push(std::iter::empty()).unwrap();
        assert_eq!(carried.raw(place, 0), Some(&[][..]));
    }
}
