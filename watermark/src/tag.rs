//! Mark tags: the pseudonym by which a row is known to the marks.

use std::fmt;

use crate::error::MarkError;

/// How many bits a mark tag has: 12 to 32.
///
/// Few bits hide customers in groups that share a tag, and limit the positions a column has, so
/// the collusion it resists. All flows of a lineage must have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagBits(u8);

impl TagBits {
    /// Fewest bits.
    pub const MIN: u8 = 12;
    /// Most bits.
    pub const MAX: u8 = 32;

    /// Checks the number of bits.
    ///
    /// # Errors
    /// [`MarkError::TagBits`] outside 12 to 32.
    pub fn new(bits: u8) -> Result<Self, MarkError> {
        if (Self::MIN..=Self::MAX).contains(&bits) {
            Ok(Self(bits))
        } else {
            Err(MarkError::TagBits { found: bits })
        }
    }

    /// 16 below 2^20 rows, log2 of the rows less 4 above: some 16 rows share a tag then.
    #[must_use]
    pub fn for_rows(rows: u64) -> Self {
        let exponent = rows.checked_ilog2().unwrap_or(0).saturating_sub(4);
        let bits = u8::try_from(exponent).unwrap_or(Self::MAX);
        Self(bits.clamp(16, Self::MAX))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// Different tags there can be.
    #[must_use]
    pub fn tags(self) -> u64 {
        1 << self.0
    }
}

/// The mark tag of a row. Stands for a customer in all flows of a lineage, so `Debug` does not
/// show it, and whoever holds it keeps it in memory only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkTag(u32);

impl MarkTag {
    /// A tag that a peer sent.
    ///
    /// `None` if it does not fit in so many bits.
    #[must_use]
    pub fn new(value: u32, bits: TagBits) -> Option<Self> {
        (u64::from(value) < bits.tags()).then_some(Self(value))
    }

    /// The number, below 2 to the power of its bits.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    pub(crate) fn truncate(mac: [u8; 32], bits: TagBits) -> Self {
        let [a, b, c, d, ..] = mac;
        Self(u32::from_be_bytes([a, b, c, d]) >> (32 - u32::from(bits.get())))
    }
}

impl fmt::Debug for MarkTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MarkTag(redacted)")
    }
}
