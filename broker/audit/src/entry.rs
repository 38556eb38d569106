//! One entry of the log: canonical JSON, strict both ways.
//!
//! An entry is an RFC 8785 object with the fields `v`, `id`, `time`, `broker`, `actor`,
//! `salt` and `event`. Reading takes only the exact bytes that writing makes, so one entry
//! has one leaf hash and no second spelling.

mod document;
mod event;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid, Variant};

pub use document::Document;
pub use event::{
    AgreementCountersigned, AgreementProposed, AgreementRef, AgreementRefused, AgreementRevoked,
    Asked, AssessmentApproved, AssessmentProposed, AssessmentRefused, BrokerInitialised,
    CanariesCommitted, Column, Decision, DeliveryAcknowledged, Event, FlowAborted, FlowDeclined,
    FlowDenied, FlowGranted, FlowKind, FlowRefused, IncidentCanaries, IncidentOpened, InviteIssued,
    Measured, OfficerAdded, Outcome, PartnerJoined, PartnerRevoked, Recipient, ReleaseIntent,
    ReleaseMarks, ReleaseOutcome, ReleaseResult, ReleaseSource, Removed, RemovedOfTag, Retention,
    Source, Spent, TraceAuthorised, TraceConcluded, TraceFailed, TraceRefused, Transform,
};
pub use value::{
    CoarseCount, DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX, Digest, FlowId, INTEGER_MAX, Integer,
    LIST_ITEMS_MAX, Label, List, OrgName, PublicKey, Salt, Sentence, Timestamp, ValueError,
};

use crate::tree::Hash;

/// The largest entry in bytes: what a `u16` length, as in tiled-log bundles, can say.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// An entry that cannot be written, or bytes that are not an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Too long or empty.
    #[error(
        "an entry has `{bytes}` bytes, where 1 to {ENTRY_BYTES_MAX} are allowed; record large texts by their digest"
    )]
    Size {
        /// Its length.
        bytes: usize,
    },
    /// Bytes that canonical JSON never has: control characters or broken UTF-8.
    #[error("the bytes are no entry: canonical JSON is UTF-8 without control characters")]
    Bytes,
    /// JSON of the wrong shape.
    #[error("the bytes are no entry: {0}")]
    Shape(serde_json::Error),
    /// The same entry in another spelling.
    #[error("the entry is not in canonical form (RFC 8785), or has a field twice")]
    NotCanonical,
    /// The id was made at another time than the entry says.
    #[error("the time inside the entry id differs from the entry's time")]
    IdTime,
}

/// A UUID of version 7 (RFC 9562 section 5.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntryId(Uuid);

impl EntryId {
    fn from_parts(time: Timestamp, random: &[u8; 10]) -> Self {
        Self(Builder::from_unix_timestamp_millis(time.unix_millis(), random).into_uuid())
    }

    /// The milliseconds since 1970 that the id begins with.
    fn unix_millis(self) -> u64 {
        // The first 48 of the 128 bits (RFC 9562 section 5.7).
        u64::try_from(self.0.as_u128() >> 80).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for EntryId {
    type Error = ValueError;
    fn try_from(text: String) -> Result<Self, ValueError> {
        let id = Uuid::try_parse(&text).map_err(|_| ValueError::Id)?;
        let is_v7 = id.get_version_num() == 7 && id.get_variant() == Variant::RFC4122;
        if is_v7 && id.as_hyphenated().to_string() == text {
            Ok(Self(id))
        } else {
            Err(ValueError::Id)
        }
    }
}

impl From<EntryId> for String {
    fn from(id: EntryId) -> Self {
        id.to_string()
    }
}

/// The randomness of one entry, drawn by the caller.
pub struct EntryRandom {
    id: [u8; 10],
    salt: [u8; 16],
}

impl EntryRandom {
    /// Draws it.
    pub fn draw(rng: &mut impl CryptoRng) -> Self {
        let (mut id, mut salt) = ([0; 10], [0; 16]);
        rng.fill_bytes(&mut id);
        rng.fill_bytes(&mut salt);
        Self { id, salt }
    }
}

/// Who caused an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The institution, or the broker itself.
    pub org: OrgName,
    /// An opaque user id; the directory outside the log knows the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Label>,
    /// The client certificate of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_sha256: Option<Digest>,
}

/// The format of the entries that this version writes and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
struct Format;

impl TryFrom<u8> for Format {
    type Error = &'static str;
    fn try_from(v: u8) -> Result<Self, Self::Error> {
        if v == 1 {
            Ok(Self)
        } else {
            Err("entry format `v` must be 1; use a newer version to read it")
        }
    }
}

impl From<Format> for u8 {
    fn from(_: Format) -> Self {
        1
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    v: Format,
    // INVARIANT (id-time): the id's milliseconds are those of `time`; `new` makes them so
    // and `parse` checks it.
    id: EntryId,
    time: Timestamp,
    broker: Label,
    actor: Actor,
    salt: Salt,
    event: Event,
}

impl Entry {
    /// Makes an entry of what happened at `time`.
    #[must_use]
    pub fn new(
        time: Timestamp,
        random: &EntryRandom,
        broker: Label,
        actor: Actor,
        event: impl Into<Event>,
    ) -> Self {
        Self {
            v: Format,
            id: EntryId::from_parts(time, &random.id),
            time,
            broker,
            actor,
            salt: Salt::from_bytes(random.salt),
            event: event.into(),
        }
    }

    /// Reads the exact bytes that [`encode`](Self::encode) makes.
    ///
    /// # Errors
    /// [`EntryError`] for anything else, an equal object in another spelling included.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        EntryBytes::check(bytes)?;
        let entry: Self = serde_json::from_slice(bytes).map_err(EntryError::Shape)?;
        if entry.id.unix_millis() != entry.time.unix_millis() {
            return Err(EntryError::IdTime);
        }
        if entry.canonical()? != bytes {
            return Err(EntryError::NotCanonical);
        }
        Ok(entry)
    }

    /// Writes the canonical bytes, which are what the log keeps and hashes.
    ///
    /// # Errors
    /// [`EntryError::Size`] over [`ENTRY_BYTES_MAX`].
    pub fn encode(&self) -> Result<EntryBytes, EntryError> {
        EntryBytes::new(self.canonical()?)
    }

    /// The entry's leaf in the tree: SHA-256 of a zero byte and the canonical bytes.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn leaf_hash(&self) -> Result<Hash, EntryError> {
        Ok(self.encode()?.leaf_hash())
    }

    fn canonical(&self) -> Result<Vec<u8>, EntryError> {
        serde_json_canonicalizer::to_vec(self).map_err(EntryError::Shape)
    }

    /// The entry's id.
    #[must_use]
    pub const fn id(&self) -> EntryId {
        self.id
    }

    /// When it happened, by the broker's clock.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.time
    }

    /// The broker that recorded it.
    #[must_use]
    pub const fn broker(&self) -> &Label {
        &self.broker
    }

    /// Who caused it.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// What happened.
    #[must_use]
    pub const fn event(&self) -> &Event {
        &self.event
    }
}

/// The bytes of one entry as the log keeps them: 1 to 65,535 bytes of UTF-8 without
/// control characters. Whether they are an entry is for [`Entry::parse`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBytes(Box<[u8]>);

impl EntryBytes {
    /// Takes bytes within the bounds above.
    ///
    /// # Errors
    /// [`EntryError::Size`] or [`EntryError::Bytes`].
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, EntryError> {
        let bytes = bytes.into();
        Self::check(&bytes)?;
        Ok(Self(bytes))
    }

    fn check(bytes: &[u8]) -> Result<(), EntryError> {
        if bytes.is_empty() || bytes.len() > ENTRY_BYTES_MAX {
            return Err(EntryError::Size { bytes: bytes.len() });
        }
        // INVARIANT (no-control-bytes): RFC 8785 escapes every control character, so an
        // entry has no byte under 0x20; the log file tells lost sectors by it.
        if bytes.iter().any(|byte| *byte < 0x20) || std::str::from_utf8(bytes).is_err() {
            return Err(EntryError::Bytes);
        }
        Ok(())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // `check` saw UTF-8, so the default is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The leaf hash of these bytes (RFC 6962 section 2.1).
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        Hash::leaf(&self.0)
    }

    /// Reads the entry.
    ///
    /// # Errors
    /// As [`Entry::parse`].
    pub fn parse(&self) -> Result<Entry, EntryError> {
        Entry::parse(&self.0)
    }
}
