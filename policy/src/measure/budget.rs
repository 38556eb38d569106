//! What may be spent of epsilon and delta, in exact decimals.
//!
//! Costs add up: what is released under epsilon 1 and then under epsilon 2 is released under epsilon 3, deltas likewise (basic
//! composition: Dwork and Roth, The Algorithmic Foundations of Differential Privacy, 2014, theorem 3.16). It holds for any
//! choice of later queries after earlier answers, and needs no float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::decimal::Decimal;
use crate::moment::Timestamp;
use crate::text::{Malformed, serde_as_text};

const SECONDS_PER_DAY: i64 = 86_400;

/// A privacy loss: from 0.0001 to 100.
///
/// Below, noise would drown ten million people; above, there is no privacy to speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epsilon(Decimal);

/// The probability with which the loss may be larger: from 10^-12 to 10^-3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delta(Decimal);

/// A decimal between two others, both included.
fn within(text: &str, least: &str, most: &str) -> Option<Decimal> {
    let value: Decimal = text.parse().ok()?;
    let range = least.parse().ok()?..=most.parse().ok()?;
    range.contains(&value).then_some(value)
}

impl FromStr for Epsilon {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        within(text, "0.0001", "100").map(Self).ok_or_else(|| {
            Malformed::new(
                "an epsilon",
                text,
                "a decimal from 0.0001 to 100, such as 0.5",
            )
        })
    }
}

impl FromStr for Delta {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        within(text, "0.000000000001", "0.001")
            .map(Self)
            .ok_or_else(|| {
                let would_pass = "a decimal from 0.000000000001 to 0.001, such as 0.000001";
                Malformed::new("a delta", text, would_pass)
            })
    }
}

macro_rules! amount {
    ($name:ident) => {
        impl $name {
            /// The exact number.
            #[must_use]
            pub fn decimal(self) -> Decimal {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        serde_as_text!($name);
    };
}

amount!(Epsilon);
amount!(Delta);

/// An amount of budget: of one flow, of all in a period, or a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Sum of epsilons.
    pub epsilon: Decimal,
    /// Sum of deltas.
    pub delta: Decimal,
}

impl Cost {
    /// Nothing.
    pub const NONE: Self = Self {
        epsilon: Decimal::ZERO,
        delta: Decimal::ZERO,
    };

    /// Both together; `None` for sums that no decimal holds.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            epsilon: self.epsilon.checked_add(other.epsilon)?,
            delta: self.delta.checked_add(other.delta)?,
        })
    }

    /// What a cap leaves after this was spent, at least nothing.
    #[must_use]
    pub fn left_of(self, cap: Self) -> Self {
        Self {
            epsilon: cap.epsilon.left_after(self.epsilon),
            delta: cap.delta.left_after(self.delta),
        }
    }

    /// Neither part is larger.
    #[must_use]
    pub fn fits(self, cap: Self) -> bool {
        self.epsilon <= cap.epsilon && self.delta <= cap.delta
    }

    /// The smaller of each part.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            epsilon: self.epsilon.min(other.epsilon),
            delta: self.delta.min(other.delta),
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epsilon {}", self.epsilon)?;
        if self.delta.is_positive() {
            write!(f, " and delta {}", self.delta)?;
        }
        Ok(())
    }
}

/// Something that was charged to a population.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// When.
    pub at: Timestamp,
    /// How much.
    pub cost: Cost,
    /// By the recipient in question, and not another.
    pub own: bool,
}

/// What may be spent in any `days` days on end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// By one recipient.
    pub recipient: Cost,
    /// By all recipients together.
    pub population: Cost,
    /// For how many days a charge counts.
    pub days: u32,
}

/// What is left at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// For this recipient, counting its own charges.
    pub recipient: Cost,
    /// For everybody, counting all.
    pub population: Cost,
}

impl Left {
    /// What this recipient can still spend: the smaller of both.
    #[must_use]
    pub fn usable(self) -> Cost {
        self.recipient.min(self.population)
    }
}

impl Caps {
    /// When a charge does not count any more.
    fn renews(&self, charge: &Charge) -> Timestamp {
        charge
            .at
            .saturating_add_seconds(i64::from(self.days) * SECONDS_PER_DAY)
    }

    /// What is left at `now` of both caps.
    #[must_use]
    pub fn left(&self, charges: &[Charge], now: Timestamp) -> Left {
        let sum = |own_only: bool| {
            let counted = charges
                .iter()
                .filter(|charge| self.renews(charge) > now && (charge.own || !own_only));
            counted
                .map(|charge| charge.cost)
                // A sum that no decimal holds leaves nothing of any cap.
                .try_fold(Cost::NONE, Cost::checked_add)
        };
        let left = |spent: Option<Cost>, cap| spent.map_or(Cost::NONE, |spent| spent.left_of(cap));
        Left {
            recipient: left(sum(true), self.recipient),
            population: left(sum(false), self.population),
        }
    }

    /// The first moment from `now` on at which a cost fits both caps; `None` if it never does.
    #[must_use]
    pub fn fits_from(&self, charges: &[Charge], cost: Cost, now: Timestamp) -> Option<Timestamp> {
        let mut moments: Vec<_> = charges.iter().map(|charge| self.renews(charge)).collect();
        moments.push(now);
        moments.retain(|moment| *moment >= now);
        moments.sort_unstable();
        // What is left only grows while nothing is charged.
        let fits = |moment: &Timestamp| cost.fits(self.left(charges, *moment).usable());
        let first = moments.partition_point(|moment| !fits(moment));
        moments.get(first).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cost(epsilon: &str) -> Cost {
        Cost {
            epsilon: epsilon.parse().unwrap(),
            delta: Decimal::ZERO,
        }
    }

    fn day(day: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000 + day * SECONDS_PER_DAY).unwrap()
    }

    const DAYS: u32 = 30;

    fn caps() -> Caps {
        Caps {
            recipient: cost("1"),
            population: cost("1.5"),
            days: DAYS,
        }
    }

    fn charge(at: i64, epsilon: &str, own: bool) -> Charge {
        Charge {
            at: day(at),
            cost: cost(epsilon),
            own,
        }
    }

    #[test]
    fn only_sound_amounts_are_amounts() {
        for text in ["0.0001", "0.1", "100"] {
            assert_eq!(text.parse::<Epsilon>().unwrap().to_string(), text);
        }
        for text in ["0", "-1", "NaN", "inf", "0.00009", "100.000001", "1e-3", ""] {
            assert!(text.parse::<Epsilon>().is_err(), "{text}");
        }
        for text in ["0.000000000001", "0.001"] {
            assert!(text.parse::<Delta>().is_ok(), "{text}");
        }
        for text in ["0", "0.0010001", "1", "0.0000000000009"] {
            assert!(text.parse::<Delta>().is_err(), "{text}");
        }
    }

    #[test]
    fn tenths_add_up_to_the_cap_exactly() {
        // Ten floats of 0.1 make 0.9999999999999999.
        let charges = vec![charge(0, "0.1", true); 9];
        let left = caps().left(&charges, day(1)).recipient;
        assert_eq!(left, cost("0.1"));
        assert!(cost("0.1").fits(left) && !cost("0.100000000000000001").fits(left));
    }

    #[test]
    fn others_count_to_the_population_alone() {
        let charges = [charge(0, "0.4", true), charge(0, "0.8", false)];
        let left = caps().left(&charges, day(1));
        assert_eq!(
            (left.recipient, left.population),
            (cost("0.6"), cost("0.3"))
        );
        assert_eq!(left.usable(), cost("0.3"));
    }

    #[test]
    fn a_charge_counts_for_its_days_and_says_when_it_renews() {
        let charges = [charge(0, "0.7", true), charge(10, "0.3", true)];
        let at = |now| caps().left(&charges, day(now)).recipient;
        assert_eq!(
            (at(29), at(30), at(40)),
            (cost("0"), cost("0.7"), cost("1"))
        );
        let from = |epsilon| caps().fits_from(&charges, cost(epsilon), day(12));
        assert_eq!(from("0.5"), Some(day(30)));
        assert_eq!(from("1"), Some(day(40)));
        assert_eq!(from("1.1"), None);
    }

    proptest! {
        /// Whatever is asked when, what is granted in any window of the period's length is within both caps.
        #[test]
        fn no_window_holds_more_than_the_caps(asked in prop::collection::vec((0_i64..100, 1_i64..12, any::<bool>()), 1..60)) {
            let mut asked = asked;
            asked.sort_by_key(|(day, ..)| *day);
            let mut charges: Vec<Charge> = Vec::new();
            for (at, tenths, first) in asked {
                let cost = cost(&format!("{}.{}", tenths / 10, tenths % 10));
                // Whose charges are the asker's own depends on who asks.
                let seen: Vec<_> = charges.iter().map(|c| Charge { own: c.own == first, ..*c }).collect();
                if cost.fits(caps().left(&seen, day(at)).usable()) {
                    charges.push(Charge { at: day(at), cost, own: first });
                }
            }
            for start in 0..100 {
                let of = |own: Option<bool>| charges.iter()
                    .filter(|c| c.at >= day(start) && c.at < day(start + i64::from(DAYS)) && own.is_none_or(|own| c.own == own))
                    .fold(Cost::NONE, |sum, c| sum.checked_add(c.cost).unwrap());
                prop_assert!(of(None).fits(caps().population));
                prop_assert!(of(Some(true)).fits(caps().recipient) && of(Some(false)).fits(caps().recipient));
            }
        }
    }
}
