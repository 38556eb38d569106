use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::entry::{
    Actor, AgreementRef, CoarseCount, Column, DeliveryAcknowledged, Entry, EntryRandom,
    FlowId as LogFlow, Integer, Label, List, Recipient, ReleaseResult, ReleaseSource, Removed,
    Retention, Timestamp, Transform,
};
use counterfoil_audit::note::{KeyName, SignerKey};
use counterfoil_audit::tree::Tree;
use counterfoil_proto::WireError;
use counterfoil_proto::delivery::DeliveredRows;
use time::Duration;

use super::*;
use crate::clock::Clock;
use crate::flow::fixture::{self, OWNER, RECIPIENT};
use crate::home::BrokerRecord;
use crate::testkit::{Ca, home_of};

fn signer(seed: u8) -> SignerKey {
    SignerKey::from_seed(KeyName::new("broker.test/log").unwrap(), &[seed; 32])
}

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

/// A receipt as the broker makes it, for an entry that is not alone in its log.
fn receipt(event: impl Into<Event>, signer: &SignerKey) -> String {
    let mut rng = rand::rng();
    let mut entry = |event: Event| {
        let time = Timestamp::parse("2026-06-01T12:00:00.000000Z").unwrap();
        let actor = Actor {
            org: counterfoil_audit::entry::OrgName::new("broker").unwrap(),
            user: None,
            cert_sha256: None,
        };
        Entry::new(
            time,
            &EntryRandom::draw(&mut rng),
            label("broker.test"),
            actor,
            event,
        )
        .encode()
        .unwrap()
    };
    let other = DeliveryAcknowledged {
        flow: LogFlow::from_bytes([9; 16]),
        sha256: Digest::from_bytes([9; 32]),
    };
    let (first, second) = (entry(other.into()), entry(event.into()));
    let mut tree = Tree::new();
    tree.push(first.leaf_hash());
    tree.push(second.leaf_hash());
    let checkpoint = Checkpoint::of(signer.verifier().name().clone(), &tree)
        .sign(signer)
        .unwrap();
    Receipt::new(second, 1, &tree, &checkpoint)
        .unwrap()
        .to_string()
}

struct World {
    agreement: Agreement,
    secret: DeliverySecret,
    request: VerifiedRequest,
    sealed: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let agreement = fixture::agreement();
        let secret = DeliverySecret::generate(&mut rand::rng());
        let request = fixture::request(&agreement, &secret);
        let context = DeliveryContext {
            flow: [7; 16],
            agreement: *agreement.digest().as_bytes(),
        };
        let mut rows = DeliveredRows::new(2);
        rows.push(&[1; 16], ["low", "own"]).unwrap();
        let delivery = Delivery {
            columns: vec!["risk_appetite".into(), "housing".into()],
            rows,
            generalised: "fewer than 20".into(),
            suppressed: "fewer than 20".into(),
            reference_key: None,
        };
        let sealed = delivery
            .seal(&secret.public_bytes(), &context, &mut rand::rng())
            .unwrap();
        Self {
            agreement,
            secret,
            request,
            sealed,
        }
    }

    fn known(&self) -> Known<'_> {
        Known {
            agreement: &self.agreement,
            request: &self.request,
        }
    }

    fn intent(&self) -> ReleaseIntent {
        let log_org = |org| counterfoil_audit::entry::OrgName::new(org).unwrap();
        let column = |name: &str, class: &str, form: &str| Column {
            name: label(name),
            class: label(class),
            form: label(form),
        };
        let columns = vec![
            column("risk_appetite", "C2", "level"),
            column("housing", "C1", "exact"),
        ];
        let few = || CoarseCount::new("fewer than 20").unwrap();
        let later = Timestamp::parse("2026-09-01T00:00:00.000000Z").unwrap();
        let key_id = Sha256::digest(self.secret.public_bytes());
        ReleaseIntent {
            flow: LogFlow::from_bytes([7; 16]),
            agreement: AgreementRef {
                id: label(self.agreement.id().as_str()),
                version: 1,
                sha256: Digest::from_bytes(*self.agreement.digest().as_bytes()),
            },
            purpose: label("marketing_suitability"),
            legal_basis: label("consent"),
            protocol: label("dh"),
            source: ReleaseSource {
                org: log_org(OWNER),
                dataset: label("customers"),
                segment: None,
                columns: List::new(columns).unwrap(),
            },
            transform: Transform {
                kind: label("minimise"),
                code_version: label("1"),
                k: 10,
                removed: Removed {
                    generalised: few(),
                    suppressed: few(),
                    without_consent: None,
                    tags: List::new(Vec::new()).unwrap(),
                },
            },
            result: ReleaseResult {
                rows: few(),
                bytes: Integer::new(self.sealed.len() as u64).unwrap(),
                sha256: Digest::from_bytes(Sha256::digest(&self.sealed).into()),
            },
            recipient: Recipient {
                org: log_org(RECIPIENT),
                key_id: label(&Digest::from_bytes(key_id.into()).to_string()),
            },
            retention: Retention {
                until: later,
                deletion_due: later,
            },
            marks: None,
            spent: None,
        }
    }

    fn verify(&self, intent: ReleaseIntent, sealed: Vec<u8>) -> Result<VerifiedIntent> {
        Fetched::new(receipt(intent, &signer(1)), sealed)
            .verify(signer(1).verifier(), &self.known())
    }
}

fn joined_home() -> (tempfile::TempDir, Home) {
    let ca = Ca::new();
    let (dir, mut home) = home_of(RECIPIENT, Clock::system());
    let certificate = ca.client_pem(&home, RECIPIENT, Duration::days(1));
    let broker = BrokerRecord {
        address: "127.0.0.1:1".into(),
        log_key: signer(1).verifier().to_string(),
    };
    home.store_join(&certificate, &ca.pem, broker).unwrap();
    (dir, home)
}

#[test]
fn what_the_log_released_opens_and_its_receipt_is_kept() {
    let world = World::new();
    let intent = world.verify(world.intent(), world.sealed.clone()).unwrap();
    assert_eq!(
        (
            intent.receipt().index(),
            intent.receipt().checkpoint().size()
        ),
        (1, 2)
    );
    let mut release = intent.admit().unwrap();
    assert_eq!(
        release.sha256(),
        <[u8; 32]>::from(Sha256::digest(&world.sealed))
    );
    let delivery = release.open(&world.secret).unwrap();
    let (match_id, values) = delivery.rows.get(0).unwrap();
    assert_eq!((match_id, values.collect()), (&[1; 16], vec!["low", "own"]));
    assert_eq!(delivery.rows.len(), 1);

    let (_dir, home) = joined_home();
    assert_eq!(list(&home).unwrap(), []);
    let stored = release.store(&home).unwrap();
    assert_eq!(
        (stored.entry, stored.owner.as_str(), stored.rows.as_str()),
        (1, OWNER, "fewer than 20")
    );
    assert_eq!(list(&home).unwrap(), [stored]);
}

#[test]
fn a_receipt_of_anything_else_is_refused_with_the_field() {
    type Edit = fn(&mut ReleaseIntent);
    let edits: [(&str, Edit); 13] = [
        ("flow", |i| i.flow = LogFlow::from_bytes([8; 16])),
        ("agreement.sha256", |i| {
            i.agreement.sha256 = Digest::from_bytes([0; 32])
        }),
        ("agreement.version", |i| i.agreement.version = 2),
        ("agreement.id", |i| i.agreement.id = label("another")),
        ("purpose", |i| i.purpose = label("risk_assessment")),
        ("legal_basis", |i| i.legal_basis = label("contract")),
        ("protocol", |i| i.protocol = label("vole")),
        ("source.org", |i| {
            i.source.org = counterfoil_audit::entry::OrgName::new("south-bank").unwrap()
        }),
        ("source.dataset", |i| i.source.dataset = label("others")),
        ("transform.k", |i| i.transform.k = 9),
        ("recipient.org", |i| {
            i.recipient.org = counterfoil_audit::entry::OrgName::new("west-life").unwrap()
        }),
        ("recipient.key_id", |i| {
            i.recipient.key_id = label(&"0".repeat(64))
        }),
        ("source.columns", |i| {
            i.source.columns = List::new(i.source.columns.as_slice()[..1].to_vec()).unwrap()
        }),
    ];
    let world = World::new();
    for (field, edit) in edits {
        let mut intent = world.intent();
        edit(&mut intent);
        let error = world.verify(intent, world.sealed.clone()).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert!(
            error.to_string().contains(&format!("`{field}`")),
            "{field}: {error}"
        );
    }
}

#[test]
fn a_log_that_tells_other_counts_than_were_delivered_is_found() {
    type Edit = fn(&mut ReleaseIntent);
    fn more() -> CoarseCount {
        CoarseCount::new("20 to 49").unwrap()
    }
    let edits: [(&str, Edit); 3] = [
        ("result.rows", |i| i.result.rows = more()),
        ("transform.removed.generalised", |i| {
            i.transform.removed.generalised = more()
        }),
        ("transform.removed.suppressed", |i| {
            i.transform.removed.suppressed = more()
        }),
    ];
    let world = World::new();
    for (field, edit) in edits {
        let mut intent = world.intent();
        edit(&mut intent);
        let intent = world.verify(intent, world.sealed.clone()).unwrap();
        let error = intent.admit().unwrap().open(&world.secret).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert!(
            error.to_string().contains(&format!("`{field}`")),
            "{field}: {error}"
        );
    }
}

#[test]
fn columns_must_be_those_asked_for_in_class_form_and_order() {
    let world = World::new();
    let columns = world.intent().source.columns.as_slice().to_vec();
    let finer = Column {
        form: label("exact"),
        ..columns[0].clone()
    };
    let swapped = vec![columns[1].clone(), columns[0].clone()];
    for wrong in [swapped, vec![finer, columns[1].clone()]] {
        let mut intent = world.intent();
        intent.source.columns = List::new(wrong).unwrap();
        assert!(world.verify(intent, world.sealed.clone()).is_err());
    }
}

#[test]
fn another_logs_receipt_or_none_at_all_is_refused() {
    let world = World::new();
    let other_log = receipt(world.intent(), &signer(2));
    let other_entry = receipt(
        DeliveryAcknowledged {
            flow: LogFlow::from_bytes([7; 16]),
            sha256: Digest::from_bytes([0; 32]),
        },
        &signer(1),
    );
    let mut altered = receipt(world.intent(), &signer(1));
    altered = altered.replace("index 1", "index 0");
    for text in [
        other_log,
        other_entry,
        altered,
        String::new(),
        "c2sp.org/tlog-proof@v1\n".to_owned(),
    ] {
        let result =
            Fetched::new(text, world.sealed.clone()).verify(signer(1).verifier(), &world.known());
        assert_eq!(result.unwrap_err().exit_code(), 6);
    }
}

#[test]
fn other_bytes_than_the_log_names_are_never_opened() {
    let world = World::new();
    let mut altered = world.sealed.clone();
    altered[100] ^= 1;
    let cut = world.sealed[..world.sealed.len() - 1].to_vec();
    for sealed in [
        altered,
        cut,
        Vec::new(),
        [world.sealed.clone(), vec![0]].concat(),
    ] {
        let error = world
            .verify(world.intent(), sealed)
            .unwrap()
            .admit()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("not the one that the log released"),
            "{error}"
        );
    }
}

#[test]
fn a_release_to_another_key_does_not_open() {
    let world = World::new();
    let mut release = world
        .verify(world.intent(), world.sealed.clone())
        .unwrap()
        .admit()
        .unwrap();
    let other = DeliverySecret::generate(&mut rand::rng());
    assert!(matches!(
        release.open(&other),
        Err(Error::Wire(WireError::Unopenable))
    ));
}

#[test]
fn a_kept_receipt_that_was_altered_is_reported_and_not_skipped() {
    let world = World::new();
    let (_dir, home) = joined_home();
    world
        .verify(world.intent(), Vec::new())
        .unwrap()
        .store(&home)
        .unwrap();
    let name = format!("{DIRECTORY}/{}{ENDING}", FlowId::from_bytes([7; 16]));
    let text = String::from_utf8(home.read(&name, RECEIPT_BYTES_MAX).unwrap().unwrap()).unwrap();
    home.write(&name, text.replace("index 1", "index 0").as_bytes())
        .unwrap();
    assert!(matches!(list(&home), Err(Error::Damaged { .. })));
}
