//! Proposing, countersigning and revoking agreements. A refusal is recorded like an acceptance.

use counterfoil_audit::entry::{
    AgreementCountersigned, AgreementProposed, AgreementRef, AgreementRefused, AgreementRevoked,
};
use counterfoil_audit::entry::{Digest, Document, OrgName};
use counterfoil_policy::agreement::{Agreement, Side};
use counterfoil_policy::approval::{
    ApprovalError, Countersigned, InstitutionSignature, Revocation,
};
use counterfoil_policy::keys::PartyKeys;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::log::Decided;
use crate::refusal::{Refusal, label, sentence};
use crate::state::State;
use crate::state::agreements::{AgreementRecord, Status};

/// Digest of the agreement that was accepted, or why not; either stands in the log.
pub(crate) type Verdict = Result<Digest, Refusal>;

/// Largest signature bundle or revocation that is read, in bytes: ten texts of under 256.
const SIGNATURE_BYTES_MAX: usize = 8 * 1024;

/// One institution proposes an agreement, signed by it.
pub(crate) fn propose(
    state: &State,
    caller: &OrgName,
    document: &[u8],
    signature: &[u8],
) -> Decided<Verdict> {
    let agreement = match Agreement::from_canonical(document) {
        Ok(agreement) => agreement,
        Err(findings) => {
            return refuse(
                None,
                Refusal::new(
                    "agreement_invalid",
                    findings.to_string(),
                    "correct the text and propose it again",
                ),
            );
        }
    };
    let accepted = check_proposal(state, caller, &agreement, signature)
        .and_then(|bundle| Ok((json_document(document)?, bundle)));
    match accepted {
        Ok((document, bundle)) => accept(
            &agreement,
            AgreementProposed {
                agreement: reference(&agreement),
                document,
                signature: bundle,
            },
        ),
        Err(refusal) => refuse(Some(&agreement), refusal),
    }
}

fn check_proposal(
    state: &State,
    caller: &OrgName,
    agreement: &Agreement,
    signature: &[u8],
) -> Result<Document, Refusal> {
    for (field, party) in [
        ("owner", agreement.owner()),
        ("recipient", agreement.recipient()),
    ] {
        check_party(state, field, party)?;
    }
    let parties = [
        agreement.owner().name.as_str(),
        agreement.recipient().name.as_str(),
    ];
    let latest = state
        .agreements
        .latest_version(agreement.id().as_str(), parties);
    if agreement.version() <= latest {
        return Err(about(
            "version",
            "version_taken",
            format!("version {} of `{}` stands already", latest, agreement.id()),
            format!("set `version = {}`", latest.saturating_add(1)),
        ));
    }
    let signed: InstitutionSignature = parse("signature", signature)?;
    check_signer(caller, signed.verify_for(agreement), agreement)?;
    json_document(signature)
}

/// A party must have joined with the keys that the agreement pins.
pub(super) fn check_party(state: &State, field: &str, party: &PartyKeys) -> Result<(), Refusal> {
    let org = OrgName::new(party.name.as_str()).ok();
    let joined = org
        .as_ref()
        .and_then(|org| state.partners.get(org))
        .filter(|partner| !partner.revoked)
        .ok_or_else(|| {
            about(
                &format!("{field}.name"),
                "party_unknown",
                format!(
                    "`{}` has not joined this broker, or was revoked",
                    party.name
                ),
                "the name of an institution that has joined",
            )
        })?;
    for (key, same) in [
        (
            "signing_key",
            joined.signing_key.as_bytes() == party.signing_key.as_bytes(),
        ),
        (
            "noise_key",
            joined.noise_key.as_bytes() == party.noise_key.as_bytes(),
        ),
    ] {
        if !same {
            return Err(about(
                &format!("{field}.{key}"),
                "key_differs",
                format!("`{}` has joined with another key", party.name),
                "the keys that `counterfoil party show` prints at that institution",
            ));
        }
    }
    Ok(())
}

/// The other institution signs too.
pub(crate) fn countersign(
    state: &State,
    caller: &OrgName,
    digest: &Digest,
    signature: &[u8],
) -> Decided<Verdict> {
    let Some(record) = find(state, caller, digest) else {
        return refuse(None, unknown());
    };
    match check_countersignature(state, caller, record, signature) {
        Ok(signature) => accept(
            &record.agreement,
            AgreementCountersigned {
                agreement: reference(&record.agreement),
                org: caller.clone(),
                signature,
            },
        ),
        Err(refusal) => refuse(Some(&record.agreement), refusal),
    }
}

fn check_countersignature(
    state: &State,
    caller: &OrgName,
    record: &AgreementRecord,
    signature: &[u8],
) -> Result<Document, Refusal> {
    if record.status != Status::Proposed {
        return Err(about(
            "status",
            "not_waiting",
            format!("the agreement is {}", record.status.as_str()),
            "an agreement that waits for its second signature",
        ));
    }
    let agreement = &*record.agreement;
    for (field, party) in [
        ("owner", agreement.owner()),
        ("recipient", agreement.recipient()),
    ] {
        check_party(state, field, party)?;
    }
    let second: InstitutionSignature = parse("signature", signature)?;
    let side = check_signer(caller, second.verify_for(agreement), agreement)?;
    let first = record
        .signatures
        .first()
        .and_then(|first| serde_json::from_value(first.as_value().clone()).ok())
        .ok_or_else(unknown)?;
    let (owner, recipient) = match side {
        Side::Owner => (second, first),
        Side::Recipient => (first, second),
    };
    // Both again, together: this is what makes an agreement active.
    Countersigned::new(agreement.clone(), owner, recipient)
        .map_err(|error| bad_signature(&error))?;
    json_document(signature)
}

/// Either institution ends an agreement.
pub(crate) fn revoke(
    state: &State,
    caller: &OrgName,
    digest: &Digest,
    revocation: &[u8],
    reason: &str,
) -> Decided<Verdict> {
    let Some(record) = find(state, caller, digest) else {
        return refuse(None, unknown());
    };
    match check_revocation(caller, record, revocation) {
        Ok(signature) => accept(
            &record.agreement,
            AgreementRevoked {
                agreement: reference(&record.agreement),
                org: caller.clone(),
                reason: sentence(reason),
                signature,
            },
        ),
        Err(refusal) => refuse(Some(&record.agreement), refusal),
    }
}

fn check_revocation(
    caller: &OrgName,
    record: &AgreementRecord,
    revocation: &[u8],
) -> Result<Document, Refusal> {
    if record.status == Status::Revoked {
        return Err(about(
            "status",
            "revoked_already",
            "the agreement has been revoked already",
            "nothing needs to be done",
        ));
    }
    let signed: Revocation = parse("revocation", revocation)?;
    check_signer(caller, signed.verify(&record.agreement), &record.agreement)?;
    json_document(revocation)
}

/// The signature is that of the caller's own side.
fn check_signer(
    caller: &OrgName,
    verified: Result<Side, ApprovalError>,
    agreement: &Agreement,
) -> Result<Side, Refusal> {
    let side = verified.map_err(|error| bad_signature(&error))?;
    if agreement.party(side).name.as_str() == caller.as_str() {
        return Ok(side);
    }
    Err(about(
        "signature",
        "signer_is_not_caller",
        "the signature is the other institution's",
        "each institution signs for itself",
    ))
}

fn bad_signature(error: &ApprovalError) -> Refusal {
    about(
        "signature",
        "signature_invalid",
        error.to_string(),
        "sign again with `counterfoil agreement sign`",
    )
}

/// An agreement that the caller is a party of; others do not exist for it.
fn find<'s>(state: &'s State, caller: &OrgName, digest: &Digest) -> Option<&'s AgreementRecord> {
    state
        .agreements
        .get(digest)
        .filter(|record| record.concerns(caller))
}

fn unknown() -> Refusal {
    about(
        "digest",
        "agreement_unknown",
        "no agreement of yours has this digest",
        "see them with `counterfoil agreement list`",
    )
}

fn accept(
    agreement: &Agreement,
    event: impl Into<counterfoil_audit::entry::Event>,
) -> Decided<Verdict> {
    Decided {
        events: vec![event.into()],
        value: Ok(reference(agreement).sha256),
    }
}

fn refuse(agreement: Option<&Agreement>, refusal: Refusal) -> Decided<Verdict> {
    let event = AgreementRefused {
        agreement: agreement.map(reference),
        decision: refusal.decision("refused"),
    };
    Decided {
        events: vec![event.into()],
        value: Err(refusal),
    }
}

/// Names an agreement in an entry.
pub(crate) fn reference(agreement: &Agreement) -> AgreementRef {
    AgreementRef {
        id: label(agreement.id().as_str()),
        version: agreement.version(),
        sha256: Digest::from_bytes(*agreement.digest().as_bytes()),
    }
}

fn about(
    field: &str,
    code: &'static str,
    message: impl Into<String>,
    would_pass: impl Into<String>,
) -> Refusal {
    Refusal {
        field: field.to_owned(),
        ..Refusal::new(code, message, would_pass)
    }
}

fn parse<T: DeserializeOwned>(field: &str, json: &[u8]) -> Result<T, Refusal> {
    if json.len() <= SIGNATURE_BYTES_MAX
        && let Ok(parsed) = serde_json::from_slice(json)
    {
        return Ok(parsed);
    }
    Err(about(
        field,
        "malformed",
        format!("the {field} does not parse"),
        "use the same version of `counterfoil` on both sides",
    ))
}

fn json_document(json: &[u8]) -> Result<Document, Refusal> {
    serde_json::from_slice::<Value>(json)
        .ok()
        .and_then(|value| Document::new(value).ok())
        .ok_or_else(|| {
            about(
                "document",
                "malformed",
                "it does not parse",
                "RFC 8785 JSON",
            )
        })
}

#[cfg(test)]
mod tests;
