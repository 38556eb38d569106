//! Combinations of codes.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Distinct combinations, numbered in order of appearance.
#[derive(Debug)]
pub(super) struct Keys {
    width: usize,
    len: u32,
    codes: Vec<u32>,
    /// With its hash each, so that growing does not look at the codes again.
    index: HashTable<(u64, u32)>,
    hasher: DefaultHashBuilder,
}

impl Keys {
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            len: 0,
            codes: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn codes(&self, id: u32) -> &[u32] {
        slice(&self.codes, self.width, id)
    }

    /// The number of a combination, a new one if it was not there.
    pub(super) fn intern(&mut self, key: &[u32]) -> u32 {
        let hash = self.hasher.hash_one(key);
        let Self {
            width,
            len,
            codes,
            index,
            ..
        } = self;
        let same = |(other, id): &(u64, u32)| *other == hash && slice(codes, *width, *id) == key;
        if let Some((_, id)) = index.find(hash, same) {
            return *id;
        }
        let id = *len;
        *len += 1;
        codes.extend_from_slice(key);
        index.insert_unique(hash, (hash, id), |(hash, _)| *hash);
        id
    }
}

fn slice(codes: &[u32], width: usize, id: u32) -> &[u32] {
    let start = id as usize * width;
    codes.get(start..start + width).unwrap_or(&[])
}
