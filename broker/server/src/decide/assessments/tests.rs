use counterfoil_policy::keys::PersonKey;

use super::*;
use crate::testing::{Story, bank, moment, now, stranger};

struct Officer {
    user: &'static str,
    key: PersonKey,
}

fn officer_of(user: &'static str, seed: u8) -> Officer {
    Officer {
        user,
        key: PersonKey::from_seed(&[seed; 32]),
    }
}

fn ana() -> Officer {
    officer_of("ana", 51)
}

fn bo() -> Officer {
    officer_of("bo", 52)
}

impl Officer {
    fn sign(&self, role: Role, digest: &[u8; 32]) -> String {
        let user = self.user.parse().unwrap();
        let signed = OfficerSignature::sign(&self.key, &user, role, digest);
        signed.signature.to_string()
    }
}

/// The bank has joined, and there are two officers.
fn staffed() -> Story {
    let mut story = Story::begun();
    for officer in [ana(), bo()] {
        let added = add_officer(
            &story.state,
            officer.user,
            &officer.key.public().to_string(),
        );
        accepted(&mut story, added);
    }
    story
}

fn accepted(story: &mut Story, decided: Decided<Verdict>) {
    assert_eq!(decided.value.as_ref().err(), None);
    let [event] = <[Event; 1]>::try_from(decided.events).unwrap();
    story.told(event);
}

#[track_caller]
fn refused(story: &mut Story, decided: Decided<Verdict>, code: &str) {
    assert_eq!(decided.value.unwrap_err().code, code);
    let [event] = <[Event; 1]>::try_from(decided.events).unwrap();
    let Event::AssessmentRefused(entry) = &event else {
        panic!("{event:?}");
    };
    assert_eq!(entry.decision.code.as_str(), code);
    story.told(event);
}

fn assessment(org: &str, standing: u8) -> Assessment {
    let facts = format!(r#"{{"standing":{standing},"certifications":{{"mlps-3":"2099-12-31"}}}}"#);
    Assessment {
        org: org.parse().unwrap(),
        facts: serde_json::from_str(&facts).unwrap(),
        at: moment(now()),
    }
}

fn proposed(story: &Story, by: &Officer, assessment: &Assessment) -> Decided<Verdict> {
    let signature = by.sign(Role::Maker, &assessment.digest().unwrap());
    let json = serde_json::to_vec(assessment).unwrap();
    propose(&story.state, &json, by.user, &signature)
}

fn approved(story: &Story, by: &Officer, assessment: &Assessment) -> Decided<Verdict> {
    let digest = assessment.digest().unwrap();
    let signature = by.sign(Role::Checker, &digest);
    approve(
        &story.state,
        &Digest::from_bytes(digest),
        by.user,
        &signature,
    )
}

fn standing(story: &Story) -> Option<u8> {
    let facts = story.state.assessments.of(bank().name);
    facts.map(|facts| facts.standing.score())
}

#[test]
fn two_officers_assess() {
    let mut story = staffed();
    let found = assessment(bank().name, 90);
    let one = proposed(&story, &ana(), &found);
    accepted(&mut story, one);
    assert_eq!(standing(&story), None, "one officer changes nothing");
    let two = approved(&story, &bo(), &found);
    accepted(&mut story, two);
    assert_eq!(standing(&story), Some(90));
}

#[test]
fn one_officer_alone_cannot() {
    let mut story = staffed();
    let found = assessment(bank().name, 90);
    let one = proposed(&story, &ana(), &found);
    accepted(&mut story, one);
    let alone = approved(&story, &ana(), &found);
    refused(&mut story, alone, "same_person");
    // Ana's key under Bo's name, and her own signature as maker in the place of a checker's.
    let forged = Officer {
        user: "bo",
        key: ana().key,
    };
    let in_his_name = approved(&story, &forged, &found);
    refused(&mut story, in_his_name, "signature_invalid");
    let digest = found.digest().unwrap();
    let as_maker = bo().sign(Role::Maker, &digest);
    let wrong_role = approve(&story.state, &Digest::from_bytes(digest), "bo", &as_maker);
    refused(&mut story, wrong_role, "signature_invalid");
    let unknown = approved(&story, &officer_of("eve", 53), &found);
    refused(&mut story, unknown, "officer_unknown");
    // A second name for the same key is no second person.
    let twin = add_officer(&story.state, "cy", &ana().key.public().to_string());
    refused(&mut story, twin, "officer_exists");
    assert_eq!(standing(&story), None);
}

#[test]
fn an_approval_serves_once_and_for_what_was_proposed() {
    let mut story = staffed();
    let (good, bad) = (assessment(bank().name, 100), assessment(bank().name, 10));
    for found in [&good, &bad] {
        let one = proposed(&story, &ana(), found);
        accepted(&mut story, one);
    }
    let two = approved(&story, &bo(), &bad);
    accepted(&mut story, two);
    // The other proposal was left behind, and neither can be brought up again.
    for found in [&good, &bad] {
        let again = approved(&story, &bo(), found);
        refused(&mut story, again, "not_waiting");
        let again = proposed(&story, &ana(), found);
        refused(&mut story, again, "proposed_already");
    }
    assert_eq!(standing(&story), Some(10));
}

#[test]
fn what_is_assessed_has_joined_and_is_well_formed() {
    let mut story = staffed();
    let nobody = proposed(&story, &ana(), &assessment(stranger().name, 90));
    refused(&mut story, nobody, "partner_unknown");
    for json in [
        "{}",
        r#"{"org":"north-bank","facts":{"standing":101},"at":"2026-01-01T00:00:00Z"}"#,
    ] {
        let malformed = propose(&story.state, json.as_bytes(), "ana", "-");
        refused(&mut story, malformed, "malformed");
    }
    let large = vec![b' '; ASSESSMENT_BYTES_MAX + 1];
    let too_large = propose(&story.state, &large, "ana", "-");
    refused(&mut story, too_large, "malformed");
}
