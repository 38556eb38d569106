use proptest::prelude::*;

use super::*;

fn normaliser(kind: IdentifierKind) -> Normaliser {
    Normaliser::new(kind, Some("CN".parse().unwrap()))
}

const KINDS: [IdentifierKind; 3] = [
    IdentifierKind::Phone,
    IdentifierKind::ResidentId,
    IdentifierKind::Email,
];

const EXAMPLES: [&str; 3] = [
    "+8613812345678",
    "11010519491231002X",
    "anna.li@example.com",
];

#[test]
fn kinds_have_names_and_versions() {
    for kind in KINDS {
        assert_eq!(kind.to_string().parse(), Ok(kind));
        assert!(kind.rules_version().starts_with(&format!("{kind}/")));
    }
    let unknown = "fax".parse::<IdentifierKind>().unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "unknown identifier kind `fax`; use `phone`, `resident_id` or `email`"
    );
}

#[test]
fn the_encoding_separates_kinds() {
    let encoded: Vec<Vec<u8>> = KINDS
        .into_iter()
        .zip(EXAMPLES)
        .map(|(kind, raw)| normaliser(kind).normalise(raw).unwrap().as_bytes().to_vec())
        .collect();
    assert_eq!(encoded[0], b"phone\0+8613812345678");
    assert_eq!(encoded[1], b"resident_id\x0011010519491231002X");
    assert_eq!(encoded[2], b"email\0anna.li@example.com");
}

#[test]
fn full_width_forms_and_white_space_do_not_matter() {
    for (kind, raw, expected) in [
        (
            IdentifierKind::Phone,
            "\u{3000}\u{ff11}\u{ff13}\u{ff18}12345678\t",
            EXAMPLES[0],
        ),
        (
            IdentifierKind::Phone,
            "\u{ff0b}86 138\u{a0}1234\u{ff0d}5678",
            EXAMPLES[0],
        ),
        (
            IdentifierKind::ResidentId,
            " 11010519491231002\u{ff38}\r\n",
            EXAMPLES[1],
        ),
        (
            IdentifierKind::ResidentId,
            "11010519491231002\u{ff58}",
            EXAMPLES[1],
        ),
        (IdentifierKind::Email, "\u{feff}", ""),
        (
            IdentifierKind::Email,
            " Anna.Li\u{ff20}Example.com ",
            EXAMPLES[2],
        ),
    ] {
        let got = normaliser(kind).normalise(raw);
        let got = got
            .as_ref()
            .map(Identifier::expose_value)
            .unwrap_or_default();
        assert_eq!(got, expected, "{}", raw.escape_unicode());
    }
}

#[test]
fn empty_and_overlong_values_are_refused() {
    for kind in KINDS {
        for raw in ["", " ", "\t\r\n", "\u{3000}"] {
            assert_eq!(normaliser(kind).normalise(raw), Err(Refusal::Empty));
        }
        let long = "1".repeat(RAW_BYTES_MAX + 1);
        assert_eq!(normaliser(kind).normalise(&long), Err(Refusal::TooLong));
    }
}

#[test]
fn nothing_shows_a_value() {
    for (kind, raw) in KINDS.into_iter().zip(EXAMPLES) {
        let shown = format!("{:?}", normaliser(kind).normalise(raw).unwrap());
        assert_eq!(shown, format!("Identifier({kind}, <redacted>)"));
    }
}

#[test]
fn the_worst_case_of_nfkc_fits_its_buffer() {
    let raw = "\u{fdfa}".repeat(100);
    let Cow::Owned(composed) = compatible_form(&raw) else {
        panic!("not ASCII, so composed");
    };
    assert!(composed.capacity() <= raw.len() * 11 && composed.len() <= composed.capacity());
    assert_eq!(composed.len(), 100 * 33);
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused_without_harm(raw in ".{0,40}") {
        for kind in KINDS {
            let _ = normaliser(kind).normalise(&raw);
        }
    }

    #[test]
    fn emails_are_stable(raw in "[A-Za-z0-9+_.-]{1,20}@[A-Za-z0-9.-]{1,20}\\.[a-zA-Z]{2,5}") {
        let normaliser = normaliser(IdentifierKind::Email);
        if let Ok(once) = normaliser.normalise(&raw) {
            prop_assert_eq!(&normaliser.normalise(once.expose_value()).unwrap(), &once);
            prop_assert_eq!(&normaliser.normalise(&raw.to_uppercase()).unwrap(), &once);
        }
    }
}
