//! Counts told in coarse buckets.
//!
//! Exact counts answer questions about single people: run the flow twice, with and without
//! one identifier, and compare. Buckets blunt that, they do not prevent it (a count at a
//! bucket's edge still moves); counts with a proven bound are differentially private
//! releases of their own. What buckets do well is to tell an operator the order of
//! magnitude and nothing finer.

use std::fmt;

use crate::text::{Malformed, serde_as_text};

/// Below this a count is told as "fewer than 20". The same floor that the linter advises for
/// minimum match: a handful of people is never told as a number.
pub const COUNT_FLOOR: u64 = 20;

/// Lower edges of the buckets after the floor: 1-2-5 steps, so that neighbours differ by a
/// factor of at most 2.5 and 18 buckets reach the largest flow.
const EDGES: [u64; 18] = [
    20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 2_000_000, 5_000_000, 10_000_000,
];

/// A count as it may be told: the bucket it lies in. Zero is in the lowest bucket too.
///
/// Text and JSON form: `fewer than 20`, `20 to 49`, ..., `10000000 or more`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoarseCount {
    /// How many edges are at or below the count.
    bucket: usize,
}

impl CoarseCount {
    /// The bucket of a count.
    #[must_use]
    pub fn of(count: u64) -> Self {
        Self {
            bucket: EDGES.partition_point(|edge| *edge <= count),
        }
    }

    /// Least count of the bucket.
    #[must_use]
    pub fn at_least(self) -> u64 {
        self.bucket
            .checked_sub(1)
            .and_then(|below| EDGES.get(below))
            .copied()
            .unwrap_or(0)
    }

    /// Largest count of the bucket; `None` for the last, which is open.
    #[must_use]
    pub fn at_most(self) -> Option<u64> {
        EDGES.get(self.bucket).map(|edge| edge - 1)
    }
}

impl fmt::Display for CoarseCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.at_least(), self.at_most()) {
            (0, _) => write!(f, "fewer than {COUNT_FLOOR}"),
            (least, Some(most)) => write!(f, "{least} to {most}"),
            (least, None) => write!(f, "{least} or more"),
        }
    }
}

impl std::str::FromStr for CoarseCount {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        (0..=EDGES.len())
            .map(|bucket| Self { bucket })
            .find(|count| count.to_string() == text)
            .ok_or_else(|| Malformed::new("a coarse count", text, "a bucket like `20 to 49`"))
    }
}

serde_as_text!(CoarseCount);

/// Lower edges of the buckets of shares after the first, in percent.
const SHARE_EDGES: [u32; 5] = [5, 10, 20, 50, 80];

/// A share as it may be told: the bucket of percents it lies in.
///
/// Text form: `under 5 %`, `5 to 10 %`, ..., `80 % or more`; a bucket holds its lower edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoarseShare {
    bucket: usize,
}

impl CoarseShare {
    /// The bucket of a share in parts per million that `cells` cells have. What stands on fewer
    /// than [`COUNT_FLOOR`] cells is in the lowest bucket, as their count is.
    #[must_use]
    pub fn of(ppm: u32, cells: u64) -> Self {
        let reached = |edge: &u32| cells >= COUNT_FLOOR && edge * 10_000 <= ppm;
        Self {
            bucket: SHARE_EDGES.partition_point(reached),
        }
    }
}

impl fmt::Display for CoarseShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = self
            .bucket
            .checked_sub(1)
            .and_then(|at| SHARE_EDGES.get(at));
        match (below, SHARE_EDGES.get(self.bucket)) {
            (None, Some(upper)) => write!(f, "under {upper} %"),
            (Some(lower), Some(upper)) => write!(f, "{lower} to {upper} %"),
            (Some(lower), None) => write!(f, "{lower} % or more"),
            (None, None) => Ok(()),
        }
    }
}

/// The size of a set as it may be told: rounded up to a power of two, at least 64.
///
/// Sides pad or declare their sets in these sizes, so that two flows over sets that differ
/// by one customer look alike, except at a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeClass(u8);

const SMALLEST_CLASS: u8 = 6;

impl SizeClass {
    /// The smallest class that holds `size` members.
    #[must_use]
    pub fn of(size: u32) -> Self {
        let bits = u32::BITS - size.saturating_sub(1).leading_zeros();
        Self(u8::try_from(bits).unwrap_or(32).max(SMALLEST_CLASS))
    }

    /// The exponent, 6 to 32.
    #[must_use]
    pub fn exponent(self) -> u8 {
        self.0
    }

    /// The most members of a set of this class, 2^exponent.
    #[must_use]
    pub fn capacity(self) -> u64 {
        1 << self.0
    }
}

impl fmt::Display for SizeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "up to {}", self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_have_a_floor_and_an_open_end() {
        for (count, told) in [
            (0, "fewer than 20"),
            (19, "fewer than 20"),
            (20, "20 to 49"),
            (49, "20 to 49"),
            (50, "50 to 99"),
            (199, "100 to 199"),
            (200, "200 to 499"),
            (9_999_999, "5000000 to 9999999"),
            (10_000_000, "10000000 or more"),
            (u64::MAX, "10000000 or more"),
        ] {
            assert_eq!(CoarseCount::of(count).to_string(), told);
        }
    }

    #[test]
    fn shares_have_the_floor_of_counts() {
        let told = |ppm, cells| CoarseShare::of(ppm, cells).to_string();
        assert_eq!(told(0, 0), "under 5 %");
        assert_eq!(told(49_999, 1000), "under 5 %");
        assert_eq!(told(50_000, 1000), "5 to 10 %");
        assert_eq!(told(799_999, 1000), "50 to 80 %");
        assert_eq!(told(1_000_000, 1000), "80 % or more");
        assert_eq!(told(1_000_000, 19), "under 5 %");
        assert_eq!(told(1_000_000, 20), "80 % or more");
    }

    #[test]
    fn classes_are_powers_of_two() {
        for (size, capacity) in [
            (0, 64),
            (64, 64),
            (65, 128),
            (65_536, 65_536),
            (65_537, 131_072),
            (u32::MAX, 1 << 32),
        ] {
            assert_eq!(SizeClass::of(size).capacity(), capacity);
        }
    }

    proptest! {
        #[test]
        fn a_count_lies_in_its_bucket(count: u64) {
            let told = CoarseCount::of(count);
            prop_assert!(told.at_least() <= count && told.at_most().is_none_or(|most| count <= most));
            prop_assert_eq!(told.to_string().parse::<CoarseCount>(), Ok(told));
        }

        #[test]
        fn a_set_fits_its_class(size: u32) {
            let class = SizeClass::of(size);
            prop_assert!(u64::from(size) <= class.capacity());
            prop_assert!(class.exponent() == 6 || u64::from(size) > class.capacity() / 2);
        }
    }
}
