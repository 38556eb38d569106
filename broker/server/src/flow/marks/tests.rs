use std::collections::BTreeMap;

use counterfoil_policy::moment::Timestamp;

use super::*;
use crate::flow::join::open_common;
use crate::testing::{TAGS, agreement_with, submissions};

const CUSTOMERS: u32 = 4_000;

fn terms() -> Agreement {
    // In the place of the template's comment, so that no other change meets it.
    agreement_with(&[(
        "# [marks]",
        "[marks]\nbudget = 0.2\nrows_min = 2000\ntags = { risk_appetite = {}, housing = { swaps = [[\"own\", \"rent\"]] } }\n# [marks]",
    )])
}

fn cells(customer: u32) -> [&'static str; 2] {
    let risk = ["low", "medium", "high"];
    let housing = ["own", "rent", "for free"];
    [
        risk[customer as usize % 3],
        housing[customer as usize / 3 % 3],
    ]
}

/// What the recipient gets of its customers, and what the entry says.
struct Got {
    rows: BTreeMap<MatchId, Vec<String>>,
    marks: ReleaseMarks,
}

fn common(agreement: &Agreement) -> Common {
    let rows: Vec<_> = (0..CUSTOMERS).map(|c| (c, cells(c))).collect();
    let recipient: Vec<_> = (0..CUSTOMERS).collect();
    let (rows, keys) = submissions(agreement, &rows, &recipient);
    let tags = TAGS.map(|name| agreement.tag(&name.parse().unwrap()).unwrap());
    let mut common = Common::new(tags.into_iter(), agreement.marks().map(MarkTerms::bits));
    let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
    open_common(agreement, &rows, &keys, now, &mut common).unwrap();
    common
}

fn got(agreement: &Agreement, recipient: &str, flow: &str, k: u32) -> Got {
    let tags = TAGS.map(|name| agreement.tag(&name.parse().unwrap()).unwrap());
    let whose = Whose { recipient, flow };
    let master = MasterKey::from_bytes([7; 32]);
    let marked = Marked::of(common(agreement), agreement, &tags, &whose, &master).unwrap();
    let minimal = marked.minimise(k).unwrap();
    let rows = minimal.minimised.rows().map(|(index, cells)| {
        (
            minimal.match_ids[index as usize],
            cells.map(str::to_owned).collect(),
        )
    });
    Got {
        rows: rows.collect(),
        marks: minimal.marks.clone().unwrap(),
    }
}

fn differences(a: &Got, b: &Got) -> usize {
    assert_eq!(a.rows.len(), b.rows.len());
    // Each flow has match ids of its own; cells of a customer are compared by how often each combination occurs.
    let count = |got: &Got| {
        let mut counts: BTreeMap<Vec<String>, i64> = BTreeMap::new();
        for cells in got.rows.values() {
            *counts.entry(cells.clone()).or_default() += 1;
        }
        counts
    };
    let (a, b) = (count(a), count(b));
    let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let of = |counts: &BTreeMap<Vec<String>, i64>, key| counts.get(key).copied().unwrap_or(0);
    keys.into_iter()
        .map(|key| usize::try_from((of(&a, key) - of(&b, key)).abs()).unwrap())
        .sum()
}

#[test]
fn each_recipient_gets_other_cells_and_every_flow_the_commitments_to_its_keys() {
    let agreement = terms();
    let first = got(&agreement, "insurer", "flow-1", 2);
    let again = got(&agreement, "insurer", "flow-1", 2);
    assert_eq!(
        differences(&first, &again),
        0,
        "marks depend on more than keys and cells"
    );
    assert_eq!(first.marks, again.marks);
    let other = got(&agreement, "broker-house", "flow-2", 2);
    assert!(differences(&first, &other) > 0);
    assert_eq!(first.marks.dataset_key, other.marks.dataset_key);
    assert_ne!(first.marks.recipient_key, other.marks.recipient_key);
    assert_ne!(first.marks.flow_key, other.marks.flow_key);
    let master = MasterKey::from_bytes([7; 32]);
    let lineage = agreement.marks().unwrap().name();
    let key = master.recipient(lineage, "insurer");
    let opened = Commitment::to_recipient(&key, lineage, "insurer");
    assert_eq!(first.marks.recipient_key.as_bytes(), opened.as_bytes());
    assert!(first.marks.rows_needed.is_some() && first.marks.colluders_max >= 1);
}

#[test]
fn marks_change_no_more_cells_than_agreed_and_only_as_agreed() {
    let agreement = terms();
    let marked = got(&agreement, "insurer", "flow-1", 2);
    let mut before: BTreeMap<Vec<String>, i64> = BTreeMap::new();
    for customer in 0..CUSTOMERS {
        *before
            .entry(cells(customer).map(String::from).to_vec())
            .or_default() += 1;
    }
    let free = |rows: &mut dyn Iterator<Item = (&Vec<String>, i64)>| {
        rows.filter(|(cells, _)| cells[1] == "for free")
            .map(|(_, n)| n)
            .sum::<i64>()
    };
    // A value that no swap names stays.
    let after = free(&mut marked.rows.values().map(|cells| (cells, 1)));
    assert_eq!(
        after,
        free(&mut before.iter().map(|(cells, n)| (cells, *n)))
    );
    let moved: i64 = before
        .iter()
        .map(|(cells, n)| {
            let now = marked.rows.values().filter(|got| *got == cells).count();
            (n - i64::try_from(now).unwrap()).abs()
        })
        .sum();
    // Two columns, each with a fifth of its cells; a moved row counts twice.
    assert!(
        (1..=2 * 2 * i64::from(CUSTOMERS) / 5).contains(&moved),
        "{moved}"
    );
}

#[test]
fn k_is_counted_on_marked_cells() {
    let agreement = terms();
    for k in [2, 50, 300, 460] {
        let got = got(&agreement, "insurer", "flow-1", k);
        let mut counts: BTreeMap<&Vec<String>, u32> = BTreeMap::new();
        for cells in got.rows.values() {
            *counts.entry(cells).or_default() += 1;
        }
        assert!(counts.values().all(|count| *count >= k), "{k}: {counts:?}");
    }
}
