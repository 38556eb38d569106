//! Officers, and what two of them find out about an institution. A refusal is recorded like an acceptance.

use counterfoil_audit::entry::{
    AssessmentApproved, AssessmentProposed, AssessmentRefused, Digest, Document, Event,
    OfficerAdded, OrgName,
};
use counterfoil_policy::approval::{Assessment, OfficerSignature, Role};
use counterfoil_policy::keys::PersonPublicKey;
use counterfoil_policy::text::UserId;

use crate::log::Decided;
use crate::refusal::{Refusal, label};
use crate::state::State;

/// Largest assessment that is read, in bytes: sixteen certifications of 63 characters, and the rest.
const ASSESSMENT_BYTES_MAX: usize = 8 * 1024;

/// Accepted or refused; either stands in the log.
pub(crate) type Verdict = Result<(), Refusal>;

/// The operator enters an officer with a key of their own.
pub(crate) fn add_officer(state: &State, user: &str, key: &str) -> Decided<Verdict> {
    decided(officer(state, user, key))
}

fn officer(state: &State, user: &str, key: &str) -> Result<Event, Refusal> {
    let user: UserId = parsed("user", user)?;
    let key: PersonPublicKey = parsed("key", key)?;
    if state.assessments.officer(user.as_str()).is_some() || state.assessments.is_key(&key) {
        return Err(about(
            "user",
            "officer_exists",
            format!("there is an officer `{user}` or one with this key"),
            "another user id, and a key of their own for each officer",
        ));
    }
    Ok(OfficerAdded {
        user: label(user.as_str()),
        key: label(&key.to_string()),
    }
    .into())
}

/// One officer proposes what was found.
pub(crate) fn propose(
    state: &State,
    assessment: &[u8],
    maker: &str,
    signature: &str,
) -> Decided<Verdict> {
    decided(proposal(state, assessment, maker, signature))
}

fn proposal(state: &State, json: &[u8], maker: &str, signature: &str) -> Result<Event, Refusal> {
    let malformed = |why: String| {
        about(
            "assessment",
            "malformed",
            why,
            "the form that `counterfoil broker partner assess` sends",
        )
    };
    if json.len() > ASSESSMENT_BYTES_MAX {
        return Err(malformed("the assessment is too large".to_owned()));
    }
    let assessment: Assessment =
        serde_json::from_slice(json).map_err(|e| malformed(e.to_string()))?;
    let org = OrgName::new(assessment.org.as_str()).map_err(|e| malformed(e.to_string()))?;
    if state.partners.get(&org).is_none() {
        return Err(about(
            "org",
            "partner_unknown",
            format!("no institution `{org}` has joined"),
            "see their names with `counterfoil broker partners`",
        ));
    }
    let digest = assessment.digest().map_err(|e| malformed(e.to_string()))?;
    let sha256 = Digest::from_bytes(digest);
    if state.assessments.proposal(&sha256).is_some() {
        return Err(about(
            "assessment",
            "proposed_already",
            "this assessment was proposed before",
            "a second officer's approval, or a new proposal",
        ));
    }
    verify(state, Role::Maker, maker, signature, &digest)?;
    let document = serde_json::to_value(&assessment)
        .ok()
        .and_then(|value| Document::new(value).ok())
        .ok_or_else(|| malformed("the assessment does not fit an entry".to_owned()))?;
    Ok(AssessmentProposed {
        org,
        assessment: document,
        sha256,
        maker: label(maker),
        signature: label(signature),
    }
    .into())
}

/// A second officer approves.
pub(crate) fn approve(
    state: &State,
    sha256: &Digest,
    checker: &str,
    signature: &str,
) -> Decided<Verdict> {
    decided(approval(state, sha256, checker, signature))
}

fn approval(
    state: &State,
    sha256: &Digest,
    checker: &str,
    signature: &str,
) -> Result<Event, Refusal> {
    let proposal = state
        .assessments
        .proposal(sha256)
        .filter(|proposal| !proposal.closed)
        .ok_or_else(|| {
            about(
                "sha256",
                "not_waiting",
                "no such assessment waits for an approval",
                "one that `counterfoil broker partner show` lists as proposed",
            )
        })?;
    if proposal.maker == checker {
        return Err(about(
            "checker",
            "same_person",
            format!("`{checker}` proposed this assessment; a second officer must approve it"),
            "the approval of another officer, with a key of their own",
        ));
    }
    verify(state, Role::Checker, checker, signature, sha256.as_bytes())?;
    let org = OrgName::new(proposal.assessment.org.as_str())
        .map_err(|e| about("org", "malformed", e.to_string(), "an institution's name"))?;
    Ok(AssessmentApproved {
        org,
        sha256: *sha256,
        checker: label(checker),
        signature: label(signature),
    }
    .into())
}

/// The signature is the officer's, in this role. Officers never share a key, so two users are two keys.
fn verify(
    state: &State,
    role: Role,
    user: &str,
    signature: &str,
    digest: &[u8; 32],
) -> Result<(), Refusal> {
    let field = role.as_str();
    let user: UserId = parsed(field, user)?;
    let key = state.assessments.officer(user.as_str()).ok_or_else(|| {
        about(
            field,
            "officer_unknown",
            format!("`{user}` is no officer of this broker"),
            "an officer whom `counterfoil broker add-officer` has added",
        )
    })?;
    let signed = OfficerSignature {
        user,
        signature: parsed("signature", signature)?,
    };
    signed.verify(key, role, digest).map_err(|error| {
        about(
            "signature",
            "signature_invalid",
            error.to_string(),
            "the officer's own signature",
        )
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
) -> Result<T, Refusal> {
    text.parse()
        .map_err(|error: T::Err| about(field, "malformed", error.to_string(), "see the message"))
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

fn decided(event: Result<Event, Refusal>) -> Decided<Verdict> {
    match event {
        Ok(event) => Decided {
            events: vec![event],
            value: Ok(()),
        },
        Err(refusal) => Decided {
            events: vec![
                AssessmentRefused {
                    decision: refusal.decision("refused"),
                }
                .into(),
            ],
            value: Err(refusal),
        },
    }
}

#[cfg(test)]
mod tests;
