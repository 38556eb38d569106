use std::fs;

use counterfoil_proto::delivery::DeliverySecret;
use counterfoil_psi::dh;
use counterfoil_psi::{PayloadLength, Role, RowContext, SessionId, Token};

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
[[dataset.segments]]
name = "established"
where = "years_held >= 2 and status in ('active', 'dormant')"
"#;

const ROWS: &str = "mail,risk,home,years_held,status
a@example.com,balanced,own,5,active
b@example.com,cautious,rent,1,active
c@example.com,aggressive,for free,9,closed
d@example.com,reckless,own,9,active
e@example.com,growth,,9,active
f@example.com,growth,own,many,active
a@example.com,growth,rent,5,active
not a mail,growth,own,5,active
";

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONFIG), config).unwrap();
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
            &plan(self.dir.path(), &agreement, &body, None)?,
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
            let payload = prepared.payload(index).unwrap();
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
fn a_predicate_may_name_a_tag_for_its_column() {
    let agreement = fixture::agreement_with(|text| {
        text.replace(
            r#"columns = { years_held = "number", status = "text" }"#,
            r#"columns = { housing = "text" }"#,
        )
        .replace(
            "years_held >= 2 and status in ('active', 'dormant')",
            "housing = 'rent'",
        )
    });
    let config = CONFIG_TEXT.replace(
        "years_held >= 2 and status in ('active', 'dormant')",
        "housing = 'rent'",
    );
    let world = World::new(&config);
    let mut body = fixture::body(
        &agreement,
        &DeliverySecret::generate(&mut rand::rng()),
        fixture::now(),
    );
    body.segment = Some("established".parse().unwrap());
    let plan = plan(world.dir.path(), &agreement, &body, None)
        .map_err(|_| "unfit")
        .unwrap();
    let prepared = load(&plan, &mut |_| ()).map_err(|_| "unfit").unwrap();
    assert_eq!(rows(&prepared), [row("b@example.com", ["low", "rent"])]);
}

#[test]
fn what_does_not_fit_is_declined_with_a_code() {
    let with = |from: &str, to: &str| World::new(&CONFIG_TEXT.replace(from, to));
    assert_eq!(
        with("years_held >= 2", "years_held >= 1").code(Some("established")),
        "segment_differs"
    );
    assert_eq!(
        with("years_held >= 2", "years_held >= 1").code(None),
        "fits"
    );
    assert_eq!(
        with("name = \"established\"", "name = \"loyal\"").code(Some("established")),
        "segment_missing"
    );
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
        "mail,risk,home,years_held,status\na@example.com,growth,own,1,closed\n",
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
    let mut sealed = SealedRows::shuffled(Arc::new(prepared), part.clone(), context, tokens);
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
