//! Having a leaked file scored: two people of the owner, like an agreement.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::moment::Timestamp;
use crate::text::{AgreementDigest, ContentDigest, OrgName, ScoringId};

/// Sets what is approved here apart from agreements, whose canonical form begins with a brace.
const DOMAIN: &[u8] = b"counterfoil scoring request v1\n";

/// What is to be scored, and nothing of what is in it.
///
/// Scores are an oracle for symbols: two people answer for each one, and it stands in the log before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoringRequest {
    /// Makes a request differ from its repetition, also within a second.
    pub id: ScoringId,
    /// The owner of the lineage.
    pub org: OrgName,
    /// The lineage, `OWNER/DATASET/EPOCH/BITS/SELECTED`; or [`all_lineages`] of the owner.
    pub lineage: String,
    /// Digest of the leaked file, byte for byte.
    pub file_sha256: ContentDigest,
    /// Digest of the mark tags and cells that the broker is sent in its place.
    pub content_sha256: ContentDigest,
    /// Rows of the file.
    pub rows: u64,
    /// Rows whose customers the owner knows, of which something is sent.
    pub rows_used: u64,
    /// Commitment to the key that the mark tags are made with, as the entries of the lineage's releases have it. Absent where
    /// no mark tags are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_key: Option<ContentDigest>,
    /// When the maker asked, by the owner's clock.
    pub at: Timestamp,
}

/// In place of a lineage: reference codes alone are looked for, in all of the owner's, and no marks are scored. No dataset has
/// such a name.
#[must_use]
pub fn all_lineages(owner: &OrgName) -> String {
    format!("{owner}/*")
}

impl ScoringRequest {
    /// Whether only reference codes are looked for.
    #[must_use]
    pub fn is_of_codes(&self) -> bool {
        self.lineage == all_lineages(&self.org)
    }

    /// What maker, checker and institution sign: SHA-256 over a line of its own and RFC 8785 JSON. `None` if a number
    /// has no exact form there.
    #[must_use]
    pub fn digest(&self) -> Option<AgreementDigest> {
        let canonical = serde_json_canonicalizer::to_vec(self).ok()?;
        let digest = Sha256::new().chain_update(DOMAIN).chain_update(canonical);
        Some(AgreementDigest::from_bytes(digest.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ScoringRequest {
        ScoringRequest {
            id: ScoringId::from_bytes([7; 8]),
            org: "north-bank".parse().unwrap(),
            lineage: "north-bank/customers/1/16/2065".into(),
            file_sha256: ContentDigest::from_bytes([1; 32]),
            content_sha256: ContentDigest::from_bytes([2; 32]),
            rows: 900,
            rows_used: 800,
            tag_key: Some(ContentDigest::from_bytes([4; 32])),
            at: "2026-06-01T12:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn every_field_is_signed() {
        let of = |change: fn(&mut ScoringRequest)| {
            let mut request = request();
            change(&mut request);
            request.digest().unwrap()
        };
        let changed = [
            of(|_| ()),
            of(|r| r.id = ScoringId::from_bytes([8; 8])),
            of(|r| r.org = "south-bank".parse().unwrap()),
            of(|r| r.lineage.push('7')),
            of(|r| r.file_sha256 = ContentDigest::from_bytes([3; 32])),
            of(|r| r.content_sha256 = ContentDigest::from_bytes([3; 32])),
            of(|r| r.rows += 1),
            of(|r| r.tag_key = Some(ContentDigest::from_bytes([3; 32]))),
            of(|r| r.tag_key = None),
            of(|r| r.rows_used += 1),
            of(|r| r.at = "2026-06-01T12:00:01Z".parse().unwrap()),
        ];
        for (index, digest) in changed.iter().enumerate() {
            assert!(!changed[..index].contains(digest), "{index}");
        }
    }

    #[test]
    fn json_is_read_back_and_strangers_keys_are_refused() {
        let json = serde_json::to_string(&request()).unwrap();
        let again: ScoringRequest = serde_json::from_str(&json).unwrap();
        assert_eq!(again, request());
        let more = json.replacen('{', "{\"score\":1,", 1);
        assert!(serde_json::from_str::<ScoringRequest>(&more).is_err());
    }
}
