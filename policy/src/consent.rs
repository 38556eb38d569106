//! Proofs that a person consented to being told of to this recipient, row by row.
//!
//! PIPL Art. 23: whoever provides personal information to another handler tells the person the
//! recipient's name and contact, the purpose and method of handling and the categories of data,
//! and obtains a separate consent; if purpose, method or categories change, a new one (Art. 23)
//! and the person may withdraw at any time (Art. 15). So an agreement with a `[consent]` section
//! has these five fields as its [`Scope`], the same for all rows of a flow, and each row carries
//! a [`RowProof`]: when the person consented, until when, and under which reference.
//!
//! The owner's agent compares each person's own record with the scope, field by field, and seals
//! no row without a current proof ([`Scope::covers`]). The broker compares the declared scope with
//! the agreement's before it joins anything, and checks each opened row again
//! ([`RowProof::check`]). What neither can check is whether the person really consented: the
//! owner answers for its records. The broker keeps no proof: it looks that one is there and in force.
//!
//! References are told as a MAC under a key of the owner and the flow ([`ReferenceKey`]), so that
//! the broker cannot link one person's rows over flows by them; the owner can compute the MAC of
//! any reference again. Nobody keeps a MAC after its flow. Times are told as days, because a second would single a person out as
//! well as a name; a rare day still links a little.

use std::collections::BTreeSet;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::agreement::Agreement;
use crate::agreement::Purpose;
use crate::moment::Timestamp;
use crate::tag::Tag;
use crate::text::{CategoryName, ContactText, FlowId, MethodName, OrgName, SegmentName, TagName};

/// Bytes of a proof in a row.
pub const PROOF_BYTES: usize = 8 + MAC_BYTES;
/// Bytes of a reference's MAC: forging is not the threat, equality by chance is, and 2^-128 excludes it.
pub const MAC_BYTES: usize = 16;
/// Longest reference, in bytes.
pub const REFERENCE_BYTES_MAX: usize = 128;

const SECONDS_PER_DAY: i64 = 86_400;

/// What people must have consented to for a flow: the five fields of PIPL Art. 23.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The recipient's name.
    pub recipient: OrgName,
    /// How to reach the recipient, as people were told.
    pub contact: ContactText,
    /// The purpose.
    pub purpose: Purpose,
    /// The method of handling.
    pub method: MethodName,
    /// The categories of all tags of the flow, and of those by which its segment chooses.
    pub categories: BTreeSet<CategoryName>,
}

/// What a person's record says, as the owner keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'r> {
    /// The recipient that the person was told.
    pub recipient: &'r str,
    /// Its contact.
    pub contact: &'r str,
    /// The purpose.
    pub purpose: &'r str,
    /// The method.
    pub method: &'r str,
    /// The categories, separated by blanks, commas or semicolons.
    pub categories: &'r str,
    /// When the person consented.
    pub given: Timestamp,
    /// First instant at which the consent no longer counts.
    pub expires: Timestamp,
    /// When the person withdrew it, if so.
    pub withdrawn: Option<Timestamp>,
}

/// Why a record is no proof for a flow. The owner counts these; nobody else is told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Uncovered {
    /// There is no record of this person.
    #[error("no consent")]
    Absent,
    /// Consent to another recipient.
    #[error("consent to another recipient")]
    Recipient,
    /// The person was told another contact.
    #[error("consent names another contact")]
    Contact,
    /// Consent for another purpose.
    #[error("consent for another purpose")]
    Purpose,
    /// Consent to another method.
    #[error("consent to another method")]
    Method,
    /// A category of the flow is missing.
    #[error("consent does not cover all categories")]
    Categories,
    /// The consent begins in the future.
    #[error("consent not given yet")]
    NotYet,
    /// The consent has run out.
    #[error("consent expired")]
    Expired,
    /// The person withdrew it.
    #[error("consent withdrawn")]
    Withdrawn,
}

impl Scope {
    /// The scope for these tags and this segment; `None` if the agreement asks for no proofs.
    ///
    /// Who is delivered is known to be in the segment: a tag that it chooses by is told as one that is delivered.
    #[must_use]
    pub fn of<'t>(
        agreement: &'t Agreement,
        tags: impl IntoIterator<Item = &'t TagName>,
        segment: Option<&SegmentName>,
    ) -> Option<Self> {
        let terms = agreement.consent()?;
        let chosen_by = agreement.told_by(segment).map(Tag::name);
        Some(Self {
            recipient: agreement.recipient().name.clone(),
            contact: terms.contact().clone(),
            purpose: agreement.purpose(),
            method: terms.method().clone(),
            categories: tags
                .into_iter()
                .chain(chosen_by)
                .filter_map(|tag| terms.category(tag).cloned())
                .collect(),
        })
    }

    /// Whether a record is a proof for this scope at `now`, and then the days of the proof.
    ///
    /// # Errors
    /// The first of the five fields that differs, or why the consent is not in force. A withdrawal of any category of
    /// the flow comes first, whatever contact, method and other categories its record names.
    pub fn covers(&self, record: &Record<'_>, now: Timestamp) -> Result<Days, Uncovered> {
        if record.recipient.trim() != self.recipient.as_str() {
            return Err(Uncovered::Recipient);
        }
        if record.purpose.trim() != self.purpose.as_str() {
            return Err(Uncovered::Purpose);
        }
        let consented: BTreeSet<&str> = record
            .categories
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';'))
            .filter(|category| !category.is_empty())
            .collect();
        let mut categories = self.categories.iter();
        let touched = consented.is_empty()
            || categories.any(|category| consented.contains(category.as_str()));
        if touched && record.withdrawn.is_some_and(|withdrawn| withdrawn <= now) {
            return Err(Uncovered::Withdrawn);
        }
        if record.contact.trim() != self.contact.as_str() {
            return Err(Uncovered::Contact);
        }
        if record.method.trim() != self.method.as_str() {
            return Err(Uncovered::Method);
        }
        if !self
            .categories
            .iter()
            .all(|category| consented.contains(category.as_str()))
        {
            return Err(Uncovered::Categories);
        }
        if now < record.given {
            return Err(Uncovered::NotYet);
        }
        if record.expires <= now {
            return Err(Uncovered::Expired);
        }
        Ok(Days {
            given: day(record.given),
            // The day of the last instant that counts: told, it is never later than the truth.
            until: day(record.expires.saturating_add_seconds(-1)),
        })
    }
}

/// From when to when a consent counts, in days since 1970-01-01 (UTC), both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    given: u32,
    until: u32,
}

impl Days {
    /// Both as big-endian numbers.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        let (given, until) = bytes.split_at_mut(4);
        given.copy_from_slice(&self.given.to_be_bytes());
        until.copy_from_slice(&self.until.to_be_bytes());
        bytes
    }

    /// From [`to_bytes`](Self::to_bytes). Any eight bytes are two days.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        let both = u64::from_be_bytes(bytes);
        let [given, until] = [both >> 32, both & u64::from(u32::MAX)];
        Self {
            given: u32::try_from(given).unwrap_or(u32::MAX),
            until: u32::try_from(until).unwrap_or(0),
        }
    }
}

fn day(moment: Timestamp) -> u32 {
    u32::try_from(moment.unix_seconds().div_euclid(SECONDS_PER_DAY)).unwrap_or(0)
}

/// The proof in a row: the days, and the reference's MAC.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowProof {
    days: Days,
    mac: [u8; MAC_BYTES],
}

impl std::fmt::Debug for RowProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RowProof(redacted)")
    }
}

impl RowProof {
    /// Of a covered record and its reference's MAC.
    #[must_use]
    pub fn new(days: Days, mac: [u8; MAC_BYTES]) -> Self {
        Self { days, mac }
    }

    /// As it stands in a row: day of consent, last day, MAC.
    #[must_use]
    pub fn to_bytes(self) -> [u8; PROOF_BYTES] {
        let mut bytes = [0; PROOF_BYTES];
        let (days, mac) = bytes.split_at_mut(8);
        days.copy_from_slice(&self.days.to_bytes());
        mac.copy_from_slice(&self.mac);
        bytes
    }

    /// The broker's check of an opened row: a proof that is in force on the day of `now`.
    ///
    /// # Errors
    /// [`Uncovered`]. The caller counts the row as unmatched and tells nobody which it was.
    pub fn check(bytes: &[u8; PROOF_BYTES], now: Timestamp) -> Result<(), Uncovered> {
        let (Some(days), Some(mac)) = (bytes.first_chunk(), bytes.last_chunk::<MAC_BYTES>()) else {
            return Err(Uncovered::Absent);
        };
        let days = Days::from_bytes(*days);
        if *mac == [0; MAC_BYTES] {
            return Err(Uncovered::Absent);
        }
        let today = day(now);
        if today < days.given {
            return Err(Uncovered::NotYet);
        }
        if days.until < today {
            return Err(Uncovered::Expired);
        }
        Ok(())
    }
}

/// An owner's key for the references of one flow.
pub struct ReferenceKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for ReferenceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReferenceKey(..)")
    }
}

impl ReferenceKey {
    /// The key of a flow, from a secret that the owner keeps as long as it may be audited:
    /// HKDF-SHA256 (RFC 5869), the flow's id in the info.
    #[must_use]
    pub fn of_flow(secret: &[u8; 32], flow: FlowId) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        let info: [&[u8]; 2] = [b"counterfoil consent reference v1", flow.as_bytes()];
        // Fails only for more than 255 hash lengths; 32 bytes are one.
        let expanded = Hkdf::<Sha256>::new(None, secret).expand_multi_info(&info, key.as_mut());
        debug_assert!(expanded.is_ok());
        Self(key)
    }

    /// What the broker sees of a reference: HMAC-SHA256 (RFC 2104), its first 16 bytes, which RFC
    /// 2104 section 5 allows.
    #[must_use]
    pub fn mac(&self, reference: &str) -> [u8; MAC_BYTES] {
        let mut told = [0; MAC_BYTES];
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_ref()) {
            mac.update(reference.as_bytes());
            for (to, from) in told.iter_mut().zip(mac.finalize().into_bytes()) {
                *to = from;
            }
        }
        told
    }
}

#[cfg(test)]
mod tests;
