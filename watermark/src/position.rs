//! Positions: where a symbol can stand, and what the keys say of it.
//!
//! A position is a mark tag, a column and a lane. Its block is 15 bytes that name tag and column,
//! and a byte that says what is asked; AES-128 as a pseudo-random function of the block gives
//! 16-bit lanes, one for each channel of the column.

use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use aes::{Aes128Enc, Block};

use crate::keys::{DatasetKey, SymbolKey};
use crate::tag::MarkTag;

/// Biases in 2^-16: the three Gauss-Legendre nodes (5 -+ sqrt 15)/10 and 1/2 (Nuida et al. 2009).
pub const BIASES: [u16; 3] = [7386, 32768, 58150];
/// Where the lane of the bias passes from one to the next: weights .332, .336, .332.
const BIAS_EDGES: [u16; 2] = [21758, 43778];

const SYMBOL: u8 = 0;
const SELECTION: u8 = 1;
const BIAS: u8 = 2;
const TIE: u8 = 3;

/// Channels that a column can have: coarse and fine digits of a score.
pub(crate) const LANES: usize = 2;
/// Blocks that are enciphered in one call.
pub(crate) const BATCH: usize = 64;

/// Tag and column of a position.
pub(crate) type Prefix = [u8; 15];

/// Four bytes of tag, eleven of the column's digest.
#[inline]
pub(crate) fn prefix(tag: MarkTag, column: &[u8; 11]) -> Prefix {
    let [t0, t1, t2, t3] = tag.get().to_be_bytes();
    let [a, b, c, d, e, f, g, h, i, j, k] = *column;
    [t0, t1, t2, t3, a, b, c, d, e, f, g, h, i, j, k]
}

/// Whose symbol stands at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Recipient,
    Flow,
}

/// What `K_D` says of a selected position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Params {
    /// Index into [`BIASES`].
    pub(crate) bias: u8,
    pub(crate) tie: bool,
    pub(crate) class: Class,
}

/// Selection, biases, ties and classes of a lineage.
pub(crate) struct Places {
    prf: Prf,
    /// Share of flows among the classes, in 2^-15.
    flow_share: u16,
}

impl Places {
    pub(crate) fn new(key: &DatasetKey, flow_share: u16) -> Self {
        Self {
            prf: Prf::new(&key.0),
            flow_share,
        }
    }

    /// For at most [`BATCH`] prefixes, what `K_D` says of each lane; `None` where it is not selected.
    ///
    /// `selected` is how many of the 2^16 values of a lane select it.
    pub(crate) fn params(
        &self,
        prefixes: &[Prefix],
        selected: u32,
        lanes: usize,
        out: &mut Vec<[Option<Params>; LANES]>,
    ) {
        let mut taken = [[false; LANES]; BATCH];
        let mut some = [Prefix::default(); BATCH];
        let count = self.select(prefixes, selected, lanes, &mut taken, &mut some);
        let some = some.get(..count).unwrap_or_default();
        let mut biases = [Lanes::default(); BATCH];
        let mut ties = [Lanes::default(); BATCH];
        self.prf.lanes(some, BIAS, &mut biases);
        self.prf.lanes(some, TIE, &mut ties);
        let mut said = biases.iter().zip(&ties);
        for (_, taken) in prefixes.iter().zip(&taken) {
            let mut row = [None; LANES];
            if taken.contains(&true)
                && let Some((biases, ties)) = said.next()
            {
                for (place, ((taken, bias), tie)) in
                    row.iter_mut().zip(taken.iter().zip(biases).zip(ties))
                {
                    *place = taken.then(|| self.of(*bias, *tie));
                }
            }
            out.push(row);
        }
    }

    /// Which lanes of the prefixes are selected, and the prefixes of which some lane is; how many these are.
    fn select(
        &self,
        prefixes: &[Prefix],
        selected: u32,
        lanes: usize,
        taken: &mut [[bool; LANES]; BATCH],
        some: &mut [Prefix; BATCH],
    ) -> usize {
        let all = std::array::from_fn(|lane| lane < lanes);
        if selected >= 1 << 16 {
            taken.fill(all);
            for (place, prefix) in some.iter_mut().zip(prefixes) {
                *place = *prefix;
            }
            return prefixes.len().min(BATCH);
        }
        let mut selection = [Lanes::default(); BATCH];
        self.prf.lanes(prefixes, SELECTION, &mut selection);
        let mut places = some.iter_mut();
        let mut count = 0;
        for ((prefix, taken), drawn) in prefixes.iter().zip(taken).zip(&selection) {
            for ((taken, lane), may) in taken.iter_mut().zip(drawn).zip(all) {
                *taken = may && u32::from(*lane) < selected;
            }
            if taken.contains(&true)
                && let Some(place) = places.next()
            {
                *place = *prefix;
                count += 1;
            }
        }
        count
    }

    fn of(&self, bias: u16, tie: u16) -> Params {
        let [first, second] = BIAS_EDGES;
        Params {
            bias: u8::from(bias >= first) + u8::from(bias >= second),
            tie: tie & 1 == 1,
            class: if tie >> 1 < self.flow_share {
                Class::Flow
            } else {
                Class::Recipient
            },
        }
    }
}

impl Params {
    pub(crate) fn threshold(self) -> u16 {
        BIASES.get(usize::from(self.bias)).copied().unwrap_or(0)
    }
}

/// The symbols of one recipient or flow.
pub(crate) struct Symbols(Prf);

impl Symbols {
    pub(crate) fn new(key: &SymbolKey) -> Self {
        Self(Prf::new(&key.0))
    }

    /// The lanes of at most [`BATCH`] prefixes; a symbol is 1 where its lane is below the bias.
    pub(crate) fn lanes(&self, prefixes: &[Prefix], out: &mut [Lanes; BATCH]) {
        self.0.lanes(prefixes, SYMBOL, out);
    }

    /// Enciphers blocks made by [`symbol_block`].
    #[inline]
    pub(crate) fn encrypt(&self, blocks: &[Block], out: &mut [Block]) {
        // Both have one length, which is all that the call asks.
        let _ = self.0.0.encrypt_blocks_b2b(blocks, out);
    }
}

/// The block whose lanes are a position's symbols.
pub(crate) fn symbol_block(prefix: &Prefix) -> Block {
    block(prefix, SYMBOL)
}

pub(crate) type Lanes = [u16; LANES];

/// The first lanes of an enciphered block.
#[inline]
pub(crate) fn lanes_of(block: &Block) -> Lanes {
    let [a, b, c, d, ..] = block.0;
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}

/// AES-128 as a pseudo-random function; zeroized when dropped.
struct Prf(Aes128Enc);

impl Prf {
    fn new(key: &[u8; 16]) -> Self {
        Self(Aes128Enc::new(key.into()))
    }

    fn lanes(&self, prefixes: &[Prefix], question: u8, out: &mut [Lanes; BATCH]) {
        let mut blocks = [Block::default(); BATCH];
        let count = prefixes.len().min(BATCH);
        for (place, prefix) in blocks.iter_mut().zip(prefixes) {
            *place = block(prefix, question);
        }
        self.0
            .encrypt_blocks(blocks.get_mut(..count).unwrap_or_default());
        for (out, block) in out.iter_mut().zip(&blocks).take(count) {
            *out = lanes_of(block);
        }
    }
}

#[inline]
fn block(prefix: &Prefix, question: u8) -> Block {
    let mut block = [question; 16];
    if let Some(place) = block.first_chunk_mut() {
        *place = *prefix;
    }
    block.into()
}
