//! Agreements from draft to end: two people here, two people there, then both institutions.
//!
//! ```text
//! propose (maker) -> sign (checker) -> broker -> sign (their maker) -> sign (their checker) -> active -> revoke
//! ```
//!
//! What the broker shows is verified against this home's keys and the partner's confirmed ones; what lies on disk is
//! verified again at every load. [`active`] is the only way to an agreement under which data may flow.

use std::path::PathBuf;

use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::approval::{
    Approval, ApprovalError, InstitutionSignature, Revocation, Role, TwoPersonApproval,
};
use counterfoil_policy::decision::AgreementStatus;
use counterfoil_policy::text::{AgreementId, OrgName, UserId};
use counterfoil_proto::v1::{CountersignRequest, ProposeRequest, RevokeAgreementRequest};

use crate::error::{Denial, Error, Result};
use crate::home::Home;
use crate::partners;
use crate::taxonomies;
use crate::transport::{Broker, call};

mod fit;
mod info;
mod lint;
mod record;
mod wire;

pub use fit::{Unfit, check_mapped, check_taxonomy, unfit};
pub use info::{AgreementInfo, Listing, Signed, Skipped, Status};
pub use lint::{LintReport, lint};
use record::Record;

/// Which side this institution takes in a new agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// It holds the tagged customers.
    Owner,
    /// It gets the tags.
    Recipient,
}

/// A commented agreement with a confirmed partner, valid from today for a year.
///
/// # Errors
/// [`Error::NotConfirmed`].
pub fn template(home: &Home, partner: &OrgName, take: Take) -> Result<String> {
    let (own, partner) = (home.party_keys()?, partners::confirmed(home, partner)?);
    let today = time::OffsetDateTime::from_unix_timestamp(home.clock().now().unix_seconds())
        .map_err(|e| Error::Unexpected(e.to_string()))?
        .date();
    let (owner, recipient) = match take {
        Take::Owner => (own, partner),
        Take::Recipient => (partner, own),
    };
    Ok(counterfoil_policy::agreement::template(
        &owner, &recipient, today,
    ))
}

/// Takes the maker's part: checks the text and keeps it with the maker's approval. Nothing is sent.
///
/// # Errors
/// [`Error::Agreement`] with every fault; [`Error::NotConfirmed`]; [`Error::Denied`] if this version, or a later one,
/// is here already with another content.
pub fn propose(home: &Home, text: &str, user: &UserId) -> Result<AgreementInfo> {
    let library = taxonomies::library(home.path())?;
    let agreement = Agreement::parse_with(text, &library).map_err(Error::Agreement)?;
    let person = home.person(user)?;
    let _lock = home.lock()?;
    let mut record = Record::new(home, agreement)?;
    let (id, version, digest) = (
        record.agreement.id().clone(),
        record.agreement.version(),
        record.agreement.digest(),
    );
    if let Some((_, latest)) = Record::names(home, Some(&id))?.last().cloned() {
        match Record::load(home, &id, version)? {
            // The same text again changes nothing, whoever asks.
            Some(known) if known.agreement.digest() == digest && known.maker.is_some() => {
                return Ok(info::of(&known));
            }
            Some(known) if known.agreement.digest() == digest => record = known,
            _ if version > latest => {}
            _ => return Err(taken(&id, version, latest).into()),
        }
    }
    record.maker = Some(Approval::sign(
        person.key(),
        person.endorsement(),
        Role::Maker,
        &digest,
    ));
    record.store(home)?;
    Ok(info::of(&record))
}

fn taken(id: &AgreementId, version: u32, latest: u32) -> Denial {
    Denial::local(
        "version_taken",
        "version",
        format!(
            "version {version} of agreement `{id}` is here already, or a later one, with another content"
        ),
        format!("version = {}", latest.saturating_add(1)),
    )
}

/// Takes the next part that this institution has to take in the latest version of an agreement.
///
/// After our own maker: the checker's part, then the institution signs and the signature goes to the broker. On a
/// partner's proposal: the maker's part first. A signature that was made but did not reach the broker is sent again.
///
/// # Errors
/// [`Error::Denied`] with code `same_person` if maker and checker are one, with code `unread` if the version to be signed
/// was not here before this call ([`sync`] brings it, and [`show`] shows it); [`Error::UnknownAgreement`];
/// [`Error::NotConfirmed`]; what the broker refuses.
pub async fn sign(home: &Home, broker: &Broker, id: &AgreementId, user: &UserId) -> Result<Signed> {
    let person = home.person(user)?;
    let library = taxonomies::library(home.path())?;
    let read = latest_version(home, id)?;
    // The partner may have proposed it, signed it or ended it since we looked.
    refuse_skipped(sync(home, broker, Some(id)).await?, id)?;
    let version = latest_version(home, id)?;
    if version != read {
        // Nobody can have read what arrives only now: a signature would be under an unseen text.
        return Err(unread(id, version.unwrap_or_default()).into());
    }
    let (record, step) = {
        let _lock = home.lock()?;
        let mut record = latest(home, id)?;
        // What the partner wrote of a taxonomy that we have must be what we know of it.
        record
            .agreement
            .check_taxonomy(&library)
            .map_err(Error::Agreement)?;
        let step = advance(home, &mut record, &person)?;
        if step != Step::Nothing {
            record.store(home)?;
        }
        (record, step)
    };
    let sent = record.ours.is_some() && !record.sent;
    let record = if sent {
        send(home, broker, record).await?
    } else {
        record
    };
    Ok(Signed {
        role: step.role(),
        institution_signed: step == Step::Checked,
        sent,
        agreement: info::of(&record),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Made,
    Checked,
    Nothing,
}

impl Step {
    fn role(self) -> Option<&'static str> {
        match self {
            Self::Made => Some(Role::Maker.as_str()),
            Self::Checked => Some(Role::Checker.as_str()),
            Self::Nothing => None,
        }
    }
}

/// The local part of signing. Makes no step where this side has signed.
fn advance(home: &Home, record: &mut Record, person: &crate::home::Person) -> Result<Step> {
    if record.revocation.is_some() {
        return Err(Error::NotActive(format!(
            "agreement `{}` was revoked: propose a new version",
            record.agreement.id()
        )));
    }
    if record.ours.is_some() {
        return Ok(Step::Nothing);
    }
    let digest = record.agreement.digest();
    let approve = |role| Approval::sign(person.key(), person.endorsement(), role, &digest);
    let Some(maker) = record.maker.clone() else {
        record.maker = Some(approve(Role::Maker));
        return Ok(Step::Made);
    };
    let own = record.own();
    let approval = TwoPersonApproval::new(
        digest,
        &own.name,
        &own.signing_key,
        maker,
        approve(Role::Checker),
    )
    .map_err(two_people)?;
    record.ours = Some(InstitutionSignature::sign(
        &home.institution_key()?,
        approval,
    ));
    Ok(Step::Checked)
}

fn two_people(error: ApprovalError) -> Error {
    match error {
        ApprovalError::SamePerson(_) | ApprovalError::SameKey { .. } => Denial::local(
            "same_person",
            "checker",
            error.to_string(),
            "sign as another person: `counterfoil agreement sign ID --as ANOTHER_USER`",
        )
        .into(),
        other => Error::Local(other.to_string()),
    }
}

async fn send(home: &Home, broker: &Broker, mut record: Record) -> Result<Record> {
    let signature = serde_json::to_vec(&record.ours)
        .map_err(|e| Error::Unexpected(format!("cannot write a signature: {e}")))?;
    let reply = if record.theirs.is_some() {
        let digest = record.agreement.digest().as_bytes().to_vec();
        call(
            broker
                .agreements()
                .countersign(CountersignRequest { digest, signature }),
        )
        .await?
    } else {
        let document = record.agreement.canonical_bytes().to_vec();
        call(broker.agreements().propose(ProposeRequest {
            document,
            signature,
        }))
        .await?
    };
    let shown = wire::accepted(reply)?;
    if shown.agreement.digest() != record.agreement.digest() {
        return Err(Error::Unverified(
            "the broker answered with another agreement than the one signed".to_owned(),
        ));
    }
    record.merge(shown.signatures, shown.revocation)?;
    // A crash before this leaves `sent` unset; the next `sign` finds it at the broker or sends it again.
    let _lock = home.lock()?;
    record.sent = true;
    record.store(home)?;
    Ok(record)
}

/// Ends the latest version of an agreement. One person is enough: stopping must not wait for a second.
///
/// It is stored here before it is sent, so this agent stops at once, also while the broker cannot be reached.
///
/// # Errors
/// [`Error::UnknownAgreement`], [`Error::UnknownUser`], what the broker refuses.
pub async fn revoke(
    home: &Home,
    broker: &Broker,
    id: &AgreementId,
    user: &UserId,
    reason: &str,
) -> Result<AgreementInfo> {
    let record = revoke_here(home, id, user)?;
    let revocation = serde_json::to_vec(&record.revocation)
        .map_err(|e| Error::Unexpected(format!("cannot write a revocation: {e}")))?;
    let request = RevokeAgreementRequest {
        digest: record.agreement.digest().as_bytes().to_vec(),
        revocation,
        reason: reason.to_owned(),
    };
    wire::accepted(call(broker.agreements().revoke(request)).await?)?;
    Ok(info::of(&record))
}

/// The part of [`revoke`] that needs no broker.
fn revoke_here(home: &Home, id: &AgreementId, user: &UserId) -> Result<Record> {
    let person = home.person(user)?;
    let _lock = home.lock()?;
    let in_force = in_force_record(home, id)?.filter(|record| record.revocation.is_none());
    let mut record = match in_force {
        Some(record) => record,
        None => latest(home, id)?,
    };
    if record.revocation.is_none() {
        let (digest, now) = (record.agreement.digest(), home.clock().now());
        record.revocation = Some(Revocation::sign(
            &home.institution_key()?,
            digest,
            home.org(),
            person.user(),
            now,
        ));
        record.store(home)?;
    }
    Ok(record)
}

/// Fetches what the broker has of this institution's agreements, or of one, and stores what verifies.
///
/// # Errors
/// The broker cannot be asked, or shows what does not verify. Agreements with partners that are not confirmed are
/// told in [`Listing::skipped`] and not stored.
pub async fn sync(home: &Home, broker: &Broker, id: Option<&AgreementId>) -> Result<Listing> {
    let shown = wire::list(broker, id).await?;
    let _lock = home.lock()?;
    let mut synced = Listing {
        agreements: Vec::new(),
        skipped: Vec::new(),
    };
    for shown in shown {
        take_in(home, shown, &mut synced)?;
    }
    Ok(synced)
}

fn take_in(home: &Home, shown: wire::Shown, synced: &mut Listing) -> Result<()> {
    let (id, version) = (shown.agreement.id().clone(), shown.agreement.version());
    let stored = Record::load(home, &id, version);
    let skip = |error: Error| Skipped {
        id: id.clone(),
        version,
        error,
    };
    let mut record = match stored
        .and_then(|stored| stored.map_or_else(|| Record::new(home, shown.agreement.clone()), Ok))
    {
        Ok(record) => record,
        Err(error @ (Error::NotConfirmed(_) | Error::KeysChanged(_) | Error::Input(_))) => {
            synced.skipped.push(skip(error));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if record.agreement.digest() != shown.agreement.digest() {
        // Both sides may have drafted the same version; only what is signed at the broker can become active.
        let latest = Record::names(home, Some(&id))?
            .last()
            .map_or(version, |(_, latest)| *latest);
        synced
            .skipped
            .push(skip(taken(&id, version, latest).into()));
        return Ok(());
    }
    record.merge(shown.signatures, shown.revocation)?;
    if record.maker.is_none() && record.ours.is_none() && record.theirs.is_none() {
        // Otherwise the broker could write an agreement itself and have each side take it for the other's.
        return Err(Error::Unverified(format!(
            "the broker shows agreement `{id}` version {version}, which nobody has signed: nothing of it was stored"
        )));
    }
    record.store(home)?;
    synced.agreements.push(info::of(&record));
    Ok(())
}

/// The latest version of an agreement here, wherever it stands, and its file.
///
/// # Errors
/// [`Error::UnknownAgreement`].
pub fn latest_agreement(home: &Home, id: &AgreementId) -> Result<(Agreement, PathBuf)> {
    let agreement = latest(home, id)?.agreement;
    let file = Record::file(id, agreement.version());
    Ok((agreement, home.path().join(file)))
}

fn latest_version(home: &Home, id: &AgreementId) -> Result<Option<u32>> {
    let names = Record::names(home, Some(id))?;
    Ok(names.last().map(|(_, version)| *version))
}

fn unread(id: &AgreementId, version: u32) -> Denial {
    Denial::local(
        "unread",
        "version",
        format!("version {version} of agreement `{id}` has only now arrived and was not read here"),
        format!("read it with `counterfoil agreement show {id}`, then sign"),
    )
}

fn refuse_skipped(synced: Listing, id: &AgreementId) -> Result<()> {
    // An earlier version that no longer verifies does not stand in the way of a later one.
    let latest = synced.agreements.iter().map(|info| info.version).max();
    let later = |skipped: &Skipped| {
        skipped.id == *id && latest.is_none_or(|latest| skipped.version > latest)
    };
    match synced.skipped.into_iter().rfind(later) {
        Some(skipped) => Err(skipped.error),
        None => Ok(()),
    }
}

/// Every version of every agreement here, by id and version; those that do not verify are told apart.
///
/// # Errors
/// The directory cannot be read.
pub fn list(home: &Home) -> Result<Listing> {
    let mut all = Vec::new();
    let mut skipped = Vec::new();
    for (id, version) in Record::names(home, None)? {
        match Record::load(home, &id, version) {
            Ok(record) => all.extend(record),
            Err(error) => skipped.push(Skipped { id, version, error }),
        }
    }
    let in_force = |id: &AgreementId| {
        let versions = all
            .iter()
            .filter(|record| record.agreement.id() == id && both_signed(record));
        versions.map(|record| record.agreement.version()).max()
    };
    let agreements = all
        .iter()
        .map(|record| info::superseded(info::of(record), in_force(record.agreement.id())))
        .collect();
    Ok(Listing {
        agreements,
        skipped,
    })
}

/// Every version of every agreement that verifies here, signed by both or not: what was delivered under one stays delivered.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn all(home: &Home) -> Result<Vec<Agreement>> {
    let mut all = Vec::new();
    for (id, version) in Record::names(home, None)? {
        if let Ok(Some(record)) = Record::load(home, &id, version) {
            all.push(record.agreement);
        }
    }
    Ok(all)
}

/// The agreements under which data may flow.
///
/// # Errors
/// The directory cannot be read, or an agreement in it.
pub fn in_force(home: &Home) -> Result<Vec<Agreement>> {
    let listed = list(home)?.agreements.into_iter();
    let active = listed.filter(|info| info.status == Status::Active);
    active
        .map(|info| load(home, &info.id, info.version))
        .collect()
}

/// The agreement under which data may flow: the latest version that both institutions signed, unless it was revoked.
///
/// Its dates are not looked at here: the decision does that, and its refusal is recorded.
///
/// # Errors
/// [`Error::UnknownAgreement`], [`Error::NotActive`] with whose signature is missing.
pub fn active(home: &Home, id: &AgreementId) -> Result<Agreement> {
    match in_force_record(home, id)? {
        Some(record) if record.revocation.is_some() => Err(Error::NotActive(format!(
            "agreement `{id}` was revoked: nothing can flow under it"
        ))),
        Some(record) => {
            let signed = record.countersigned()?;
            signed
                .map(|signed| signed.agreement().clone())
                .ok_or_else(|| Error::UnknownAgreement(id.to_string()))
        }
        None => {
            let info = info::of(&latest(home, id)?);
            Err(Error::NotActive(format!(
                "agreement `{id}` is not active: {}",
                info.awaiting.unwrap_or_else(|| "it has ended".to_owned())
            )))
        }
    }
}

/// A version of an agreement, verified, and where it stands: what a decision on a request rests on.
#[derive(Debug, Clone)]
pub struct Held {
    /// The agreement.
    pub agreement: Agreement,
    /// Where it stands.
    pub status: AgreementStatus,
}

/// The version that a request names, or else the one in force, so that the refusal can name it; `None` for an agreement
/// that is not here.
///
/// # Errors
/// A file does not verify.
pub fn find(home: &Home, id: &AgreementId, version: u32) -> Result<Option<Held>> {
    let in_force = in_force_record(home, id)?;
    let by_version = in_force.as_ref().map(|record| record.agreement.version());
    let record = Record::load(home, id, version)?.or(in_force);
    Ok(record.map(|record| {
        let version = record.agreement.version();
        Held {
            status: match by_version {
                _ if record.revocation.is_some() => AgreementStatus::Revoked,
                Some(by_version) if by_version > version => {
                    AgreementStatus::Superseded { by_version }
                }
                Some(by_version) if by_version == version => AgreementStatus::Active,
                _ => AgreementStatus::Proposed,
            },
            agreement: record.agreement,
        }
    }))
}

/// One stored version, verified, whatever its status: for a flow that began under it.
///
/// # Errors
/// [`Error::UnknownAgreement`].
pub fn load(home: &Home, id: &AgreementId, version: u32) -> Result<Agreement> {
    Record::load(home, id, version)?
        .map(|record| record.agreement)
        .ok_or_else(|| Error::UnknownAgreement(format!("{id} version {version}")))
}

/// One version of an agreement with its whole text: the latest, unless another is asked for.
///
/// # Errors
/// [`Error::UnknownAgreement`].
pub fn show(
    home: &Home,
    id: &AgreementId,
    version: Option<u32>,
) -> Result<(AgreementInfo, serde_json::Value)> {
    let record = match version {
        None => latest(home, id)?,
        Some(version) => Record::load(home, id, version)?
            .ok_or_else(|| Error::UnknownAgreement(format!("{id} version {version}")))?,
    };
    let document = serde_json::from_slice(record.agreement.canonical_bytes())
        .map_err(|e| Error::Unexpected(format!("cannot show an agreement: {e}")))?;
    let in_force = in_force_record(home, id)?.map(|record| record.agreement.version());
    Ok((info::superseded(info::of(&record), in_force), document))
}

fn latest(home: &Home, id: &AgreementId) -> Result<Record> {
    let names = Record::names(home, Some(id))?;
    let record = match names.last() {
        Some((id, version)) => Record::load(home, id, *version)?,
        None => None,
    };
    record.ok_or_else(|| Error::UnknownAgreement(id.to_string()))
}

fn both_signed(record: &Record) -> bool {
    record.ours.is_some() && record.theirs.is_some()
}

fn in_force_record(home: &Home, id: &AgreementId) -> Result<Option<Record>> {
    // A later version replaces an earlier one for good, also when the later is revoked.
    for (id, version) in Record::names(home, Some(id))?.iter().rev() {
        if let Some(record) = Record::load(home, id, *version)?.filter(both_signed) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
