use counterfoil_audit::checkpoint::Checkpoint;
use counterfoil_audit::entry::{
    Actor, Digest, Entry, EntryBytes, EntryRandom, InviteIssued, Label, OrgName, Timestamp,
};
use counterfoil_audit::note::{KeyName, SignerKey};
use counterfoil_audit::receipt::Receipt;
use counterfoil_audit::tree::Tree;

use super::own::{Own, check_listed};
use super::*;
use crate::clock::Clock;
use crate::home::BrokerRecord;
use crate::testkit;

/// A broker's log with its key.
struct Log {
    signer: SignerKey,
    tree: Tree,
    entries: Vec<EntryBytes>,
}

impl Log {
    fn new(seed: u8) -> Self {
        Self {
            signer: SignerKey::from_seed(KeyName::new("broker.example/log").unwrap(), &[seed; 32]),
            tree: Tree::new(),
            entries: Vec::new(),
        }
    }

    /// Appends entries that differ by `mark`.
    fn grow(mut self, entries: u64, mark: u8) -> Self {
        for n in 0..entries {
            let event = InviteIssued {
                invite: Label::new(format!("inv-{mark}-{n}")).unwrap(),
                org: OrgName::new("north-bank").unwrap(),
                secret_sha256: Digest::from_bytes([mark; 32]),
                expires: Timestamp::parse("2026-11-30T09:00:00.000000Z").unwrap(),
            };
            let actor = Actor {
                org: OrgName::new("broker").unwrap(),
                user: None,
                cert_sha256: None,
            };
            let entry = Entry::new(
                Timestamp::parse("2026-11-23T09:00:00.000000Z").unwrap(),
                &EntryRandom::draw(&mut rand::rng()),
                Label::new("broker.example").unwrap(),
                actor,
                event,
            );
            let entry = entry.encode().unwrap();
            self.tree.push(entry.leaf_hash());
            self.entries.push(entry);
        }
        self
    }

    /// Appends the entries of another log.
    fn replay(mut self, other: &Self) -> Self {
        for entry in &other.entries {
            self.tree.push(entry.leaf_hash());
            self.entries.push(entry.clone());
        }
        self
    }

    fn at(&self, size: u64) -> VerifiedCheckpoint {
        Checkpoint {
            origin: self.signer.verifier().name().clone(),
            size,
            root: self.tree.root_at(size).unwrap(),
        }
        .sign(&self.signer)
        .unwrap()
    }

    fn proof(&self, old: u64, new: u64) -> Option<Vec<Vec<u8>>> {
        let proof = self.tree.consistency(old, new).ok()?;
        Some(
            proof
                .hashes()
                .iter()
                .map(|hash| hash.as_bytes().to_vec())
                .collect(),
        )
    }

    fn receipt(&self, index: u64, size: u64) -> String {
        let entry = self.entries[usize::try_from(index).unwrap()].clone();
        Receipt::new(entry, index, &self.tree, &self.at(size))
            .unwrap()
            .to_string()
    }

    fn key(&self) -> VerifierKey {
        self.signer.verifier().clone()
    }

    fn home(&self) -> (tempfile::TempDir, Home) {
        let (dir, mut home) = testkit::home(Clock::system());
        let record = BrokerRecord {
            address: "127.0.0.1:1".into(),
            log_key: self.key().to_string(),
        };
        home.store_join("unused", "unused", record).unwrap();
        (dir, home)
    }

    /// Confirms a checkpoint, with this log answering for proofs.
    async fn confirm(&self, home: &Home, seen: &VerifiedCheckpoint) -> Result<()> {
        while !confirm_with(home, seen, async |old, new| Ok(self.proof(old, new))).await? {}
        Ok(())
    }
}

fn size(home: &Home) -> Option<u64> {
    latest(home).unwrap().map(|checkpoint| checkpoint.size())
}

#[tokio::test]
async fn the_newest_verified_checkpoint_is_kept() {
    let log = Log::new(1).grow(9, 1);
    let (_dir, home) = log.home();
    assert_eq!(size(&home), None);
    for (seen, kept) in [(0, 0), (3, 3), (3, 3), (8, 8), (5, 8)] {
        log.confirm(&home, &log.at(seen)).await.unwrap();
        assert_eq!(size(&home), Some(kept));
    }
    assert_eq!(home.list(EVIDENCE).unwrap().len(), 0);
}

/// Two flows that run at the same time are shown two histories, each of which grew from what was known before.
#[tokio::test]
async fn a_fork_between_two_comparisons_at_the_same_time_is_found() {
    let log = Log::new(1).grow(5, 1);
    let (one, other) = (
        Log::new(1).replay(&log).grow(2, 2),
        Log::new(1).replay(&log).grow(4, 3),
    );
    let (_dir, home) = log.home();
    log.confirm(&home, &log.at(5)).await.unwrap();
    let (meanwhile, seen) = (one.at(7), other.at(9));
    let done = confirm_with(&home, &seen, async |old, new| {
        one.confirm(&home, &meanwhile).await?;
        Ok(other.proof(old, new))
    });
    assert!(!done.await.unwrap());
    assert_eq!(size(&home), Some(7));
    let error = other.confirm(&home, &seen).await.unwrap_err();
    assert_eq!(error.code(), "fork");
    assert_eq!(size(&home), Some(7));
}

#[tokio::test]
async fn a_fork_is_refused_and_both_notes_are_kept() {
    let log = Log::new(1).grow(5, 1);
    let other = Log::new(1).grow(5, 2).grow(3, 3);
    for (forked, name) in [
        (other.at(5), "same size"),
        (other.at(8), "longer"),
        (other.at(3), "shorter"),
    ] {
        let (_dir, home) = log.home();
        log.confirm(&home, &log.at(5)).await.unwrap();
        let error = other.confirm(&home, &forked).await.unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("fork", 6), "{name}");
        assert_eq!(size(&home), Some(5), "{name}");
        let evidence = home.list(EVIDENCE).unwrap();
        assert_eq!(evidence.len(), 2, "{name}");
        for file in evidence {
            let note = home
                .read(format!("{EVIDENCE}/{file}"), 4096)
                .unwrap()
                .unwrap();
            let note = String::from_utf8(note).unwrap();
            assert!(checkpoint(&note, &log.key()).is_ok(), "{name}: {note}");
        }
    }
}

#[tokio::test]
async fn a_rollback_is_refused() {
    let log = Log::new(1).grow(7, 1);
    let (_dir, home) = log.home();
    log.confirm(&home, &log.at(7)).await.unwrap();
    // The broker lost its last entries, signs what is left and has no proof for what it signed before.
    let error = confirm_with(&home, &log.at(4), async |_, _| Ok(None))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("it signed 7 entries and can no longer show them"),
        "{error}"
    );
    assert_eq!(size(&home), Some(7));
}

#[tokio::test]
async fn proofs_that_must_fail() {
    let log = Log::new(1).grow(7, 1);
    let good = log.proof(3, 7).unwrap();
    let mut bit = good.clone();
    bit[0][0] ^= 1;
    let mut short_hash = good.clone();
    short_hash[0].pop();
    let missing = good[1..].to_vec();
    let long = vec![vec![0; 32]; 1000];
    for (name, proof) in [
        ("bit", bit),
        ("short_hash", short_hash),
        ("missing", missing),
        ("long", long),
        ("empty", vec![]),
    ] {
        let (_dir, home) = log.home();
        log.confirm(&home, &log.at(3)).await.unwrap();
        let error = confirm_with(&home, &log.at(7), async |_, _| Ok(Some(proof)))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "fork", "{name}");
        assert_eq!(size(&home), Some(3), "{name}");
    }
    // An unreachable broker is no fork: nothing is concluded and nothing stored.
    let (_dir, home) = log.home();
    log.confirm(&home, &log.at(3)).await.unwrap();
    let lost = async |_, _| Err(Error::ConnectionLost("x".into()));
    assert_eq!(
        confirm_with(&home, &log.at(7), lost)
            .await
            .unwrap_err()
            .code(),
        "connection_lost"
    );
    assert_eq!(
        (size(&home), home.list(EVIDENCE).unwrap().len()),
        (Some(3), 0)
    );
}

#[test]
fn a_stored_checkpoint_of_another_key_is_damage() {
    let log = Log::new(1).grow(2, 1);
    let (_dir, home) = log.home();
    home.write(
        CHECKPOINT,
        Log::new(2).grow(2, 1).at(2).signed().as_str().as_bytes(),
    )
    .unwrap();
    assert_eq!(latest(&home).unwrap_err().code(), "damaged");
}

#[test]
fn own_entries_come_in_order_under_one_checkpoint() {
    let log = Log::new(1).grow(6, 1);
    let key = log.key();
    let mut own = Own::default();
    own.push(&log.receipt(1, 6), &key).unwrap();
    assert!(
        own.push(&log.receipt(1, 6), &key)
            .unwrap_err()
            .to_string()
            .contains("twice or out of order")
    );
    assert!(
        own.push(&log.receipt(2, 5), &key)
            .unwrap_err()
            .to_string()
            .contains("different checkpoints")
    );
    assert!(own.push(&log.receipt(4, 6), &Log::new(2).key()).is_err());
    own.push(&log.receipt(4, 6), &key).unwrap();
    assert_eq!(own.entries.len(), 2);
}

#[test]
fn an_entry_that_the_broker_no_longer_shows_is_missed() {
    let log = Log::new(1).grow(6, 1);
    let (_dir, home) = log.home();
    let mut own = Own::default();
    own.push(&log.receipt(1, 6), &log.key()).unwrap();
    let kept = |index| own::parse(&log.receipt(index, 6), &log.key(), "kept").unwrap();
    assert!(check_listed(&home, "receipts/a", &kept(1), &own.entries).is_ok());
    let error = check_listed(&home, "receipts/b", &kept(2), &own.entries).unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("unverified", 6));
    assert!(
        error.to_string().contains("no longer shows entry 2"),
        "{error}"
    );
}

#[test]
fn an_export_verifies_offline_and_one_changed_byte_does_not() {
    let log = Log::new(1).grow(9, 1);
    let mut own = Own::default();
    for index in [0, 3, 8] {
        own.push(&log.receipt(index, 9), &log.key()).unwrap();
    }
    let text = export::part(&own.entries, &log.at(9), &log.key()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part.jsonl");
    std::fs::write(&path, &text).unwrap();
    let report = verify_file(&path, &log.key().to_string()).unwrap();
    assert_eq!(
        (report.kind, report.entries, report.size),
        ("part of a log", 3, 9)
    );

    for needle in ["inv-1-3", "\"proof\":[\"", "broker.example/log\\n9\\n"] {
        let at = text.find(needle).unwrap() + needle.len() - 1;
        let mut bytes = text.clone().into_bytes();
        // Still base64 or a digit or a quote's neighbour, so that it is the proof that finds it.
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(
            verify_file(&path, &log.key().to_string())
                .unwrap_err()
                .exit_code(),
            6,
            "{needle}"
        );
    }
    std::fs::write(&path, &text).unwrap();
    assert_eq!(
        verify_file(&path, &Log::new(2).key().to_string())
            .unwrap_err()
            .exit_code(),
        6
    );
    assert_eq!(verify_file(&path, "no key").unwrap_err().exit_code(), 3);
}

#[test]
fn a_single_receipt_verifies_offline() {
    let log = Log::new(1).grow(4, 1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.tlog-proof");
    let text = log.receipt(2, 4);
    std::fs::write(&path, &text).unwrap();
    let report = verify_file(&path, &log.key().to_string()).unwrap();
    assert_eq!(
        (report.kind, report.entries, report.size),
        ("receipt", 1, 4)
    );
    std::fs::write(&path, text.replace("index 2", "index 1")).unwrap();
    assert_eq!(
        verify_file(&path, &log.key().to_string())
            .unwrap_err()
            .exit_code(),
        6
    );
}
