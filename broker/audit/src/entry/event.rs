//! What can happen: one variant for each kind of entry.
//!
//! All fields are metadata. There is no type here that takes an identifier or a tag value
//! of a person, so a regulator may read the whole log and a deletion request never
//! reaches it.

use serde::{Deserialize, Serialize};

use super::{
    document::Document,
    value::{
        CoarseCount, Digest, FlowId, Integer, Label, List, OrgName, PublicKey, Sentence, Timestamp,
    },
};

macro_rules! events {
    ($($(#[$doc:meta])* $name:literal $variant:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $variant { $($(#[$field_doc])* pub $field: $type,)* }

            impl From<$variant> for Event {
                fn from(body: $variant) -> Self {
                    Self::$variant(Box::new(body))
                }
            }
        )*

        /// What an entry records; in JSON, its `type` names the variant.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "type")]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$doc])* #[serde(rename = $name)] $variant(Box<$variant>),)*
        }

        impl Event {
            /// The name that the entry's `type` carries, such as `flow.granted`.
            #[must_use]
            pub const fn type_name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }
        }
    };
}

events! {
    /// The log was opened: its first entry.
    "broker.initialised" BrokerInitialised {
        /// The signed-note key that signs the log's checkpoints.
        vkey: Label,
        /// The certificate authority that the broker runs.
        ca_sha256: Digest,
    }
    /// An institution was invited, once and until a date.
    "invite.issued" InviteIssued {
        /// The invite's public id.
        invite: Label,
        /// Who may use it.
        org: OrgName,
        /// Digest of the invite's secret; the secret itself is never recorded.
        secret_sha256: Digest,
        /// When it ends.
        expires: Timestamp,
    }
    /// An institution used its invite and has a certificate.
    "partner.joined" PartnerJoined {
        /// The invite that was used up.
        invite: Label,
        /// The institution.
        org: OrgName,
        /// Its Ed25519 key for agreements and requests.
        signing_key: PublicKey,
        /// Its X25519 static key for the sealed channel.
        noise_key: PublicKey,
        /// The certificate that was issued.
        cert_sha256: Digest,
        /// When the certificate ends.
        cert_expires: Timestamp,
    }
    /// An institution's certificate and standing were withdrawn.
    "partner.revoked" PartnerRevoked {
        /// The institution.
        org: OrgName,
        /// Why.
        reason: Sentence,
    }
    /// A compliance officer of the broker, who with a second one assesses institutions.
    "officer.added" OfficerAdded {
        /// An opaque user id; the directory outside the log knows the name.
        user: Label,
        /// The officer's own key: `ed25519:` and base64.
        key: Label,
    }
    /// One officer proposed an assessment of an institution. Nothing changes by it.
    "assessment.proposed" AssessmentProposed {
        /// The institution.
        org: OrgName,
        /// What was found, whole, as the officers sign it.
        assessment: Document,
        /// Digest of its canonical text.
        sha256: Digest,
        /// Who proposed it.
        maker: Label,
        /// The maker's Ed25519 signature.
        signature: Label,
    }
    /// A second officer approved: the assessment is in force, in the place of the one before.
    "assessment.approved" AssessmentApproved {
        /// The institution.
        org: OrgName,
        /// Digest of the assessment that was proposed.
        sha256: Digest,
        /// Who approved it.
        checker: Label,
        /// The checker's Ed25519 signature.
        signature: Label,
    }
    /// An officer, a proposal or an approval was not accepted.
    "assessment.refused" AssessmentRefused {
        /// Why, and what would pass.
        decision: Decision,
    }
    /// One side signed an agreement and handed it to the other.
    "agreement.proposed" AgreementProposed {
        /// Which agreement.
        agreement: AgreementRef,
        /// Its canonical text, whole.
        document: Document,
        /// The institution's signature bundle: maker, checker, institution.
        signature: Document,
    }
    /// The other side signed too: the agreement is in force.
    "agreement.countersigned" AgreementCountersigned {
        /// Which agreement.
        agreement: AgreementRef,
        /// Who signed.
        org: OrgName,
        /// The institution's signature bundle.
        signature: Document,
    }
    /// Either side ended the agreement.
    "agreement.revoked" AgreementRevoked {
        /// Which agreement.
        agreement: AgreementRef,
        /// Who ended it.
        org: OrgName,
        /// Why.
        reason: Sentence,
        /// The institution's signature over the revocation.
        signature: Document,
    }
    /// A proposal, countersignature or revocation was not accepted.
    "agreement.refused" AgreementRefused {
        /// Which agreement, when that could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agreement: Option<AgreementRef>,
        /// Why, and what would pass.
        decision: Decision,
    }
    /// A flow may run.
    "flow.granted" FlowGranted {
        /// The flow.
        flow: FlowId,
        /// Under which agreement.
        agreement: AgreementRef,
        /// What kind of flow.
        kind: FlowKind,
        /// For which purpose of the agreement.
        purpose: Label,
        /// On which legal basis.
        legal_basis: Label,
        /// For which segment of the dataset, when not for all of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        segment: Option<Label>,
        /// The type of identifier that is matched, such as `phone`.
        identifier: Label,
        /// The names of the tags asked for.
        tags: List<Label>,
        /// The matching protocol.
        protocol: Label,
        /// Digest of the recipient's signed request.
        request_sha256: Digest,
        /// Whose data.
        source: Source,
        /// For whom.
        recipient: Recipient,
        /// Identifiers that the recipient declared, and is charged for under the agreement's caps.
        set_size: Integer,
        /// What a measure flow asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        measure: Option<Measured>,
        /// What it may spend of the privacy budget, set aside by this entry.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reserved: Option<Spent>,
    }
    /// A flow was asked for and may not run.
    "flow.denied" FlowDenied {
        /// The flow.
        flow: FlowId,
        /// Under which agreement it was asked, when that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agreement: Option<AgreementRef>,
        /// Digest of the recipient's signed request.
        request_sha256: Digest,
        /// What was asked, if the recipient really signed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Asked>,
        /// Why, and what would pass.
        decision: Decision,
        /// Who asked.
        recipient: Recipient,
    }
    /// The owner's own agent said no to a granted flow.
    "flow.declined" FlowDeclined {
        /// The flow.
        flow: FlowId,
        /// The owner.
        org: OrgName,
        /// Why, and what would pass.
        decision: Decision,
    }
    /// A flow ended before its release, by a fault or a cut.
    "flow.aborted" FlowAborted {
        /// The flow.
        flow: FlowId,
        /// Where it stood.
        stage: Label,
        /// Why.
        reason: Sentence,
    }
    /// A flow ran and its result may not leave, such as under the minimum match.
    "flow.refused" FlowRefused {
        /// The flow.
        flow: FlowId,
        /// Why, and what would pass.
        decision: Decision,
        /// What a measure flow spent on finding that out; the rest of what was set aside is free again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spent: Option<Spent>,
    }
    /// A result is about to leave. It counts as released from here on, whatever follows.
    "release.intent" ReleaseIntent {
        /// The flow.
        flow: FlowId,
        /// Under which agreement.
        agreement: AgreementRef,
        /// For which purpose.
        purpose: Label,
        /// On which legal basis.
        legal_basis: Label,
        /// The matching protocol that ran.
        protocol: Label,
        /// Whose data, and which columns.
        source: ReleaseSource,
        /// What was done to the rows.
        transform: Transform,
        /// What leaves.
        result: ReleaseResult,
        /// For whom.
        recipient: Recipient,
        /// How long the record and the delivered rows are kept.
        retention: Retention,
        /// The marks that the rows carry. Absent if the agreement has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        marks: Option<ReleaseMarks>,
        /// What a measure flow spent of the privacy budget by this entry.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spent: Option<Spent>,
    }
    /// Two people of an owner had a leaked file scored: recorded before the scores are made.
    "trace.authorised" TraceAuthorised {
        /// The owner.
        org: OrgName,
        /// The lineage.
        lineage: Label,
        /// What is scored, as maker, checker and institution signed it: digests and row counts.
        request: Document,
        /// Their signatures.
        authorisation: Document,
        /// Digest of the request: one is scored once.
        request_sha256: Digest,
        /// Digest of the file.
        file_sha256: Digest,
        /// Rows of it that are scored.
        rows_used: Integer,
    }
    /// A scoring was not accepted.
    "trace.refused" TraceRefused {
        /// Who asked.
        org: OrgName,
        /// Why, and what would pass.
        decision: Decision,
    }
    /// A leaked file of an owner's customers turned up.
    "incident.opened" IncidentOpened {
        /// The incident's public id.
        incident: Label,
        /// The owner.
        org: OrgName,
        /// The lineage.
        lineage: Label,
        /// Digest of the file.
        file_sha256: Digest,
    }
    /// The outcome of a scoring, which belongs to an incident.
    "trace.concluded" TraceConcluded {
        /// The owner.
        org: OrgName,
        /// The incident.
        incident: Label,
        /// The log index of its `trace.authorised`.
        scoring: Integer,
        /// Recipients and flows that were candidates.
        candidates: Integer,
        /// Recipients that are named; none if nobody can be.
        named: List<OrgName>,
        /// Digest of the signed report.
        report_sha256: Digest,
    }
    /// A scoring that was accepted failed: the file could not be read as the lineage.
    "trace.failed" TraceFailed {
        /// The owner.
        org: OrgName,
        /// The log index of its `trace.authorised`.
        scoring: Integer,
        /// Why.
        reason: Sentence,
    }
    /// What became of a release.
    "release.outcome" ReleaseOutcome {
        /// The flow.
        flow: FlowId,
        /// The log index of its `release.intent`.
        intent: Integer,
        /// How it ended.
        outcome: Outcome,
    }
    /// The recipient opened the delivery and says which bytes it got.
    "delivery.acknowledged" DeliveryAcknowledged {
        /// The flow.
        flow: FlowId,
        /// Digest of the sealed bytes that it received.
        sha256: Digest,
    }
}

impl Event {
    /// The flow that the event belongs to, if to one.
    #[must_use]
    pub const fn flow(&self) -> Option<FlowId> {
        match self {
            Self::FlowGranted(event) => Some(event.flow),
            Self::FlowDenied(event) => Some(event.flow),
            Self::FlowDeclined(event) => Some(event.flow),
            Self::FlowAborted(event) => Some(event.flow),
            Self::FlowRefused(event) => Some(event.flow),
            Self::ReleaseIntent(event) => Some(event.flow),
            Self::ReleaseOutcome(event) => Some(event.flow),
            Self::DeliveryAcknowledged(event) => Some(event.flow),
            _ => None,
        }
    }
}

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
    /// The lineage, `OWNER/DATASET/EPOCH/BITS`.
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
