//! Small combinations, brought together from the top down.
//!
//! All of them begin as one cluster told as `*` in every tag. A cluster is divided by telling one
//! tag a level finer, as long as that gains more than it costs (specialisation from the top: Fung,
//! Wang and Yu, ICDE 2005; dividing each part by a tag of its own: LeFevre et al., "Mondrian",
//! ICDE 2006; parts along a hierarchy: Xu et al., "Utility-based anonymization using local
//! recoding", KDD 2006). Parts that would be smaller than k do not hold the others back: they
//! wait at the cluster that was divided, where they meet the parts that were left over below,
//! and are divided again by other tags as soon as they are k together.
//!
//! Which tag: the one that gains most for each bit by which the rows are told apart, since a
//! cluster of w rows has log2(w / k) bits to spend. (Fung et al. weigh information gained
//! against anonymity lost in the same way.) Everything is decided from sums over rows: the order
//! of the rows does not matter. Equal scores fall to the tag that the agreement lists first.

use super::column::Column;
use crate::tag::LOSS_PPM_MAX;

/// Rows told alike.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// What all of them are told as, one code for each tag.
    pub(super) told: Vec<u32>,
    pub(super) rows: u64,
}

/// Combinations of cells with the rows that have them: for each its number, its rows, its codes.
pub(super) struct Records {
    words: Vec<u32>,
    stride: usize,
}

const NUMBER: usize = 0;
const ROWS: usize = 1;
const CODES: usize = 2;

impl Records {
    pub(super) fn new(width: usize) -> Self {
        Self {
            words: Vec::new(),
            stride: CODES + width,
        }
    }

    pub(super) fn push(&mut self, number: u32, rows: u32, codes: &[u32]) {
        self.words.extend([number, rows]);
        self.words.extend_from_slice(codes);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.words.chunks_exact(self.stride).map(Record)
    }

    pub(super) fn rows(&self) -> u64 {
        self.iter().map(|record| u64::from(record.rows())).sum()
    }
}

/// One combination and its rows.
#[derive(Clone, Copy)]
pub(super) struct Record<'r>(&'r [u32]);

impl<'r> Record<'r> {
    pub(super) fn number(self) -> u32 {
        self.0.get(NUMBER).copied().unwrap_or(0)
    }

    pub(super) fn rows(self) -> u32 {
        self.0.get(ROWS).copied().unwrap_or(0)
    }

    pub(super) fn codes(self) -> &'r [u32] {
        self.0.get(CODES..).unwrap_or(&[])
    }

    fn code(self, tag: usize) -> u32 {
        self.0.get(CODES + tag).copied().unwrap_or(0)
    }

    /// The code of one tag, taken up to a level.
    fn told(self, tag: usize, ancestors: &[u32]) -> u32 {
        ancestors
            .get(self.code(tag) as usize)
            .copied()
            .unwrap_or_default()
    }
}

/// Divides the records into clusters of at least `k` rows each. What is left over, under `k` rows
/// in all, is returned; it is everything if there are not `k` rows.
pub(super) fn cluster(
    columns: &[Column],
    k: u64,
    mut records: Records,
    mut assign: impl FnMut(u32, u32),
) -> (Vec<Cluster>, Records) {
    if records.rows() < k {
        return (Vec::new(), records);
    }
    let codes = columns.iter().map(Column::codes_len).max().unwrap_or(0);
    let stride = records.stride;
    let mut divider = Divider {
        columns,
        k,
        stride,
        tally: Tally::new(codes),
        scratch: vec![0; records.words.len()],
        clusters: Vec::new(),
        assign: &mut assign,
    };
    let top: Vec<u32> = columns.iter().map(Column::top).collect();
    // What is left over at the very top has no place to wait: dear, so that it is avoided.
    let above = 2 * columns.len() as u64 * u64::from(LOSS_PPM_MAX);
    let words = divider.settle(&mut records.words, &top, above);
    (divider.clusters, Records { words, stride })
}

struct Divider<'c> {
    columns: &'c [Column],
    k: u64,
    stride: usize,
    tally: Tally,
    scratch: Vec<u32>,
    clusters: Vec<Cluster>,
    assign: &'c mut dyn FnMut(u32, u32),
}

/// One tag told one level finer.
struct Step {
    tag: usize,
    /// The depth in the tag's hierarchy that is told then.
    depth: usize,
}

/// What a step is worth: loss that it saves, for the bits by which it tells rows apart.
#[derive(Clone, Copy)]
struct Score {
    gain: u64,
    bits: u64,
}

impl Score {
    fn beats(self, other: Self) -> bool {
        u128::from(self.gain) * u128::from(other.bits)
            > u128::from(other.gain) * u128::from(self.bits)
    }
}

impl Divider<'_> {
    /// Makes clusters of records that are all told as `told` or finer; gives what is left over,
    /// under `k` rows.
    ///
    /// INVARIANT (k together): called with `k` rows or more, it makes at least one cluster, so
    /// each turn of the loop has fewer rows than the one before.
    /// Recursion is as deep as the hierarchies are high together: 64 tags of 10 levels.
    fn settle(&mut self, records: &mut [u32], told: &[u32], above: u64) -> Vec<u32> {
        let mut rest = self.divide(records, told, above);
        while self.rows(&rest) >= self.k {
            let mut waiting = rest;
            rest = self.divide(&mut waiting, told, above);
        }
        rest
    }

    /// Divides once, and settles the parts; or makes all of it one cluster.
    fn divide(&mut self, records: &mut [u32], told: &[u32], above: u64) -> Vec<u32> {
        let mut told = told.to_vec();
        self.tell_what_is_common(records, &mut told);
        let Some(step) = self.best_step(records, &told, above) else {
            self.close(records, told);
            return Vec::new();
        };
        let here = self.loss(&told);
        let (mut rest, parts) = self.part(records, &step);
        let mut records = records;
        for (value, words) in parts {
            let (part, others) = records.split_at_mut(words.min(records.len()));
            records = others;
            if let Some(cell) = told.get_mut(step.tag) {
                *cell = value;
            }
            rest.extend(self.settle(part, &told, here));
        }
        rest
    }

    /// Tells every tag as fine as all records have it in common, which costs nothing.
    fn tell_what_is_common(&self, records: &[u32], told: &mut [u32]) {
        let Some(first) = self.records(records).next() else {
            return;
        };
        for (tag, (column, cell)) in self.columns.iter().zip(told).enumerate() {
            let floor = column.depth(*cell);
            let mut common = first.code(tag);
            for record in self.records(records) {
                common = column.common(common, record.code(tag));
                if column.depth(common) == floor {
                    break;
                }
            }
            *cell = common;
        }
    }

    fn best_step(&mut self, records: &[u32], told: &[u32], above: u64) -> Option<Step> {
        let rows = self.rows(records);
        // Neither two parts of k nor one whose rest stays here.
        if rows < 2 {
            return None;
        }
        let waiting = above.saturating_sub(self.loss(told));
        let mut best: Option<(Score, Step)> = None;
        for (tag, (column, cell)) in self.columns.iter().zip(told).enumerate() {
            let depth = column.depth(*cell) + 1;
            let Some(ancestors) = column.ancestors(depth) else {
                continue;
            };
            for record in records.chunks_exact(self.stride).map(Record) {
                self.tally.add(record.told(tag, ancestors), record.rows());
            }
            let score = self.score(column, *cell, rows, waiting);
            if let Some(score) = score
                && best.as_ref().is_none_or(|(other, _)| score.beats(*other))
            {
                best = Some((score, Step { tag, depth }));
            }
        }
        best.map(|(_, step)| step)
    }

    /// Scores the step whose parts are in the tally, and clears it. `None` if it gains nothing.
    fn score(&mut self, column: &Column, told: u32, rows: u64, waiting: u64) -> Option<Score> {
        let (k, loss) = (self.k, column.loss(told));
        let (mut gain, mut bits, mut over) = (0_u64, 0_u64, 0_u64);
        self.tally.drain(|value, part| {
            if part < k || value == told {
                over += part;
            } else {
                gain += part * u64::from(loss.saturating_sub(column.loss(value)));
                bits += bits_apart(part, rows);
            }
        });
        bits += bits_apart(over, rows);
        if over < k {
            gain = gain.saturating_sub(over * waiting);
        }
        (gain > 0).then_some(Score { gain, bits })
    }

    /// Puts the parts of a step that are large enough one after the other; the others are the
    /// rest. Gives the value that each part is told as, and its words.
    fn part(&mut self, records: &mut [u32], step: &Step) -> (Vec<u32>, Vec<(u32, usize)>) {
        let mut rest = Vec::new();
        let column = self.columns.get(step.tag);
        let Some((column, ancestors)) =
            column.and_then(|column| Some((column, column.ancestors(step.depth)?)))
        else {
            return (rest, Vec::new());
        };
        let value_of = |record: &[u32]| Record(record).told(step.tag, ancestors);
        let coarser = |value: u32| column.depth(value) < step.depth;
        for record in records.chunks_exact(self.stride) {
            self.tally.add(value_of(record), Record(record).rows());
        }
        let (k, stride) = (self.k, self.stride);
        let mut parts = Vec::new();
        self.tally.number(|value, rows| {
            let part = (rows >= k && !coarser(value)).then_some(parts.len());
            if part.is_some() {
                parts.push((value, 0_usize));
            }
            part
        });
        for record in records.chunks_exact(stride) {
            if let Some((_, words)) = self
                .tally
                .part(value_of(record))
                .and_then(|part| parts.get_mut(part))
            {
                *words += stride;
            }
        }
        let mut at = 0;
        let mut places: Vec<usize> = Vec::with_capacity(parts.len());
        for (_, words) in &parts {
            places.push(at);
            at += words;
        }
        for record in records.chunks_exact(stride) {
            let place = self
                .tally
                .part(value_of(record))
                .and_then(|part| places.get_mut(part));
            let Some(place) = place else {
                rest.extend_from_slice(record);
                continue;
            };
            if let Some(target) = self.scratch.get_mut(*place..*place + stride) {
                target.copy_from_slice(record);
            }
            *place += stride;
        }
        self.tally.drain(|_, _| ());
        if let (Some(to), Some(from)) = (records.get_mut(..at), self.scratch.get(..at)) {
            to.copy_from_slice(from);
        }
        (rest, parts)
    }

    fn close(&mut self, records: &[u32], told: Vec<u32>) {
        // At most one cluster for each of the 10^7 rows.
        let number = u32::try_from(self.clusters.len()).unwrap_or(u32::MAX);
        let rows = self.rows(records);
        for record in records.chunks_exact(self.stride) {
            (self.assign)(Record(record).number(), number);
        }
        self.clusters.push(Cluster { told, rows });
    }

    fn records<'r>(&self, words: &'r [u32]) -> impl Iterator<Item = Record<'r>> {
        words.chunks_exact(self.stride).map(Record)
    }

    fn rows(&self, words: &[u32]) -> u64 {
        self.records(words)
            .map(|record| u64::from(record.rows()))
            .sum()
    }

    fn loss(&self, told: &[u32]) -> u64 {
        let loss = |(column, code): (&Column, &u32)| u64::from(column.loss(*code));
        self.columns.iter().zip(told).map(loss).sum()
    }
}

/// `part * log2(whole / part)`, in 2^-16 bits. The logarithm is linear between powers of two, at
/// most 0.09 off, in whole numbers: the same on every machine.
fn bits_apart(part: u64, whole: u64) -> u64 {
    let log2 = |x: u64| {
        let exponent = x.checked_ilog2().unwrap_or(0);
        (u64::from(exponent) << 16) + ((x << 16) >> exponent) - (1 << 16)
    };
    match part {
        0 => 0,
        part => part * log2(whole).saturating_sub(log2(part)),
    }
}

/// Rows by value, cleared by walking over the values that occurred.
struct Tally {
    rows: Vec<u32>,
    parts: Vec<u32>,
    occurred: Vec<u32>,
}

/// Not among the parts.
const NO_PART: u32 = u32::MAX;

impl Tally {
    fn new(codes: usize) -> Self {
        Self {
            rows: vec![0; codes],
            parts: vec![NO_PART; codes],
            occurred: Vec::new(),
        }
    }

    fn add(&mut self, value: u32, rows: u32) {
        if let Some(sum) = self.rows.get_mut(value as usize) {
            if *sum == 0 {
                self.occurred.push(value);
            }
            *sum += rows;
        }
    }

    /// Gives each value that occurred its part, if it has one.
    fn number(&mut self, mut part: impl FnMut(u32, u64) -> Option<usize>) {
        for value in &self.occurred {
            let rows = self.rows.get(*value as usize).copied().unwrap_or(0);
            let number = part(*value, u64::from(rows)).and_then(|part| u32::try_from(part).ok());
            if let Some(place) = self.parts.get_mut(*value as usize) {
                *place = number.unwrap_or(NO_PART);
            }
        }
    }

    fn part(&self, value: u32) -> Option<usize> {
        let part = self.parts.get(value as usize).copied()?;
        (part != NO_PART).then_some(part as usize)
    }

    fn drain(&mut self, mut each: impl FnMut(u32, u64)) {
        for value in self.occurred.drain(..) {
            if let Some(rows) = self.rows.get_mut(value as usize) {
                each(value, u64::from(std::mem::take(rows)));
            }
            if let Some(part) = self.parts.get_mut(value as usize) {
                *part = NO_PART;
            }
        }
    }
}
