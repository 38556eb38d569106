//! The part of a flow's buckets that one process carries out.

use std::fmt;
use std::str::FromStr;

use counterfoil_proto::limits::{MEETING, SHARDS_MAX};

use crate::error::Error;

/// All buckets that leave `index` when divided by `count`. The first shard has the meeting too, and all that is done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// All buckets.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// From 0.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// At least 1.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// Whether this is the shard that asks, meets and delivers.
    #[must_use]
    pub const fn is_first(self) -> bool {
        self.index == 0
    }

    /// Whether a bucket, or the meeting, is this shard's.
    #[must_use]
    pub const fn takes(self, bucket: u32) -> bool {
        match bucket {
            MEETING => self.is_first(),
            bucket => bucket % self.count == self.index,
        }
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.split_once('/')
            .and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)))
            .filter(|(index, count)| index < count && *count <= SHARDS_MAX)
            .map(|(index, count)| Self { index, count })
            .ok_or_else(|| {
                Error::Input(format!(
                    "`{text}` is no shard: write `I/N`, with I from 0 to N - 1 and N at most {SHARDS_MAX}"
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_and_part_the_buckets() {
        let shard = |text: &str| text.parse::<Shard>();
        assert_eq!(shard("0/1").unwrap(), Shard::WHOLE);
        assert_eq!(shard("2/3").unwrap().to_string(), "2/3");
        for wrong in ["", "1", "1/1", "3/2", "-1/2", "0/0", "0/17", "a/2", "0/2/3"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
        for bucket in [0, 1, 7, MEETING] {
            let takes = |i: u32| shard(&format!("{i}/3")).unwrap().takes(bucket);
            assert_eq!((0..3).filter(|i| takes(*i)).count(), 1, "{bucket}");
        }
        assert!(shard("0/3").unwrap().takes(MEETING));
    }
}
