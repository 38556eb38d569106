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

/// What the recipient gets of its customers, by their mark tags, which differ; and what the entry says.
struct Got {
    before: BTreeMap<u32, Vec<String>>,
    rows: BTreeMap<u32, Vec<String>>,
    marks: ReleaseMarks,
}

fn common(agreement: &Agreement, customers: u32) -> Common {
    let rows: Vec<_> = (0..customers).map(|c| (c, cells(c))).collect();
    let recipient: Vec<_> = (0..customers).collect();
    let (rows, keys) = submissions(agreement, &rows, &recipient);
    let tags = TAGS.map(|name| agreement.tag(&name.parse().unwrap()).unwrap());
    let mut common = Common::new(tags.into_iter(), agreement.marks().map(MarkTerms::bits));
    let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
    open_common(agreement, &rows, &keys, now, None, &mut common).unwrap();
    common
}

fn got(agreement: &Agreement, recipient: &str, flow: &str, k: u32) -> Got {
    got_of(agreement, recipient, flow, k, CUSTOMERS)
}

fn got_of(agreement: &Agreement, recipient: &str, flow: &str, k: u32, customers: u32) -> Got {
    let tags = TAGS.map(|name| agreement.tag(&name.parse().unwrap()).unwrap());
    let whose = Whose {
        recipient,
        flow,
        tag_key: Some(Digest::from_bytes([9; 32])),
    };
    let master = MasterKey::from_bytes([7; 32]);
    let common = common(agreement, customers);
    let (table, _, mark_tags) = common.parts();
    let mark_tags: Vec<u32> = mark_tags.iter().map(|tag| tag.get()).collect();
    let cells = table.cells(0).zip(table.cells(1));
    let cells = cells.map(|(risk, housing)| vec![risk.to_owned(), housing.to_owned()]);
    let before = mark_tags.iter().copied().zip(cells).collect();
    let marked = Marked::of(common, agreement, &tags, &whose, &master).unwrap();
    let minimal = marked.minimise(k).unwrap();
    let rows = minimal.minimised.rows().map(|(index, cells)| {
        let cells = cells.map(str::to_owned).collect();
        (mark_tags[index as usize], cells)
    });
    Got {
        before,
        rows: rows.collect(),
        marks: minimal.marks.clone().unwrap(),
    }
}

/// Customers of whom two recipients are told something else.
fn differences(a: &Got, b: &Got) -> usize {
    assert_eq!(a.rows.len(), b.rows.len());
    let pairs = a.rows.iter().zip(&b.rows);
    pairs.filter(|(a, b)| a != b).count()
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
    assert_eq!(first.marks.tag_key, Some(Digest::from_bytes([9; 32])));
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
    assert_eq!(marked.before.len(), CUSTOMERS as usize);
    assert_eq!(marked.rows.len(), CUSTOMERS as usize);
    let mut moved = [0; 2];
    for (id, cells) in &marked.before {
        let now = &marked.rows[id];
        for (moved, (was, is)) in moved.iter_mut().zip(cells.iter().zip(now)) {
            *moved += u32::from(was != is);
        }
        // A value that no swap names stays.
        assert_eq!(cells[1] == "for free", now[1] == "for free");
    }
    // A fifth of the cells of each.
    for moved in moved {
        assert!((CUSTOMERS / 50..=CUSTOMERS / 5).contains(&moved), "{moved}");
    }
}

#[test]
fn cells_that_two_recipients_both_have_marked_are_equal() {
    let agreement = terms();
    let one = got(&agreement, "insurer", "flow-1", 2);
    let two = got(&agreement, "broker-house", "flow-2", 2);
    let mut both = 0;
    for (id, cells) in &one.before {
        for (was, (one, two)) in cells.iter().zip(one.rows[id].iter().zip(&two.rows[id])) {
            if was != one && was != two {
                assert_eq!(one, two);
                both += 1;
            }
        }
    }
    assert!(both > 100, "{both}");
}

#[test]
fn what_is_promised_is_of_the_cells_that_k_left_as_they_were_marked() {
    let agreement = terms();
    let all = got(&agreement, "insurer", "flow-1", 2).marks;
    assert!(all.rows_needed.is_some());
    // Every combination had some 444 rows: with a larger k some cells are told coarser.
    let few = got(&agreement, "insurer", "flow-1", 700).marks;
    assert!(
        few.rows_needed
            .is_none_or(|few| few > all.rows_needed.unwrap()),
        "{few:?}"
    );
    assert!(few.colluders_max < all.colluders_max, "{few:?}");
}

/// Whether a cell is another or anything above it.
fn is_above(tag: &Tag, cell: &str, told: &str) -> bool {
    let cell = tag.admit(cell).ok();
    let mut above = std::iter::successors(cell, |value| tag.coarser(value));
    above.any(|value| value.as_str() == told)
}

#[test]
fn who_asks_again_with_other_rows_learns_nothing_but_marked_cells() {
    let agreement = terms();
    let tags = TAGS.map(|name| agreement.tag(&name.parse().unwrap()).unwrap());
    // Nothing is told coarser in the first flow. In the second fewer rows make some marked combinations rare.
    let all = got(&agreement, "insurer", "flow-1", 1);
    let (few, k) = (60, 6);
    let again = got_of(&agreement, "insurer", "flow-1", k, few);
    let mut coarser = 0;
    for (id, told) in &again.rows {
        let marked = &all.rows[id];
        coarser += usize::from(told != marked);
        for ((tag, marked), told) in tags.iter().zip(marked).zip(told) {
            assert!(is_above(tag, marked, told), "{told} is not above {marked}");
        }
    }
    assert!(coarser > 0);
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
