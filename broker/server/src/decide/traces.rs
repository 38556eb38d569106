//! Whether a leaked file may be scored. Scores are an oracle for symbols: who may see those of files of their own making
//! learns the marks one by one. So two people answer for each scoring, few are made, and none of a few rows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use counterfoil_audit::entry::{
    Digest, Document, Integer, Label, OrgName, Timestamp, TraceAuthorised, TraceRefused,
};
use counterfoil_policy::approval::{InstitutionSignature, ScoringRequest};
use counterfoil_policy::keys::InstitutionPublicKey;
use counterfoil_proto::limits::LEAK_ROWS_MIN;

use crate::decide::tag_keys;
use crate::log::Decided;
use crate::refusal::{Refusal, label};
use crate::state::State;
use crate::state::marks::ScoringEntry;

/// Scorings of a lineage in [`PERIOD_MICROS`]: an incident has one file, or a few parts of one.
const SCORINGS_MAX: usize = 10;
/// Files of an owner of which only codes are looked at, in the same time. No oracle: a code is right or not, whatever the marks
/// are. It bounds what the log and the broker's core are used for.
const CODE_FILES_MAX: usize = 100;
const PERIOD_MICROS: u64 = 30 * 86_400 * 1_000_000;

/// What the owner's agent sent.
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a [u8],
    pub(crate) authorisation: &'a [u8],
    /// None if it did not come, or if it is not what was signed for and so was not looked at.
    pub(crate) content: Option<Content>,
}

/// What came of a leaked file.
#[derive(Clone, Copy)]
pub(crate) struct Content {
    pub(crate) sha256: [u8; 32],
    pub(crate) rows: u64,
    /// Different mark tags: a symbol that is read many times is still one.
    pub(crate) tags: u64,
    /// Nothing but reference codes: no score could tell a mark.
    pub(crate) codes_only: bool,
}

/// A request that two people of the lineage's owner signed, and that has not been scored.
pub(crate) struct Permitted {
    pub(crate) request: ScoringRequest,
    signature: InstitutionSignature,
    lineage: Label,
    request_sha256: Digest,
}

/// Accepted or refused; either stands in the log.
pub(crate) type Verdict = Result<ScoringEntry, Refusal>;

/// Decides on a scoring that `org` asks for.
pub(crate) fn authorise(
    state: &State,
    now: Timestamp,
    org: &OrgName,
    asked: &Asked<'_>,
) -> Decided<Verdict> {
    match accepted(state, now, org, asked) {
        Ok((event, entry)) => Decided {
            events: vec![event.into()],
            value: Ok(entry),
        },
        Err(refusal) => Decided {
            events: vec![
                TraceRefused {
                    org: org.clone(),
                    decision: refusal.decision("refused"),
                }
                .into(),
            ],
            value: Err(refusal),
        },
    }
}

fn accepted(
    state: &State,
    now: Timestamp,
    org: &OrgName,
    asked: &Asked<'_>,
) -> Result<(TraceAuthorised, ScoringEntry), Refusal> {
    let permitted = permitted(state, now, org, asked.request, asked.authorisation)?;
    check_content(&permitted.request, asked.content)?;
    let tag_key = check_tag_key(state, &permitted)?;
    let Permitted {
        request,
        signature,
        lineage,
        request_sha256,
    } = permitted;
    let event = TraceAuthorised {
        org: org.clone(),
        lineage: lineage.clone(),
        request: document(&request)?,
        authorisation: document(&signature)?,
        request_sha256,
        file_sha256: Digest::from_bytes(*request.file_sha256.as_bytes()),
        rows_used: Integer::new(request.rows_used).map_err(|e| malformed(&e))?,
        tag_key,
    };
    Ok((event, ScoringEntry { request, lineage }))
}

/// Decides on all that can be decided before the content has come: nobody else's is received.
pub(crate) fn permitted(
    state: &State,
    now: Timestamp,
    org: &OrgName,
    request: &[u8],
    authorisation: &[u8],
) -> Result<Permitted, Refusal> {
    let request: ScoringRequest = parsed(request)?;
    let signature: InstitutionSignature = parsed(authorisation)?;
    let lineage = Label::new(request.lineage.as_str()).map_err(|e| malformed(&e))?;
    // Names of institutions have no `/`, so no two owners share a lineage.
    let own =
        request.org.as_str() == org.as_str() && lineage.as_str().starts_with(&format!("{org}/"));
    let nothing = if request.is_of_codes() {
        state.marks.coded(org.as_str()).is_empty()
    } else {
        state.marks.releases(&lineage).is_empty()
    };
    if !own || nothing {
        return Err(Refusal::new(
            "lineage_unknown",
            "no marked delivery of a lineage of yours has this name",
            "the lineage of an agreement with marks under which something was delivered",
        ));
    }
    let digest = request.digest().ok_or_else(|| malformed(&"a number"))?;
    let request_sha256 = Digest::from_bytes(*digest.as_bytes());
    if state.marks.is_scored(&request_sha256) {
        return Err(Refusal::new(
            "scored_already",
            "this request was scored before, and each is scored once",
            "a new request by two people",
        ));
    }
    let since = now.unix_micros().saturating_sub(PERIOD_MICROS);
    if let Some(why) = used_up(&request, state.marks.scorings_since(&lineage, since)) {
        let would_pass = "wait until the oldest is 30 days old";
        return Err(Refusal::new("scorings_used_up", why, would_pass));
    }
    let key = state.partners.get(org).map(|partner| partner.signing_key);
    let key = key.and_then(|key| key_of(key.as_bytes()));
    let key = key.ok_or_else(|| malformed(&"the institution's key"))?;
    signature
        .verify(&digest, &request.org, &key)
        .map_err(|fault| Refusal {
            field: "authorisation".into(),
            ..Refusal::new(
                "two_people",
                fault.to_string(),
                "the approvals of a maker and a checker of your institution",
            )
        })?;
    Ok(Permitted {
        request,
        signature,
        lineage,
        request_sha256,
    })
}

/// Why no more is scored, after so many files in 30 days.
fn used_up(request: &ScoringRequest, scored: usize) -> Option<String> {
    if request.is_of_codes() {
        return (scored >= CODE_FILES_MAX).then(|| {
            format!("codes of {CODE_FILES_MAX} files of yours were looked up in 30 days")
        });
    }
    (scored >= SCORINGS_MAX).then(|| {
        format!(
            "{SCORINGS_MAX} files of this lineage were scored in 30 days: more would let somebody learn marks from scores"
        )
    })
}

/// What was signed for is what came, and enough of it.
fn check_content(request: &ScoringRequest, content: Option<Content>) -> Result<(), Refusal> {
    let same = |content: &Content| {
        *request.content_sha256.as_bytes() == content.sha256
            && request.rows_used == content.rows
            && request.rows_used <= request.rows
            && request.is_of_codes() == content.codes_only
    };
    let content = content.filter(same).ok_or_else(|| {
        Refusal::new(
            "content_differs",
            "what was sent is not what was signed for",
            "the content of the request",
        )
    })?;
    if !content.codes_only && content.rows.min(content.tags) < LEAK_ROWS_MIN {
        return Err(Refusal::new(
            "too_few_rows",
            format!(
                "rows of fewer than {LEAK_ROWS_MIN} customers are not scored: their scores would tell single marks"
            ),
            format!("{LEAK_ROWS_MIN} rows or more whose customers are known"),
        ));
    }
    Ok(())
}

/// Two people sign for the key that the mark tags are made with, and it is that of the releases.
fn check_tag_key(state: &State, permitted: &Permitted) -> Result<Option<Digest>, Refusal> {
    let lineage = permitted.lineage.as_str();
    let said = permitted.request.tag_key;
    let said = said.map(|key| Digest::from_bytes(*key.as_bytes()));
    let known = state.marks.tag_key(lineage);
    if let Some(refusal) = tag_keys::differ(lineage, known, said) {
        return Err(refusal);
    }
    if known.is_some() && said.is_none() {
        return Err(Refusal::new(
            "tag_key_missing",
            "the request does not say with which key its mark tags are made",
            "the request of an agent of this version",
        ));
    }
    Ok(said)
}

/// In the form in which keys are read everywhere, which refuses weak ones.
fn key_of(bytes: &[u8; 32]) -> Option<InstitutionPublicKey> {
    format!("ed25519:{}", STANDARD.encode(bytes)).parse().ok()
}

fn parsed<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(json).map_err(|e| malformed(&e))
}

fn document(value: &impl serde::Serialize) -> Result<Document, Refusal> {
    let value = serde_json::to_value(value).map_err(|e| malformed(&e))?;
    Document::new(value).map_err(|e| malformed(&e))
}

fn malformed(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        "malformed",
        format!("the request is malformed: {}", label(&why.to_string())),
        "the form that `counterfoil trace` sends",
    )
}

#[cfg(test)]
mod tests;
