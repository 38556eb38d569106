//! A set of identifiers in little memory.

use std::fmt;
use std::hash::Hasher;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rand_core::CryptoRng;
use siphasher::sip::SipHasher13;
use zeroize::Zeroizing;

use super::{Identifier, IdentifierKind, value_of};

/// What became of an inserted identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// It was new and has this index.
    New(u32),
    /// It was there already, at this index.
    Duplicate(u32),
}

/// Why an identifier was not inserted. Always the caller's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// The set holds identifiers of another kind.
    #[error(
        "a set of `{set}` identifiers does not take one of kind `{given}`; use one set for each kind"
    )]
    Kind {
        /// Kind of the set.
        set: IdentifierKind,
        /// Kind of the identifier.
        given: IdentifierKind,
    },
    /// The arena's 32-bit positions are used up.
    #[error("the set holds 4 GiB of identifiers already; split the input")]
    Full,
}

/// Distinct identifiers of one kind, numbered from 0 in the order of their first coming.
///
/// 2^24 phones take 0.44 GB: each 22 bytes in the arena (length, label, value) and four of position; and 0.3 GB
/// of hash tables until the set is [closed](Self::close). It is what a session takes
/// as input, so a session never meets a duplicate or a value that was not normalised.
///
/// The tables hold indices, placed by SipHash under a key drawn for the set: nobody who
/// supplies identifiers can choose ones that collide. Half of each hash stands beside the index, so that a table
/// that grows moves its entries without a look at the arena, where each would be a miss of the cache. There are
/// several, so that only a part is there twice while it grows.
pub struct IdentifierSet {
    kind: IdentifierKind,
    arena: Arena,
    tables: [HashTable<Slot>; TABLES],
    hasher: SipHasher13,
}

impl IdentifierSet {
    /// An empty set; `rng` gives the key of its hash table.
    pub fn new<R: CryptoRng + ?Sized>(kind: IdentifierKind, rng: &mut R) -> Self {
        Self {
            kind,
            arena: Arena::default(),
            tables: std::array::from_fn(|_| HashTable::new()),
            hasher: SipHasher13::new_with_keys(rng.next_u64(), rng.next_u64()),
        }
    }

    /// The kind of all identifiers in the set.
    #[must_use]
    pub const fn kind(&self) -> IdentifierKind {
        self.kind
    }

    /// How many identifiers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arena.starts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arena.starts.is_empty()
    }

    /// Adds an identifier, or tells where it stands already.
    ///
    /// # Errors
    /// [`SetError`] if the kind differs or the set is full.
    pub fn insert(&mut self, identifier: &Identifier) -> Result<Insertion, SetError> {
        if identifier.kind() != self.kind {
            return Err(SetError::Kind {
                set: self.kind,
                given: identifier.kind(),
            });
        }
        self.insert_bytes(identifier.as_bytes())
    }

    fn insert_bytes(&mut self, bytes: &[u8]) -> Result<Insertion, SetError> {
        let hash = keyed_hash(self.hasher, bytes);
        let same = |slot: &Slot| slot.hash == hash && self.arena.item(slot.index) == bytes;
        let table = self.tables.get_mut(table_of(hash)).ok_or(SetError::Full)?;
        match table.entry(spread(hash), same, |slot| spread(slot.hash)) {
            Entry::Occupied(there) => Ok(Insertion::Duplicate(there.get().index)),
            Entry::Vacant(place) => {
                let index = self.arena.push(bytes)?;
                place.insert(Slot { index, hash });
                Ok(Insertion::New(index))
            }
        }
    }

    /// Where an identifier stands, if it is in the set.
    #[must_use]
    pub fn position(&self, identifier: &Identifier) -> Option<u32> {
        self.find(identifier.as_bytes())
    }

    fn find(&self, bytes: &[u8]) -> Option<u32> {
        let hash = keyed_hash(self.hasher, bytes);
        let same = |slot: &Slot| slot.hash == hash && self.arena.item(slot.index) == bytes;
        let found = self.tables.get(table_of(hash))?.find(spread(hash), same)?;
        Some(found.index)
    }

    /// Gives back the memory of the tables, which only [`insert`](Self::insert) and [`position`](Self::position) need: nothing may
    /// be inserted from here on, and nothing is found.
    pub fn close(&mut self) {
        self.tables = std::array::from_fn(|_| HashTable::new());
    }

    /// The identifiers whose index `keep` takes, in the same order and numbered anew; `rng` as in [`new`](Self::new).
    ///
    /// # Errors
    /// None in practice: what fitted into this set fits into the new one.
    pub fn filtered<R: CryptoRng + ?Sized>(
        &self,
        keep: impl Fn(u32) -> bool,
        rng: &mut R,
    ) -> Result<Self, SetError> {
        let mut kept = Self::new(self.kind, rng);
        for index in (0_u32..).take(self.len()).filter(|index| keep(*index)) {
            kept.insert_bytes(self.arena.item(index))?;
        }
        Ok(kept)
    }

    /// Adds dummies until the set has `slots` items, so that its size says nothing: items like any other to a session, which
    /// belong to nobody.
    ///
    /// A dummy is 32 random bytes under a label that no kind has, so it is no identifier's canonical form, and both sides
    /// draw the same one with probability below 2^-200. Nobody but this side can tell its match id, row or key from
    /// another's. No identifier may be inserted after dummies.
    ///
    /// # Errors
    /// [`SetError::Full`].
    pub fn fill<R: CryptoRng + ?Sized>(
        &mut self,
        slots: usize,
        rng: &mut R,
    ) -> Result<(), SetError> {
        let mut dummy = DUMMY_LABEL.to_vec();
        dummy.resize(DUMMY_LABEL.len() + 32, 0);
        while self.len() < slots {
            rng.fill_bytes(dummy.get_mut(DUMMY_LABEL.len()..).unwrap_or_default());
            self.arena.push(&dummy)?;
        }
        Ok(())
    }

    /// Some items of this set as a set of their own, in the order given, filled with dummies up to `slots`. Indices that are not
    /// of this set are left out. Nothing may be inserted into it.
    ///
    /// # Errors
    /// [`SetError::Full`].
    pub fn part<R: CryptoRng + ?Sized>(
        &self,
        indices: &[u32],
        slots: usize,
        rng: &mut R,
    ) -> Result<Self, SetError> {
        let mut part = Self::new(self.kind, rng);
        for item in indices
            .iter()
            .filter_map(|index| self.arena.try_item(*index))
        {
            part.arena.push(item)?;
        }
        part.fill(slots, rng)?;
        Ok(part)
    }

    /// The canonical bytes of an identifier, as [`Identifier::as_bytes`] gave them.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&[u8]> {
        ((index as usize) < self.len()).then(|| self.arena.item(index))
    }

    /// The value of an identifier in clear, for a recipient's own output file.
    #[must_use]
    pub fn expose_value(&self, index: u32) -> Option<&str> {
        self.get(index).map(|bytes| value_of(self.kind, bytes))
    }

    /// The canonical bytes at an index that came from this set.
    pub(crate) fn item(&self, index: u32) -> &[u8] {
        self.arena.item(index)
    }
}

impl fmt::Debug for IdentifierSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "IdentifierSet({} x {}, <redacted>)",
            self.len(),
            self.kind
        )
    }
}

/// Begins a dummy's bytes; [`IdentifierKind::label`] has no such label.
const DUMMY_LABEL: &[u8] = b"dummy\0";

/// Byte strings one after the other, in blocks that never move.
///
/// A growing `Vec` would leave a copy of everything behind each time it moves; a block is
/// allocated whole, filled once and wiped when dropped.
#[derive(Default)]
struct Arena {
    blocks: Vec<Zeroizing<Vec<u8>>>,
    /// Where each string begins: block number times `BLOCK_BYTES` plus place in the block.
    starts: Vec<u32>,
}

const BLOCK_BYTES: usize = 1 << 20;
/// Each string is preceded by its length as a big-endian `u16`.
const LENGTH_BYTES: usize = 2;

impl Arena {
    fn push(&mut self, bytes: &[u8]) -> Result<u32, SetError> {
        let index = u32::try_from(self.starts.len()).map_err(|_| SetError::Full)?;
        let length = u16::try_from(bytes.len()).map_err(|_| SetError::Full)?;
        let needed = LENGTH_BYTES + bytes.len();
        if self
            .blocks
            .last()
            .is_none_or(|block| BLOCK_BYTES - block.len() < needed)
        {
            self.blocks
                .push(Zeroizing::new(Vec::with_capacity(BLOCK_BYTES)));
        }
        let number = self.blocks.len() - 1;
        let block = self.blocks.last_mut().ok_or(SetError::Full)?;
        let start =
            u32::try_from(number * BLOCK_BYTES + block.len()).map_err(|_| SetError::Full)?;
        block.extend_from_slice(&length.to_be_bytes());
        block.extend_from_slice(bytes);
        self.starts.push(start);
        Ok(index)
    }

    /// The string at an index that `push` returned; empty for any other.
    fn item(&self, index: u32) -> &[u8] {
        self.try_item(index).unwrap_or_default()
    }

    fn try_item(&self, index: u32) -> Option<&[u8]> {
        let start = *self.starts.get(index as usize)? as usize;
        let rest = self
            .blocks
            .get(start / BLOCK_BYTES)?
            .get(start % BLOCK_BYTES..)?;
        let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        rest.get(..usize::from(u16::from_be_bytes(*length)))
    }
}

/// An entry of the table.
struct Slot {
    index: u32,
    hash: u32,
}

/// SipHash-1-3, as the standard library's maps use it, with the set's key; half of it.
fn keyed_hash(mut hasher: SipHasher13, bytes: &[u8]) -> u32 {
    hasher.write(bytes);
    let hash = hasher.finish();
    #[expect(clippy::cast_possible_truncation, reason = "half of it is meant")]
    {
        hash as u32
    }
}

/// Tables of a set.
const TABLES: usize = 16;

/// Which table: by four bits of the hash that [`spread`] leaves alone.
fn table_of(hash: u32) -> usize {
    (hash >> 21) as usize % TABLES
}

/// A table reads places from the low bits, 21 of them where 16 tables hold 2^24 items, and marks from the highest seven.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn set() -> IdentifierSet {
        IdentifierSet::new(IdentifierKind::Email, &mut ChaCha20Rng::seed_from_u64(1))
    }

    fn email(value: &str) -> Identifier {
        Identifier::new(IdentifierKind::Email, ["", value])
    }

    #[test]
    fn duplicates_point_at_the_first() {
        let mut set = set();
        assert!(set.is_empty());
        assert_eq!(set.insert(&email("a@b.c")), Ok(Insertion::New(0)));
        assert_eq!(set.insert(&email("b@b.c")), Ok(Insertion::New(1)));
        assert_eq!(set.insert(&email("a@b.c")), Ok(Insertion::Duplicate(0)));
        assert_eq!(set.len(), 2);
        assert_eq!(set.get(1), Some(b"email\0b@b.c".as_slice()));
        assert_eq!(set.expose_value(1), Some("b@b.c"));
        assert_eq!(set.get(2), None);
        assert_eq!(set.expose_value(2), None);
    }

    #[test]
    fn some_can_be_left_out() {
        let mut set = set();
        for value in ["a@b.c", "b@b.c", "c@b.c"] {
            set.insert(&email(value)).unwrap();
        }
        assert_eq!(set.position(&email("c@b.c")), Some(2));
        let fewer = set
            .filtered(|index| index != 1, &mut ChaCha20Rng::seed_from_u64(2))
            .unwrap();
        assert_eq!(
            ["a@b.c", "b@b.c", "c@b.c"].map(|value| fewer.position(&email(value))),
            [Some(0), None, Some(1)]
        );
        assert_eq!((fewer.len(), fewer.expose_value(1)), (2, Some("c@b.c")));
    }

    #[test]
    fn dummies_fill_a_set_and_are_no_identifiers() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut set = set();
        set.insert(&email("a@b.c")).unwrap();
        set.fill(100, &mut rng).unwrap();
        assert_eq!(set.len(), 100);
        assert_eq!(set.expose_value(0), Some("a@b.c"));
        let items: std::collections::HashSet<_> = (0..100).map(|i| set.get(i).unwrap()).collect();
        assert_eq!(items.len(), 100);
        for kind in [
            IdentifierKind::Phone,
            IdentifierKind::ResidentId,
            IdentifierKind::Email,
        ] {
            assert_ne!(format!("{}\0", kind.label()).as_bytes(), DUMMY_LABEL);
        }
        let part = set.part(&[0, 100, 5], 4, &mut rng).unwrap();
        assert_eq!((part.len(), part.expose_value(0)), (4, Some("a@b.c")));
        assert_eq!(part.get(1), set.get(5));
        // A set that is full enough stays as it is.
        set.fill(3, &mut rng).unwrap();
        assert_eq!(set.len(), 100);
    }

    #[test]
    fn another_kind_is_refused() {
        let phone = Identifier::new(IdentifierKind::Phone, ["+", "8613812345678"]);
        let kinds = SetError::Kind {
            set: IdentifierKind::Email,
            given: IdentifierKind::Phone,
        };
        assert_eq!(set().insert(&phone), Err(kinds));
    }

    #[test]
    fn blocks_fill_and_nothing_moves_or_is_lost() {
        let mut set = set();
        let value = |i: u32| format!("{i:0240}@b.c");
        // 20,000 of 252 bytes: five blocks, none of which ends at an item's end.
        for i in 0..20_000 {
            assert_eq!(set.insert(&email(&value(i))), Ok(Insertion::New(i)));
        }
        assert_eq!(set.arena.blocks.len(), 5);
        assert!(
            set.arena
                .blocks
                .iter()
                .all(|block| block.capacity() == BLOCK_BYTES)
        );
        for i in 0..20_000 {
            assert_eq!(set.expose_value(i), Some(value(i).as_str()));
        }
    }

    #[test]
    fn a_closed_set_keeps_its_items() {
        let mut set = set();
        for i in 0..100 {
            set.insert(&email(&format!("{i}@b.c"))).unwrap();
        }
        set.close();
        assert_eq!((set.len(), set.expose_value(99)), (100, Some("99@b.c")));
        assert_eq!(set.position(&email("5@b.c")), None);
        set.fill(101, &mut ChaCha20Rng::seed_from_u64(3)).unwrap();
        assert_eq!(set.len(), 101);
    }

    #[test]
    fn debug_shows_no_value() {
        let mut set = set();
        set.insert(&email("a@b.c")).unwrap();
        assert_eq!(format!("{set:?}"), "IdentifierSet(1 x email, <redacted>)");
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(values in prop::collection::vec("[ab]{0,4}", 0..200)) {
            let mut set = set();
            let mut model: HashMap<String, u32> = HashMap::new();
            for value in values {
                let next = u32::try_from(model.len()).unwrap();
                let expected = match model.get(&value) {
                    Some(&index) => Insertion::Duplicate(index),
                    None => Insertion::New(next),
                };
                prop_assert_eq!(set.insert(&email(&value)), Ok(expected));
                model.entry(value).or_insert(next);
            }
            prop_assert_eq!(set.len(), model.len());
        }
    }
}
