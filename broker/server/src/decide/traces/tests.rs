use counterfoil_audit::entry::{Event, List, ReleaseMarks};
use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::approval::{Approval, Endorsement, Role, TwoPersonApproval, all_lineages};
use counterfoil_policy::keys::PersonKey;
use counterfoil_policy::text::{ContentDigest, ScoringId};
use time::Duration;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::testing::{
    House, Story, agreement, bank, granted_event, insurer, intent_event, later, moment, now,
};

const LINEAGE: &str = "bank/customers/1/16/22282";
const CONTENT: &[u8] = b"tags and cells";

fn content(rows: u64, tags: u64) -> Option<Content> {
    let sha256 = Sha256::digest(CONTENT).into();
    Some(Content {
        sha256,
        rows,
        tags,
        codes_only: false,
    })
}

fn lineage() -> String {
    LINEAGE.replace("bank", bank().org().as_str())
}

/// Something was delivered with marks.
fn delivered() -> (Story, Agreement) {
    let agreement = agreement();
    let mut story = Story::with(&agreement);
    story.told(granted_event(&agreement, 1));
    let mut intent = intent_event(&agreement, 1);
    let digest = |byte| Digest::from_bytes([byte; 32]);
    intent.marks = Some(ReleaseMarks {
        lineage: label(&lineage()),
        columns: List::new(Vec::new()).unwrap(),
        dataset_key: digest(1),
        recipient_key: digest(2),
        flow_key: digest(3),
        rows_needed: None,
        colluders_max: 0,
        changed_ppm_max: None,
        reference_key: Some(digest(4)),
        tag_key: Some(digest(8)),
    });
    story.told(intent);
    (story, agreement)
}

fn request() -> ScoringRequest {
    ScoringRequest {
        id: ScoringId::from_bytes([7; 8]),
        org: bank().keys().name,
        lineage: lineage(),
        file_sha256: ContentDigest::from_bytes([5; 32]),
        content_sha256: ContentDigest::from_bytes(Sha256::digest(CONTENT).into()),
        rows: 900,
        rows_used: 800,
        tag_key: Some(ContentDigest::from_bytes([8; 32])),
        at: moment(now()),
    }
}

fn person(house: &House, user: &str, seed: u8, role: Role, request: &ScoringRequest) -> Approval {
    let key = PersonKey::from_seed(&[seed; 32]);
    let (org, user) = (house.keys().name, user.parse().unwrap());
    let endorsed = Endorsement::issue(&house.key, &org, &user, key.public());
    Approval::sign(&key, &endorsed, role, &request.digest().unwrap())
}

fn signed(house: &House, request: &ScoringRequest) -> InstitutionSignature {
    let approved = TwoPersonApproval::new(
        request.digest().unwrap(),
        &house.keys().name,
        &house.key.public(),
        person(house, "ana", 201, Role::Maker, request),
        person(house, "bo", 202, Role::Checker, request),
    );
    InstitutionSignature::sign(&house.key, approved.unwrap())
}

fn decided(
    story: &Story,
    house: &House,
    request: &ScoringRequest,
    signature: &InstitutionSignature,
    rows: u64,
) -> Decided<Verdict> {
    let (request, signature) = (
        serde_json::to_vec(request).unwrap(),
        serde_json::to_vec(signature).unwrap(),
    );
    let asked = Asked {
        request: &request,
        authorisation: &signature,
        content: content(rows, rows),
    };
    authorise(&story.state, now(), &house.org(), &asked)
}

fn code(story: &Story, house: &House, request: &ScoringRequest, rows: u64) -> &'static str {
    let decided = decided(story, house, request, &signed(house, request), rows);
    let code = decided
        .value
        .err()
        .map_or("accepted", |refusal| refusal.code);
    let [event] = <[Event; 1]>::try_from(decided.events).unwrap();
    // A refusal stands in the log like an acceptance.
    assert_eq!(event.type_name() == "trace.authorised", code == "accepted");
    code
}

#[test]
fn two_people_of_the_owner_have_enough_rows_scored() {
    let (story, _) = delivered();
    assert_eq!(code(&story, &bank(), &request(), 800), "accepted");
    let decided = decided(
        &story,
        &bank(),
        &request(),
        &signed(&bank(), &request()),
        800,
    );
    let Event::TraceAuthorised(event) = &decided.events[0] else {
        panic!("{:?}", decided.events);
    };
    assert_eq!(event.file_sha256, Digest::from_bytes([5; 32]));
    assert_eq!(event.rows_used.value(), 800);
}

#[test]
fn others_and_other_lineages_are_refused() {
    let (story, _) = delivered();
    let unknown = "lineage_unknown";
    assert_eq!(code(&story, &insurer(), &request(), 800), unknown);
    let own = ScoringRequest {
        org: insurer().keys().name,
        ..request()
    };
    assert_eq!(code(&story, &insurer(), &own, 800), unknown);
    let other = ScoringRequest {
        lineage: lineage().replace("/1/", "/2/"),
        ..request()
    };
    assert_eq!(code(&story, &bank(), &other, 800), unknown);
}

#[test]
fn few_rows_and_other_content_are_refused() {
    let (story, _) = delivered();
    let few = ScoringRequest {
        rows_used: LEAK_ROWS_MIN - 1,
        ..request()
    };
    assert_eq!(
        code(&story, &bank(), &few, LEAK_ROWS_MIN - 1),
        "too_few_rows"
    );
    // Nor many rows of one customer, which say no more than one.
    let (json, signature) = (
        serde_json::to_vec(&request()).unwrap(),
        serde_json::to_vec(&signed(&bank(), &request())).unwrap(),
    );
    let asked = Asked {
        request: &json,
        authorisation: &signature,
        content: content(800, LEAK_ROWS_MIN - 1),
    };
    let refused = authorise(&story.state, now(), &bank().org(), &asked).value;
    assert_eq!(
        refused.err().map(|refusal| refusal.code),
        Some("too_few_rows")
    );
    assert_eq!(code(&story, &bank(), &request(), 799), "content_differs");
    let more = ScoringRequest {
        rows: 799,
        ..request()
    };
    assert_eq!(code(&story, &bank(), &more, 800), "content_differs");
    let other = ScoringRequest {
        content_sha256: ContentDigest::from_bytes([9; 32]),
        ..request()
    };
    assert_eq!(code(&story, &bank(), &other, 800), "content_differs");
    // Nor is anything scored of which nothing came.
    let asked = Asked {
        content: None,
        ..asked
    };
    let refused = authorise(&story.state, now(), &bank().org(), &asked).value;
    assert_eq!(
        refused.err().map(|refusal| refusal.code),
        Some("content_differs")
    );
}

/// No score is made of codes, so a single row is enough.
#[test]
fn a_single_row_is_looked_at_if_it_has_a_code_and_nothing_else() {
    let (story, _) = delivered();
    let one = ScoringRequest {
        rows_used: 1,
        ..of_codes()
    };
    let (json, signature) = (
        serde_json::to_vec(&one).unwrap(),
        serde_json::to_vec(&signed(&bank(), &one)).unwrap(),
    );
    for codes_only in [true, false] {
        let content = content(1, 1).map(|content| Content {
            codes_only,
            ..content
        });
        let asked = Asked {
            request: &json,
            authorisation: &signature,
            content,
        };
        let verdict = authorise(&story.state, now(), &bank().org(), &asked).value;
        assert_eq!(verdict.is_ok(), codes_only);
    }
    // Nor are codes alone looked for under a lineage's name, where they would count as a scoring.
    let content = content(800, 800).map(|content| Content {
        codes_only: true,
        ..content
    });
    let (json, signature) = (
        serde_json::to_vec(&request()).unwrap(),
        serde_json::to_vec(&signed(&bank(), &request())).unwrap(),
    );
    let asked = Asked {
        request: &json,
        authorisation: &signature,
        content,
    };
    let verdict = authorise(&story.state, now(), &bank().org(), &asked).value;
    assert_eq!(
        verdict.err().map(|refusal| refusal.code),
        Some("content_differs")
    );
}

fn of_codes() -> ScoringRequest {
    ScoringRequest {
        lineage: all_lineages(&bank().keys().name),
        tag_key: None,
        ..request()
    }
}

#[test]
fn mark_tags_are_of_the_key_that_the_log_has() {
    let (story, _) = delivered();
    let with = |tag_key: Option<[u8; 32]>| {
        let request = ScoringRequest {
            tag_key: tag_key.map(ContentDigest::from_bytes),
            ..request()
        };
        code(&story, &bank(), &request, 800)
    };
    assert_eq!(with(Some([8; 32])), "accepted");
    assert_eq!(with(Some([9; 32])), "tag_key_differs");
    assert_eq!(with(None), "tag_key_missing");
}

#[test]
fn files_with_codes_alone_have_a_quota_of_their_own() {
    let (mut story, _) = delivered();
    let ask = |story: &Story, of: &ScoringRequest, codes_only: bool| {
        let json = serde_json::to_vec(of).unwrap();
        let signature = serde_json::to_vec(&signed(&bank(), of)).unwrap();
        let content = content(800, 800).map(|content| Content {
            codes_only,
            ..content
        });
        let asked = Asked {
            request: &json,
            authorisation: &signature,
            content,
        };
        authorise(&story.state, now(), &bank().org(), &asked)
    };
    for number in 0..CODE_FILES_MAX {
        let of = ScoringRequest {
            id: ScoringId::from_bytes([number as u8; 8]),
            ..of_codes()
        };
        let decided = ask(&story, &of, true);
        assert!(decided.value.is_ok(), "{number}");
        for event in decided.events {
            story.tell_at(now(), event).unwrap();
        }
    }
    let refused = ask(
        &story,
        &ScoringRequest {
            rows: 901,
            ..of_codes()
        },
        true,
    );
    assert_eq!(
        refused.value.err().map(|refusal| refusal.code),
        Some("scorings_used_up")
    );
    // The lineage's own is untouched.
    assert!(ask(&story, &request(), false).value.is_ok());
}

/// Before it receives anything the broker knows who may have something scored.
#[test]
fn without_two_peoples_signatures_no_content_is_received() {
    let (story, _) = delivered();
    let permitted = |house: &House, signature: &InstitutionSignature| {
        let request = serde_json::to_vec(&request()).unwrap();
        let signature = serde_json::to_vec(signature).unwrap();
        let permitted = permitted(&story.state, now(), &house.org(), &request, &signature);
        permitted.map(|_| ()).map_err(|refusal| refusal.code)
    };
    assert_eq!(permitted(&bank(), &signed(&bank(), &request())), Ok(()));
    let other = signed(&insurer(), &request());
    assert_eq!(permitted(&bank(), &other), Err("two_people"));
    assert_eq!(permitted(&insurer(), &other), Err("lineage_unknown"));
}

#[test]
fn one_person_or_a_signature_over_something_else_is_refused() {
    let (story, _) = delivered();
    let refused = |signature: &InstitutionSignature| {
        let verdict = decided(&story, &bank(), &request(), signature, 800).value;
        verdict.err().map(|refusal| refusal.code)
    };
    let elsewhere = ScoringRequest {
        rows: 901,
        ..request()
    };
    assert_eq!(refused(&signed(&bank(), &elsewhere)), Some("two_people"));
    assert_eq!(refused(&signed(&insurer(), &request())), Some("two_people"));
    // Maker and checker are one: no institution's program signs that, so its JSON is put together.
    let mut alone = serde_json::to_value(signed(&bank(), &request())).unwrap();
    let checker = person(&bank(), "ana", 201, Role::Checker, &request());
    alone["checker"] = serde_json::to_value(checker).unwrap();
    assert_eq!(
        refused(&serde_json::from_value(alone).unwrap()),
        Some("two_people")
    );
}

#[test]
fn a_request_is_scored_once_and_a_lineage_few_times_in_a_month() {
    let (mut story, _) = delivered();
    let at = |number: usize| ScoringRequest {
        id: ScoringId::from_bytes([number as u8; 8]),
        ..request()
    };
    for number in 0..SCORINGS_MAX {
        let request = at(number);
        let decided = decided(&story, &bank(), &request, &signed(&bank(), &request), 800);
        for event in decided.events {
            story.tell_at(now(), event).unwrap();
        }
        if number == 0 {
            assert_eq!(code(&story, &bank(), &request, 800), "scored_already");
        }
    }
    assert_eq!(
        code(&story, &bank(), &at(SCORINGS_MAX), 800),
        "scorings_used_up"
    );
    let month = later(now(), Duration::days(30) + Duration::SECOND);
    let request = at(SCORINGS_MAX);
    let (json, signature) = (
        serde_json::to_vec(&request).unwrap(),
        serde_json::to_vec(&signed(&bank(), &request)).unwrap(),
    );
    let asked = Asked {
        request: &json,
        authorisation: &signature,
        content: content(800, 800),
    };
    assert!(
        authorise(&story.state, month, &bank().org(), &asked)
            .value
            .is_ok()
    );
}
