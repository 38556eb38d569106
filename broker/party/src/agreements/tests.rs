use counterfoil_policy::agreement::Side;
use counterfoil_policy::taxonomy::Library;

use super::*;
use crate::clock::Clock;
use crate::partners::confirm_for_test;
use crate::testkit::{agreement_text, home_of};

/// Two institutions with two people each, and between them what a broker would carry.
struct Scene {
    _dirs: (tempfile::TempDir, tempfile::TempDir),
    owner: Home,
    recipient: Home,
}

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn id() -> AgreementId {
    "north-bank-east-life-tags".parse().unwrap()
}

fn unconfirmed() -> Scene {
    let (a, owner) = home_of("north-bank", Clock::system());
    let (b, recipient) = home_of("east-life", Clock::system());
    for name in ["alice", "bob"] {
        owner.add_person(&user(name)).unwrap();
    }
    for name in ["carol", "dave"] {
        recipient.add_person(&user(name)).unwrap();
    }
    Scene {
        _dirs: (a, b),
        owner,
        recipient,
    }
}

fn scene() -> Scene {
    let scene = unconfirmed();
    confirm_for_test(&scene.owner, &scene.recipient.party_keys().unwrap());
    confirm_for_test(&scene.recipient, &scene.owner.party_keys().unwrap());
    scene
}

impl Scene {
    fn text(&self, version: u32) -> String {
        agreement_text(&self.owner, &self.recipient, version)
    }

    /// What `sign` does here, without a broker.
    fn sign(home: &Home, name: &str) -> Result<Record> {
        let person = home.person(&user(name))?;
        let mut record = latest(home, &id())?;
        advance(home, &mut record, &person)?;
        record.store(home)?;
        Ok(record)
    }

    /// What the broker would show of a record.
    fn shown(record: &Record) -> counterfoil_proto::v1::Agreement {
        let signatures = [record.ours.clone(), record.theirs.clone()]
            .into_iter()
            .flatten()
            .collect();
        wire::shown(
            record.agreement.clone(),
            signatures,
            record.revocation.clone(),
        )
    }

    fn receive(home: &Home, shown: &counterfoil_proto::v1::Agreement) -> Result<Listing> {
        let mut synced = Listing {
            agreements: Vec::new(),
            skipped: Vec::new(),
        };
        take_in(home, wire::parse_for_test(shown)?, &mut synced)?;
        Ok(synced)
    }

    /// Signs a version on both sides, as two commands of each side would.
    fn countersign(&self, version: u32) {
        propose(&self.owner, &self.text(version), &user("alice")).unwrap();
        let proposed = Self::sign(&self.owner, "bob").unwrap();
        Self::receive(&self.recipient, &Self::shown(&proposed)).unwrap();
        Self::sign(&self.recipient, "carol").unwrap();
        let signed = Self::sign(&self.recipient, "dave").unwrap();
        Self::receive(&self.owner, &Self::shown(&signed)).unwrap();
    }
}

fn status(home: &Home) -> Status {
    info::of(&latest(home, &id()).unwrap()).status
}

#[test]
fn two_people_on_each_side_make_it_active_on_both() {
    let scene = scene();
    let info = propose(&scene.owner, &scene.text(1), &user("alice")).unwrap();
    assert_eq!(
        (info.status, info.our_side),
        (Status::AwaitingChecker, "owner")
    );
    assert!(info.awaiting.unwrap().contains("not `alice`"));
    assert!(active(&scene.owner, &id()).is_err());

    let proposed = Scene::sign(&scene.owner, "bob").unwrap();
    assert_eq!(status(&scene.owner), Status::NotSent);

    Scene::receive(&scene.recipient, &Scene::shown(&proposed)).unwrap();
    assert_eq!(status(&scene.recipient), Status::AwaitingMaker);
    Scene::sign(&scene.recipient, "carol").unwrap();
    assert_eq!(status(&scene.recipient), Status::AwaitingChecker);
    let signed = Scene::sign(&scene.recipient, "dave").unwrap();
    assert_eq!(status(&scene.recipient), Status::Active);

    Scene::receive(&scene.owner, &Scene::shown(&signed)).unwrap();
    let held = active(&scene.owner, &id()).unwrap();
    assert_eq!(held, active(&scene.recipient, &id()).unwrap());
    assert_eq!(held.side_of(scene.owner.org()), Some(Side::Owner));
}

#[test]
fn maker_and_checker_must_be_two() {
    let scene = scene();
    propose(&scene.owner, &scene.text(1), &user("alice")).unwrap();
    let error = Scene::sign(&scene.owner, "alice").unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("same_person", 4));
    let denial = error.denial().unwrap();
    assert!(
        denial
            .message
            .contains("maker and checker are the same user `alice`"),
        "{denial}"
    );
    assert_eq!(status(&scene.owner), Status::AwaitingChecker);
    assert!(Scene::sign(&scene.owner, "bob").is_ok());

    // On the countersigning side too.
    let shown = Scene::shown(&latest(&scene.owner, &id()).unwrap());
    Scene::receive(&scene.recipient, &shown).unwrap();
    Scene::sign(&scene.recipient, "carol").unwrap();
    assert_eq!(
        Scene::sign(&scene.recipient, "carol").unwrap_err().code(),
        "same_person"
    );
    assert!(Scene::sign(&scene.recipient, "dave").is_ok());
}

#[test]
fn a_partner_that_is_not_confirmed_is_refused_on_both_sides() {
    let scene = unconfirmed();
    let error = propose(&scene.owner, &scene.text(1), &user("alice")).unwrap_err();
    assert_eq!(
        (error.code(), error.exit_code()),
        ("partner_not_confirmed", 7)
    );
    assert!(
        error
            .to_string()
            .contains("counterfoil party confirm-partner east-life FINGERPRINT"),
        "{error}"
    );

    confirm_for_test(&scene.owner, &scene.recipient.party_keys().unwrap());
    propose(&scene.owner, &scene.text(1), &user("alice")).unwrap();
    let proposed = Scene::sign(&scene.owner, "bob").unwrap();
    let synced = Scene::receive(&scene.recipient, &Scene::shown(&proposed)).unwrap();
    let error = refuse_skipped(synced, &id()).unwrap_err();
    assert_eq!(error.code(), "partner_not_confirmed");
    assert!(list(&scene.recipient).unwrap().agreements.is_empty());

    confirm_for_test(&scene.recipient, &scene.owner.party_keys().unwrap());
    let synced = Scene::receive(&scene.recipient, &Scene::shown(&proposed)).unwrap();
    assert!(refuse_skipped(synced, &id()).is_ok());
}

#[test]
fn a_broker_that_swaps_the_partners_keys_is_caught() {
    let scene = scene();
    // The broker makes a partner of its own with the partner's name and proposes in its name.
    let (_dir, impostor) = home_of("north-bank", Clock::system());
    for name in ["alice", "bob"] {
        impostor.add_person(&user(name)).unwrap();
    }
    confirm_for_test(&impostor, &scene.recipient.party_keys().unwrap());
    propose(
        &impostor,
        &agreement_text(&impostor, &scene.recipient, 1),
        &user("alice"),
    )
    .unwrap();
    let forged = Scene::sign(&impostor, "bob").unwrap();
    let synced = Scene::receive(&scene.recipient, &Scene::shown(&forged)).unwrap();
    let error = refuse_skipped(synced, &id()).unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("keys_changed", 6));
}

#[test]
fn what_the_broker_alters_does_not_verify() {
    let scene = scene();
    propose(&scene.owner, &scene.text(1), &user("alice")).unwrap();
    let proposed = Scene::sign(&scene.owner, "bob").unwrap();
    let good = Scene::shown(&proposed);

    let mut digest = good.clone();
    digest.digest[0] ^= 1;
    assert!(
        Scene::receive(&scene.recipient, &digest)
            .unwrap_err()
            .to_string()
            .contains("another digest")
    );

    let other = Agreement::parse(&scene.text(1).replace("k = 10", "k = 5")).unwrap();
    let swapped = wire::shown(other, vec![proposed.ours.clone().unwrap()], None);
    let error = Scene::receive(&scene.recipient, &swapped).unwrap_err();
    assert_eq!(
        (error.code(), error.exit_code()),
        ("unverified", 6),
        "{error}"
    );

    // A text of the broker's own, with the right keys of both and nobody's signature.
    let mut unsigned = good.clone();
    unsigned.signatures.clear();
    let error = Scene::receive(&scene.recipient, &unsigned).unwrap_err();
    assert_eq!(
        (error.code(), error.exit_code()),
        ("unverified", 6),
        "{error}"
    );

    let mut three = good.clone();
    three.signatures = vec![good.signatures[0].clone(); 3];
    assert!(Scene::receive(&scene.recipient, &three).is_err());
    assert!(list(&scene.recipient).unwrap().agreements.is_empty());
    assert!(Scene::receive(&scene.recipient, &good).is_ok());
}

#[test]
fn files_are_verified_again_at_every_load() {
    let scene = scene();
    scene.countersign(1);
    let file = format!("agreements/{}-v1.json", id());
    let text = String::from_utf8(scene.owner.read(&file, 1 << 20).unwrap().unwrap()).unwrap();
    let edits = [
        (r#"\"k\":10"#, r#"\"k\":5"#),
        (r#""role":"checker""#, r#""role":"maker""#),
        (r#""user":"bob""#, r#""user":"bab""#),
        (r#""sent":"#, r#""sent_at":"#),
    ];
    for (from, to) in edits {
        assert!(text.contains(from), "{from} is not in {text}");
        scene
            .owner
            .write(&file, text.replacen(from, to, 1).as_bytes())
            .unwrap();
        let error = active(&scene.owner, &id()).unwrap_err();
        assert_eq!(error.code(), "damaged", "{from}: {error}");
    }
    scene
        .owner
        .write(format!("agreements/{}-v2.json", id()), text.as_bytes())
        .unwrap();
    scene.owner.write(&file, text.as_bytes()).unwrap();
    assert!(
        active(&scene.owner, &id())
            .unwrap_err()
            .to_string()
            .contains("than its name says")
    );
    scene
        .owner
        .remove(format!("agreements/{}-v2.json", id()))
        .unwrap();
    assert!(active(&scene.owner, &id()).is_ok());
}

#[test]
fn a_later_version_replaces_an_earlier_one_for_good() {
    let scene = scene();
    scene.countersign(1);
    scene.countersign(2);
    assert_eq!(active(&scene.owner, &id()).unwrap().version(), 2);
    let statuses: Vec<_> = list(&scene.owner)
        .unwrap()
        .agreements
        .iter()
        .map(|info| info.status)
        .collect();
    assert_eq!(statuses, [Status::Superseded, Status::Active]);
    let status_of = |version| find(&scene.owner, &id(), version).unwrap().unwrap().status;
    assert_eq!(status_of(1), AgreementStatus::Superseded { by_version: 2 });
    assert_eq!(status_of(2), AgreementStatus::Active);
    // A version that nobody has: the one in force answers, so that the refusal can name it.
    assert_eq!(
        find(&scene.owner, &id(), 7)
            .unwrap()
            .unwrap()
            .agreement
            .version(),
        2
    );

    revoke_here(&scene.owner, &id(), &user("alice")).unwrap();
    let error = active(&scene.owner, &id()).unwrap_err();
    assert!(error.to_string().contains("was revoked"), "{error}");
    assert_eq!(status_of(2), AgreementStatus::Revoked);
    assert_eq!(status_of(1), AgreementStatus::Superseded { by_version: 2 });
}

#[test]
fn a_revocation_reaches_the_other_side_and_stays() {
    let scene = scene();
    scene.countersign(1);
    let before = Scene::shown(&latest(&scene.owner, &id()).unwrap());
    let revoked = revoke_here(&scene.recipient, &id(), &user("dave")).unwrap();
    Scene::receive(&scene.owner, &Scene::shown(&revoked)).unwrap();
    assert!(active(&scene.owner, &id()).is_err());
    let info = info::of(&latest(&scene.owner, &id()).unwrap());
    assert!(info.revoked_by.unwrap().starts_with("`east-life` at "));
    // A broker that shows the time before cannot bring it back.
    Scene::receive(&scene.owner, &before).unwrap();
    assert!(active(&scene.owner, &id()).is_err());
    assert_eq!(
        Scene::sign(&scene.owner, "alice").unwrap_err().code(),
        "agreement_not_active"
    );
}

#[test]
fn an_unfinished_agreement_says_who_is_awaited() {
    let scene = scene();
    assert_eq!(
        active(&scene.owner, &id()).unwrap_err().code(),
        "unknown_agreement"
    );
    propose(&scene.owner, &scene.text(1), &user("alice")).unwrap();
    let mut record = Scene::sign(&scene.owner, "bob").unwrap();
    record.sent = true;
    record.store(&scene.owner).unwrap();
    let error = active(&scene.owner, &id()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "agreement `north-bank-east-life-tags` is not active: the signature of `east-life`"
    );
    assert_eq!(error.exit_code(), 7);
    assert_eq!(
        find(&scene.owner, &id(), 1).unwrap().unwrap().status,
        AgreementStatus::Proposed
    );
}

#[test]
fn a_version_is_proposed_once() {
    let scene = scene();
    let first = propose(&scene.owner, &scene.text(1), &user("alice")).unwrap();
    assert_eq!(
        propose(&scene.owner, &scene.text(1), &user("bob")).unwrap(),
        first
    );
    let other = scene.text(1).replace("k = 10", "k = 12");
    let error = propose(&scene.owner, &other, &user("alice")).unwrap_err();
    let denial = error.denial().unwrap();
    assert_eq!(
        (denial.code.as_str(), denial.would_pass.as_str()),
        ("version_taken", "version = 2")
    );
    assert!(
        propose(
            &scene.owner,
            &other.replace("version = 1 ", "version = 2 "),
            &user("alice")
        )
        .is_ok()
    );
}

#[test]
fn faults_strangers_and_foreign_keys_are_refused() {
    let scene = scene();
    let error = propose(&scene.owner, "id = 3", &user("alice")).unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("agreement", 3));
    assert!(error.to_string().contains("line 1"), "{error}");
    assert_eq!(
        propose(&scene.owner, &scene.text(1), &user("eve"))
            .unwrap_err()
            .code(),
        "unknown_user"
    );

    let (_c, third) = home_of("south-fund", Clock::system());
    third.add_person(&user("zoe")).unwrap();
    let error = propose(&third, &scene.text(1), &user("zoe")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("one of the two must be this one"),
        "{error}"
    );

    let (_d, namesake) = home_of("north-bank", Clock::system());
    namesake.add_person(&user("zoe")).unwrap();
    let error = propose(&namesake, &scene.text(1), &user("zoe")).unwrap_err();
    assert!(error.to_string().contains("are not this home's"), "{error}");
}

#[test]
fn lint_and_template_fit() {
    let scene = scene();
    let text = template(&scene.owner, scene.recipient.org(), Take::Owner).unwrap();
    let linted = |text: &str| lint(text, &Library::built_in(), &[], scene.owner.clock().now());
    let report = linted(&text);
    assert!(report.valid && report.findings.is_empty(), "{report:?}");
    assert!(report.obstacles.is_empty(), "{report:?}");
    assert!(propose(&scene.owner, &text, &user("alice")).is_ok());
    let report = linted(&text.replace("k = 10", "k = \"ten\""));
    assert!(
        !report.valid && report.findings.iter().any(|f| f.path == "k"),
        "{report:?}"
    );
    assert!(template(&scene.owner, &"nobody".parse().unwrap(), Take::Owner).is_err());
}

#[test]
fn a_partner_with_new_keys_starts_with_a_new_version() {
    let scene = scene();
    scene.countersign(1);
    let (_dir, renewed) = home_of("east-life", Clock::system());
    for name in ["carol", "dave"] {
        renewed.add_person(&user(name)).unwrap();
    }
    confirm_for_test(&scene.owner, &renewed.party_keys().unwrap());
    confirm_for_test(&renewed, &scene.owner.party_keys().unwrap());
    // What was signed with the old keys no longer stands, and does not hide what does.
    assert_eq!(
        active(&scene.owner, &id()).unwrap_err().code(),
        "keys_changed"
    );
    assert_eq!(list(&scene.owner).unwrap().skipped.len(), 1);
    let Scene {
        _dirs,
        owner,
        recipient: _,
    } = scene;
    let scene = Scene {
        _dirs,
        owner,
        recipient: renewed,
    };
    scene.countersign(2);
    assert_eq!(active(&scene.owner, &id()).unwrap().version(), 2);
}

#[test]
fn a_skipped_earlier_version_does_not_block_a_signature() {
    let scene = scene();
    let info = propose(&scene.owner, &scene.text(2), &user("alice")).unwrap();
    let skipped = |version| Skipped {
        id: id(),
        version,
        error: Error::NotConfirmed("east-life".into()),
    };
    let listing = |agreements: &[AgreementInfo], version| Listing {
        agreements: agreements.to_vec(),
        skipped: vec![skipped(version)],
    };
    assert!(refuse_skipped(listing(std::slice::from_ref(&info), 1), &id()).is_ok());
    assert!(refuse_skipped(listing(std::slice::from_ref(&info), 3), &id()).is_err());
    assert!(refuse_skipped(listing(&[], 1), &id()).is_err());
}
