//! What a broker's compliance officers have found out about an institution.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::Date;

use crate::agreement::Region;
use crate::moment::{Timestamp, date_text, parse_date};
use crate::text::{Malformed, name_type, serde_as_text};

name_type!(
    /// A certification, such as `mlps-3`: `[a-z0-9-]{2,63}`.
    CertificationName,
    "a certification's name",
    "2 to 63 characters of a-z, 0-9 and -, such as mlps-3",
    (2..=63),
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
);

/// Most certifications of one institution.
pub const CERTIFICATIONS_MAX: usize = 16;

/// How an institution stands, 0 to 100; under 80 its flows stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Standing(u8);

impl Standing {
    /// Full standing, which an institution has before it is assessed.
    pub const FULL: Self = Self(100);

    /// The score.
    #[must_use]
    pub fn score(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Standing {
    type Error = Malformed;

    fn try_from(score: u8) -> Result<Self, Malformed> {
        if score <= 100 {
            Ok(Self(score))
        } else {
            Err(Malformed::new(
                "a standing",
                &score.to_string(),
                "a whole number from 0 to 100",
            ))
        }
    }
}

impl From<Standing> for u8 {
    fn from(standing: Standing) -> Self {
        standing.0
    }
}

/// The last day (UTC) on which something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LastDay(Date);

impl LastDay {
    /// Whether the day is not over at `now`.
    #[must_use]
    pub fn holds_at(self, now: Timestamp) -> bool {
        now < Timestamp::start_of(self.0).saturating_add_seconds(24 * 3600)
    }
}

impl std::str::FromStr for LastDay {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        parse_date(text)
            .map(Self)
            .ok_or_else(|| Malformed::new("a day", text, "a date like 2026-11-23"))
    }
}

impl std::fmt::Display for LastDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&date_text(self.0))
    }
}

serde_as_text!(LastDay);

/// What is known of an institution. Each assessment replaces the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartnerFacts {
    /// How it stands.
    pub standing: Standing,
    /// The country in which it handles data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Its certifications, each with the last day on which it holds.
    #[serde(default)]
    pub certifications: Certifications,
}

/// Certifications by name; at most [`CERTIFICATIONS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<CertificationName, LastDay>",
    into = "BTreeMap<CertificationName, LastDay>"
)]
pub struct Certifications(BTreeMap<CertificationName, LastDay>);

impl Certifications {
    /// Names of those that hold at `now` (`true`) or have lapsed (`false`).
    pub(super) fn names(&self, holding: bool, now: Timestamp) -> impl Iterator<Item = String> {
        self.0
            .iter()
            .filter(move |(_, last)| last.holds_at(now) == holding)
            .map(|(name, _)| name.to_string())
    }

    /// Each with the last day on which it holds.
    pub fn iter(&self) -> impl Iterator<Item = (&CertificationName, &LastDay)> {
        self.0.iter()
    }
}

impl TryFrom<BTreeMap<CertificationName, LastDay>> for Certifications {
    type Error = Malformed;

    fn try_from(map: BTreeMap<CertificationName, LastDay>) -> Result<Self, Malformed> {
        if map.len() <= CERTIFICATIONS_MAX {
            Ok(Self(map))
        } else {
            Err(Malformed::new(
                "a list of certifications",
                &map.len().to_string(),
                "at most 16",
            ))
        }
    }
}

impl From<Certifications> for BTreeMap<CertificationName, LastDay> {
    fn from(certifications: Certifications) -> Self {
        certifications.0
    }
}

/// What the decider knows of the parties beside what the agreement says. The default, nothing and nothing asked for, is an
/// agent's: only the broker assesses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Assessments<'a> {
    /// Of the owner; `None` before anybody assessed it.
    pub owner: Option<&'a PartnerFacts>,
    /// Of the recipient.
    pub recipient: Option<&'a PartnerFacts>,
    /// Only assessed institutions may take part.
    pub required: bool,
}
