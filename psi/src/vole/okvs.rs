//! The oblivious key-value store: a vector P from which each item's value is read as a sum of a
//! few places, and which tells nothing else about the items once it is masked.
//!
//! The construction of Raghuraman and Rindal 2022 (CCS; eprint 2022/320) with row weight 3 and
//! clusters (their section 2.1, strategy "separate"): every item belongs to one bin, and reads
//! three places of the bin's sparse part and the sum of a random half of its dense part. Their
//! fastest dense part is over GF(2^128); ours is the binary one (their Lemma 2.1) with
//! [`DENSE`] places, because reading it through tables is cheaper here than multiplying. The
//! sizes are theirs too ([`sparse_places`]).

use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use super::prg::FixedKey;

/// Dense places of a bin. A random binary matrix of g rows and this many columns lacks full rank
/// with probability at most 2^(g - 56) (Lemma 2.1): below 2^-51 for the g <= 5 that their tables
/// expect, and any g up to this number is tried.
pub(super) const DENSE: usize = 56;
/// Rows read a dense part by this many bytes.
const DENSE_BYTES: usize = DENSE / 8;

/// Items that a bin holds on average, when there are enough for several. The bin's sparse part
/// (0.7 MB of elements) should stay in a core's second-level cache.
const BIN_ITEMS: usize = 1 << 15;
/// Smaller sets are treated as one of this size. Small, because a store's places are what a side can
/// ask for that does not keep to its announced size.
const ITEMS_MIN: usize = 1 << RATES_FROM;

/// How large everything is for a set of some size. Both sides derive it, by integers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    bins: usize,
    /// Most items that a bin may get.
    capacity: usize,
    sparse: usize,
}

impl Layout {
    pub(super) fn new(items: usize) -> Self {
        let items = items.max(ITEMS_MIN);
        let bins = items.div_ceil(BIN_ITEMS);
        let capacity = if bins == 1 {
            items
        } else {
            bin_capacity(items, bins)
        };
        Self {
            bins,
            capacity,
            sparse: sparse_places(capacity),
        }
    }

    /// Elements of the vector.
    pub(super) const fn length(&self) -> usize {
        self.bins * self.bin_length()
    }

    const fn bin_length(&self) -> usize {
        self.sparse + DENSE
    }

    /// The bin of an item, by the highest bits of its seed: items in rising order of these stand bin by bin in every layout.
    const fn bin(&self, item: &Hashed) -> usize {
        scale((item.seed >> 96) as u32, self.bins) as usize
    }

    /// The row of an item in this layout, from what its seed expands to under the key of the store.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "words of the seed are cut out of it, and places are below 2^32"
    )]
    fn row(&self, [a, b]: [u128; 2]) -> Row {
        let first = scale(a as u32, self.sparse);
        let mut second = scale((a >> 32) as u32, self.sparse - 1);
        second += u32::from(second >= first);
        let (low, high) = (first.min(second), first.max(second));
        let mut third = scale((a >> 64) as u32, self.sparse - 2);
        third += u32::from(third >= low);
        third += u32::from(third >= high);
        Row {
            places: [first, second, third],
            dense: b as u64 & ((1 << DENSE) - 1),
        }
    }
}

/// A random word as a number below `range`.
const fn scale(word: u32, range: usize) -> u32 {
    ((word as u64 * range as u64) >> 32) as u32
}

/// The bound that a bin of n / bins expected items passes with probability below 2^-42 / bins:
/// Bernstein's inequality, with ln(2^42 * bins) rounded up.
fn bin_capacity(items: usize, bins: usize) -> usize {
    let mean = items.div_ceil(bins);
    let bits = 42 + bins.next_power_of_two().ilog2() as usize;
    let log = (bits * 6_932).div_ceil(10_000);
    mean + log / 3 + 2 + (log * log / 9 + 2 * log * mean).isqrt()
}

/// The binary logarithm of the first size in [`RATES`].
const RATES_FROM: u32 = 4;
/// Sparse places for 1,000 items, for sets of 2^4, 2^5, .. 2^17 items and more.
const RATES: [usize; 14] = [
    3_784, 2_972, 2_418, 2_039, 1_781, 1_604, 1_483, 1_401, 1_345, 1_306, 1_280, 1_262, 1_250,
    1_242,
];

/// Sparse places for a bin of up to `capacity` items: equations (2) and (3) of the paper for
/// weight 3, e = 1.223 + (lambda + 9.2) / 2^(0.55 log n + 2.331), with lambda = 50: 2^-40 for the
/// whole set after 2^9 bins (2^24 items). In thousandths, rounded up.
///
/// The paper measured from 2^10 on. Below, by the same line, one store of 250 or fewer has a gap
/// and one of 100,000 has a gap of 2; of a million stores each for 16 and 64 items none had a
/// larger one. [`DENSE`] places solve such gaps.
fn sparse_places(capacity: usize) -> usize {
    let class = capacity.max(ITEMS_MIN).ilog2().saturating_sub(RATES_FROM) as usize;
    let rate = RATES.get(class).or(RATES.last());
    (capacity * rate.copied().unwrap_or_default()).div_ceil(1_000)
}

/// Where an item reads within its bin.
#[derive(Clone, Copy, Default, Zeroize)]
struct Row {
    /// Three different sparse places of the bin.
    places: [u32; 3],
    /// Which dense places.
    dense: u64,
}

/// An item: the value that the store gives it, and what its bin and row are made of. Both are halves of
/// one hash of the item.
#[derive(Clone, Copy, Default, PartialEq, Eq, Zeroize)]
pub(super) struct Hashed {
    pub(super) value: u128,
    pub(super) seed: u128,
}

/// A side's items in the order in which both stores of a session are worked on: bin by bin in either layout, so that a core
/// works in one bin at a time.
pub(super) struct Items {
    sorted: Zeroizing<Vec<Hashed>>,
    places: Vec<u32>,
}

impl Items {
    /// Sorts items for two layouts.
    pub(super) fn new(items: &[Hashed], layouts: [Layout; 2]) -> Self {
        // Both bins rise with the highest bits of the seed, so their sum does, and tells both.
        let class = |item: &Hashed| layouts.iter().map(|layout| layout.bin(item)).sum::<usize>();
        let mut next = vec![0_u32; layouts.iter().map(|layout| layout.bins).sum()];
        for item in items {
            if let Some(count) = next.get_mut(class(item)) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut next {
            sum += std::mem::replace(start, sum);
        }
        let mut sorted = Zeroizing::new(vec![Hashed::default(); items.len()]);
        let places = items.iter().map(|item| {
            let start = next.get_mut(class(item));
            let place = start.map_or(0, |start| std::mem::replace(start, *start + 1));
            if let Some(to) = sorted.get_mut(place as usize) {
                *to = *item;
            }
            place
        });
        let places = places.collect();
        Self { sorted, places }
    }

    /// The items, bin by bin.
    pub(super) fn sorted(&self) -> &[Hashed] {
        &self.sorted
    }

    /// Where in [`Self::sorted`] each item stands that was given.
    pub(super) fn places(&self) -> &[u32] {
        &self.places
    }
}

/// The rows of a set of items in one layout. A row is made when it is read, which takes less time than fetching it.
pub(super) struct Rows<'i> {
    layout: Layout,
    expand: FixedKey,
    items: &'i [Hashed],
    /// Where each bin begins in `items`, and the end.
    starts: Vec<usize>,
}

/// No store was found. The caller starts afresh with another seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsolvable;

impl<'i> Rows<'i> {
    /// Of items that stand bin by bin ([`Items`]). `seed` is what the asking side drew for this store after its items were fixed.
    pub(super) fn new(layout: Layout, seed: u128, items: &'i [Hashed]) -> Self {
        debug_assert!(items.is_sorted_by_key(|item| layout.bin(item)));
        let start = |bin| items.partition_point(|item| layout.bin(item) < bin);
        Self {
            layout,
            expand: FixedKey::new(seed),
            items,
            starts: (0..=layout.bins).map(start).collect(),
        }
    }

    fn bins(&self) -> impl IndexedParallelIterator<Item = &'i [Hashed]> {
        let items = self.items;
        self.starts.par_windows(2).map(move |bounds| match bounds {
            [start, end] => items.get(*start..*end).unwrap_or_default(),
            _ => &[],
        })
    }

    /// A vector from which each item reads its value. Places that no item needs are zero: the
    /// vector is only ever sent masked.
    pub(super) fn solve(&self) -> Result<Vec<u128>, Unsolvable> {
        let mut vector = Zeroizing::new(vec![0; self.layout.length()]);
        self.bins()
            .zip(vector.par_chunks_mut(self.layout.bin_length()))
            .map(|(items, bin)| {
                if items.len() > self.layout.capacity {
                    return Err(Unsolvable);
                }
                let mut rows = Zeroizing::new(vec![Row::default(); items.len()]);
                rows_of(self.layout, &self.expand, items, &mut rows);
                solve::bin(&rows, items, bin.split_at_mut(self.layout.sparse))
            })
            .collect::<Result<(), _>>()?;
        Ok(std::mem::take(&mut *vector))
    }

    /// What each item reads from `vector`, in the items' order.
    pub(super) fn decode(&self, vector: &[u128]) -> Zeroizing<Vec<u128>> {
        let mut values = Zeroizing::new(vec![0_u128; self.items.len()]);
        let mut rest = values.as_mut_slice();
        let mut outs = Vec::with_capacity(self.layout.bins);
        for bounds in self.starts.windows(2) {
            if let [start, end] = bounds {
                let (out, after) = rest.split_at_mut_checked(end - start).unwrap_or_default();
                outs.push(out);
                rest = after;
            }
        }
        self.bins()
            .zip(vector.par_chunks(self.layout.bin_length()))
            .zip(outs)
            .for_each(|((items, bin), out)| {
                let (sparse, dense) = bin.split_at_checked(self.layout.sparse).unwrap_or_default();
                let dense = DenseTables::new(dense);
                let mut rows = Zeroizing::new([Row::default(); BATCH]);
                for (items, out) in items.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
                    rows_of(self.layout, &self.expand, items, rows.as_mut_slice());
                    for (row, out) in rows.iter().zip(out) {
                        *out = read(sparse, row) ^ dense.read(row.dense);
                    }
                }
            });
        values
    }
}

/// Rows that are made at a time.
const BATCH: usize = 64;

/// Makes the rows of items, as many as there is room for.
fn rows_of(layout: Layout, expand: &FixedKey, items: &[Hashed], rows: &mut [Row]) {
    let mut seeds = Zeroizing::new([0; BATCH]);
    let mut expanded = Zeroizing::new([[0; BATCH]; 2]);
    for (items, rows) in items.chunks(BATCH).zip(rows.chunks_mut(BATCH)) {
        let [first, second] = &mut *expanded;
        for (mask, out) in [(0, &mut *first), (u128::MAX, &mut *second)] {
            for (seed, item) in seeds.iter_mut().zip(items) {
                *seed = item.seed ^ mask;
            }
            let seeds = seeds.get(..items.len()).unwrap_or_default();
            expand.map(seeds, out.get_mut(..items.len()).unwrap_or_default());
        }
        for (row, words) in rows.iter_mut().zip(first.iter().zip(second.iter())) {
            *row = layout.row([*words.0, *words.1]);
        }
    }
}

/// The sum of a row's sparse places.
fn read(sparse: &[u128], row: &Row) -> u128 {
    row.places.iter().fold(0, |sum, &place| {
        sum ^ sparse.get(place as usize).copied().unwrap_or_default()
    })
}

/// All sums of eight dense places each, so that a row reads seven entries and not half of 56.
struct DenseTables(Zeroizing<Vec<[u128; 256]>>);

impl DenseTables {
    fn new(dense: &[u128]) -> Self {
        let tables = dense.chunks(8).map(|places| {
            let mut table = [0; 256];
            let mut filled = 1;
            for place in places {
                let (known, next) = table.split_at_mut(filled);
                for (to, from) in next.iter_mut().zip(known) {
                    *to = *from ^ place;
                }
                filled *= 2;
            }
            table
        });
        Self(Zeroizing::new(tables.collect()))
    }

    fn read(&self, dense: u64) -> u128 {
        let bytes = dense.to_le_bytes();
        self.0
            .iter()
            .zip(bytes.iter().take(DENSE_BYTES))
            .fold(0, |sum, (table, byte)| {
                sum ^ table.get(usize::from(*byte)).copied().unwrap_or_default()
            })
    }
}

#[path = "okvs_solve.rs"]
mod solve;

#[cfg(test)]
#[path = "okvs_tests.rs"]
mod tests;
