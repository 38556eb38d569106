use std::collections::HashSet;

use super::*;
use crate::testing::{PROOF, TAGS, agreement, submissions, submissions_proving, version};
use counterfoil_policy::agreement::MarkTerms;
use counterfoil_proto::limits::PROOF_BYTES;

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

const OWN: [&str; 2] = ["low", "own"];

fn joined(
    agreement: &Agreement,
    rows: &Submission,
    keys: &Submission,
) -> Result<Common, JoinError> {
    let tags = TAGS.map(|name| agreement.tag(&name.parse().unwrap()).unwrap());
    let bits = agreement.marks().map(MarkTerms::bits);
    let mut common = Common::new(tags.into_iter(), bits);
    open_common(agreement, rows, keys, now(), None, &mut common).map(|()| common)
}

fn rows_of(
    cells: [&'static str; 2],
    customers: std::ops::Range<u32>,
) -> Vec<(u32, [&'static str; 2])> {
    customers.map(|customer| (customer, cells)).collect()
}

/// A submission like another, its records changed.
fn changed(of: &Submission, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Submission {
    let mut records: Vec<_> = of
        .records()
        .map(|(id, rest)| [&id[..], rest].concat())
        .collect();
    change(&mut records);
    let (session, count) = (of.session.as_bytes(), records.len() as u64);
    let mut new = match &of.layout {
        Some(layout) => Submission::rows(session, count, count, layout.clone()),
        None => Submission::keys(session, count, count),
    }
    .unwrap();
    new.push(&records.concat()).unwrap();
    new
}

#[test]
fn rows_that_both_hold_open_and_no_others() {
    let agreement = agreement();
    let recipient: Vec<_> = (5..30).collect();
    let (rows, keys) = submissions(&agreement, &rows_of(OWN, 0..10), &recipient);
    let common = joined(&agreement, &rows, &keys).unwrap();
    assert_eq!((common.table.len(), common.match_ids.len()), (5, 5));
    assert!(common.match_ids.is_sorted());
    let theirs: HashSet<_> = keys.records().map(|(id, _)| id).collect();
    let owners: HashSet<_> = rows.records().map(|(id, _)| id).collect();
    assert!(
        common
            .match_ids
            .iter()
            .all(|id| theirs.contains(id) && owners.contains(id))
    );
    for strangers in [vec![20, 21], vec![]] {
        let (rows, keys) = submissions(&agreement, &rows_of(OWN, 0..10), &strangers);
        assert_eq!(joined(&agreement, &rows, &keys).unwrap().table.len(), 0);
    }
    // All of both.
    let all: Vec<_> = (0..10).collect();
    let (rows, keys) = submissions(&agreement, &rows_of(OWN, 0..10), &all);
    assert_eq!(joined(&agreement, &rows, &keys).unwrap().table.len(), 10);
}

#[test]
fn buckets_are_added_to_each_other() {
    let agreement = agreement();
    let tags = TAGS.map(|name| agreement.tag(&name.parse().unwrap()).unwrap());
    let mut common = Common::new(tags.into_iter(), None);
    for (from, joined) in [(0, 10), (10, 20), (30, 30)] {
        let recipient: Vec<_> = (from..from + 10).collect();
        let (rows, keys) = submissions(&agreement, &rows_of(OWN, from..from + 20), &recipient);
        open_common(&agreement, &rows, &keys, now(), None, &mut common).unwrap();
        assert_eq!(
            (common.table.len(), common.match_ids.len()),
            (joined, joined)
        );
    }
}

#[test]
fn a_row_that_does_not_open_counts_as_unmatched_without_a_word() {
    let agreement = agreement();
    let recipient: Vec<_> = (0..10).collect();
    let (rows, keys) = submissions(&agreement, &rows_of(OWN, 0..10), &recipient);
    let count = |rows: &Submission, keys: &Submission| {
        let common = joined(&agreement, rows, keys).unwrap();
        assert_eq!(common.table.len(), common.match_ids.len());
        common.match_ids.len()
    };
    assert_eq!(count(&rows, &keys), 10);
    let wrong_key = changed(&keys, |records| records[3][20] ^= 1);
    assert_eq!(count(&rows, &wrong_key), 9);
    let garbled = changed(&rows, |records| *records[3].last_mut().unwrap() ^= 1);
    assert_eq!(count(&garbled, &keys), 9);
    let both = changed(&garbled, |records| records[5][20] ^= 1);
    assert_eq!(count(&both, &keys), 8);
    // Two rows exchanged under their names: the right key for another row.
    let exchanged = changed(&rows, |records| {
        let (a, b) = (records[0][16..].to_vec(), records[1][16..].to_vec());
        records[0].splice(16.., b);
        records[1].splice(16.., a);
    });
    assert_eq!(count(&exchanged, &keys), 8);
    // The names that are given are those of the rows that opened, in the same order.
    let common = joined(&agreement, &garbled, &keys).unwrap();
    let bad = garbled.records().nth(3).unwrap().0;
    assert!(!common.match_ids.contains(&bad));
}

#[test]
fn a_value_outside_the_agreement_counts_as_unmatched() {
    let agreement = agreement();
    let mut owner = rows_of(OWN, 0..10);
    owner[2].1 = ["conservative", "own"]; // finer than the agreed level
    owner[4].1 = ["low", "castle"];
    owner[6].1 = ["low", ""];
    let recipient: Vec<_> = (0..10).collect();
    let (rows, keys) = submissions(&agreement, &owner, &recipient);
    assert_eq!(joined(&agreement, &rows, &keys).unwrap().table.len(), 7);
}

#[test]
fn a_row_without_a_consent_in_force_counts_as_unmatched_whatever_the_owner_says() {
    let agreement = agreement();
    let recipient: Vec<_> = (0..10).collect();
    let proof = |given: u32, until: u32, mac: u8| {
        let mut proof = [mac; PROOF_BYTES];
        proof[..4].copy_from_slice(&given.to_be_bytes());
        proof[4..8].copy_from_slice(&until.to_be_bytes());
        proof
    };
    let today = u32::try_from(now().unix_seconds() / 86_400).unwrap();
    let of = |customer: u32| match customer {
        2 => proof(today - 9, today - 1, 1), // expired
        4 => proof(today + 1, today + 9, 1), // not given yet
        6 => proof(today, today, 0),         // no reference
        8 => [0; PROOF_BYTES],               // no proof at all
        9 => proof(today, today, 1),         // in force, for a day
        _ => PROOF,
    };
    let (rows, keys) = submissions_proving(&agreement, &rows_of(OWN, 0..10), &recipient, of);
    let common = joined(&agreement, &rows, &keys).unwrap();
    assert_eq!((common.table.len(), common.match_ids.len()), (6, 6));
}

#[test]
fn rows_without_proofs_count_as_unmatched_where_the_agreement_asks_for_them() {
    let asks = agreement();
    let recipient: Vec<_> = (0..10).collect();
    let (mut rows, keys) = submissions(&asks, &rows_of(OWN, 0..10), &recipient);
    // The header is checked before; the join does not rely on it.
    let columns = rows.layout.as_ref().unwrap().to_wire().into_iter();
    let mut columns: Vec<_> = columns.map(|c| (c.tag, c.width as usize)).collect();
    columns[0].1 += PROOF_BYTES;
    rows.layout = Some(Layout::new(columns).unwrap());
    assert_eq!(joined(&asks, &rows, &keys).unwrap().table.len(), 0);
}

#[test]
fn rows_sealed_under_another_agreement_do_not_open() {
    let recipient: Vec<_> = (0..10).collect();
    let (rows, keys) = submissions(&version(2), &rows_of(OWN, 0..10), &recipient);
    assert_eq!(joined(&version(1), &rows, &keys).unwrap().table.len(), 0);
    assert_eq!(joined(&version(2), &rows, &keys).unwrap().table.len(), 10);
}

#[test]
fn submissions_that_must_fail() {
    let agreement = agreement();
    let recipient: Vec<_> = (0..10).collect();
    let (rows, keys) = submissions(&agreement, &rows_of(OWN, 0..10), &recipient);
    let fails = |rows: &Submission, keys: &Submission| joined(&agreement, rows, keys).err();
    let mut other = Submission::keys(&[9; 32], 0, 0).unwrap();
    other.push(&[]).unwrap();
    assert_eq!(fails(&rows, &other), Some(JoinError::Sessions));
    assert_eq!(fails(&keys, &keys), Some(JoinError::NoColumns));
}
