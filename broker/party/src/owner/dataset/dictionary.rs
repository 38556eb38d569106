//! Values as numbers: rows of one tag have few different ones.

use std::collections::HashMap;

use counterfoil_proto::limits::VALUE_BYTES_MAX;

/// Widths of columns are multiples of this, so that they tell little of the longest value that happens to be there.
pub(super) const WIDTH_STEP: usize = 8;

/// The different values of one tag, already in the agreed form.
#[derive(Default)]
pub(super) struct Dictionary {
    codes: HashMap<Box<str>, u32>,
    values: Vec<Box<str>>,
}

impl Dictionary {
    pub(super) fn code(&mut self, value: &str) -> Option<u32> {
        if let Some(code) = self.codes.get(value) {
            return Some(*code);
        }
        let code = u32::try_from(self.values.len()).ok()?;
        self.values.push(value.into());
        self.codes.insert(value.into(), code);
        Some(code)
    }

    pub(super) fn value(&self, code: u32) -> Option<&str> {
        let value = self.values.get(usize::try_from(code).ok()?)?;
        Some(value)
    }

    pub(super) fn width(&self) -> usize {
        let longest = self
            .values
            .iter()
            .map(|value| value.len())
            .max()
            .unwrap_or(0);
        longest
            .next_multiple_of(WIDTH_STEP)
            .clamp(WIDTH_STEP, VALUE_BYTES_MAX)
    }
}
