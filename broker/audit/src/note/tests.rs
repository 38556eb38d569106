use proptest::prelude::*;

use super::*;
use crate::samples::{ORIGIN, rng, signer};

// The example of Go's golang.org/x/mod/sumdb/note documentation, which the design page
// audit.md repeats.
const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const SIGNATURE: &str =
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";

fn vector() -> String {
    format!("{TEXT}\n\u{2014} PeterNeumann {SIGNATURE}\n")
}

fn known() -> Vec<VerifierKey> {
    vec![VerifierKey::parse(VKEY).unwrap()]
}

fn open(note: &str) -> Result<VerifiedNote, NoteError> {
    Note::parse(note)?.verify(&known())
}

#[test]
fn the_published_vector_verifies() {
    let key = VerifierKey::parse(VKEY).unwrap();
    assert_eq!(hex::encode(key.id()), "c74f20a3");
    assert_eq!(key.to_string(), VKEY);
    let note = open(&vector()).unwrap();
    assert_eq!(note.text(), TEXT);
    assert_eq!(note.signers(), [KeyName::new("PeterNeumann").unwrap()]);
    assert_eq!(Note::parse(&vector()).unwrap().to_string(), vector());
}

#[test]
fn must_fail_notes() {
    let good = vector();
    let line = format!("\u{2014} PeterNeumann {SIGNATURE}\n");
    let bad = [
        ("text_altered", good.replacen("think", "thank", 1)),
        ("text_newline_added", good.replacen("\n\n", "\n\n\n", 1)),
        (
            "base64_tail_not_canonical",
            good.replacen("nAM=", "nAN=", 1),
        ),
        ("base64_without_padding", good.replacen("nAM=", "nAM", 1)),
        ("base64_url_alphabet", good.replacen("x08go/", "x08go_", 1)),
        ("base64_with_newline", good.replacen("UG/", "UG/\n", 1)),
        ("signature_cut", good.replacen(SIGNATURE, "x08go/ZJkuA=", 1)),
        ("signature_empty", good.replacen(SIGNATURE, "x08gow==", 1)),
        ("key_id_only_3_bytes", good.replacen(SIGNATURE, "x08g", 1)),
        ("hyphen_for_em_dash", good.replacen('\u{2014}', "-", 1)),
        (
            "no_space_after_dash",
            good.replacen("\u{2014} ", "\u{2014}", 1),
        ),
        ("two_spaces", good.replacen("\u{2014} ", "\u{2014}  ", 1)),
        ("no_last_newline", good.trim_end().to_owned()),
        ("blank_line_after", format!("{good}\n")),
        ("carriage_returns", good.replace('\n', "\r\n")),
        ("tab_in_text", good.replacen("If you", "If\tyou", 1)),
        ("no_signature", format!("{TEXT}\n")),
        ("no_blank_line", format!("{TEXT}{line}")),
        (
            "other_name_only",
            good.replacen("PeterNeumann", "PaulNeumann", 1),
        ),
        ("other_id_only", good.replacen("x08go", "y08go", 1)),
        (
            "good_and_bad_of_one_key",
            format!(
                "{good}\u{2014} PeterNeumann {}\n",
                SIGNATURE.replacen("ZJk", "ZJl", 1)
            ),
        ),
        (
            "too_many_signatures",
            format!("{good}{}", line.repeat(SIGNATURES_MAX)),
        ),
        ("too_large", format!("{}{good}", "x".repeat(NOTE_BYTES_MAX))),
        ("empty", String::new()),
    ];
    for (name, note) in bad {
        assert_ne!(note, good, "{name} changes nothing");
        assert!(open(&note).is_err(), "{name}");
    }
}

#[test]
fn unknown_keys_are_ignored() {
    let stranger = Note::sign(TEXT, &signer()).unwrap().to_string();
    assert_eq!(open(&stranger), Err(NoteError::NoKnownKey));
    // Beside a known key's line, before or after it, they do no harm; 63 of them neither.
    let line = stranger.rsplit_once("\n\n").unwrap().1;
    let before = format!(
        "{TEXT}\n{}\u{2014} PeterNeumann {SIGNATURE}\n",
        line.repeat(63)
    );
    assert_eq!(open(&before).unwrap().signers().len(), 1);
    // Same name, other id: another key. A post-quantum signature's length is no fault.
    let long = STANDARD.encode([7_u8; 4_600]);
    assert!(open(&format!("{}\u{2014} PeterNeumann {long}\n", vector())).is_ok());
}

#[test]
fn a_bad_signature_of_a_known_key_names_the_key() {
    let note = vector().replacen("think", "thank", 1);
    let name = KeyName::new("PeterNeumann").unwrap();
    assert_eq!(open(&note), Err(NoteError::BadSignature { name }));
}

#[test]
fn must_fail_verifier_keys() {
    // A point of order 4 with its right id: it would verify what nobody signed.
    let weak = {
        let hash = sha2::Sha256::digest([b"weak\n\x01".as_slice(), &[0; 32]].concat());
        format!(
            "weak+{}+{}",
            hex::encode(&hash[..4]),
            STANDARD.encode([&[1_u8][..], &[0; 32]].concat())
        )
    };
    let bad = [
        ("id_altered", VKEY.replacen("c74f20a3", "c74f20a4", 1)),
        ("id_upper", VKEY.replacen("c74f20a3", "C74F20A3", 1)),
        ("name_altered", VKEY.replacen("Peter", "Pater", 1)),
        ("name_empty", VKEY.replacen("PeterNeumann", "", 1)),
        ("name_with_space", VKEY.replacen("Peter", "Peter ", 1)),
        ("type_cosignature", VKEY.replacen("+ARpc", "+BBpc", 1)),
        ("key_cut", VKEY.trim_end_matches("10TW").to_owned()),
        ("trailing_newline", format!("{VKEY}\n")),
        ("weak_key", weak),
        ("empty", String::new()),
    ];
    use sha2::Digest as _;
    for (name, text) in bad {
        assert!(VerifierKey::parse(&text).is_err(), "{name}");
    }
}

#[test]
fn signer_keys_round_trip_and_stay_hidden() {
    let key = signer();
    let text = key.to_secret_text();
    let again = SignerKey::parse(&text).unwrap();
    assert_eq!(again.verifier(), key.verifier());
    assert_eq!(
        Note::sign("a\n", &again).unwrap(),
        Note::sign("a\n", &key).unwrap()
    );
    let secret = text.rsplit_once('+').unwrap().1;
    assert!(!format!("{key:?}").contains(secret));
    assert_eq!(format!("{key:?}"), format!("SignerKey({ORIGIN}, redacted)"));
    for bad in [
        text.trim_start_matches('P'),
        text.split_at(text.len() - 1).0,
        &text.replacen("broker", "broken", 1),
        VKEY,
    ] {
        let error = SignerKey::parse(bad).unwrap_err();
        assert!(!error.to_string().contains(secret));
    }
}

#[test]
fn texts_that_cannot_be_signed_are_refused() {
    for text in ["", "no newline", "tab\t\n", "return\r\n", "nul\0\n"] {
        assert_eq!(
            Note::sign(text, &signer()),
            Err(NoteError::Text),
            "{text:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_text_signs_and_verifies(text in "[^\\x00-\\x1f]{0,40}(\n[^\\x00-\\x1f]{0,40}){0,4}\n", seed in any::<u8>()) {
        let key = SignerKey::generate(KeyName::new("k").unwrap(), &mut rng(seed));
        let note = Note::sign(text.clone(), &key).unwrap().to_string();
        let verified = Note::parse(&note).unwrap().verify(&[key.verifier().clone()]).unwrap();
        prop_assert_eq!(verified.text(), text);
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "(\\PC|\n|\u{2014} |\\+){0,60}") {
        let _ = Note::parse(&text);
        let _ = VerifierKey::parse(&text);
        let _ = SignerKey::parse(&format!("PRIVATE+KEY+{text}"));
    }
}

#[test]
fn every_bit_of_the_vector_matters() {
    let note = vector().into_bytes();
    for bit in 0..note.len() * 8 {
        let mut flipped = note.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(text) = String::from_utf8(flipped) {
            assert!(open(&text).is_err(), "bit {bit}");
        }
    }
}
