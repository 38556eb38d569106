use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::samples::*;

fn text(entry: &Entry) -> String {
    entry.encode().unwrap().as_str().to_owned()
}

/// An entry after an edit of its JSON, canonical again.
fn edited(edit: impl FnOnce(&mut Value)) -> Result<Entry, EntryError> {
    let mut value: Value = serde_json::from_str(&text(&entry_at(0, granted(1)))).unwrap();
    edit(&mut value);
    Entry::parse(&serde_json_canonicalizer::to_vec(&value).unwrap())
}

#[test]
fn every_event_survives_the_round_trip() {
    for event in story() {
        let entry = entry_at(3, event.clone());
        let bytes = entry.encode().unwrap();
        assert_eq!(bytes.parse().unwrap(), entry);
        assert!(
            bytes
                .as_str()
                .contains(&format!("\"type\":\"{}\"", event.type_name()))
        );
    }
}

#[test]
fn written_form_is_fixed() {
    // Written by hand from the design's field list: a change here breaks every old log.
    let event = DeliveryAcknowledged {
        flow: flow(1),
        sha256: digest(6),
    };
    let mut entry = entry_at(0, event);
    entry.id = EntryId::from_parts(time(0), &[0; 10]);
    entry.salt = Salt::from_bytes([0; 16]);
    let expected = format!(
        concat!(
            r#"{{"actor":{{"cert_sha256":"{cert}","org":"meridian-bank","user":"u-17"}},"#,
            r#""broker":"broker.example","event":{{"flow":"{flow}","sha256":"{sha}","#,
            r#""type":"delivery.acknowledged"}},"id":"{id}","#,
            r#""salt":"AAAAAAAAAAAAAAAAAAAAAA==","time":"2026-11-23T09:00:00.000000Z","v":1}}"#,
        ),
        cert = "09".repeat(32),
        flow = "01".repeat(16),
        sha = "06".repeat(32),
        // 1795424400000 ms = 0x01a207a23280.
        id = "01a207a2-3280-7000-8000-000000000000",
    );
    assert_eq!(text(&entry), expected);
}

#[test]
fn the_samples_have_every_event_type() {
    let told = [story(), assessments(), traces()].concat();
    let names: std::collections::BTreeSet<_> = told.iter().map(Event::type_name).collect();
    assert_eq!(names.len(), 27);
}

#[test]
fn what_officers_do_and_what_traces_find_reads_back() {
    for event in assessments().into_iter().chain(traces()) {
        let entry = entry_at(1, event);
        assert_eq!(entry.encode().unwrap().parse().unwrap(), entry);
    }
}

#[test]
fn entries_from_before_mark_tags_had_a_key_read_back() {
    let mut events = traces();
    let without = |event: &mut Event| match event {
        Event::ReleaseIntent(event) => event.marks.as_mut().unwrap().tag_key = None,
        Event::TraceAuthorised(event) => event.tag_key = None,
        _ => {}
    };
    events.iter_mut().for_each(without);
    for event in events {
        let bytes = entry_at(1, event.clone()).encode().unwrap();
        let authorised = matches!(event, Event::TraceAuthorised(_));
        // The request, a document of its own, names one still.
        assert_eq!(bytes.as_str().contains("tag_key"), authorised);
        assert_eq!(bytes.parse().unwrap().event(), &event);
    }
}

#[test]
fn must_fail_other_spellings() {
    let good = text(&entry_at(0, granted(1)));
    assert!(Entry::parse(good.as_bytes()).is_ok());
    let bad = [
        ("space", good.replacen(':', ": ", 1)),
        ("leading_space", format!(" {good}")),
        ("trailing_space", format!("{good} ")),
        ("trailing_text", format!("{good}x")),
        ("escaped_letter", good.replacen("phone", "ph\\u006fne", 1)),
        ("escaped_slash", good.replacen("dh", "d\\/h", 1)),
        (
            "field_twice",
            good.replacen("\"v\":1", "\"v\":1,\"v\":1", 1),
        ),
        (
            "fields_swapped",
            good.replacen(
                r#""org":"meridian-bank","user":"u-17""#,
                r#""user":"u-17","org":"meridian-bank""#,
                1,
            ),
        ),
        (
            "null_for_none",
            good.replacen("\"set_size\"", "\"segment\":null,\"set_size\"", 1),
        ),
        ("version_as_float", good.replacen("\"v\":1", "\"v\":1.0", 1)),
        ("version_exponent", good.replacen("\"v\":1", "\"v\":1e0", 1)),
        ("empty", String::new()),
        ("control_character", format!("{good}\n")),
        ("cut", good.trim_end_matches('}').to_owned()),
    ];
    for (name, text) in bad {
        assert_ne!(text, good, "{name} changes nothing");
        assert!(Entry::parse(text.as_bytes()).is_err(), "{name}");
    }
    assert!(matches!(Entry::parse(b"\"\xFF\""), Err(EntryError::Bytes)));
}

#[test]
fn must_fail_canonical_entries_with_wrong_content() {
    assert!(edited(|_| ()).is_ok());
    let upper = "AB".repeat(16);
    type Edit = Box<dyn FnOnce(&mut Value)>;
    let edits: Vec<(&str, Edit)> = vec![
        ("unknown_field", Box::new(|v| v["extra"] = json!(1))),
        (
            "unknown_event_field",
            Box::new(|v| v["event"]["phone"] = json!("x")),
        ),
        (
            "unknown_actor_field",
            Box::new(|v| v["actor"]["name"] = json!("x")),
        ),
        (
            "unknown_type",
            Box::new(|v| v["event"]["type"] = json!("flow.invented")),
        ),
        (
            "missing_salt",
            Box::new(|v| drop(v.as_object_mut().unwrap().remove("salt"))),
        ),
        ("version_2", Box::new(|v| v["v"] = json!(2))),
        (
            "id_of_other_time",
            Box::new(|v| v["id"] = json!("01a207a2-3281-7000-8000-000000000000")),
        ),
        (
            "id_version_4",
            Box::new(|v| v["id"] = json!("01a207a2-3280-4000-8000-000000000000")),
        ),
        (
            "id_braced",
            Box::new(|v| v["id"] = json!("{01a207a2-3280-7000-8000-000000000000}")),
        ),
        (
            "time_offset",
            Box::new(|v| v["time"] = json!("2026-11-23T09:00:00.000000+00:00")),
        ),
        (
            "time_millis",
            Box::new(|v| v["time"] = json!("2026-11-23T09:00:00.000Z")),
        ),
        (
            "time_lower",
            Box::new(|v| v["time"] = json!("2026-11-23t09:00:00.000000z")),
        ),
        (
            "time_leap",
            Box::new(|v| v["time"] = json!("2026-11-23T09:00:60.000000Z")),
        ),
        ("salt_short", Box::new(|v| v["salt"] = json!("AAAA"))),
        (
            "salt_tail",
            Box::new(|v| v["salt"] = json!("AAAAAAAAAAAAAAAAAAAAAB==")),
        ),
        (
            "flow_upper",
            Box::new(move |v| v["event"]["flow"] = json!(upper)),
        ),
        ("flow_short", Box::new(|v| v["event"]["flow"] = json!("01"))),
        (
            "org_upper",
            Box::new(|v| v["actor"]["org"] = json!("Meridian")),
        ),
        ("org_short", Box::new(|v| v["actor"]["org"] = json!("m"))),
        (
            "label_empty",
            Box::new(|v| v["event"]["purpose"] = json!("")),
        ),
        (
            "label_long",
            Box::new(|v| v["event"]["purpose"] = json!("x".repeat(257))),
        ),
        (
            "label_control",
            Box::new(|v| v["event"]["purpose"] = json!("a\tb")),
        ),
        (
            "agreement_version_negative",
            Box::new(|v| v["event"]["agreement"]["version"] = json!(-1)),
        ),
        (
            "tags_too_many",
            Box::new(|v| v["event"]["tags"] = json!(vec!["t"; 257])),
        ),
    ];
    for (name, edit) in edits {
        assert!(edited(edit).is_err(), "{name}");
    }
}

#[test]
fn the_longest_entry_fits_and_one_byte_more_does_not() {
    assert!(EntryBytes::new(vec![b'x'; ENTRY_BYTES_MAX]).is_ok());
    let error = EntryBytes::new(vec![b'x'; ENTRY_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(error, EntryError::Size { bytes: 65_536 }));
    let big = || Document::new(json!({"x": "y".repeat(32_000)})).unwrap();
    let proposed = |document, signature| AgreementProposed {
        agreement: agreement(),
        document,
        signature,
    };
    assert!(
        entry_at(0, proposed(big(), Document::new(json!({})).unwrap()))
            .encode()
            .is_ok()
    );
    let tags = List::new(vec![label(&"t".repeat(256)); 256]).unwrap();
    let too_large = entry_at(0, FlowGranted { tags, ..granted(1) });
    assert!(matches!(too_large.encode(), Err(EntryError::Size { .. })));
}

#[test]
fn documents_keep_to_what_canonical_json_keeps_exact() {
    let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!({ "n": inner }));
    for good in [
        json!({}),
        json!({"n": INTEGER_MAX}),
        json!({"n": -9_007_199_254_740_991_i64}),
        nested(32),
    ] {
        let document = Document::new(good).unwrap();
        let refused = AgreementProposed {
            agreement: agreement(),
            document: document.clone(),
            signature: document,
        };
        let entry = entry_at(0, refused);
        assert_eq!(entry.encode().unwrap().parse().unwrap(), entry);
    }
    let bad = [
        ("array", json!([])),
        ("fraction", json!({"n": 0.5})),
        ("whole_float", json!({"n": 1.0})),
        ("minus_zero", json!({"n": -0.0})),
        ("past_2_53", json!({"n": INTEGER_MAX + 1})),
        ("deep", nested(33)),
        ("large", json!({"n": "x".repeat(DOCUMENT_BYTES_MAX)})),
    ];
    for (name, value) in bad {
        assert_eq!(Document::new(value), Err(ValueError::Document), "{name}");
    }
}

#[test]
fn counts_are_told_in_buckets_only() {
    for good in ["0", "10-99", "under 10", "1000+"] {
        assert!(CoarseCount::new(good).is_ok(), "{good}");
    }
    for exact in ["37", "00", "", "1\u{661}", "12\n"] {
        assert!(CoarseCount::new(exact).is_err(), "{exact}");
    }
}

#[test]
fn messages_do_not_repeat_the_value() {
    let canary = "+8613800138000\n";
    for message in [
        Label::new(canary).unwrap_err().to_string(),
        OrgName::new(canary).unwrap_err().to_string(),
        FlowId::parse(canary).unwrap_err().to_string(),
        CoarseCount::new("13800138000").unwrap_err().to_string(),
    ] {
        assert!(!message.contains("138"), "{message}");
    }
}

#[test]
fn timestamps_are_bounded_and_sorted() {
    let last = Timestamp::parse("9999-12-31T23:59:59.999999Z").unwrap();
    assert_eq!(last.unix_micros(), 253_402_300_799_999_999);
    assert_eq!(
        Timestamp::from_unix_micros(last.unix_micros() + 1),
        Err(ValueError::Time)
    );
    assert!(Timestamp::parse("1969-12-31T23:59:59.999999Z").is_err());
    assert_eq!(
        Timestamp::from_unix_micros(0).unwrap().to_string(),
        "1970-01-01T00:00:00.000000Z"
    );
}

proptest! {
    #[test]
    fn any_moment_round_trips(micros in 0..253_402_300_800_000_000_u64) {
        let moment = Timestamp::from_unix_micros(micros).unwrap();
        prop_assert_eq!(Timestamp::parse(&moment.to_string()), Ok(moment));
    }

    #[test]
    fn any_text_round_trips(reason in "\\PC{1,200}", random in any::<u8>(), micros in 0..253_402_300_800_000_000_u64) {
        prop_assume!(reason.len() <= 1_024);
        let event = PartnerRevoked { org: org("aa"), reason: Sentence::new(reason).unwrap() };
        let actor = Actor { org: org("aa"), user: None, cert_sha256: None };
        let random = EntryRandom::draw(&mut rng(random));
        let entry = Entry::new(Timestamp::from_unix_micros(micros).unwrap(), &random, label("b"), actor, event);
        prop_assert_eq!(Entry::parse(entry.encode().unwrap().as_bytes()).unwrap(), entry);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Entry::parse(&bytes);
    }

    #[test]
    fn no_mutation_is_taken_for_another_spelling(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = text(&entry_at(0, intent(1))).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(entry) = Entry::parse(&bytes) {
            let encoded = entry.encode().unwrap();
            prop_assert_eq!(encoded.as_bytes(), &bytes);
        }
    }
}
