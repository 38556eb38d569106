use std::fs;

use counterfoil_proto::delivery::DeliverySecret;
use counterfoil_psi::dh;
use counterfoil_psi::{PayloadLength, Role, RowContext, SessionId, Token};

use super::dictionary::WIDTH_STEP;
use super::*;
use crate::flow::{Records as _, fixture};
use crate::owner::rows::SealedRows;

const CONFIG_TEXT: &str = r#"
[[dataset]]
name = "customers"
source = "customers.csv"
identifiers = [{ type = "email", column = "mail" }]
[dataset.tags]
risk_appetite = "risk"
housing = "home"
years_as_customer = "years_held"
customer_status = { column = "status", values = { A = "active", D = "dormant", X = "closed" } }
"#;

const ROWS: &str = "mail,risk,home,years_held,status
a@example.com,balanced,own,5,A
b@example.com,cautious,rent,1,A
c@example.com,aggressive,for free,9,X
d@example.com,reckless,own,9,A
e@example.com,growth,,9,A
f@example.com,growth,own,many,A
a@example.com,growth,rent,5,A
not a mail,growth,own,5,A
";

/// No lineage, and a secret of canaries that is the same in every run.
pub(super) fn keys() -> Keys<'static> {
    Keys {
        trace: None,
        canaries: &|| Ok(Zeroizing::new([7; 32])),
    }
}

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DATASETS), config).unwrap();
        fs::write(dir.path().join("customers.csv"), ROWS).unwrap();
        Self { dir }
    }

    fn prepare(&self, segment: Option<&str>) -> std::result::Result<Prepared, Unfit> {
        let agreement = fixture::agreement();
        let mut body = fixture::body(
            &agreement,
            &DeliverySecret::generate(&mut rand::rng()),
            fixture::now(),
        );
        body.segment = segment.map(|name| name.parse().unwrap());
        load(
            &plan(self.dir.path(), &agreement, &body, None, keys())?,
            &mut |_| (),
        )
    }

    fn code(&self, segment: Option<&str>) -> String {
        match self.prepare(segment) {
            Ok(_) => "fits".to_owned(),
            Err(Unfit::Declined(denial)) => denial.code,
            Err(Unfit::Own(error)) => format!("own: {}", error.code()),
        }
    }
}

fn rows(prepared: &Prepared) -> Vec<(String, Vec<String>)> {
    (0..u32::try_from(prepared.set.len()).unwrap())
        .map(|index| {
            let mut payload = Vec::new();
            prepared
                .write_payload(index, &mut prepared.scratch(), &mut payload)
                .unwrap();
            let (_, values) = prepared.layout.decode(&payload).unwrap();
            let values = values.into_iter().map(str::to_owned).collect();
            (prepared.set.expose_value(index).unwrap().to_owned(), values)
        })
        .collect()
}

fn row(mail: &str, values: [&str; 2]) -> (String, Vec<String>) {
    (mail.to_owned(), values.map(str::to_owned).to_vec())
}

#[test]
fn values_are_generalised_here_and_what_has_none_is_left_out() {
    let prepared = World::new(CONFIG_TEXT).prepare(None).unwrap();
    assert_eq!(
        rows(&prepared),
        [
            row("a@example.com", ["medium", "own"]),
            row("b@example.com", ["low", "rent"]),
            row("c@example.com", ["high", "for free"]),
            row("f@example.com", ["high", "own"]),
        ]
    );
    let report = &prepared.report;
    assert_eq!(
        (report.rows, report.accepted, report.duplicates.count),
        (8, 4, 1)
    );
    let reasons: Vec<&str> = report
        .invalid
        .iter()
        .map(|invalid| invalid.reason.as_ref())
        .collect();
    assert!(
        reasons
            .iter()
            .any(|reason| reason.starts_with("tag `risk_appetite`:")),
        "{reasons:?}"
    );
    assert!(
        reasons.contains(&"tag `housing`: the cell is empty"),
        "{reasons:?}"
    );
    assert!(!reasons.iter().any(|reason| reason.contains("reckless")));
    // Widths are rounded up: they do not tell that `for free` is the longest value here.
    assert_eq!(prepared.layout.payload_len(), 2 * (1 + WIDTH_STEP));
}

#[test]
fn a_segment_chooses_by_the_agreements_text() {
    let prepared = World::new(CONFIG_TEXT)
        .prepare(Some("established"))
        .unwrap();
    assert_eq!(rows(&prepared), [row("a@example.com", ["medium", "own"])]);
    assert_eq!(prepared.report.not_selected, 2);
}

#[test]
fn a_segment_is_over_values_before_they_are_generalised() {
    let agreement = fixture::agreement_with(|text| {
        text.replace("segment_tags = ", "# ")
            .replace(
                ", years_as_customer = \"profile\", customer_status = \"profile\"",
                "",
            )
            .replace(
                "years_as_customer >= 2 and customer_status in ('active', 'dormant')",
                "risk_appetite > 'cautious' and risk_appetite < 'growth'",
            )
    });
    let world = World::new(CONFIG_TEXT);
    let mut body = fixture::body(
        &agreement,
        &DeliverySecret::generate(&mut rand::rng()),
        fixture::now(),
    );
    body.segment = Some("established".parse().unwrap());
    let plan = plan(world.dir.path(), &agreement, &body, None, keys())
        .map_err(|_| "unfit")
        .unwrap();
    let prepared = load(&plan, &mut |_| ()).map_err(|_| "unfit").unwrap();
    assert_eq!(rows(&prepared), [row("a@example.com", ["medium", "own"])]);
}

#[test]
fn cells_without_a_value_are_counted_and_none_is_shown_that_few_rows_have() {
    let world = World::new(CONFIG_TEXT);
    let told = |prepared: &Prepared| {
        let cells = prepared.unmapped.iter();
        cells
            .map(|told| (told.tag.clone(), told.count(), told.cells.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(&world.prepare(None).unwrap()),
        [
            ("housing".to_owned(), 1, vec![]),
            ("risk_appetite".to_owned(), 1, vec![])
        ]
    );
    let mut rows = ROWS.to_owned();
    for i in 0..3 {
        rows.push_str(&format!("z{i}@example.com,level 6,own,5,A\n"));
        rows.push_str(&format!("y{i}@example.com,growth,13800138{i:03},5,A\n"));
    }
    fs::write(world.dir.path().join("customers.csv"), rows).unwrap();
    let seen = told(&world.prepare(None).unwrap());
    let shown = crate::data::ShownCell {
        cell: "level 6".to_owned(),
        rows: 3,
    };
    // A column that holds what may be an identifier shows nothing.
    assert_eq!(
        seen,
        [
            ("housing".to_owned(), 4, vec![]),
            ("risk_appetite".to_owned(), 4, vec![shown])
        ]
    );
}

#[test]
fn a_taxonomy_older_than_the_agreements_is_refused() {
    let world = World::new(&CONFIG_TEXT.replace(
        "source = ",
        "taxonomy = { name = \"own\", version = 1 }\nsource = ",
    ));
    fs::create_dir(world.dir.path().join("taxonomies")).unwrap();
    let own = |version: u32| {
        format!(
            "version_of_format = 1\nname = \"own\"\nversion = {version}\nextends = {{ name = \"cn-finance\", version = 1 }}\n\
             [[tags]]\nname = \"pet\"\nmeaning = \"A pet.\"\nsubject = \"person\"\nkind = \"number\"\nclass = \"C1\"\nsecurity_level = 1\n"
        )
    };
    let write = |name: &str, text: &str| {
        fs::write(world.dir.path().join("taxonomies").join(name), text).unwrap();
    };
    write("one.toml", &own(1));
    let library = counterfoil_policy::taxonomy::Library::load(&[("two", &own(2))]).unwrap();
    let agreement = fixture::agreement_over(&library, |text| {
        text.replace(
            "name = \"cn-finance\"\nversion = 1",
            "name = \"own\"\nversion = 2",
        )
    });
    let body = fixture::body(
        &agreement,
        &DeliverySecret::generate(&mut rand::rng()),
        fixture::now(),
    );
    let refused = plan(world.dir.path(), &agreement, &body, None, keys());
    let Err(Unfit::Declined(denial)) = refused else {
        panic!("an older taxonomy serves");
    };
    assert_eq!(denial.code, "taxonomy_differs");
    assert!(denial.would_pass.contains("version = 2"), "{denial:?}");
    // A broken taxonomy is the owner's own fault, and named with its line.
    write("one.toml", &own(1).replace("number", "nummer"));
    let Err(Unfit::Own(error)) = plan(world.dir.path(), &agreement, &body, None, keys()) else {
        panic!("a broken taxonomy serves");
    };
    let text = error.to_string();
    assert!(
        text.contains("one.toml: line 9: ") && error.exit_code() == 3,
        "{text}"
    );
}

#[test]
fn what_does_not_fit_is_declined_with_a_code() {
    let with = |from: &str, to: &str| World::new(&CONFIG_TEXT.replace(from, to));
    let unmapped = with("years_as_customer = \"years_held\"\n", "");
    assert_eq!(unmapped.code(Some("established")), "tag_missing");
    assert_eq!(unmapped.code(None), "fits");
    assert_eq!(
        with("name = \"customers\"", "name = \"clients\"").code(None),
        "dataset_missing"
    );
    assert_eq!(
        with("type = \"email\"", "type = \"phone\"").code(None),
        "identifier_missing"
    );
    assert_eq!(with("housing = \"home\"\n", "").code(None), "tag_missing");
    assert_eq!(with("\"home\"", "\"flat\"").code(None), "own: rows");
    assert_eq!(with("[[dataset]]", "[[dataset").code(None), "own: dataset");

    let none = World::new(CONFIG_TEXT);
    fs::write(
        none.dir.path().join("customers.csv"),
        "mail,risk,home,years_held,status\na@example.com,growth,own,1,X\n",
    )
    .unwrap();
    assert_eq!(none.code(Some("established")), "no_rows");
}

fn tokens(prepared: &Prepared) -> (SessionId, Vec<Token>) {
    let session = SessionId::from_bytes([5; 32]);
    let own = u32::try_from(prepared.set.len()).unwrap();
    let begin = || dh::begin(session, Arc::clone(&prepared.set), own, &mut rand::rng()).unwrap();
    let ((mut query, evaluate), (mut peer, mut peer_evaluate)) = (begin(), begin());
    let mut evaluate = evaluate;
    query.next_chunk().unwrap().into_iter().for_each(|c| {
        query
            .accept_reply(&peer_evaluate.reply(&c).unwrap())
            .unwrap()
    });
    peer.next_chunk()
        .unwrap()
        .into_iter()
        .for_each(|c| peer.accept_reply(&evaluate.reply(&c).unwrap()).unwrap());
    (session, query.finish(evaluate.finish().unwrap()).unwrap())
}

#[test]
fn each_row_is_sealed_once_under_its_own_key() {
    let prepared = World::new(CONFIG_TEXT).prepare(None).unwrap();
    let (session, tokens) = tokens(&prepared);
    let context = RowContext::new(
        session,
        [1; 32],
        PayloadLength::new(prepared.layout.payload_len()).unwrap(),
    );
    let keys: Vec<_> = tokens
        .iter()
        .map(|t| (*t.match_id().as_bytes(), t.row_key(Role::Owner)))
        .collect();
    let (expected, layout, record) = (
        rows(&prepared),
        prepared.layout.clone(),
        prepared.record_bytes(),
    );
    // A bucket of three rows, in another order than the dataset's, and a dummy.
    let part = vec![2, 0, 3];
    let mut sealed = SealedRows::new(Arc::new(prepared), part.clone(), context, tokens, false);
    let mut bytes = Vec::new();
    while sealed.write_next(&mut bytes).unwrap() {}
    assert_eq!(bytes.len(), 4 * record);
    let (dummy, key) = keys.last().unwrap();
    let row = bytes.chunks(record).find(|row| row.starts_with(dummy));
    let payload = context.open(key, Role::Owner, &row.unwrap()[MATCH_ID_BYTES..]);
    assert!(payload.unwrap().iter().all(|byte| *byte == 0));
    for ((id, key), row) in keys.iter().zip(part) {
        let (_, values) = &expected[row as usize];
        let row = bytes
            .chunks(record)
            .find(|row| row.starts_with(id))
            .unwrap();
        let payload = context
            .open(key, Role::Owner, &row[MATCH_ID_BYTES..])
            .unwrap();
        assert_eq!(layout.decode(&payload).unwrap().1, *values);
        let (_, other) = keys.iter().find(|(other, _)| other != id).unwrap();
        assert!(
            context
                .open(other, Role::Owner, &row[MATCH_ID_BYTES..])
                .is_none()
        );
    }
}

mod consent;
