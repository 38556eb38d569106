use proptest::prelude::*;

use super::*;
use crate::{
    checkpoint::Checkpoint,
    history::{Coverage, FindingKind},
    note::{KeyName, SignerKey},
    samples::*,
};

fn whole_of(entries: &[EntryBytes]) -> String {
    let checkpoint = sign(&tree_of(entries));
    let mut writer = WholeWriter::new(Vec::new(), &checkpoint, signer().verifier()).unwrap();
    entries
        .iter()
        .for_each(|entry| writer.entry(entry).unwrap());
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

fn part_of(entries: &[EntryBytes], indexes: &[u64]) -> String {
    let tree = tree_of(entries);
    let mut writer = PartWriter::new(Vec::new(), &sign(&tree), signer().verifier()).unwrap();
    for index in indexes {
        writer
            .entry(*index, &entries[*index as usize], &tree)
            .unwrap();
    }
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

fn check(export: &str) -> Result<Report, Failure> {
    verify(export.as_bytes(), signer().verifier())
}

/// The fault of an export whose lines were changed, and where it was found.
fn fault(export: &str, change: impl FnOnce(&mut Vec<String>)) -> (u64, u64, String) {
    let mut lines: Vec<_> = export.lines().map(str::to_owned).collect();
    change(&mut lines);
    let text = lines
        .iter()
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    let failure = check(&text).unwrap_err();
    (failure.line, failure.entries, failure.fault.to_string())
}

#[test]
fn a_whole_export_verifies() {
    let entries = story_entries();
    let report = check(&whole_of(&entries)).unwrap();
    assert_eq!((report.coverage, report.entries), (Coverage::Whole, 19));
    assert_eq!(report.checkpoint, sign(&tree_of(&entries)));
    assert_eq!((report.findings, report.findings_left_out), (vec![], 0));
    let empty = check(&whole_of(&[])).unwrap();
    assert_eq!((empty.entries, empty.checkpoint.size()), (0, 0));
}

#[test]
fn a_part_verifies() {
    let entries = story_entries();
    let report = check(&part_of(&entries, &[6, 7, 8, 9, 18])).unwrap();
    assert_eq!((report.coverage, report.entries), (Coverage::Part, 5));
    assert_eq!(report.checkpoint.size(), 19);
    assert_eq!(report.findings, []);
    assert_eq!(check(&part_of(&entries, &[])).unwrap().entries, 0);
}

#[test]
fn an_authentic_log_with_a_bad_story_is_reported_as_such() {
    let mut events = story();
    events[6] = events[3].clone();
    let entries: Vec<_> = (0..)
        .zip(events)
        .map(|(at, event)| entry_at(at, event).encode().unwrap())
        .collect();
    let report = check(&whole_of(&entries)).unwrap();
    let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::ReleaseWithoutGrant]);
}

#[test]
fn every_bit_flip_of_an_export_is_found() {
    let entries = &story_entries()[5..9];
    for export in [whole_of(entries), part_of(entries, &[0, 2, 3])] {
        assert!(check(&export).is_ok());
        let bytes = export.into_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                verify(flipped.as_slice(), signer().verifier()).is_err(),
                "bit {bit}"
            );
        }
    }
}

#[test]
fn every_truncation_of_an_export_is_found() {
    let entries = &story_entries()[5..9];
    let export = whole_of(entries);
    for len in 0..export.len() {
        assert!(
            verify(&export.as_bytes()[..len], signer().verifier()).is_err(),
            "{len} bytes"
        );
    }
}

#[test]
fn what_is_wrong_is_named() {
    let whole = whole_of(&story_entries());
    let alter = |line: &mut String| *line = line.replacen("wealth_tier", "wealth_teir", 1);
    let altered = fault(&whole, |lines| alter(&mut lines[7]));
    assert_eq!(altered.0, 8);
    assert_eq!(altered.1, 6);
    assert!(
        altered.2.starts_with("entry `6` was altered"),
        "{}",
        altered.2
    );
    let cases = [
        (
            fault(&whole, |lines| drop(lines.remove(7))),
            (8, 6),
            "entry `6` is missing or was moved",
        ),
        (
            fault(&whole, |lines| lines.swap(7, 8)),
            (8, 6),
            "entry `6` is missing or was moved",
        ),
        (
            fault(&whole, |lines| drop(lines.pop())),
            (20, 18),
            "the export ends before entry `18`",
        ),
        (
            fault(&whole, |lines| {
                lines.push(forged(19, &story_entries()[3], None))
            }),
            (21, 19),
            "entry `19` is beyond",
        ),
        (
            fault(&whole, |lines| lines[3].insert(1, ' ')),
            (4, 2),
            "the line is not in the one",
        ),
        (
            fault(&whole, |lines| lines[3].insert(0, '!')),
            (4, 2),
            "the line is malformed",
        ),
        (
            fault(&whole, |lines| lines.clear()),
            (1, 0),
            "the file is empty",
        ),
    ];
    for ((line, entries, message), place, start) in cases {
        assert_eq!((line, entries), place, "{message}");
        assert!(message.starts_with(start), "{message}");
    }
}

/// A line whose entry and leaf hash are both another's.
fn forged(index: u64, entry: &EntryBytes, proof: Option<InclusionProof>) -> String {
    serde_json::to_string(&line(index, entry, proof).unwrap()).unwrap()
}

#[test]
fn must_fail_an_entry_altered_with_its_leaf_hash() {
    let entries = story_entries();
    let other = entry_at(9, granted(9)).encode().unwrap();
    let whole = fault(&whole_of(&entries), |lines| {
        lines[7] = forged(6, &other, None)
    });
    assert!(whole.2.contains("root"), "{}", whole.2);
    let proof = tree_of(&entries).inclusion(6, 19).unwrap();
    let part = fault(&part_of(&entries, &[6]), |lines| {
        lines[1] = forged(6, &other, Some(proof))
    });
    assert!(
        part.2
            .starts_with("entry `6` is not shown to be in the signed log"),
        "{}",
        part.2
    );
}

#[test]
fn must_fail_proofs_in_the_wrong_place() {
    let entries = story_entries();
    let proof = tree_of(&entries).inclusion(6, 19).unwrap();
    let whole = fault(&whole_of(&entries), |lines| {
        lines[7] = forged(6, &entries[6], Some(proof))
    });
    let part = fault(&part_of(&entries, &[6]), |lines| {
        lines[1] = forged(6, &entries[6], None)
    });
    for (_, _, message) in [whole, part] {
        assert!(
            message.starts_with("entry `6` has a proof in a whole export, or none"),
            "{message}"
        );
    }
    // A whole log may not pass as a part of itself, nor a part as the whole.
    let as_part = fault(&whole_of(&entries), |lines| {
        lines[0] = lines[0].replace("whole", "part")
    });
    assert!(as_part.2.contains("proof"), "{}", as_part.2);
    fault(&part_of(&entries, &[0]), |lines| {
        lines[0] = lines[0].replace("part", "whole")
    });
}

#[test]
fn must_fail_a_part_out_of_order_or_with_an_entry_twice() {
    let part = part_of(&story_entries(), &[6, 7]);
    assert!(fault(&part, |lines| lines.swap(1, 2)).2.contains("moved"));
    assert!(
        fault(&part, |lines| lines[2] = lines[1].clone())
            .2
            .contains("moved")
    );
}

#[test]
fn must_fail_a_file_that_brings_its_own_key() {
    // A forger signs a log of their own and names their key in it.
    let forger = SignerKey::generate(KeyName::new(ORIGIN).unwrap(), &mut rng(66));
    let entries = story_entries();
    let origin = forger.verifier().name().clone();
    let checkpoint = Checkpoint::of(origin, &tree_of(&entries))
        .sign(&forger)
        .unwrap();
    let mut writer = WholeWriter::new(Vec::new(), &checkpoint, forger.verifier()).unwrap();
    entries
        .iter()
        .for_each(|entry| writer.entry(entry).unwrap());
    let export = String::from_utf8(writer.finish().unwrap()).unwrap();
    assert!(verify(export.as_bytes(), forger.verifier()).is_ok());
    assert!(matches!(
        check(&export).unwrap_err().fault,
        Fault::OtherKey { .. }
    ));
    // With the trusted key's name pasted over theirs, the signature gives them away.
    let (theirs, ours) = (
        forger.verifier().to_string(),
        signer().verifier().to_string(),
    );
    let fault = check(&export.replace(&theirs, &ours)).unwrap_err().fault;
    assert!(matches!(fault, Fault::Checkpoint(_)), "{fault}");
}

#[test]
fn must_fail_lines_over_the_bound() {
    let endless = vec![b'x'; LINE_BYTES_MAX * 2];
    let failure = verify(endless.as_slice(), signer().verifier()).unwrap_err();
    assert!(matches!(failure.fault, Fault::Line));
}

#[test]
fn the_longest_entry_fits_a_line() {
    // Every byte of it escaped; no entry of the log, so the verifier gets past the line.
    let longest = EntryBytes::new(vec![b'"'; crate::entry::ENTRY_BYTES_MAX]).unwrap();
    let failure = check(&whole_of(&[longest])).unwrap_err();
    assert!(
        matches!(failure.fault, Fault::Entry { index: 0, .. }),
        "{failure}"
    );
}

#[test]
fn writers_refuse_what_would_not_verify() {
    let entries = story_entries();
    let tree = tree_of(&entries[..2]);
    let key = signer();
    let mut whole = WholeWriter::new(Vec::new(), &sign(&tree), key.verifier()).unwrap();
    whole.entry(&entries[0]).unwrap();
    assert!(matches!(
        whole.finish(),
        Err(ExportError::Count {
            given: 1,
            signed: 2
        })
    ));
    let mut whole = WholeWriter::new(Vec::new(), &sign(&tree), key.verifier()).unwrap();
    entries[..2]
        .iter()
        .for_each(|entry| whole.entry(entry).unwrap());
    assert!(matches!(
        whole.entry(&entries[2]),
        Err(ExportError::Count {
            given: 3,
            signed: 2
        })
    ));
    let mut part = PartWriter::new(Vec::new(), &sign(&tree), key.verifier()).unwrap();
    part.entry(1, &entries[1], &tree).unwrap();
    assert!(matches!(
        part.entry(1, &entries[1], &tree),
        Err(ExportError::Order { index: 1 })
    ));
    assert!(matches!(
        part.entry(2, &entries[2], &tree),
        Err(ExportError::OutOfRange(_))
    ));
}

proptest! {
    #[test]
    fn no_text_makes_the_verifier_panic(
        junk in "(\\PC|\n|[{}\":,0-9]){0,80}",
        at in any::<prop::sample::Index>(),
    ) {
        let good = whole_of(&story_entries()[..3]);
        prop_assert!(check(&junk).is_err());
        let at = good.floor_char_boundary(at.index(good.len()));
        let (start, rest) = good.split_at(at);
        let spoiled = format!("{start}{junk}{rest}");
        prop_assert_eq!(check(&spoiled).is_ok(), junk.is_empty());
    }
}
