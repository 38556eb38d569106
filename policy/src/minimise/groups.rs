//! Combinations of codes, their sizes, and the steps that make small ones larger.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::column::Column;

/// While more groups than this are small, all step together; below, each chooses. The
/// choice costs one look-up per group and tag: 2^16 * 8 in each of at most a few dozen rounds.
const COLLECTIVE_ABOVE: usize = 1 << 16;

/// Distinct combinations, numbered in order of appearance.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    width: usize,
    len: u32,
    codes: Vec<u32>,
    index: HashTable<u32>,
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

    pub(super) fn find(&self, key: &[u32]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |id| self.codes(*id) == key).copied()
    }

    pub(super) fn intern(&mut self, key: &[u32]) -> u32 {
        if let Some(id) = self.find(key) {
            return id;
        }
        let id = self.len;
        self.len += 1;
        self.codes.extend_from_slice(key);
        self.enter(id, key);
        id
    }

    fn enter(&mut self, id: u32, key: &[u32]) {
        let Self {
            width,
            codes,
            index,
            hasher,
            ..
        } = self;
        index.insert_unique(hasher.hash_one(key), id, |id| {
            hasher.hash_one(slice(codes, *width, *id))
        });
    }

    fn leave(&mut self, id: u32) {
        let hash = self.hasher.hash_one(self.codes(id));
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
    }

    /// Gives an id, which has left the index, a new combination.
    fn rename(&mut self, id: u32, key: &[u32]) {
        let start = id as usize * self.width;
        if let Some(codes) = self.codes.get_mut(start..start + self.width) {
            codes.copy_from_slice(key);
        }
        self.enter(id, key);
    }
}

fn slice(codes: &[u32], width: usize, id: u32) -> &[u32] {
    let start = id as usize * width;
    codes.get(start..start + width).unwrap_or(&[])
}

/// Groups of rows with equal combinations.
///
/// All rows of a group move together, so a move renames the group in place, or merges it
/// into the group that has the new combination already. Sizes never shrink: a group that
/// is large enough stays so, and only groups that were small at first ever move.
pub(super) struct Groups {
    keys: Keys,
    counts: Vec<u32>,
    merged_into: Vec<Option<u32>>,
}

impl Groups {
    pub(super) fn new(keys: Keys, rows: &[u32]) -> Self {
        let len = keys.len() as usize;
        let mut counts = vec![0_u32; len];
        for group in rows {
            if let Some(count) = counts.get_mut(*group as usize) {
                *count += 1;
            }
        }
        Self {
            keys,
            counts,
            merged_into: vec![None; len],
        }
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn into_keys(self) -> Keys {
        self.keys
    }

    /// Rows of a group that was not merged away.
    pub(super) fn count(&self, group: u32) -> u32 {
        self.counts.get(group as usize).copied().unwrap_or(0)
    }

    /// The group in which a group's rows are now.
    pub(super) fn resolve(&mut self, group: u32) -> u32 {
        let mut last = group;
        while let Some(next) = self.merged(last) {
            last = next;
        }
        // Shorten the path for the next one who asks.
        let mut current = group;
        while let Some(next) = self.merged(current) {
            if let Some(link) = self.merged_into.get_mut(current as usize) {
                *link = Some(last);
            }
            current = next;
        }
        last
    }

    fn merged(&self, group: u32) -> Option<u32> {
        self.merged_into.get(group as usize).copied().flatten()
    }

    /// Steps until no group below `k` can step any more. What is still below `k` then has
    /// only suppressed cells.
    ///
    /// Ends: every round moves at least one group one level up, no group moves down, and
    /// hierarchies are finite.
    pub(super) fn enlarge(&mut self, columns: &[Column], k: u32) {
        let mut small: Vec<u32> = (0..self.keys.len()).collect();
        loop {
            small.retain(|group| self.is_small(*group, k) && self.can_move(*group, columns));
            if small.is_empty() {
                return;
            }
            let steps = if small.len() > COLLECTIVE_ABOVE {
                self.collective_steps(&small, columns)
            } else {
                self.individual_steps(&small, columns, k)
            };
            for (group, tag) in steps {
                // An earlier step of this round may have merged the group or filled it up.
                if self.is_small(group, k) {
                    self.step(group, tag, columns);
                }
            }
        }
    }

    fn is_small(&self, group: u32, k: u32) -> bool {
        self.merged(group).is_none() && self.count(group) < k
    }

    fn can_move(&self, group: u32, columns: &[Column]) -> bool {
        let mut cells = columns.iter().zip(self.keys.codes(group));
        cells.any(|(column, code)| column.parent(*code).is_some())
    }

    /// Tells the group's cell of one tag one level coarser.
    fn step(&mut self, group: u32, tag: usize, columns: &[Column]) {
        let mut key = self.keys.codes(group).to_vec();
        let Some((cell, parent)) = key.get_mut(tag).and_then(|cell| {
            let parent = columns.get(tag)?.parent(*cell)?;
            Some((cell, parent))
        }) else {
            return;
        };
        *cell = parent;
        self.keys.leave(group);
        match self.keys.find(&key) {
            Some(target) => {
                let moved = self
                    .counts
                    .get_mut(group as usize)
                    .map_or(0, std::mem::take);
                if let Some(count) = self.counts.get_mut(target as usize) {
                    *count += moved;
                }
                if let Some(link) = self.merged_into.get_mut(group as usize) {
                    *link = Some(target);
                }
            }
            None => self.keys.rename(group, &key),
        }
    }

    /// One tag for all: the one with the most distinct values that can still be generalised.
    fn collective_steps(&self, small: &[u32], columns: &[Column]) -> Vec<(u32, usize)> {
        let distinct = |tag: usize, column: &Column| {
            let mut seen = vec![false; column.codes_len()];
            let movable = small
                .iter()
                .filter_map(|group| self.keys.codes(*group).get(tag))
                .filter(|code| column.parent(**code).is_some());
            for code in movable {
                if let Some(seen) = seen.get_mut(*code as usize) {
                    *seen = true;
                }
            }
            seen.into_iter().filter(|seen| *seen).count()
        };
        let widest = columns
            .iter()
            .enumerate()
            .max_by_key(|(tag, column)| (distinct(*tag, column), std::cmp::Reverse(*tag)));
        let tag = widest.map_or(0, |(tag, _)| tag);
        small.iter().map(|group| (*group, tag)).collect()
    }

    /// For each group the step that loses least, steps that reach `k` before all others.
    fn individual_steps(&self, small: &[u32], columns: &[Column], k: u32) -> Vec<(u32, usize)> {
        let mut candidates = Keys::new(columns.len());
        let mut sizes: Vec<u64> = Vec::new();
        let mut options: Vec<(u32, usize, u32, u32)> = Vec::new();
        for group in small {
            let mut key = self.keys.codes(*group).to_vec();
            for (tag, column) in columns.iter().enumerate() {
                let Some(&code) = key.get(tag) else { continue };
                let Some(parent) = column.parent(code) else {
                    continue;
                };
                set(&mut key, tag, parent);
                let candidate = candidates.intern(&key);
                if candidate as usize == sizes.len() {
                    let present = self
                        .keys
                        .find(&key)
                        .map_or(0, |present| self.count(present));
                    sizes.push(u64::from(present));
                }
                if let Some(size) = sizes.get_mut(candidate as usize) {
                    *size += u64::from(self.count(*group));
                }
                let added = column.loss(parent).saturating_sub(column.loss(code));
                options.push((*group, tag, candidate, added));
                set(&mut key, tag, code);
            }
        }
        let rank = |&(_, tag, candidate, added): &(u32, usize, u32, u32)| {
            let size = sizes.get(candidate as usize).copied().unwrap_or(1).max(1);
            let reached = size >= u64::from(k);
            // Short of k, the loss is weighed against the company that the step brings.
            let price = if reached {
                u64::from(added)
            } else {
                (u64::from(added) << 16) / size
            };
            (!reached, price, tag)
        };
        options
            .chunk_by(|a, b| a.0 == b.0)
            .filter_map(|of_group| of_group.iter().min_by_key(|option| rank(option)))
            .map(|(group, tag, _, _)| (*group, *tag))
            .collect()
    }
}

fn set(key: &mut [u32], tag: usize, code: u32) {
    if let Some(cell) = key.get_mut(tag) {
        *cell = code;
    }
}
