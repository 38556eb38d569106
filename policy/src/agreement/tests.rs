use super::*;
use crate::keys::{InstitutionKey, NoisePublicKey};
use proptest::prelude::*;
use time::macros::date;

mod faults;
mod marks;

pub(crate) fn party(name: &str, seed: u8) -> PartyKeys {
    PartyKeys {
        name: name.parse().unwrap(),
        signing_key: InstitutionKey::from_seed(&[seed; 32]).public(),
        noise_key: NoisePublicKey::from_bytes([seed; 32]).unwrap(),
    }
}

pub(crate) fn sample_text() -> String {
    template(
        &party("north-bank", 1),
        &party("east-life", 2),
        date!(2026 - 01 - 01),
    )
}

pub(crate) fn sample() -> Agreement {
    Agreement::parse(&sample_text()).unwrap()
}

/// The sample with one piece of its text replaced; the piece must be there.
pub(crate) fn changed(from: &str, to: &str) -> Result<Agreement, Findings> {
    let text = sample_text();
    assert!(text.contains(from), "the sample has no {from}");
    Agreement::parse(&text.replacen(from, to, 1))
}

fn line_of(needle: &str) -> u32 {
    let at = sample_text()
        .lines()
        .position(|line| line.contains(needle))
        .unwrap();
    u32::try_from(at).unwrap() + 1
}

#[test]
fn the_usual_bucket_leaves_no_mark_and_another_is_signed() {
    let with = |rows: u32| {
        let line = format!("period_days = 30\nbucket_rows = {rows}\n");
        changed("period_days = 30\n", &line)
    };
    let usual = with(1 << 19).unwrap();
    assert_eq!(usual.digest(), sample().digest());
    let small = with(1024).unwrap();
    assert_ne!(small.digest(), usual.digest());
    let again = Agreement::from_canonical(small.canonical_bytes()).unwrap();
    assert_eq!(again.caps().bucket_rows, 1024);
    assert!(with(1023).is_err() && with((1 << 22) + 1).is_err());
}

#[test]
fn the_template_parses_and_needs_no_advice() {
    let agreement = sample();
    assert_eq!(agreement.id().as_str(), "north-bank-east-life-tags");
    assert_eq!(agreement.tags().len(), 4);
    assert_eq!(agreement.valid_until(), date!(2026 - 12 - 31));
    assert_eq!(lint(&agreement), []);
}

#[test]
fn the_canonical_form_is_pinned() {
    // Whoever changes this digest breaks every signature made so far: raise version_of_format.
    assert_eq!(
        sample().digest().to_string(),
        "2de0959fa17ed6a17ef730edd564a5df9926a17a2aec24b16820de93b40f43d0"
    );
    let bytes = sample().canonical_bytes().to_vec();
    assert!(
        bytes.starts_with(br#"{"caps":{"flows_per_period":12,"identifiers_per_period":500000,"#)
    );
}

#[test]
fn the_canonical_form_round_trips_and_comments_do_not_count() {
    let agreement = sample();
    let read = Agreement::from_canonical(agreement.canonical_bytes()).unwrap();
    assert_eq!(read, agreement);
    assert_eq!(read.digest(), agreement.digest());
    let commented = changed("k = 10 ", "k = 10 # ten\n#").unwrap();
    assert_eq!(commented.digest(), agreement.digest());
}

#[test]
fn every_term_is_signed() {
    let changes = [
        ("north-bank-east-life-tags", "another-id"),
        ("\nversion = 1", "\nversion = 2"),
        ("name = \"north-bank\"", "name = \"south-bank\""),
        ("name = \"east-life\"", "name = \"west-life\""),
        ("\"marketing_suitability\"\n", "\"risk_assessment\"\n"),
        ("\"consent\"\n", "\"contract\"\n"),
        ("valid_from = 2026-01-01", "valid_from = 2026-01-02"),
        ("2026-12-31", "2026-12-30"),
        ("\"customers\"", "\"prospects\""),
        ("\nk = 10", "\nk = 11"),
        ("minimum_match = 50", "minimum_match = 51"),
        ("\"phone\", rules = 1", "\"phone\", rules = 2"),
        ("\"CN\"", "\"DE\""),
        ("    { type = \"email\", rules = 1 },\n", ""),
        ("form = \"banded\"", "form = \"exact\""),
        (
            "form = \"banded\"",
            "form = \"banded\"\nbands = [[35, 45, 55], [45]]",
        ),
        ("level = 1", "level = 2"),
        ("name = \"established\"", "name = \"loyal\""),
        ("years_as_customer >= 2", "years_as_customer >= 3"),
        ("rows_per_flow = 100000 ", "rows_per_flow = 100001 "),
        ("flows_per_period = 12", "flows_per_period = 13"),
        ("period_days = 30", "period_days = 31"),
        (
            "identifiers_per_period = 500000",
            "identifiers_per_period = 500001",
        ),
        ("audit_years = 7", "audit_years = 8"),
        ("deletion_days = 90", "deletion_days = 91"),
        ("privacy@", "dpo@"),
        ("\"private_matching\"", "\"matching\""),
        ("housing = \"profile\"", "housing = \"home\""),
        ("packs = []", "packs = [\"gdpr\"]"),
        ("owner_region = \"CN\"", "owner_region = \"DE\""),
        ("recipient_region = \"CN\"", "recipient_region = \"DE\""),
        ("\ncontract = \"change-me\"", "\ncontract = \"c-1\""),
        (
            "processor_contract = \"change-me\"",
            "processor_contract = \"c-2\"",
        ),
        ("separate_consent = true", "separate_consent = false"),
        ("\"method\", ", ""),
        ("withdrawal = true", "withdrawal = false"),
        ("refusal_option = true", "refusal_option = false"),
        ("reference = \"change-me\"", "reference = \"ia-1\""),
        ("date = 2026-01-01", "date = 2025-12-31"),
        ("breach_notice_hours = 24", "breach_notice_hours = 25"),
        ("basis = \"none\"", "basis = \"exempt\""),
        ("basis = \"none\"", "basis = \"none\", people_elsewhere = 1"),
        (
            "basis = \"none\"",
            "basis = \"none\", sensitive_elsewhere = 1",
        ),
        (
            "basis = \"none\"",
            "basis = \"none\", critical_infrastructure = true",
        ),
    ];
    let mut digests = std::collections::BTreeSet::from([sample().digest()]);
    for (from, to) in changes {
        assert!(
            digests.insert(changed(from, to).unwrap().digest()),
            "{to} changes no digest"
        );
    }
    for (owner, recipient) in [
        ((3, 1), (2, 2)),
        ((1, 3), (2, 2)),
        ((1, 1), (3, 2)),
        ((1, 1), (2, 3)),
    ] {
        let keys = |name: &str, (signing, noise)| PartyKeys {
            noise_key: party(name, noise).noise_key,
            ..party(name, signing)
        };
        let text = template(
            &keys("north-bank", owner),
            &keys("east-life", recipient),
            date!(2026 - 01 - 01),
        );
        assert!(
            digests.insert(Agreement::parse(&text).unwrap().digest()),
            "a key changes no digest"
        );
    }
}

#[test]
fn spellings_of_one_number_have_one_digest() {
    let bands = |first: &str| {
        let form = format!("credit_amount\"\nform = \"banded\"\nbands = [[{first}, 5000]]");
        changed("credit_amount\"\nform = \"banded\"", &form).unwrap()
    };
    assert_eq!(
        bands("\"1000.00\", 2_500.0").digest(),
        bands("1000, 2500").digest()
    );
}

#[test]
fn other_spellings_of_the_canonical_form_must_fail() {
    let canonical = String::from_utf8(sample().canonical_bytes().to_vec()).unwrap();
    for (name, text) in [
        ("blank", canonical.replacen(':', ": ", 1)),
        ("trailing_newline", format!("{canonical}\n")),
        (
            "duplicate_key",
            canonical.replacen("{\"caps\"", "{\"k\":10,\"caps\"", 1),
        ),
        (
            "unknown_key",
            canonical.replacen("{\"caps\"", "{\"a\":1,\"caps\"", 1),
        ),
        (
            "default_left_out",
            canonical.replacen("\"audit_years\":7,", "", 1),
        ),
        ("float", canonical.replacen("\"k\":10", "\"k\":10.0", 1)),
        (
            "decimal_spelling",
            canonical.replacen("\"1000\"", "\"1000.0\"", 1),
        ),
        ("truncated", canonical.trim_end_matches('}').to_owned()),
        ("too_large", " ".repeat(CANONICAL_BYTES_MAX + 1)),
        ("null", canonical.replacen("\"dh\"", "null", 1)),
    ] {
        assert_ne!(text, canonical, "{name}");
        assert!(
            Agreement::from_canonical(text.as_bytes()).is_err(),
            "{name}"
        );
    }
}

#[test]
fn what_is_signed_explains_itself() {
    let canonical = String::from_utf8(sample().canonical_bytes().to_vec()).unwrap();
    for part in [
        "\"aggressive\":\"high\"",
        "The customer's age in whole years.",
        "\"security_level\":3",
        "\"tolerance\":\"0\"",
        "\"values\":[\"active\",\"dormant\",\"closed\"]",
        &Library::built_in()
            .iter()
            .next()
            .unwrap()
            .reference()
            .digest
            .to_string(),
    ] {
        assert!(canonical.contains(part), "{part}");
    }
    let read = Agreement::from_canonical(canonical.as_bytes()).unwrap();
    assert_eq!(read.check_taxonomy(&Library::built_in()), Ok(true));
}

#[test]
fn definitions_that_the_taxonomy_does_not_give_are_found() {
    let canonical = String::from_utf8(sample().canonical_bytes().to_vec()).unwrap();
    let checked = |from: &str, to: &str| {
        assert!(canonical.contains(from), "{from}");
        let altered = canonical.replacen(from, to, 1);
        let read = Agreement::from_canonical(altered.as_bytes()).expect(to);
        read.check_taxonomy(&Library::built_in())
    };
    for (from, to) in [
        ("\"growth\":\"high\"", "\"growth\":\"medium\""),
        ("\"class\":\"C2\"", "\"class\":\"C1\""),
        ("\"security_level\":3", "\"security_level\":1"),
        (
            "\"age_band\",\"security_level\":2,\"tolerance\":\"0\"",
            "\"age_band\",\"security_level\":2,\"tolerance\":\"1\"",
        ),
        ("The customer's age", "The customer's weight"),
        (
            "[\"active\",\"dormant\",\"closed\"]",
            "[\"active\",\"dormant\"]",
        ),
        ("[[\"1000\",\"2500\"", "[[\"1500\",\"2500\""),
    ] {
        assert!(checked(from, to).is_err(), "{to}");
    }
    let digest = sample().taxonomy().digest.to_string();
    let other: String = digest.chars().rev().collect();
    assert!(checked(&digest, &other).is_err());
    // Of a version that is not here nothing can be said.
    let taxonomy = format!("{digest}\",\"name\":\"cn-finance\",\"version\":1");
    let later = taxonomy.replace("\"version\":1", "\"version\":2");
    assert_eq!(checked(&taxonomy, &later), Ok(false));
}

#[test]
fn a_class_that_never_leaves_must_fail_in_full_form_too() {
    let canonical = String::from_utf8(sample().canonical_bytes().to_vec()).unwrap();
    for (from, to) in [
        ("\"class\":\"C2\"", "\"class\":\"C3\""),
        ("\"class\":\"C2\",", ""),
    ] {
        let altered = canonical.replacen(from, to, 1);
        assert_ne!(altered, canonical);
        assert!(
            Agreement::from_canonical(altered.as_bytes()).is_err(),
            "{to}"
        );
    }
}

#[test]
fn each_tag_is_compared_with_what_its_purpose_needs() {
    let library = Library::built_in();
    let fits = |agreement: &Agreement| {
        let taxonomy = library.find(&agreement.taxonomy().name, 1).unwrap();
        let told = minimisation(agreement, taxonomy);
        assert!(
            told.iter()
                .all(|told| told.line.is_some() && !told.advice.is_empty())
        );
        told.iter().map(|told| told.fit).collect::<Vec<_>>()
    };
    // Four tags that are delivered, and two by which a segment chooses.
    assert_eq!(fits(&sample()), [Fit::Adequate; 6]);
    let own = minimisation(
        &sample(),
        library.find(&sample().taxonomy().name, 1).unwrap(),
    );
    let told: Vec<_> = own
        .iter()
        .map(|told| {
            (
                told.delivered,
                told.agreed_level.is_some(),
                told.agreed_values,
            )
        })
        .collect();
    assert!(
        told[..4]
            .iter()
            .all(|(delivered, level, _)| *delivered && *level)
    );
    assert_eq!(told[4..], [(false, false, Some(2)); 2]);
    let exact = changed("form = \"banded\"", "form = \"exact\"").unwrap();
    assert_eq!(fits(&exact)[1], Fit::Finer);
    let fraud = changed("\"marketing_suitability\"\n", "\"fraud_prevention\"\n").unwrap();
    assert_eq!(
        fits(&fraud),
        [
            Fit::NotNeeded,
            Fit::Adequate,
            Fit::NotNeeded,
            Fit::NotNeeded,
            Fit::Adequate,
            Fit::Adequate,
        ]
    );
    // A tag that the purpose does not need is not needed to choose by either.
    let chosen = sample_text()
        .replace("\"years_as_customer\", ", "\"wealth_tier\", ")
        .replace("years_as_customer >= 2", "wealth_tier = 'mass'")
        .replace(
            "years_as_customer = \"profile\"",
            "wealth_tier = \"profile\"",
        )
        .replace("\"marketing_suitability\"\n", "\"fraud_prevention\"\n");
    let chosen = Agreement::parse(&chosen).unwrap();
    assert_eq!(fits(&chosen)[4], Fit::NotNeeded);
    let credit = changed("\"marketing_suitability\"\n", "\"credit_decision\"\n").unwrap();
    assert_eq!(fits(&credit), [Fit::Unknown; 6]);
}

#[test]
fn advice_has_lines_and_reasons() {
    for (from, to, path) in [
        (
            "rows_per_flow = 100000 ",
            "rows_per_flow = 500000 ",
            "caps.identifiers_per_period",
        ),
        ("k = 10 ", "k = 3 ", "k"),
        ("minimum_match = 50", "minimum_match = 10", "minimum_match"),
        ("2026-12-31", "2029-12-31", "valid_until"),
        (
            "deletion_days = 90",
            "deletion_days = 900",
            "retention.deletion_days",
        ),
        ("\"consent\"\n", "\"legitimate_interest\"\n", "legal_basis"),
        (
            "\"marketing_suitability\"\n",
            "\"credit_decision\"\n",
            "purpose",
        ),
        (
            "flows_per_period = 12",
            "flows_per_period = 120",
            "caps.flows_per_period",
        ),
        (
            "where = \"years_as_customer >= 2",
            "where = \"risk_appetite = 'aggressive' and years_as_customer >= 2",
            "segments[0]",
        ),
    ] {
        let text = to.replace("500000 ", "5000 ");
        let advice = lint(&changed(from, &text).unwrap());
        let hit = advice.iter().find(|advice| advice.path == path);
        assert!(
            hit.is_some_and(|advice| advice.line.is_some()),
            "{to}: {advice:?}"
        );
    }
    let exact = changed("form = \"banded\"", "form = \"exact\"").unwrap();
    let paths: Vec<_> = lint(&exact).into_iter().map(|advice| advice.path).collect();
    assert_eq!(paths, ["tags", "tags[1].form"]);
}

#[test]
fn validity_and_periods_are_whole_utc_days() {
    let agreement = sample();
    let at = |text: &str| agreement.period_at(text.parse().unwrap());
    assert_eq!(at("2025-12-31T23:59:59Z"), None);
    assert_eq!(at("2026-01-01T00:00:00Z").unwrap().index, 0);
    assert_eq!(at("2026-01-30T23:59:59Z").unwrap().index, 0);
    let second = at("2026-01-31T00:00:00Z").unwrap();
    assert_eq!(
        (second.index, second.end.to_string()),
        (1, "2026-03-02T00:00:00Z".to_owned())
    );
    assert!(at("2026-12-31T23:59:59Z").is_some());
    assert_eq!(at("2027-01-01T00:00:00Z"), None);
}

proptest! {
    #[test]
    fn valid_agreements_round_trip(
        version in 1u32..,
        k in 2u32..=50,
        rows in 50u32..=10_000_000,
        deletion in 1u32..=3660,
        tags in prop::sample::subsequence(vec!["wealth_tier", "assets", "region", "holdings", "life_event", "credit_score", "customer_since"], 1..7),
        exact: bool,
        edges in prop::sample::subsequence(vec![25, 35, 45, 55, 65], 1..5),
    ) {
        let form = |tag: &str| match tag {
            _ if exact => "exact",
            "assets" | "credit_score" | "customer_since" => "banded",
            _ => "level",
        };
        let more: String = tags
            .iter()
            .map(|tag| format!("[[tags]]\nname = \"{tag}\"\nform = \"{}\"\n", form(tag)))
            .collect();
        let categories: String = tags.iter().map(|tag| format!(", {tag} = \"profile\"")).collect();
        let text = sample_text()
            .replace("\nversion = 1  ", &format!("\nversion = {version}  "))
            .replace("\nk = 10", &format!("\nk = {k}"))
            .replace("rows_per_flow = 100000 ", &format!("rows_per_flow = {rows} "))
            .replace("identifiers_per_period = 500000", "identifiers_per_period = 10000000")
            .replace("deletion_days = 90", &format!("deletion_days = {deletion}"))
            .replacen("form = \"banded\"", &format!("form = \"banded\"\nbands = [{edges:?}]"), 1)
            .replace("[caps]", &format!("{more}[caps]"))
            .replace("housing = \"profile\"", &format!("housing = \"profile\"{categories}"));
        let agreement = Agreement::parse(&text).unwrap();
        let read = Agreement::from_canonical(agreement.canonical_bytes()).unwrap();
        prop_assert_eq!(read.canonical_bytes(), agreement.canonical_bytes());
        prop_assert_eq!(read.version(), version);
        prop_assert_eq!(read.tags(), agreement.tags());
        prop_assert_eq!(read.check_taxonomy(&Library::built_in()), Ok(true));
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,300}", bytes: Vec<u8>) {
        let _ = Agreement::parse(&text);
        let _ = Agreement::from_canonical(&bytes);
    }

    #[test]
    fn a_damaged_document_never_panics(at in 0usize..4000, junk in "[ -~]{0,3}") {
        let text = sample_text();
        let (head, tail): (String, String) = (text.chars().take(at).collect(), text.chars().skip(at + 1).collect());
        let _ = Agreement::parse(&format!("{head}{junk}{tail}"));
        let mut canonical = sample().canonical_bytes().to_vec();
        let length = canonical.len();
        canonical[at % length] ^= 1;
        prop_assert!(Agreement::from_canonical(&canonical).map_or(true, |read| read.digest() != sample().digest()));
    }
}

#[test]
fn what_is_not_declared_is_not_in_place() {
    let text = sample_text();
    let (without, _) = text.split_once("\n[compliance]").unwrap();
    let agreement = Agreement::parse(without).unwrap();
    assert_eq!(agreement.compliance(), &Compliance::default());
    let read = Agreement::from_canonical(agreement.canonical_bytes()).unwrap();
    assert_eq!(read.compliance(), &Compliance::default());
    assert_ne!(agreement.digest(), sample().digest());
}

#[test]
fn an_unknown_pack_is_refused_with_its_line() {
    for (from, to, problem) in [
        ("packs = []", "packs = [\"hipaa\"]", "`hipaa` is not a pack"),
        ("packs = []", "packs = [\"gdpr\", \"gdpr\"]", "occurs twice"),
    ] {
        let findings = changed(from, to).unwrap_err();
        let finding = findings.iter().next().unwrap();
        assert_eq!(finding.line, Some(line_of("packs = []")));
        assert!(finding.problem.contains(problem), "{finding}");
    }
}

#[test]
fn the_order_of_what_was_told_does_not_count() {
    let agreement = changed("\"name\", \"contact\"", "\"contact\", \"name\"").unwrap();
    assert_eq!(agreement.digest(), sample().digest());
}

#[test]
fn auto_is_decided_by_the_request() {
    for (agreed, identifiers, expected) in [
        ("dh", 1_000_000, "dh"),
        ("vole", 1, "vole"),
        ("auto", 1, "dh"),
        ("auto", 4_095, "dh"),
        ("auto", 4_096, "vole"),
    ] {
        let agreed: Protocol = agreed.parse().unwrap();
        assert_eq!(agreed.for_request(identifiers).as_str(), expected);
    }
}
