//! What several kinds of entry say alike.

use serde::{Deserialize, Serialize};

use crate::entry::value::{
    CoarseCount, Digest, Integer, Label, List, OrgName, Sentence, Timestamp,
};

/// One version of one agreement; the digest is of its canonical text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgreementRef {
    /// The agreement's id, the same over its versions.
    pub id: Label,
    /// The version, from 1.
    pub version: u32,
    /// SHA-256 of the canonical text.
    pub sha256: Digest,
}

/// A decision against something, in words that name what would pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Such as `denied`.
    pub outcome: Label,
    /// The reason's stable code.
    pub code: Label,
    /// The field of the request or agreement that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Label>,
    /// The rule that forbids, if one does and not the agreement itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Label>,
    /// The article that the rule rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Label>,
    /// What is wrong.
    pub message: Sentence,
    /// What would pass, if something would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_pass: Option<Sentence>,
}

/// What a denied request asked for: enough to decide it again under other rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// What kind of flow.
    pub kind: FlowKind,
    /// For which purpose.
    pub purpose: Label,
    /// For which segment of the dataset, when not for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Label>,
    /// The type of identifier.
    pub identifier: Label,
    /// The names of the tags.
    pub tags: List<Label>,
    /// Identifiers that the recipient declared.
    pub set_size: Integer,
    /// What a measure flow asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measured>,
    /// When it was made, by the recipient's clock.
    pub issued_at: Timestamp,
    /// When it lapses.
    pub expires_at: Timestamp,
}

/// What a measure flow asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The queries, as the recipient signed them.
    pub queries: List<Sentence>,
    /// For all Gaussian noise of the flow together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<Label>,
}

/// An amount of a population's privacy budget, in exact decimals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// The owner's name for the people whose budget it is.
    pub population: Label,
    /// Epsilon.
    pub epsilon: Label,
    /// Delta; `0` without Gaussian noise.
    pub delta: Label,
}

/// The kinds of flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlowKind {
    /// The owner's tags for the customers that both have.
    Exchange,
    /// Figures about these customers, with noise.
    Measure,
}

/// How a release ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The sealed delivery was sent whole.
    Delivered,
    /// It was never fetched, and its time ended.
    Expired,
    /// It was not fetched before a revocation or a freeze.
    Withdrawn,
    /// It could not be sent.
    Failed,
}

/// Whose data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The owner.
    pub org: OrgName,
    /// Its dataset.
    pub dataset: Label,
}

/// For whom, and to which of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// The recipient.
    pub org: OrgName,
    /// The key that deliveries are sealed to.
    pub key_id: Label,
}

/// Whose data, and which columns leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSource {
    /// The owner.
    pub org: OrgName,
    /// Its dataset.
    pub dataset: Label,
    /// Which of its segments, when not all of it: belonging to it is told by the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Label>,
    /// The columns, in their order.
    pub columns: List<Column>,
}

/// One column of a release: its name and kind, never its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The tag's name.
    pub name: Label,
    /// Its protection class.
    pub class: Label,
    /// The form it leaves in, such as `exact` or `banded`.
    pub form: Label,
}

/// What was done to the rows before they left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// The kind of minimisation.
    pub kind: Label,
    /// The version of the code that did it.
    pub code_version: Label,
    /// The smallest group that was let through.
    pub k: u32,
    /// How many rows were changed or left out.
    pub removed: Removed,
}

/// How many rows minimisation touched, in buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removed {
    /// Rows made coarser.
    pub generalised: CoarseCount,
    /// Rows left out.
    pub suppressed: CoarseCount,
    /// Rows that the owner says it left out, before anything was matched, for want of a consent proof. Absent if the
    /// agreement asks for no proofs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_consent: Option<CoarseCount>,
    /// What each column lost, in the columns' order.
    pub tags: List<RemovedOfTag>,
}

/// What minimisation took from one column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovedOfTag {
    /// The tag's name.
    pub name: Label,
    /// Cells told coarser than they were submitted.
    pub generalised: CoarseCount,
    /// Share of the column's information that this lost, in a bucket such as `5 to 10 %`.
    pub loss: Label,
}

/// The marks of a release, by whose keys a leaked file is traced. Keys are committed to, long before anybody leaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseMarks {
    /// The lineage, `OWNER/DATASET/EPOCH/BITS/SELECTED`.
    pub lineage: Label,
    /// The columns that carry marks.
    pub columns: List<Label>,
    /// Commitment to the key of the lineage.
    pub dataset_key: Digest,
    /// Commitment to the recipient's key in it.
    pub recipient_key: Digest,
    /// Commitment to the flow's key.
    pub flow_key: Digest,
    /// Rows that have to leak for the recipient to be named. Absent if the release has not so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_needed: Option<Integer>,
    /// Recipients together of whom one is still named.
    pub colluders_max: u32,
    /// Commitment to the key of the flow's reference codes. Absent if its rows have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_key: Option<Digest>,
    /// Most cells of a list or band, in a million, that the marks are said to change: more than agreed in a release of fewer rows
    /// than the agreement expects. Absent if no column is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_ppm_max: Option<u32>,
    /// The owner's commitment to its key of mark tags, the same for all releases of the lineage. Absent if no column carries marks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_key: Option<Digest>,
}

/// What leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseResult {
    /// How many rows, in a bucket.
    pub rows: CoarseCount,
    /// Size of the sealed delivery.
    pub bytes: Integer,
    /// SHA-256 of the sealed delivery.
    pub sha256: Digest,
}

/// How long the record is kept, and when the recipient must have deleted what it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Until when the record of the release is kept.
    pub until: Timestamp,
    /// When it must be deleted by.
    pub deletion_due: Timestamp,
}
