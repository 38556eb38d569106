//! What the crate's tests share: a log key, and a small log that tells a whole story.

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use serde_json::json;

use crate::{
    checkpoint::{Checkpoint, VerifiedCheckpoint},
    entry::*,
    note::{KeyName, SignerKey},
    tree::Tree,
};

pub(crate) const ORIGIN: &str = "broker.example/log";
/// 2026-11-23T09:00:00Z.
pub(crate) const START_MICROS: u64 = 1_795_424_400_000_000;

pub(crate) fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

pub(crate) fn signer() -> SignerKey {
    SignerKey::generate(KeyName::new(ORIGIN).unwrap(), &mut rng(1))
}

pub(crate) fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

pub(crate) fn org(text: &str) -> OrgName {
    OrgName::new(text).unwrap()
}

pub(crate) fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

pub(crate) fn flow(byte: u8) -> FlowId {
    FlowId::from_bytes([byte; 16])
}

pub(crate) fn time(seconds: u64) -> Timestamp {
    Timestamp::from_unix_micros(START_MICROS + seconds * 1_000_000).unwrap()
}

/// An entry `seconds` after the start.
pub(crate) fn entry_at(seconds: u64, event: impl Into<Event>) -> Entry {
    let random = EntryRandom::draw(&mut rng(seconds as u8));
    let actor = Actor {
        org: org("meridian-bank"),
        user: Some(label("u-17")),
        cert_sha256: Some(digest(9)),
    };
    Entry::new(
        time(seconds),
        &random,
        label("broker.example"),
        actor,
        event,
    )
}

pub(crate) fn agreement() -> AgreementRef {
    AgreementRef {
        id: label("agr-cross-sell"),
        version: 1,
        sha256: digest(3),
    }
}

pub(crate) fn decision() -> Decision {
    Decision {
        outcome: label("denied"),
        code: label("tag_not_in_agreement"),
        field: Some(label("tags")),
        rule: None,
        source: None,
        message: Sentence::new("a tag is not in the agreement").unwrap(),
        would_pass: Sentence::new("ask for tags that the agreement lists").ok(),
    }
}

pub(crate) fn recipient() -> Recipient {
    Recipient {
        org: org("harbour-life"),
        key_id: label("k-1"),
    }
}

pub(crate) fn granted(byte: u8) -> FlowGranted {
    FlowGranted {
        flow: flow(byte),
        agreement: agreement(),
        kind: FlowKind::Exchange,
        purpose: label("cross-sell"),
        legal_basis: label("consent"),
        segment: None,
        identifier: label("phone"),
        tags: List::new(vec![label("risk_appetite"), label("wealth_tier")]).unwrap(),
        protocol: label("dh"),
        request_sha256: digest(100 + byte),
        source: Source {
            org: org("meridian-bank"),
            dataset: label("retail"),
        },
        recipient: recipient(),
        set_size: Integer::new(65_536).unwrap(),
        measure: None,
        reserved: None,
    }
}

pub(crate) fn intent(byte: u8) -> ReleaseIntent {
    let column = |name| Column {
        name: label(name),
        class: label("C2"),
        form: label("banded"),
    };
    ReleaseIntent {
        flow: flow(byte),
        agreement: agreement(),
        purpose: label("cross-sell"),
        legal_basis: label("consent"),
        protocol: label("dh"),
        source: ReleaseSource {
            org: org("meridian-bank"),
            dataset: label("retail"),
            segment: None,
            columns: List::new(vec![column("risk_appetite"), column("wealth_tier")]).unwrap(),
        },
        transform: Transform {
            kind: label("k-anonymity"),
            code_version: label("0.1.0"),
            k: 10,
            removed: Removed {
                generalised: CoarseCount::new("10-99").unwrap(),
                suppressed: CoarseCount::new("under 10").unwrap(),
                without_consent: None,
                tags: List::new(Vec::new()).unwrap(),
            },
        },
        result: ReleaseResult {
            rows: CoarseCount::new("100-999").unwrap(),
            bytes: Integer::new(65_536).unwrap(),
            sha256: digest(6),
        },
        recipient: recipient(),
        retention: Retention {
            until: time(86_400),
            deletion_due: time(172_800),
        },
        marks: None,
        spent: None,
    }
}

pub(crate) fn outcome(byte: u8, intent: u64) -> ReleaseOutcome {
    let intent = Integer::new(intent).unwrap();
    ReleaseOutcome {
        flow: flow(byte),
        intent,
        outcome: Outcome::Delivered,
    }
}

pub(crate) fn joined(name: &str) -> PartnerJoined {
    PartnerJoined {
        invite: label("inv-1"),
        org: org(name),
        signing_key: PublicKey::from_bytes([1; 32]),
        noise_key: PublicKey::from_bytes([2; 32]),
        cert_sha256: digest(9),
        cert_expires: time(90_000),
    }
}

/// Every kind of event but [`assessments`] and [`traces`] once, in an order that holds together.
pub(crate) fn story() -> Vec<Event> {
    let signature = || Document::new(json!({"maker": "u-1", "checker": "u-2"})).unwrap();
    let reason = || Sentence::new("contract ended").unwrap();
    let document =
        Document::new(json!({"k": 10, "zweck": "Kundenabgleich € \u{1}", "a": [true, null]}));
    vec![
        BrokerInitialised {
            vkey: label("v"),
            ca_sha256: digest(1),
        }
        .into(),
        InviteIssued {
            invite: label("inv-1"),
            org: org("meridian-bank"),
            secret_sha256: digest(2),
            expires: time(3_600),
        }
        .into(),
        joined("meridian-bank").into(),
        AgreementRefused {
            agreement: None,
            decision: decision(),
        }
        .into(),
        AgreementProposed {
            agreement: agreement(),
            document: document.unwrap(),
            signature: signature(),
        }
        .into(),
        AgreementCountersigned {
            agreement: agreement(),
            org: org("meridian-bank"),
            signature: signature(),
        }
        .into(),
        granted(1).into(),
        intent(1).into(),
        outcome(1, 7).into(),
        DeliveryAcknowledged {
            flow: flow(1),
            sha256: digest(6),
        }
        .into(),
        FlowDenied {
            flow: flow(2),
            agreement: Some(agreement()),
            request_sha256: digest(5),
            asked: Some(Asked {
                kind: FlowKind::Exchange,
                purpose: label("cross-sell"),
                segment: None,
                identifier: label("phone"),
                tags: List::new(vec![label("risk_appetite")]).unwrap(),
                set_size: Integer::new(1).unwrap(),
                measure: None,
                issued_at: time(1),
                expires_at: time(2),
            }),
            decision: decision(),
            recipient: recipient(),
        }
        .into(),
        granted(3).into(),
        FlowDeclined {
            flow: flow(3),
            org: org("meridian-bank"),
            decision: decision(),
            spent: None,
        }
        .into(),
        granted(4).into(),
        FlowAborted {
            flow: flow(4),
            stage: label("join"),
            reason: reason(),
            spent: None,
        }
        .into(),
        granted(5).into(),
        FlowRefused {
            flow: flow(5),
            decision: decision(),
            spent: None,
        }
        .into(),
        AgreementRevoked {
            agreement: agreement(),
            org: org("meridian-bank"),
            reason: reason(),
            signature: signature(),
        }
        .into(),
        PartnerRevoked {
            org: org("harbour-life"),
            reason: reason(),
        }
        .into(),
    ]
}

/// Two officers assess an institution; beside the [`story`], whose length the tests of trees and proofs count on.
pub(crate) fn assessments() -> Vec<Event> {
    vec![
        OfficerAdded {
            user: label("o-1"),
            key: label("ed25519:k"),
        }
        .into(),
        AssessmentProposed {
            org: org("meridian-bank"),
            assessment: Document::new(json!({"standing": 90})).unwrap(),
            sha256: digest(7),
            maker: label("o-1"),
            signature: label("s"),
        }
        .into(),
        AssessmentApproved {
            org: org("meridian-bank"),
            sha256: digest(7),
            checker: label("o-2"),
            signature: label("s"),
        }
        .into(),
        AssessmentRefused {
            decision: decision(),
        }
        .into(),
    ]
}

/// Leaked files of marked deliveries, and canaries that were hit; beside the [`story`], for the same reason.
pub(crate) fn traces() -> Vec<Event> {
    let marked = |byte| ReleaseIntent {
        marks: Some(marks(byte)),
        ..intent(byte)
    };
    let failed = Sentence::new("the file cannot be read").unwrap();
    vec![
        story()[5].clone(),
        granted(1).into(),
        marked(1).into(),
        granted(2).into(),
        marked(2).into(),
        authorised(21).into(),
        IncidentOpened {
            incident: label("i-1"),
            org: org("meridian-bank"),
            lineage: label(LINEAGE),
            file_sha256: digest(12),
        }
        .into(),
        concluded(5).into(),
        authorised(22).into(),
        TraceFailed {
            org: org("meridian-bank"),
            scoring: Integer::new(8).unwrap(),
            reason: failed,
        }
        .into(),
        TraceRefused {
            org: org("meridian-bank"),
            decision: decision(),
        }
        .into(),
        granted(3).into(),
        CanariesCommitted {
            flow: flow(3),
            count: Integer::new(8).unwrap(),
            expected_rate: label("0.000001"),
            codes_sha256: digest(13),
        }
        .into(),
        IncidentCanaries {
            incident: label("i-2"),
            flow: flow(3),
            committed: Integer::new(12).unwrap(),
            hits: CoarseCount::new("under 10").unwrap(),
            record_sha256: digest(14),
        }
        .into(),
    ]
}

pub(crate) const LINEAGE: &str = "meridian-bank/retail/1/16/2065";

/// The marks of a release to the [`recipient`].
pub(crate) fn marks(byte: u8) -> ReleaseMarks {
    ReleaseMarks {
        lineage: label(LINEAGE),
        columns: List::new(vec![label("wealth_tier")]).unwrap(),
        dataset_key: digest(30),
        recipient_key: digest(31),
        flow_key: digest(40 + byte),
        rows_needed: Integer::new(700).ok(),
        colluders_max: 3,
        reference_key: Some(digest(50 + byte)),
        changed_ppm_max: Some(20_000),
        tag_key: Some(digest(32)),
    }
}

/// A scoring by two people; `byte` makes its request another one.
pub(crate) fn authorised(byte: u8) -> TraceAuthorised {
    let person = |user: &str| json!({"user": user, "user_key": format!("ed25519:{user}")});
    let request = json!({
        "org": "meridian-bank",
        "lineage": LINEAGE,
        "file_sha256": digest(12).to_string(),
        "tag_key": digest(32).to_string(),
        "rows_used": 800,
    });
    let authorisation = json!({"maker": person("u-1"), "checker": person("u-2")});
    TraceAuthorised {
        org: org("meridian-bank"),
        lineage: label(LINEAGE),
        request: Document::new(request).unwrap(),
        authorisation: Document::new(authorisation).unwrap(),
        request_sha256: digest(byte),
        file_sha256: digest(12),
        rows_used: Integer::new(800).unwrap(),
        tag_key: Some(digest(32)),
    }
}

pub(crate) fn concluded(scoring: u64) -> TraceConcluded {
    let named = || List::new(vec![recipient().org]).unwrap();
    TraceConcluded {
        org: org("meridian-bank"),
        incident: label("i-1"),
        scoring: Integer::new(scoring).unwrap(),
        candidates: Integer::new(3).unwrap(),
        named: named(),
        coded: Some(named()),
        report_sha256: digest(15),
    }
}

/// The story's entries, a second apart.
pub(crate) fn story_entries() -> Vec<EntryBytes> {
    let events = story().into_iter().enumerate();
    events
        .map(|(at, event)| entry_at(at as u64, event).encode().unwrap())
        .collect()
}

/// A tree over entries.
pub(crate) fn tree_of(entries: &[EntryBytes]) -> Tree {
    let mut tree = Tree::new();
    entries
        .iter()
        .for_each(|entry| tree.push(entry.leaf_hash()));
    tree
}

/// The signed checkpoint over all of a tree.
pub(crate) fn sign(tree: &Tree) -> VerifiedCheckpoint {
    Checkpoint::of(KeyName::new(ORIGIN).unwrap(), tree)
        .sign(&signer())
        .unwrap()
}
