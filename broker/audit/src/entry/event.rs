//! What can happen: one variant for each kind of entry.
//!
//! All fields are metadata. There is no type here that takes an identifier or a tag value
//! of a person, so a regulator may read the whole log and a deletion request never
//! reaches it.

use serde::{Deserialize, Serialize};

mod parts;

pub use parts::*;

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
    /// The owner of a granted flow committed to canaries: identifiers of nobody that it mixes in. Before anything is matched.
    "canaries.committed" CanariesCommitted {
        /// The flow.
        flow: FlowId,
        /// How many.
        count: Integer,
        /// The share of them that an honest recipient is expected to hold, as a decimal.
        expected_rate: Label,
        /// Digest of their codes, each 16 bytes, in rising order.
        codes_sha256: Digest,
    }
    /// The agent of one side said no to a granted flow, or cannot go on with it.
    "flow.declined" FlowDeclined {
        /// The flow.
        flow: FlowId,
        /// Whose agent.
        org: OrgName,
        /// Why, and what would pass.
        decision: Decision,
        /// What of the privacy budget a measure flow keeps all the same; the rest of what was set aside is free again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spent: Option<Spent>,
    }
    /// A flow ended before its release, by a fault or a cut.
    "flow.aborted" FlowAborted {
        /// The flow.
        flow: FlowId,
        /// Where it stood.
        stage: Label,
        /// Why.
        reason: Sentence,
        /// As of [`FlowDeclined`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spent: Option<Spent>,
    }
    /// A flow ran and its result may not leave, such as under the minimum match.
    "flow.refused" FlowRefused {
        /// The flow.
        flow: FlowId,
        /// Why, and what would pass.
        decision: Decision,
        /// As of [`FlowDeclined`]: at least what finding that out cost, if anything was computed.
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
        /// The lineage; `OWNER/*` where reference codes alone are looked for.
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
        /// The commitment to the key that the owner says it made the mark tags with: that of the lineage's releases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag_key: Option<Digest>,
    }
    /// A scoring was not accepted.
    "trace.refused" TraceRefused {
        /// Who asked.
        org: OrgName,
        /// Why, and what would pass.
        decision: Decision,
    }
    /// A recipient hit more canaries than chance explains: its flow was stopped before the release.
    "incident.canaries" IncidentCanaries {
        /// The incident's public id.
        incident: Label,
        /// The flow.
        flow: FlowId,
        /// The log index of its `canaries.committed`.
        committed: Integer,
        /// The number of hits that decided: noised, as a bucket.
        hits: CoarseCount,
        /// Digest of the broker's file that tells which were hit.
        record_sha256: Digest,
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
        /// Recipients and flows that were candidates; none where no marks were scored.
        candidates: Integer,
        /// Recipients that are named; none if nobody can be.
        named: List<OrgName>,
        /// Recipients whose reference codes are in the file. Absent if nobody's are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        coded: Option<List<OrgName>>,
        /// Digest of the signed report.
        report_sha256: Digest,
    }
    /// A scoring that was accepted failed: the file could not be read as the lineage, or the broker failed or was stopped.
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
            Self::CanariesCommitted(event) => Some(event.flow),
            Self::IncidentCanaries(event) => Some(event.flow),
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
