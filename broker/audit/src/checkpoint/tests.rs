use proptest::prelude::*;

use super::*;
use crate::samples::*;

fn signed_text(text: &str) -> String {
    Note::sign(text, &signer()).unwrap().to_string()
}

fn open(note: &str) -> Result<VerifiedCheckpoint, CheckpointError> {
    SignedCheckpoint::parse(note)?.verify(signer().verifier())
}

const ROOT: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

#[test]
fn a_signed_checkpoint_verifies_and_keeps_its_text() {
    let checkpoint = sign(&tree_of(&story_entries()));
    let again = open(checkpoint.signed().as_str()).unwrap();
    assert_eq!(again, checkpoint);
    assert_eq!(again.size(), 19);
    assert_eq!(again.origin().as_str(), ORIGIN);
}

#[test]
fn the_empty_log_has_a_checkpoint() {
    let checkpoint = sign(&Tree::new());
    let text = checkpoint.signed().as_str();
    assert!(
        text.starts_with(&format!("{ORIGIN}\n0\n{ROOT}\n\n\u{2014} {ORIGIN} ")),
        "{text}"
    );
}

#[test]
fn must_fail_texts_even_when_signed() {
    assert!(open(&signed_text(&format!("{ORIGIN}\n7\n{ROOT}\n"))).is_ok());
    let bad = [
        ("size_leading_zero", format!("{ORIGIN}\n07\n{ROOT}\n")),
        ("size_plus", format!("{ORIGIN}\n+7\n{ROOT}\n")),
        ("size_negative", format!("{ORIGIN}\n-7\n{ROOT}\n")),
        (
            "size_past_u64",
            format!("{ORIGIN}\n18446744073709551616\n{ROOT}\n"),
        ),
        ("size_empty", format!("{ORIGIN}\n\n{ROOT}\n")),
        ("root_short", format!("{ORIGIN}\n7\nAAAA\n")),
        (
            "root_tail",
            format!("{ORIGIN}\n7\n{}\n", ROOT.replacen("FU=", "FV=", 1)),
        ),
        ("root_missing", format!("{ORIGIN}\n7\n")),
        ("origin_other", format!("other.example/log\n7\n{ROOT}\n")),
        ("origin_empty", format!("\n7\n{ROOT}\n")),
        (
            "extension_line",
            format!("{ORIGIN}\n7\n{ROOT}\nextension\n"),
        ),
        ("extension_empty", format!("{ORIGIN}\n7\n{ROOT}\n\n")),
    ];
    for (name, text) in bad {
        assert!(open(&signed_text(&text)).is_err(), "{name}");
    }
}

#[test]
fn must_fail_another_key_of_the_same_name() {
    let name = KeyName::new(ORIGIN).unwrap();
    let impostor = SignerKey::generate(name.clone(), &mut rng(66));
    let note = Checkpoint::of(name, &Tree::new()).sign(&impostor).unwrap();
    let error = open(note.signed().as_str()).unwrap_err();
    assert_eq!(error, CheckpointError::Note(NoteError::NoKnownKey));
    let other = Checkpoint::of(KeyName::new("other").unwrap(), &Tree::new());
    assert!(matches!(
        other.sign(&signer()),
        Err(CheckpointError::Origin { .. })
    ));
}

#[test]
fn a_log_is_held_to_what_was_signed() {
    let entries = story_entries();
    let early = sign(&tree_of(&entries[..10]));
    assert_eq!(early.check_log(&tree_of(&entries)), Ok(()));
    let cut = early.check_log(&tree_of(&entries[..9]));
    assert_eq!(
        cut,
        Err(CheckpointError::RolledBack {
            size: 9,
            signed: 10
        })
    );
    let mut swapped = entries.clone();
    swapped.swap(3, 4);
    assert_eq!(
        early.check_log(&tree_of(&swapped)),
        Err(CheckpointError::Forked { signed: 10 })
    );
}

#[test]
fn checkpoints_are_held_to_each_other() {
    let entries = story_entries();
    let tree = tree_of(&entries);
    let (old, new) = (sign(&tree_of(&entries[..10])), sign(&tree));
    let proof = tree.consistency(10, 19).unwrap();
    assert_eq!(old.check_newer(&new, &proof), Ok(()));
    assert!(matches!(
        new.check_newer(&old, &proof),
        Err(CheckpointError::Inconsistent(_))
    ));
    let mut forked = entries;
    forked.swap(3, 4);
    let fork = tree_of(&forked);
    let proof = fork.consistency(10, 19).unwrap();
    assert!(matches!(
        old.check_newer(&sign(&fork), &proof),
        Err(CheckpointError::Inconsistent(_))
    ));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(\\PC|\n){0,60}") {
        let _ = SignedCheckpoint::parse(&text);
        if let Ok(note) = Note::sign(format!("{text}\n"), &signer()) {
            let _ = open(&note.to_string());
        }
    }

    #[test]
    fn only_canonical_decimals_are_read(number in any::<u64>(), text in "[+-]?[0-9]{0,21}") {
        prop_assert_eq!(parse_decimal(&number.to_string()), Some(number));
        if let Some(number) = parse_decimal(&text) {
            prop_assert_eq!(number.to_string(), text);
        }
    }
}
