//! The form that is signed: RFC 8785 JSON, whole numbers only.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::terms::{Caps, IdentifierRule, Segment, SegmentTag};
use super::{BUCKET_ROWS_DEFAULT, CANONICAL_BYTES_MAX, Terms, marks};
use crate::finding::Findings;
use crate::moment::date_text;
use crate::tag::Tag;
use crate::text::AgreementDigest;

/// SHA-256 of the canonical bytes.
pub(super) fn digest(canonical: &[u8]) -> AgreementDigest {
    AgreementDigest::from_bytes(Sha256::digest(canonical).into())
}

/// The canonical bytes; refuses what would not fit a log entry.
pub(super) fn bytes(terms: &Terms) -> Result<Vec<u8>, Findings> {
    let bytes = serde_json_canonicalizer::to_vec(&document(terms)).map_err(|error| {
        Findings::of_document(
            format!("no canonical form: {error}"),
            "the template's fields",
        )
    })?;
    if bytes.len() > CANONICAL_BYTES_MAX {
        let problem = format!("the canonical form has {} bytes", bytes.len());
        return Err(Findings::of_document(
            problem,
            format!("at most {CANONICAL_BYTES_MAX} bytes; use fewer values or levels"),
        ));
    }
    Ok(bytes)
}

/// The same keys as in TOML, with the tags' definitions. Every number is a whole number below 2^53, which RFC 8785
/// writes exactly.
fn document(terms: &Terms) -> Value {
    let mut document = json!({
        "version_of_format": 2,
        "id": terms.id,
        "version": terms.version,
        "owner": terms.owner,
        "recipient": terms.recipient,
        "purpose": terms.purpose,
        "legal_basis": terms.legal_basis,
        "valid_from": date_text(terms.valid_from),
        "valid_until": date_text(terms.valid_until),
        "dataset": terms.dataset,
        "identifiers": terms.identifiers.iter().map(identifier).collect::<Vec<_>>(),
        "flows": terms.flows,
        "protocol": terms.protocol,
        "taxonomy": terms.taxonomy,
        "tags": terms.tags.iter().map(tag).collect::<Vec<_>>(),
        "segment_tags": terms.segment_tags.iter().map(segment_tag).collect::<Vec<_>>(),
        "segments": terms.segments.iter().map(segment).collect::<Vec<_>>(),
        "caps": caps(terms.caps),
        "minimum_match": terms.minimum_match,
        "k": terms.k,
        "retention": {
            "audit_years": terms.retention.audit_years,
            "deletion_days": terms.retention.deletion_days,
        },
        "compliance": terms.compliance.document(),
    });
    if let (Some(consent), Some(fields)) = (&terms.consent, document.as_object_mut()) {
        fields.insert("consent".into(), json!(consent));
    }
    if let (Some(marks), Some(fields)) = (marks::canonical(terms), document.as_object_mut()) {
        fields.insert("marks".into(), marks);
    }
    if let (Some(measure), Some(fields)) = (&terms.measure, document.as_object_mut()) {
        fields.insert("measure".into(), measure.document());
    }
    document
}

/// The usual number of rows of a bucket is left out, so that an agreement from before there were buckets keeps its digest.
fn caps(caps: Caps) -> Value {
    let mut fields = serde_json::Map::new();
    fields.insert("rows_per_flow".into(), json!(caps.rows_per_flow));
    fields.insert("flows_per_period".into(), json!(caps.flows_per_period));
    fields.insert("period_days".into(), json!(caps.period_days));
    fields.insert(
        "identifiers_per_period".into(),
        json!(caps.identifiers_per_period),
    );
    if caps.bucket_rows != BUCKET_ROWS_DEFAULT {
        fields.insert("bucket_rows".into(), json!(caps.bucket_rows));
    }
    fields.into()
}

fn identifier(rule: &IdentifierRule) -> Value {
    let mut fields = serde_json::Map::new();
    fields.insert("type".into(), json!(rule.identifier));
    fields.insert("rules".into(), json!(rule.rules));
    if let Some(region) = rule.default_region {
        fields.insert("default_region".into(), json!(region));
    }
    fields.into()
}

fn tag(tag: &Tag) -> Value {
    let mut fields = tag.definition_json();
    fields.insert("form".into(), json!(tag.form()));
    fields.insert("level".into(), json!(tag.level()));
    fields.into()
}

/// Without what only a delivered tag has.
fn segment_tag(tag: &SegmentTag) -> Value {
    let tag = tag.definition();
    let mut fields = tag.definition_json();
    for key in ["tolerance", "levels", "bands"] {
        fields.remove(key);
    }
    fields.insert("values".into(), json!(tag.values()));
    fields.into()
}

fn segment(segment: &Segment) -> Value {
    json!({ "name": segment.name, "where": segment.predicate.text() })
}
