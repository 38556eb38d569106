//! Sheets: the reads of a leaked file, laid out so that a candidate is scored at the speed of AES.

use std::collections::BTreeMap;

use aes::Block;

use crate::form::Colours;
use crate::leak::{Assignment, Leak};
use crate::likelihood::Counts;
use crate::lineage::Lineage;
use crate::position::{
    BATCH, Class, LANES, Params, Places, Prefix, Symbols, lanes_of, prefix, symbol_block,
};
use crate::tag::MarkTag;

/// Bits of a field in which matches of one chance are counted while a segment is scored.
const FIELD_BITS: u32 = 21;
/// Blocks of a segment: its counts stay below a field's capacity.
const SEGMENT_MAX: usize = 1 << 20;

/// What an innocent or guilty symbol is compared with, for one read: the symbol agrees iff its
/// lane, less `offset`, is below `width`. No read: `width` is 0.
#[derive(Clone, Copy, Default)]
struct Slot {
    offset: u16,
    width: u16,
    field: u32,
}

impl Slot {
    fn new(params: Params, colour: bool) -> Self {
        let threshold = params.threshold();
        // Biases are p, 1/2 and 1 - p: a read of 0 matches with the chance of the bias opposite.
        let (offset, width, chance) = if colour {
            (0, threshold, params.bias)
        } else {
            (threshold, threshold.wrapping_neg(), 2 - params.bias)
        };
        let field = FIELD_BITS * u32::from(chance);
        Self {
            offset,
            width,
            field,
        }
    }
}

/// Blocks of one column.
struct Segment {
    /// First channel of its column.
    channel: usize,
    lanes: usize,
    blocks: Vec<Block>,
    slots: [Vec<Slot>; LANES],
}

/// The reads of a file that one level of keys has symbols for.
pub(crate) struct Sheet {
    segments: Vec<Segment>,
    /// Reads by channel.
    reads: Vec<Counts>,
}

impl Sheet {
    fn new(channels: usize) -> Self {
        Self {
            segments: Vec::new(),
            reads: vec![Counts::default(); channels],
        }
    }

    pub(crate) fn reads(&self) -> &[Counts] {
        &self.reads
    }

    pub(crate) fn reads_sum(&self) -> u64 {
        self.reads
            .iter()
            .flatten()
            .map(|count| u64::from(*count))
            .sum()
    }

    /// Blocks to encipher for a candidate.
    pub(crate) fn blocks(&self) -> usize {
        self.segments
            .iter()
            .map(|segment| segment.blocks.len())
            .sum()
    }

    fn push(
        &mut self,
        channel: usize,
        lanes: usize,
        prefix: &Prefix,
        slots: [Option<Slot>; LANES],
        chances: [usize; LANES],
    ) {
        let fresh = self
            .segments
            .last()
            .is_none_or(|last| last.channel != channel || last.blocks.len() >= SEGMENT_MAX);
        if fresh {
            self.segments.push(Segment {
                channel,
                lanes,
                blocks: Vec::new(),
                slots: Default::default(),
            });
        }
        for ((lane, slot), chance) in slots.iter().enumerate().zip(chances) {
            let reads = self.reads.get_mut(channel + lane);
            if let Some(count) = reads.and_then(|reads| reads.get_mut(chance))
                && slot.is_some()
            {
                *count += 1;
            }
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.blocks.push(symbol_block(prefix));
            for (column, slot) in segment.slots.iter_mut().zip(slots) {
                column.push(slot.unwrap_or_default());
            }
        }
    }

    /// Matches of a candidate by channel, added to `matches`.
    pub(crate) fn count(&self, symbols: &Symbols, matches: &mut [Counts]) {
        let mut enciphered = [Block::default(); BATCH];
        for segment in &self.segments {
            let mut sums = [0_u64; LANES];
            let [first, second] = &segment.slots;
            let batches = segment.blocks.chunks(BATCH);
            let slots = first.chunks(BATCH).zip(second.chunks(BATCH));
            for (blocks, (first, second)) in batches.zip(slots) {
                let out = enciphered.get_mut(..blocks.len()).unwrap_or_default();
                symbols.encrypt(blocks, out);
                let [one, two] = &mut sums;
                *one += agreeing(out, first, |[lane, _]| lane);
                if segment.lanes > 1 {
                    *two += agreeing(out, second, |[_, lane]| lane);
                }
            }
            for (matches, sum) in matches
                .iter_mut()
                .skip(segment.channel)
                .zip(sums)
                .take(segment.lanes)
            {
                for (chance, count) in (0_u32..).zip(matches) {
                    let field = (sum >> (FIELD_BITS * chance)) & ((1 << FIELD_BITS) - 1);
                    *count += u32::try_from(field).unwrap_or(0);
                }
            }
        }
    }
}

/// Reads that agree, counted in three fields of one word by their chance.
#[inline]
fn agreeing(blocks: &[Block], slots: &[Slot], lane: impl Fn([u16; LANES]) -> u16) -> u64 {
    let pairs = blocks.iter().zip(slots);
    let agree = pairs.map(|(block, slot)| {
        let agrees = lane(lanes_of(block)).wrapping_sub(slot.offset) < slot.width;
        u64::from(agrees) << slot.field
    });
    agree.sum()
}

/// Stages in which a candidate is scored.
pub(crate) const STAGES: usize = 3;
/// Of eight reads, how many each stage has; every column has its share in each.
const EIGHTHS: [usize; STAGES] = [1, 3, 4];
/// Sheets with fewer reads are one stage.
const STAGED_MIN: usize = 4096;

/// Reads at both levels, under one assignment, by stage.
pub(crate) struct Sheets {
    pub(crate) recipient: [Sheet; STAGES],
    pub(crate) flow: [Sheet; STAGES],
}

impl Sheets {
    pub(crate) fn new(
        lineage: &Lineage,
        places: &Places,
        leak: &Leak,
        assignment: &Assignment,
    ) -> Self {
        let mut first_channel = Vec::new();
        let mut channels = 0;
        for column in lineage.columns() {
            first_channel.push(channels);
            channels += column.form().channels();
        }
        let mut found = (Found::new(), Found::new());
        for matched in assignment {
            let Some(column) = lineage.columns().get(matched.column) else {
                continue;
            };
            let channel = first_channel.get(matched.column).copied().unwrap_or(0);
            let lanes = column.form().channels();
            let cells = leak.tags().iter().zip(leak.column(matched.found));
            let reads =
                cells.map(|(tag, cell)| (*tag, column.form().colours(cell, matched.reading)));
            let reads: Vec<_> = collapse(reads).into_iter().collect();
            let mut params = Vec::new();
            for reads in reads.chunks(BATCH) {
                let prefixes: Vec<_> = reads
                    .iter()
                    .map(|(tag, _)| prefix(*tag, column.digest()))
                    .collect();
                params.clear();
                places.params(&prefixes, column.selected(), lanes, &mut params);
                for ((prefix, (_, colours)), params) in prefixes.iter().zip(reads).zip(&params) {
                    let read = Read {
                        channel,
                        lanes,
                        prefix: *prefix,
                        params: *params,
                        colours: *colours,
                    };
                    if read.has(Class::Recipient) {
                        found.0.push(read);
                    }
                    if read.has(Class::Flow) {
                        found.1.push(read);
                    }
                }
            }
        }
        Self {
            recipient: lay_out(&found.0, Class::Recipient, channels),
            flow: lay_out(&found.1, Class::Flow, channels),
        }
    }
}

type Found = Vec<Read>;

#[derive(Clone, Copy)]
struct Read {
    channel: usize,
    lanes: usize,
    prefix: Prefix,
    params: [Option<Params>; LANES],
    colours: Colours,
}

impl Read {
    /// The lanes that have a colour and a symbol of this class.
    fn of(&self, class: Class) -> [Option<(Params, bool)>; LANES] {
        let mut lanes = [None; LANES];
        for ((lane, params), colour) in lanes.iter_mut().zip(self.params).zip(self.colours) {
            *lane = params.filter(|params| params.class == class).zip(colour);
        }
        lanes
    }

    fn has(&self, class: Class) -> bool {
        self.of(class).iter().any(Option::is_some)
    }
}

/// Deals the reads out to the stages.
fn lay_out(found: &[Read], class: Class, channels: usize) -> [Sheet; STAGES] {
    let mut sheets = EIGHTHS.map(|_| Sheet::new(channels));
    let [first, second, _] = EIGHTHS;
    for (place, read) in found.iter().enumerate() {
        let mut slots = [None; LANES];
        let mut chances = [0; LANES];
        for ((slot, chance), of) in slots.iter_mut().zip(&mut chances).zip(read.of(class)) {
            if let Some((params, colour)) = of {
                *slot = Some(Slot::new(params, colour));
                *chance = usize::from(if colour { params.bias } else { 2 - params.bias });
            }
        }
        let [one, two, three] = &mut sheets;
        let sheet = match place % 8 {
            _ if found.len() < STAGED_MIN => one,
            turn if turn < first => one,
            turn if turn < first + second => two,
            _ => three,
        };
        sheet.push(read.channel, read.lanes, &read.prefix, slots, chances);
    }
    sheets
}

/// One read for each tag and channel: what most of its cells say, nothing if they are divided.
///
/// A row that occurs twice, and customers that share a tag, have one symbol: counting it twice
/// would take one draw of the key for two.
fn collapse(reads: impl Iterator<Item = (MarkTag, Colours)>) -> BTreeMap<MarkTag, Colours> {
    let mut votes: BTreeMap<MarkTag, [i64; LANES]> = BTreeMap::new();
    for (tag, colours) in reads {
        let votes = votes.entry(tag).or_default();
        for (vote, colour) in votes.iter_mut().zip(colours) {
            *vote += match colour {
                Some(true) => 1,
                Some(false) => -1,
                None => 0,
            };
        }
    }
    let majority = |votes: [i64; LANES]| votes.map(|vote| (vote != 0).then_some(vote > 0));
    let collapsed = votes.into_iter().map(|(tag, votes)| (tag, majority(votes)));
    collapsed
        .filter(|(_, colours)| colours.iter().any(Option::is_some))
        .collect()
}
