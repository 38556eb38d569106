use proptest::prelude::*;

use super::*;
use crate::samples::*;

fn receipt(index: u64) -> Receipt {
    let entries = story_entries();
    let tree = tree_of(&entries);
    Receipt::new(entries[index as usize].clone(), index, &tree, &sign(&tree)).unwrap()
}

fn open(text: &str) -> Result<VerifiedReceipt, ReceiptError> {
    Receipt::parse(text)?.verify(signer().verifier())
}

#[test]
fn every_entry_has_a_receipt_that_verifies_from_its_text() {
    for index in 0..19 {
        let verified = open(&receipt(index).to_string()).unwrap();
        assert_eq!(verified.index(), index);
        assert_eq!(verified.entry().event(), &story()[index as usize]);
        assert_eq!(verified.checkpoint().size(), 19);
    }
}

#[test]
fn traces_have_receipts_too() {
    let events = traces().into_iter().enumerate();
    let entries: Vec<_> = events
        .map(|(at, event)| entry_at(at as u64, event).encode().unwrap())
        .collect();
    let tree = tree_of(&entries);
    for (index, event) in traces().iter().enumerate() {
        let receipt = Receipt::new(entries[index].clone(), index as u64, &tree, &sign(&tree));
        let verified = open(&receipt.unwrap().to_string()).unwrap();
        assert_eq!(verified.entry().event(), event);
    }
}

#[test]
fn the_text_is_a_tlog_proof() {
    let text = receipt(7).to_string();
    let (head, note) = text.split_once("\n\n").unwrap();
    let lines: Vec<_> = head.lines().collect();
    assert_eq!(lines[0], "c2sp.org/tlog-proof@v1");
    assert!(lines[1].starts_with("extra ") && lines[2] == "index 7");
    assert_eq!(lines.len(), 3 + 5, "19 entries need 5 hashes");
    assert!(note.starts_with(&format!("{ORIGIN}\n19\n")));
}

#[test]
fn must_fail_receipts() {
    let good = receipt(7).to_string();
    assert!(open(&good).is_ok());
    let other = STANDARD.encode(story_entries()[8].as_bytes());
    let entry = good.lines().nth(1).unwrap();
    let hash = good.lines().nth(3).unwrap();
    let bad = [
        (
            "entry_of_another_index",
            good.replacen(entry, &format!("extra {other}"), 1),
        ),
        ("index_altered", good.replacen("index 7", "index 6", 1)),
        (
            "index_leading_zero",
            good.replacen("index 7", "index 07", 1),
        ),
        ("index_past_size", good.replacen("index 7", "index 19", 1)),
        ("hash_missing", good.replacen(&format!("{hash}\n"), "", 1)),
        (
            "hash_twice",
            good.replacen(hash, &format!("{hash}\n{hash}"), 1),
        ),
        ("size_altered", good.replacen("\n19\n", "\n18\n", 1)),
        ("no_extra", good.replacen(&format!("{entry}\n"), "", 1)),
        ("other_version", good.replacen("@v1", "@v2", 1)),
        (
            "no_checkpoint",
            good.split("\n\n").next().unwrap().to_owned(),
        ),
        ("trailing_text", format!("{good}x\n")),
        (
            "too_large",
            format!("{good}{}", "x".repeat(RECEIPT_BYTES_MAX)),
        ),
    ];
    for (name, text) in bad {
        assert_ne!(text, good, "{name} changes nothing");
        assert!(open(&text).is_err(), "{name}");
    }
}

#[test]
fn must_fail_an_entry_that_is_signed_and_no_entry() {
    let bytes = EntryBytes::new(*b"not an entry").unwrap();
    let tree = tree_of(std::slice::from_ref(&bytes));
    let receipt = Receipt::new(bytes, 0, &tree, &sign(&tree)).unwrap();
    assert!(matches!(
        open(&receipt.to_string()),
        Err(ReceiptError::Entry(_))
    ));
}

#[test]
fn no_receipt_is_made_that_would_not_verify() {
    let entries = story_entries();
    let tree = tree_of(&entries);
    let early = sign(&tree_of(&entries[..5]));
    let make =
        |at: usize, index, checkpoint| Receipt::new(entries[at].clone(), index, &tree, checkpoint);
    assert!(matches!(
        make(7, 7, &early),
        Err(ReceiptError::OutOfRange(_))
    ));
    assert!(matches!(
        make(3, 4, &early),
        Err(ReceiptError::OtherEntry { index: 4 })
    ));
    let mut forked = entries.clone();
    forked.swap(0, 1);
    let fork = sign(&tree_of(&forked));
    assert!(matches!(
        make(7, 7, &fork),
        Err(ReceiptError::Checkpoint(_))
    ));
}

#[test]
fn every_bit_of_a_receipt_matters() {
    let text = receipt(9).to_string().into_bytes();
    for bit in 0..text.len() * 8 {
        let mut flipped = text.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(text) = String::from_utf8(flipped) {
            assert!(open(&text).is_err(), "bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(\\PC|\n|extra |index ){0,60}", at in any::<prop::sample::Index>()) {
        let _ = Receipt::parse(&text);
        let _ = Receipt::parse(&format!("{FIRST_LINE}\n{text}"));
        let good = receipt(7).to_string();
        let at = at.index(good.len());
        if let Some((start, _)) = good.split_at_checked(at) {
            prop_assert!(open(start).is_err());
        }
    }
}
