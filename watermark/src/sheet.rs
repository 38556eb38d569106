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

/// Blocks that are enciphered in one call: so many that the call itself costs nothing beside them, and so few that the cache nearest to
/// the core holds them.
const CALL_BLOCKS: usize = 256;
/// Bits of a field in which matches of one chance are counted over one call.
const FIELD_BITS: u32 = 10;
const _: () = assert!(CALL_BLOCKS < 1 << FIELD_BITS);

/// What an innocent or guilty symbol is compared with, for one read: the symbol agrees iff its
/// lane, less `offset`, is below `width`. No read: `width` is 0.
#[derive(Clone, Copy, Default)]
struct Slot {
    offset: u16,
    width: u16,
    /// One, in the field of the read's chance.
    one: u32,
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
        Self {
            offset,
            width,
            one: 1 << (FIELD_BITS * u32::from(chance)),
        }
    }
}

/// Blocks of one column.
struct Segment {
    /// First channel of its column.
    channel: usize,
    lanes: usize,
    blocks: Vec<Block>,
    slots: [Slots; LANES],
}

/// The slots of one lane, part by part: so a loop over them takes several at a time.
#[derive(Default)]
struct Slots {
    offsets: Vec<u16>,
    widths: Vec<u16>,
    ones: Vec<u32>,
}

impl Slots {
    fn push(&mut self, slot: Slot) {
        self.offsets.push(slot.offset);
        self.widths.push(slot.width);
        self.ones.push(slot.one);
    }

    /// Those of each call.
    fn calls(&self) -> impl Iterator<Item = ((&[u16], &[u16]), &[u32])> {
        let offsets = self.offsets.chunks(CALL_BLOCKS);
        let limits = offsets.zip(self.widths.chunks(CALL_BLOCKS));
        limits.zip(self.ones.chunks(CALL_BLOCKS))
    }
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
            .is_none_or(|last| last.channel != channel);
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
        // Most stages of a small file have none, and making room takes a while.
        if self.segments.is_empty() {
            return;
        }
        let mut enciphered = [Block::default(); CALL_BLOCKS];
        for segment in &self.segments {
            let [first, second] = &segment.slots;
            let calls = segment.blocks.chunks(CALL_BLOCKS);
            let mut channels = matches.iter_mut().skip(segment.channel);
            let (Some(one), two) = (channels.next(), channels.next()) else {
                continue;
            };
            let mut two = two.filter(|_| segment.lanes > 1);
            for ((blocks, first), second) in calls.zip(first.calls()).zip(second.calls()) {
                let out = enciphered.get_mut(..blocks.len()).unwrap_or_default();
                symbols.encrypt(blocks, out);
                add_fields(one, agreeing(out, first, |[lane, _]| lane));
                if let Some(two) = &mut two {
                    add_fields(two, agreeing(out, second, |[_, lane]| lane));
                }
            }
        }
    }
}

/// Reads of one call that agree, counted in three fields of one word by their chance.
#[inline]
fn agreeing(
    blocks: &[Block],
    ((offsets, widths), ones): ((&[u16], &[u16]), &[u32]),
    lane: impl Fn([u16; LANES]) -> u16,
) -> u32 {
    let slots = offsets.iter().zip(widths).zip(ones);
    let agree = blocks
        .iter()
        .zip(slots)
        .map(|(block, ((offset, width), one))| {
            let agrees = lane(lanes_of(block)).wrapping_sub(*offset) < *width;
            // Without a branch: whether one agrees cannot be foreseen.
            u32::from(agrees).wrapping_neg() & one
        });
    // At most one field of each is 1, and no field overflows: a sum that checked for it would take them one by one.
    agree.fold(0, u32::wrapping_add)
}

fn add_fields(counts: &mut Counts, fields: u32) {
    for (chance, count) in (0_u32..).zip(counts) {
        *count += (fields >> (FIELD_BITS * chance)) & ((1 << FIELD_BITS) - 1);
    }
}

/// Stages in which a candidate is scored.
pub(crate) const STAGES: usize = 5;
/// Of sixteen reads, how many the candidate has been scored on at the end of each stage; every column has its share in each.
const SIXTEENTHS: [usize; STAGES] = [1, 2, 4, 8, 16];
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
    let mut sheets = SIXTEENTHS.map(|_| Sheet::new(channels));
    for (place, read) in found.iter().enumerate() {
        let mut slots = [None; LANES];
        let mut chances = [0; LANES];
        for ((slot, chance), of) in slots.iter_mut().zip(&mut chances).zip(read.of(class)) {
            if let Some((params, colour)) = of {
                *slot = Some(Slot::new(params, colour));
                *chance = usize::from(if colour { params.bias } else { 2 - params.bias });
            }
        }
        let turn = if found.len() < STAGED_MIN {
            0
        } else {
            place % 16
        };
        let mut stages = sheets.iter_mut().zip(SIXTEENTHS);
        if let Some((sheet, _)) = stages.find(|(_, end)| turn < *end) {
            sheet.push(read.channel, read.lanes, &read.prefix, slots, chances);
        }
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

#[cfg(test)]
mod tests;
