//! One tag's values as small codes, with each code's ancestors and loss.

use std::cmp::Ordering;

use hashbrown::HashMap;

use crate::tag::{LOSS_PPM_MAX, SUPPRESSED, Tag, Unmapped, Value};

/// Codes follow the order of the rows, and so nothing that is decided may depend on a code's
/// number: ties are broken by [`compare`](Column::compare), which looks at the texts.
#[derive(Debug)]
pub(super) struct Column {
    tag: Tag,
    codes: HashMap<Box<str>, u32>,
    values: Vec<Value>,
    losses: Vec<u32>,
    /// Steps from `*` down to each code.
    depths: Vec<u8>,
    /// For each depth, each code's ancestor there, and the code itself from its own depth on.
    ancestors: Vec<Vec<u32>>,
    top: u32,
}

impl Column {
    pub(super) fn new(tag: Tag) -> Self {
        Self {
            tag,
            codes: HashMap::new(),
            values: Vec::new(),
            losses: Vec::new(),
            depths: Vec::new(),
            ancestors: Vec::new(),
            top: 0,
        }
    }

    pub(super) fn tag(&self) -> &Tag {
        &self.tag
    }

    /// The code of a cell; the tag checks each distinct text once.
    pub(super) fn code(&mut self, text: &str) -> Result<u32, Unmapped> {
        if let Some(code) = self.codes.get(text) {
            return Ok(*code);
        }
        let value = self.tag.admit(text)?;
        Ok(self.insert(value))
    }

    fn insert(&mut self, value: Value) -> u32 {
        if let Some(code) = self.codes.get(value.as_str()) {
            return *code;
        }
        // A table has at most 10^7 rows and each value at most 10 ancestors: far below 2^32.
        let code = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.codes.insert(value.as_str().into(), code);
        self.losses.push(self.tag.loss_ppm(&value));
        self.values.push(value);
        code
    }

    /// Gives every value its ancestors. Called once, when all rows are in.
    pub(super) fn close(&mut self) {
        self.top = self.insert(Value::suppressed());
        let mut parents = Vec::with_capacity(self.values.len());
        while let Some(value) = self.values.get(parents.len()) {
            let parent = self.tag.coarser(value);
            parents.push(parent.map(|parent| self.insert(parent)));
        }
        let upwards = |code: u32| {
            let parent = |code: &u32| parents.get(*code as usize).copied().flatten();
            std::iter::successors(Some(code), parent)
        };
        let codes = || (0_u32..).take(parents.len());
        // Hierarchies have at most eight levels and `*`.
        let depth = |code| u8::try_from(upwards(code).count() - 1).unwrap_or(u8::MAX);
        self.depths = codes().map(depth).collect();
        let own: Vec<u32> = codes().collect();
        let deepest = self.depths.iter().copied().max().unwrap_or(0);
        self.ancestors = vec![own];
        for depth in (0..deepest).rev() {
            let finer = self.ancestors.last().into_iter().flatten();
            let step = |code: &u32| match parents.get(*code as usize).copied().flatten() {
                Some(parent) if self.depth(*code) > depth.into() => parent,
                _ => *code,
            };
            let coarser = finer.map(step).collect();
            self.ancestors.push(coarser);
        }
        self.ancestors.reverse();
    }

    /// How many codes there are, ancestors included.
    pub(super) fn codes_len(&self) -> usize {
        self.values.len()
    }

    /// The code of `*`.
    pub(super) fn top(&self) -> u32 {
        self.top
    }

    /// Steps from `*` down to the code.
    pub(super) fn depth(&self, code: u32) -> usize {
        self.depths
            .get(code as usize)
            .copied()
            .map_or(0, usize::from)
    }

    /// Each code's ancestor at a depth, the code itself if it does not lie so deep; `None` below
    /// the deepest code.
    pub(super) fn ancestors(&self, depth: usize) -> Option<&[u32]> {
        self.ancestors.get(depth).map(Vec::as_slice)
    }

    fn ancestor(&self, code: u32, depth: usize) -> u32 {
        let ancestors = self.ancestors(depth).unwrap_or(&[]);
        ancestors.get(code as usize).copied().unwrap_or(self.top)
    }

    /// The finest value that both codes can be told as.
    pub(super) fn common(&self, a: u32, b: u32) -> u32 {
        if a == b {
            return a;
        }
        let mut depth = self.depth(a).min(self.depth(b));
        loop {
            let ancestor = self.ancestor(a, depth);
            if ancestor == self.ancestor(b, depth) || depth == 0 {
                return ancestor;
            }
            depth -= 1;
        }
    }

    pub(super) fn loss(&self, code: u32) -> u32 {
        self.losses
            .get(code as usize)
            .copied()
            .unwrap_or(LOSS_PPM_MAX)
    }

    pub(super) fn text(&self, code: u32) -> &str {
        self.values
            .get(code as usize)
            .map_or(SUPPRESSED, Value::as_str)
    }

    /// Order of two codes by their texts, which is the same for every order of the rows.
    pub(super) fn compare(&self, a: u32, b: u32) -> Ordering {
        self.text(a).cmp(self.text(b))
    }
}
