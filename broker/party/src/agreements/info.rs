//! Agreements as a person or a program reads them.

use counterfoil_policy::agreement::Side;
use counterfoil_policy::approval::InstitutionSignature;
use counterfoil_policy::text::{
    AgreementDigest, AgreementId, DatasetName, OrgName, TagName, UserId,
};
use serde::{Serialize, Serializer};

use super::record::Record;
use crate::error::Error;

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The partner proposed it; our maker is next.
    AwaitingMaker,
    /// Our maker approved it; our checker is next.
    AwaitingChecker,
    /// We signed it and the broker does not have our signature yet.
    NotSent,
    /// We signed it; the partner is next.
    AwaitingPartner,
    /// Both signed.
    Active,
    /// Both signed a later version.
    Superseded,
    /// One side ended it.
    Revoked,
}

/// Who signed for an institution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignedBy {
    /// The maker.
    pub maker: UserId,
    /// The checker.
    pub checker: UserId,
}

/// One version of an agreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgreementInfo {
    /// The id, the same for all versions.
    pub id: AgreementId,
    /// From 1.
    pub version: u32,
    /// SHA-256 of the canonical form.
    pub digest: AgreementDigest,
    /// Where it stands.
    pub status: Status,
    /// Whose part is next and the command for it; none if nobody's.
    pub awaiting: Option<String>,
    /// Holds the tagged customers.
    pub owner: OrgName,
    /// Gets the tags.
    pub recipient: OrgName,
    /// "owner" or "recipient".
    pub our_side: &'static str,
    /// The owner's dataset.
    pub dataset: DatasetName,
    /// The tags, in order.
    pub tags: Vec<TagName>,
    /// First day, UTC.
    pub valid_from: String,
    /// Last day, UTC.
    pub valid_until: String,
    /// Our maker, as soon as there is one.
    pub our_maker: Option<UserId>,
    /// Who signed for us.
    pub ours: Option<SignedBy>,
    /// Who signed for the partner.
    pub theirs: Option<SignedBy>,
    /// Which institution ended it, and when.
    pub revoked_by: Option<String>,
}

/// What one call of `sign` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// The part that the person took; none if this side had signed already.
    pub role: Option<&'static str>,
    /// The institution signed with it.
    pub institution_signed: bool,
    /// The signature went to the broker.
    pub sent: bool,
    /// Where the agreement stands now.
    pub agreement: AgreementInfo,
}

/// Agreements that verify, and those that do not.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// What verified.
    pub agreements: Vec<AgreementInfo>,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
}

/// A version that was left out.
#[derive(Debug, Serialize)]
pub struct Skipped {
    /// The id.
    pub id: AgreementId,
    /// The version.
    pub version: u32,
    /// Why.
    #[serde(serialize_with = "as_text")]
    pub error: Error,
}

fn as_text<S: Serializer>(error: &Error, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(error)
}

pub(super) fn of(record: &Record) -> AgreementInfo {
    let agreement = &record.agreement;
    let status = record.status();
    AgreementInfo {
        id: agreement.id().clone(),
        version: agreement.version(),
        digest: agreement.digest(),
        status,
        awaiting: awaiting(record, status),
        owner: agreement.owner().name.clone(),
        recipient: agreement.recipient().name.clone(),
        our_side: match record.side {
            Side::Owner => "owner",
            Side::Recipient => "recipient",
        },
        dataset: agreement.dataset().clone(),
        tags: agreement
            .tags()
            .iter()
            .map(|tag| tag.name().clone())
            .collect(),
        valid_from: agreement.valid_from().to_string(),
        valid_until: agreement.valid_until().to_string(),
        our_maker: record.maker.as_ref().map(|maker| maker.user().clone()),
        ours: record.ours.as_ref().map(signed_by),
        theirs: record.theirs.as_ref().map(signed_by),
        revoked_by: record
            .revocation
            .as_ref()
            .map(|revocation| format!("`{}` at {}", revocation.org(), revocation.at())),
    }
}

/// Marks a version that a later one in force has replaced.
pub(super) fn superseded(mut info: AgreementInfo, in_force: Option<u32>) -> AgreementInfo {
    if info.status == Status::Active && in_force.is_some_and(|version| version > info.version) {
        info.status = Status::Superseded;
    }
    info
}

fn signed_by(signature: &InstitutionSignature) -> SignedBy {
    SignedBy {
        maker: signature.maker().user().clone(),
        checker: signature.checker().user().clone(),
    }
}

fn awaiting(record: &Record, status: Status) -> Option<String> {
    let id = record.agreement.id();
    let partner = &record.partner().name;
    match status {
        Status::AwaitingMaker => Some(format!(
            "`{partner}` proposed it; a first person here: `counterfoil agreement sign {id} --as USER`"
        )),
        Status::AwaitingChecker => {
            let maker = record
                .maker
                .as_ref()
                .map_or("the maker", |maker| maker.user().as_str());
            Some(format!(
                "a second person here, not `{maker}`: `counterfoil agreement sign {id} --as USER`"
            ))
        }
        Status::NotSent => Some(format!(
            "it is signed and not sent yet: `counterfoil agreement sign {id} --as USER` sends it"
        )),
        Status::AwaitingPartner => Some(format!("the signature of `{partner}`")),
        Status::Active | Status::Superseded | Status::Revoked => None,
    }
}
