//! One tag's values as small codes, with each code's parent and loss.

use hashbrown::HashMap;

use crate::tag::{LOSS_PPM_MAX, SUPPRESSED, Tag, Unmapped, Value};

/// Hash order is never looked at: results depend on codes, which follow the rows.
#[derive(Debug)]
pub(super) struct Column {
    tag: Tag,
    codes: HashMap<Box<str>, u32>,
    values: Vec<Value>,
    parents: Vec<Option<u32>>,
    losses: Vec<u32>,
}

impl Column {
    pub(super) fn new(tag: Tag) -> Self {
        Self {
            tag,
            codes: HashMap::new(),
            values: Vec::new(),
            parents: Vec::new(),
            losses: Vec::new(),
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
        while let Some(value) = self.values.get(self.parents.len()) {
            let parent = self.tag.coarser(value);
            let parent = parent.map(|parent| self.insert(parent));
            self.parents.push(parent);
        }
    }

    pub(super) fn codes_len(&self) -> usize {
        self.values.len()
    }

    /// One step up; `None` at `*`.
    pub(super) fn parent(&self, code: u32) -> Option<u32> {
        self.parents.get(code as usize).copied().flatten()
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
}
