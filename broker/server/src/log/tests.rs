use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use counterfoil_audit::checkpoint::SignedCheckpoint;
use counterfoil_audit::export::verify;
use counterfoil_audit::note::KeyName;
use counterfoil_audit::receipt::Receipt;
use tempfile::TempDir;

use super::writer::Storage;
use super::*;
use crate::testing::{House, agreement, bank, granted_event, initialised, insurer, intent_event};

fn signer() -> SignerKey {
    SignerKey::from_seed(KeyName::new("broker.test").unwrap(), &[7; 32])
}

fn open(dir: &Path) -> Result<Ledger, Error> {
    Ledger::open(dir, signer())
}

async fn record(ledger: &Ledger, event: impl Into<Event>) -> Result<u64, LogDown> {
    let decided = Decided {
        events: vec![event.into()],
        value: (),
    };
    let actor = bank().actor();
    let recorded = ledger.commit(&actor, |_, _| Ok::<_, LogDown>(decided));
    Ok(recorded.await?.index())
}

/// A ledger with `entries` entries: the first, and invites.
async fn filled(dir: &Path, entries: u8) -> Ledger {
    let ledger = open(dir).unwrap();
    record(&ledger, initialised()).await.unwrap();
    for number in 1..entries {
        record(&ledger, invite(number)).await.unwrap();
    }
    ledger
}

fn invite(number: u8) -> Event {
    let mut invite = House::new("west-fund", number).invited();
    invite.invite = Label::new(format!("invite-{number}")).unwrap();
    invite.into()
}

/// Opened again after its thread has let go of the file.
fn reopened(dir: &Path, ledger: Ledger) -> Result<Ledger, Error> {
    drop(ledger);
    open(dir)
}

#[tokio::test]
async fn what_was_recorded_is_there_after_a_restart_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 5).await;
    let entries: Vec<_> = (0..5).map(|i| ledger.entry(i).unwrap()).collect();
    let root = ledger.checkpoint().unwrap().root();
    let ledger = reopened(dir.path(), ledger).unwrap();
    assert_eq!(ledger.durable(), 5);
    assert_eq!(
        (0..5).map(|i| ledger.entry(i).unwrap()).collect::<Vec<_>>(),
        entries
    );
    assert_eq!(ledger.checkpoint().unwrap().root(), root);
    assert_eq!(record(&ledger, invite(9)).await.unwrap(), 5);
    assert!(ledger.read(|state| state.partners.invite("invite-9").is_some()));
    assert!(ledger.entry(6).is_err());
}

#[tokio::test]
async fn concurrent_commits_get_each_its_own_place() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = std::sync::Arc::new(filled(dir.path(), 1).await);
    let tasks: Vec<_> = (1..=100)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move { record(&ledger, invite(number)).await.unwrap() })
        })
        .collect();
    let mut places = Vec::new();
    for task in tasks {
        places.push(task.await.unwrap());
    }
    places.sort_unstable();
    assert_eq!(places, (1..=100).collect::<Vec<_>>());
    for index in 0..=100 {
        ledger.entry(index).unwrap().parse().unwrap();
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_only_that() {
    for torn in [1, 20, 60] {
        let dir = tempfile::tempdir().unwrap();
        let ledger = filled(dir.path(), 3).await;
        let file = dir.path().join("entries");
        let whole = fs::metadata(&file).unwrap().len();
        record(&ledger, invite(9)).await.unwrap();
        drop(ledger);
        OpenOptions::new()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(whole + torn)
            .unwrap();
        let ledger = open(dir.path()).unwrap();
        assert_eq!(
            (ledger.durable(), fs::metadata(&file).unwrap().len()),
            (3, whole)
        );
        // The place of what was cut is used again, and read back whole.
        record(&ledger, invite(10)).await.unwrap();
        let ledger = reopened(dir.path(), ledger).unwrap();
        assert!(ledger.read(|state| state.partners.invite("invite-10").is_some()));
        assert!(ledger.read(|state| state.partners.invite("invite-9").is_none()));
    }
}

#[tokio::test]
async fn a_log_below_beside_or_without_its_checkpoint_is_refused() {
    let fresh = || async {
        let dir = tempfile::tempdir().unwrap();
        let ledger = filled(dir.path(), 3).await;
        let three = fs::metadata(dir.path().join("entries")).unwrap().len();
        record(&ledger, invite(9)).await.unwrap();
        ledger.checkpoint().unwrap();
        (dir, three)
    };
    let error = |dir: &TempDir| {
        open(dir.path())
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    };

    let (dir, three) = fresh().await;
    let entries = dir.path().join("entries");
    let cut = OpenOptions::new().write(true).open(&entries).unwrap();
    cut.set_len(three).unwrap();
    let said = error(&dir);
    assert!(said.contains("rolled back"), "{said}");
    assert_eq!(
        fs::metadata(&entries).unwrap().len(),
        three,
        "nothing is changed"
    );
    // Torn below what was signed is no torn tail.
    cut.set_len(three - 1).unwrap();
    let said = error(&dir);
    assert!(said.contains("rolled back"), "{said}");

    let (dir, _) = fresh().await;
    fs::remove_file(dir.path().join("entries")).unwrap();
    let said = error(&dir);
    assert!(said.contains("is missing but a checkpoint"), "{said}");

    let (dir, _) = fresh().await;
    let other = tempfile::tempdir().unwrap();
    drop(filled(other.path(), 6).await);
    fs::copy(other.path().join("entries"), dir.path().join("entries")).unwrap();
    let said = error(&dir);
    assert!(said.contains("not those that were signed"), "{said}");

    let (dir, _) = fresh().await;
    let entries = dir.path().join("entries");
    let mut bytes = fs::read(&entries).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&entries, bytes).unwrap();
    let said = error(&dir);
    assert!(said.contains("damaged"), "{said}");

    let (dir, _) = fresh().await;
    let other = SignerKey::from_seed(KeyName::new("broker.test").unwrap(), &[8; 32]);
    assert!(Ledger::open(dir.path(), other).is_err(), "another key");
}

#[tokio::test]
async fn one_broker_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).unwrap();
    let second = open(dir.path()).err().unwrap().to_string();
    assert!(second.contains("another broker has"), "{second}");
    assert!(reopened(dir.path(), ledger).is_ok());
}

/// A log file that takes so many batches, and whose disk then fails before or after the bytes are there.
struct Failing {
    file: File,
    good: usize,
    persists: bool,
}

impl Storage for Failing {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.good == 0 && !self.persists {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.good = self
            .good
            .checked_sub(1)
            .ok_or(io::Error::from(io::ErrorKind::Other))?;
        self.file.sync()
    }
}

#[tokio::test]
async fn after_a_disk_error_nothing_is_recorded_decided_or_released() {
    for persists in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let failing = |file| Failing {
            file,
            good: 8,
            persists,
        };
        let ledger = Ledger::open_on(dir.path(), signer(), failing).unwrap();
        let events = release_of(1)
            .into_iter()
            .chain(release_of(2).into_iter().skip(7));
        let (mut recorded, mut failed) = (0, 0);
        for event in events {
            match record(&ledger, event).await {
                Ok(_) => recorded += 1,
                Err(_) => failed += 1,
            }
        }
        assert_eq!((recorded, failed), (8, 3));
        ledger.down().cancelled().await;
        // Nothing is decided any more, and what was recorded before does not leave either.
        let decided = std::cell::Cell::new(false);
        let after: Result<Recorded<()>, LogDown> = ledger
            .commit(&bank().actor(), |_, _| {
                decided.set(true);
                Err(LogDown)
            })
            .await;
        assert!(after.is_err() && !decided.get());
        assert!(ledger.release(FlowId::from_bytes([1; 16])).is_none());
        // After a restart the entry that failed counts if, and only if, it is there.
        let ledger = reopened(dir.path(), ledger).unwrap();
        assert_eq!(ledger.durable(), if persists { 9 } else { 8 });
    }
}

/// A log up to a release: eight entries and the release.
fn release_of(flow: u8) -> Vec<Event> {
    let agreement = agreement();
    vec![
        initialised().into(),
        bank().invited().into(),
        bank().joined().into(),
        insurer().invited().into(),
        insurer().joined().into(),
        crate::testing::proposed(&agreement).into(),
        crate::testing::countersigned(&agreement).into(),
        granted_event(&agreement, flow).into(),
        intent_event(&agreement, flow).into(),
    ]
}

#[tokio::test]
async fn a_release_is_found_again_after_a_restart_and_only_a_release() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).unwrap();
    for event in release_of(1) {
        record(&ledger, event).await.unwrap();
    }
    record(&ledger, granted_event(&agreement(), 2))
        .await
        .unwrap();
    let found = |ledger: &Ledger, flow| {
        let recorded = ledger.release(FlowId::from_bytes([flow; 16]))?;
        assert_eq!(recorded.intent().flow, FlowId::from_bytes([flow; 16]));
        Some(recorded.index().value())
    };
    assert_eq!(
        (found(&ledger, 1), found(&ledger, 2), found(&ledger, 3)),
        (Some(8), None, None)
    );
    let ledger = reopened(dir.path(), ledger).unwrap();
    assert_eq!(
        (found(&ledger, 1), found(&ledger, 2), found(&ledger, 3)),
        (Some(8), None, None)
    );
}

#[tokio::test]
async fn a_failed_checkpoint_ends_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 2).await;
    let first = ledger.checkpoint().unwrap();
    record(&ledger, invite(9)).await.unwrap();
    fs::create_dir(dir.path().join("checkpoint.new")).unwrap();
    assert!(ledger.checkpoint().is_err());
    assert!(ledger.down().is_cancelled());
    assert!(record(&ledger, invite(10)).await.is_err());
    fs::remove_dir(dir.path().join("checkpoint.new")).unwrap();
    let ledger = reopened(dir.path(), ledger).unwrap();
    let proof = ledger.consistency(2, 3).unwrap();
    first
        .check_newer(&ledger.checkpoint().unwrap(), &proof)
        .unwrap();
}

#[tokio::test]
async fn receipts_consistency_and_export_verify_with_the_public_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 4).await;
    let old = ledger.checkpoint().unwrap();
    for number in 10..20 {
        record(&ledger, invite(number)).await.unwrap();
    }
    let key = signer().verifier().clone();
    let new = ledger.checkpoint().unwrap();
    // On disk before anybody gets it.
    let stored = fs::read_to_string(dir.path().join("checkpoint")).unwrap();
    assert_eq!(stored, new.signed().as_str());
    let new = SignedCheckpoint::parse(&stored)
        .unwrap()
        .verify(&key)
        .unwrap();
    let proof = ledger.consistency(4, 14).unwrap();
    old.check_newer(&new, &proof).unwrap();
    assert!(ledger.consistency(4, 15).is_none());
    assert!(ledger.consistency(5, 4).is_none());
    for index in 0..14 {
        let text = ledger.receipt(index, &new).unwrap().to_string();
        let receipt = Receipt::parse(&text).unwrap().verify(&key).unwrap();
        assert_eq!(receipt.index(), index);
        assert_eq!(
            receipt.entry(),
            &ledger.entry(index).unwrap().parse().unwrap()
        );
    }
    assert!(ledger.receipt(4, &old).is_err(), "past its checkpoint");
    let mut export = Vec::new();
    ledger.export(&mut export).unwrap();
    let report = verify(export.as_slice(), &key).unwrap();
    assert_eq!(report.entries, 14);
}

#[tokio::test]
async fn times_never_go_back_even_if_the_clock_does() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 1).await;
    let ahead = crate::testing::later(crate::testing::now(), time::Duration::hours(2));
    ledger.core().last = ahead;
    record(&ledger, invite(9)).await.unwrap();
    assert_eq!(ledger.entry(1).unwrap().parse().unwrap().time(), ahead);
    // As after a restart, when only the log knows.
    let ledger = reopened(dir.path(), ledger).unwrap();
    record(&ledger, invite(10)).await.unwrap();
    assert_eq!(ledger.entry(2).unwrap().parse().unwrap().time(), ahead);
}

#[tokio::test]
async fn a_refusal_leaves_no_entry_and_an_impossible_one_ends_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = filled(dir.path(), 2).await;
    let refused: Result<Recorded<()>, LogDown> =
        ledger.commit(&bank().actor(), |_, _| Err(LogDown)).await;
    assert!(refused.is_err() && !ledger.down().is_cancelled());
    assert_eq!(ledger.durable(), 2);
    assert!(record(&ledger, initialised()).await.is_err());
    assert!(ledger.down().is_cancelled());
    assert_eq!(reopened(dir.path(), ledger).unwrap().durable(), 2);
}
