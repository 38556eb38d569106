use counterfoil_proto::report::{ColumnRead, Evidence, Shortfall};

use super::*;
use crate::trace::{Commitments, Resolved};

fn traced(accused: Vec<AccusedRecipient>) -> Traced {
    let shortfall = accused.is_empty().then_some(Shortfall {
        rows_more_unaltered: Some(70),
        rows_more_at_this_rate: None,
    });
    Traced {
        report: TraceReport {
            broker: "broker.example".into(),
            time: "2026-06-01T12:00:00Z".into(),
            incident: "i-1".into(),
            scoring: 7,
            org: "north-bank".into(),
            lineage: "north-bank/customers/1/16/2065".into(),
            file_sha256: "ab".repeat(32),
            rows: 900,
            rows_used: 800,
            tag_key: Some("ab".repeat(32)),
            marks: Some(MarksRead {
                readings: 1,
                columns: vec![ColumnRead {
                    column: 0,
                    tag: "risk_appetite".into(),
                    reading: "as delivered".into(),
                }],
                reads: [500, 250],
                candidates: 12,
                false_naming_one_in: 1_000_000_000,
                log10_threshold: 10.08,
                accused,
                others: vec![0, 3, 1, 0],
                keys_compared: 13,
                shortfall,
            }),
            coded: Vec::new(),
            code_keys_compared: 0,
        },
        rows: Resolved::default(),
        commitments: Commitments::default(),
        note: "note <b>".into(),
    }
}

fn accused(recipient: &str, told: bool) -> AccusedRecipient {
    let evidence = Evidence {
        log10_e: 31.5,
        p: 1e-40,
    };
    AccusedRecipient {
        recipient: recipient.into(),
        evidence,
        key_commitment: "cd".repeat(32),
        flows: vec![AccusedFlow {
            flow: "f1".into(),
            agreement: "a".into(),
            version: 1,
            entry: 3,
            time: "then".into(),
            key_commitment: "ef".repeat(32),
            evidence: told.then_some(evidence),
        }],
        flows_left_off: 0,
    }
}

#[test]
fn the_page_names_who_is_named_and_loads_nothing() {
    let page = page(&traced(vec![accused("lake-insurance", true)]));
    assert!(page.contains("<td>lake-insurance</td><td>31.50</td>"));
    assert!(page.contains("comes from what was delivered to `lake-insurance`, in flow `f1`"));
    assert!(page.contains("<svg") && page.contains("threshold"));
    for loading in ["src=", "href=", "<script", "@import", "url("] {
        assert!(!page.contains(loading), "{loading}");
    }
}

#[test]
fn of_a_few_others_there_is_their_number_and_no_histogram() {
    let mut few = traced(vec![accused("lake-insurance", true)]);
    assert!(page(&few).contains("<rect"));
    few.report.marks.as_mut().unwrap().others = vec![3];
    let page = page(&few);
    assert!(
        !page.contains("<rect") && page.contains("3 others"),
        "{page}"
    );
}

#[test]
fn where_nobody_or_no_flow_can_be_named_it_says_so() {
    let nobody = page(&traced(Vec::new()));
    assert!(nobody.contains("Nobody can be named: about 70 more rows"));
    let no_flow = page(&traced(vec![accused("lake-insurance", false)]));
    assert!(no_flow.contains("in which of its 1 flows cannot be told"));
}

#[test]
fn where_only_codes_were_found_nothing_is_said_of_scores() {
    let mut codes = traced(Vec::new());
    codes.report.marks = None;
    let page = page(&codes);
    assert!(page.contains("No marks were scored."));
    for word in ["<svg", "candidates", "threshold", "Nobody"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn text_of_others_is_text() {
    let page = page(&traced(vec![accused("<script>alert(1)</script>", true)]));
    assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"));
    assert!(page.contains("note &lt;b&gt;"));
}
