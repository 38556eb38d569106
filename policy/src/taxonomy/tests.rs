use super::*;
use crate::tag::TagKind;
use proptest::prelude::*;

const OWN: &str = r#"version_of_format = 1
name = "pets"
version = 3
extends = { name = "cn-finance", version = 1 }

[[tags]]
name = "pet"
meaning = "The insured animal."
subject = "animals"
kind = "categorical"
class = "C1"
security_level = 2
values = ["cat", "dog", "horse"]
levels = [{ cat = "small", dog = "small", horse = "large" }]

[[tags]]
name = "weight"
meaning = "Its weight in kg."
subject = "animals"
kind = "number"
class = "C1"
security_level = 2
bands = [[5, 20, 100], [20]]
tolerance = 0.5

[[tags]]
name = "paw_print"
meaning = "What opens its door."
subject = "animals"
class = "C3"
security_level = 4

[[adequacy]]
subject = "animals"
purposes = ["fraud_prevention"]
level = 1
why = "small or large is enough"
"#;

fn loaded(text: &str) -> Result<Library, FileFindings> {
    Library::load(&[("own.toml", text)])
}

fn own(text: &str) -> Taxonomy {
    let library = loaded(text).unwrap();
    Taxonomy::clone(library.find(&"pets".parse().unwrap(), 3).unwrap())
}

fn name<T: std::str::FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

#[test]
fn the_built_in_taxonomy_has_what_the_seed_names() {
    let library = Library::built_in();
    let taxonomy = library.find(&name("cn-finance"), 1).unwrap();
    for tag in [
        "risk_appetite",
        "wealth_tier",
        "age_band",
        "holdings",
        "occupation",
        "region",
        "life_event",
    ] {
        let definition = taxonomy.definition(&name(tag)).expect(tag);
        let exact = definition.exact().expect(tag);
        assert!(exact.level_count() > 0, "{tag} has no hierarchy");
        for purpose in Purpose::ALL {
            let known = taxonomy.adequacy(definition.subject(), *purpose).is_some();
            assert_eq!(known, !purpose.is_denied_by_default(), "{tag} {purpose}");
        }
    }
    for tag in ["password", "biometric", "card_verification"] {
        let definition = taxonomy.definition(&name(tag)).unwrap();
        assert_eq!((definition.class(), definition.exact()), (Class::C3, None));
    }
    let kinds: std::collections::BTreeSet<_> = taxonomy
        .definitions()
        .filter_map(|definition| Some(definition.exact()?.kind()))
        .collect();
    assert_eq!(kinds.len(), TagKind::ALL.len(), "{kinds:?}");
}

#[test]
fn the_built_in_digest_is_pinned() {
    // Whoever changes a definition changes what agreements mean: make it a new version.
    assert_eq!(
        Library::built_in()
            .iter()
            .next()
            .unwrap()
            .reference()
            .digest
            .to_string(),
        "c43074d9cd1ef53f97ad9bccfd1cb65dec538c973762b5305a349f697ebc4e3e"
    );
}

#[test]
fn ones_own_taxonomy_extends_another() {
    let pets = own(OWN);
    assert!(pets.definition(&name("wealth_tier")).is_some());
    let weight = pets.definition(&name("weight")).unwrap().exact().unwrap();
    assert_eq!(weight.tolerance().to_string(), "0.5");
    let adequacy = pets.adequacy(&name("animals"), Purpose::FraudPrevention);
    assert_eq!(adequacy.unwrap().need, Need::Level(1));
    assert!(
        pets.adequacy(&name("wealth"), Purpose::JointStatistics)
            .is_some()
    );
}

#[test]
fn order_of_files_does_not_matter_and_chains_work() {
    let second = "version_of_format = 1\nname = 'zoo'\nversion = 1\nextends = { name = 'pets', version = 3 }\n\
                  [[tags]]\nname = 'cage'\nmeaning = 'Its cage.'\nsubject = 'animals'\nkind = 'number'\nclass = 'C1'\nsecurity_level = 1\n";
    let library = Library::load(&[("zoo.toml", second), ("own.toml", OWN)]).unwrap();
    let zoo = library.find(&name("zoo"), 1).unwrap();
    assert!(zoo.definition(&name("pet")).is_some() && zoo.definition(&name("region")).is_some());
}

#[test]
fn a_definition_changes_the_digest_and_advice_does_not() {
    let digest = |from: &str, to: &str| {
        assert!(OWN.contains(from));
        own(&OWN.replacen(from, to, 1)).reference().digest
    };
    let known = own(OWN).reference().digest;
    assert_eq!(digest("is enough", "tells enough"), known);
    for (from, to) in [
        ("The insured animal.", "The uninsured animal."),
        (
            "subject = \"animals\"\nkind = \"categorical\"",
            "subject = \"person\"\nkind = \"categorical\"",
        ),
        ("class = \"C1\"", "class = \"C2\""),
        ("security_level = 4", "security_level = 5"),
        ("dog = \"small\"", "dog = \"large\""),
        ("[5, 20, 100]", "[6, 20, 100]"),
        ("0.5", "0.25"),
        ("tolerance = 0.5", "tolerance = 0.5\nmin = 0"),
        ("\"paw_print\"", "\"nose_print\""),
    ] {
        assert_ne!(digest(from, to), known, "{to}");
    }
}

#[test]
fn every_fault_names_file_line_and_what_would_pass() {
    for (from, to, line, problem, would_pass) in [
        (
            "version_of_format = 1",
            "version_of_format = 9",
            1,
            "out of range",
            "1 to 1",
        ),
        ("\"pets\"", "\"Pets\"", 2, "not a taxonomy name", "a-z"),
        ("version = 3", "version = 0", 3, "out of range", "from 1"),
        (
            "version = 1 }",
            "version = 7 }",
            4,
            "version 7 is not here",
            "the highest here is 1",
        ),
        (
            "\"cn-finance\"",
            "\"pets\"",
            4,
            "is not here",
            "taxonomy `pets` version 1",
        ),
        (
            "name = \"pet\"",
            "name = \"region\"",
            6,
            "defined in what this taxonomy extends",
            "another name",
        ),
        (
            "name = \"weight\"",
            "name = \"pet\"",
            16,
            "`pet` occurs twice",
            "each once",
        ),
        (
            "kind = \"categorical\"",
            "kind = \"sort\"",
            10,
            "not a kind of tag",
            "ordinal",
        ),
        (
            "class = \"C1\"",
            "class = \"C4\"",
            11,
            "not a class",
            "C1, C2, C3",
        ),
        (
            "security_level = 2",
            "security_level = 6",
            12,
            "out of range",
            "1 to 5",
        ),
        (
            "security_level = 2\n",
            "",
            6,
            "the field is missing",
            "security_level",
        ),
        (
            "values = [",
            "valuse = [",
            13,
            "the key is unknown",
            "values",
        ),
        (
            "\"dog\", ",
            "",
            14,
            "`dog` is no label of the level below",
            "level below",
        ),
        (
            "horse = \"large\"",
            "",
            14,
            "`horse` has no parent",
            "a parent for every label",
        ),
        (
            "\"cat\", \"dog\"",
            "\"cat\", \"cat\"",
            13,
            "listed twice",
            "each value once",
        ),
        (
            "dog = \"small\", horse = \"large\"",
            "dog = \"medium\", horse = \"large\"",
            14,
            "not coarser",
            "fewer labels",
        ),
        (
            "horse = \"large\" }]",
            "horse = \"large\" }, { small = \"cat\", large = \"cat\" }]",
            14,
            "another meaning (a cycle)",
            "a new label",
        ),
        (
            "[5, 20, 100]",
            "[5, 100, 20]",
            23,
            "bands overlap",
            "greater",
        ),
        (
            "[20]]",
            "[30]]",
            23,
            "cuts through a band",
            "finer level has too",
        ),
        ("[20]]", "[5, 20, 100]]", 23, "not coarser", "fewer edges"),
        ("0.5", "-0.5", 16, "below 0", "0, or leave it out"),
        (
            "security_level = 4\n",
            "security_level = 4\nkind = \"number\"\n",
            32,
            "recognised and refused",
            "alone",
        ),
        (
            "subject = \"animals\"\npurposes",
            "subject = \"animal\"\npurposes",
            33,
            "no tag is about",
            "animals",
        ),
        (
            "\"fraud_prevention\"",
            "\"curiosity\"",
            35,
            "not a purpose",
            "fraud_prevention",
        ),
        (
            "level = 1\nwhy",
            "why",
            33,
            "how much is needed",
            "needed = false",
        ),
        (
            "{ cat = \"small\"",
            "{ 猫 = \"small\"",
            14,
            "invalid unquoted key",
            "the key in quotes",
        ),
    ] {
        assert!(OWN.contains(from), "{from}");
        let error = loaded(&OWN.replacen(from, to, 1)).expect_err(to);
        assert_eq!(error.file, "own.toml");
        let hit = error.findings.iter().any(|finding| {
            finding.line == Some(line)
                && finding.problem.contains(problem)
                && finding.would_pass.contains(would_pass)
        });
        assert!(hit, "{to}:\n{error}");
    }
}

#[test]
fn a_circle_of_files_must_fail() {
    let one = OWN.replace("\"cn-finance\", version = 1", "\"zoo\", version = 1");
    let two = "version_of_format = 1\nname = 'zoo'\nversion = 1\nextends = { name = 'pets', version = 3 }\n\
               [[tags]]\nname = 'cage'\nmeaning = 'Its cage.'\nsubject = 'animals'\nkind = 'number'\nclass = 'C1'\nsecurity_level = 1\n";
    let error = Library::load(&[("one.toml", &one), ("two.toml", two)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "one.toml: line 4: extends: this taxonomy extends itself by way of others; would pass: a chain that ends, at \
         `cn-finance` for instance"
    );
}

#[test]
fn one_name_and_version_is_read_once() {
    let error = Library::load(&[("one.toml", OWN), ("two.toml", OWN)]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("two.toml: taxonomy `pets` version 3 is here already"),
        "{error}"
    );
    let own = OWN.replace(
        "name = \"pets\"\nversion = 3\nextends = { name = \"cn-finance\", version = 1 }",
        "name = \"cn-finance\"\nversion = 1",
    );
    assert!(
        loaded(&own)
            .unwrap_err()
            .to_string()
            .contains("a higher version")
    );
}

proptest! {
    #[test]
    fn reading_never_panics(text in "\\PC{0,300}") {
        let _ = loaded(&text);
    }

    #[test]
    fn a_damaged_taxonomy_never_panics(at in 0usize..1200, junk in "[ -~]{0,3}") {
        let (head, tail): (String, String) = (OWN.chars().take(at).collect(), OWN.chars().skip(at + 1).collect());
        let _ = loaded(&format!("{head}{junk}{tail}"));
    }
}
