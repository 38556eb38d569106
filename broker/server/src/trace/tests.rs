use counterfoil_audit::entry::{AgreementRef, Digest, FlowId, List, OrgName, ReleaseMarks};
use counterfoil_policy::approval::ScoringRequest;
use counterfoil_policy::text::{ContentDigest, ScoringId};
use counterfoil_proto::leak::CODES;
use counterfoil_watermark::{
    Budget, Column, Commitment, Embedder, Form, SymbolKey, TagBits, TraceKey,
};

use super::*;
use crate::refusal::label;
use crate::testing::{moment, now};

const LINEAGE: &str = "bank/customers/1/16/22282";
const OTHER: &str = "bank/prospects/1/16/22282";
const ROWS: u32 = 600;

fn lineage() -> Lineage {
    let bits = TagBits::new(16).unwrap();
    let budget = Budget::new(100_000, 10_000).unwrap();
    let score = Form::score("3".parse().unwrap(), None).unwrap();
    let column = Column::new("credit_score", score, budget, bits).unwrap();
    Lineage::new(vec![column], bits).unwrap()
}

fn master() -> MasterKey {
    MasterKey::from_bytes([1; 32])
}

fn flow_id(recipient: usize, flow: usize) -> FlowId {
    FlowId::from_bytes([u8::try_from(16 * recipient + flow + 1).unwrap(); 16])
}

fn digest(commitment: Commitment) -> Digest {
    Digest::from_bytes(*commitment.as_bytes())
}

fn keys(recipient: &str, flow: FlowId) -> (SymbolKey, SymbolKey) {
    let of_flow = master().flow(LINEAGE, &flow.to_string());
    (master().recipient(LINEAGE, recipient), of_flow)
}

fn release(recipient: &str, flow: FlowId) -> Release {
    let (of_recipient, of_flow) = keys(recipient, flow);
    Release {
        flow,
        recipient: OrgName::new(recipient).unwrap(),
        agreement: AgreementRef {
            id: label("tags"),
            version: 1,
            sha256: Digest::from_bytes([0; 32]),
        },
        entry: 5,
        time: now(),
        marks: ReleaseMarks {
            lineage: label(LINEAGE),
            columns: List::new(Vec::new()).unwrap(),
            dataset_key: digest(Commitment::to_dataset(&master().dataset(LINEAGE), LINEAGE)),
            recipient_key: digest(Commitment::to_recipient(&of_recipient, LINEAGE, recipient)),
            flow_key: digest(Commitment::to_flow(&of_flow, LINEAGE, &flow.to_string())),
            rows_needed: None,
            colluders_max: 0,
            changed_ppm_max: None,
            reference_key: None,
            tag_key: None,
        },
    }
}

/// Three recipients with two flows each.
fn scoring() -> Scoring {
    let recipients = ["insurer", "broker-house", "card-issuer"]
        .into_iter()
        .enumerate();
    let of = |(index, name): (usize, &str)| {
        let releases = (0..2).map(|flow| Arc::new(release(name, flow_id(index, flow))));
        (name.to_owned(), releases.collect())
    };
    Scoring {
        marks: Some(Candidates {
            lineage: lineage(),
            name: label(LINEAGE),
            by_recipient: recipients.map(of).collect(),
        }),
        coded: Vec::new(),
    }
}

/// Deliveries to one recipient with codes, of this lineage and of another.
fn coding() -> Scoring {
    let coded = [(0, LINEAGE), (1, LINEAGE), (2, OTHER)].map(|(flow, lineage)| {
        let mut release = release("broker-house", flow_id(1, flow));
        let flow = release.flow.to_string();
        let key = master().reference(lineage, &flow);
        let committed = Commitment::to_reference(&key, lineage, &flow);
        release.marks.lineage = label(lineage);
        release.marks.reference_key = Some(digest(committed));
        Arc::new(release)
    });
    Scoring {
        marks: None,
        coded: coded.to_vec(),
    }
}

fn recorded() -> Recorded<ScoringEntry> {
    let request = ScoringRequest {
        id: ScoringId::from_bytes([7; 8]),
        org: "bank".parse().unwrap(),
        lineage: LINEAGE.into(),
        file_sha256: ContentDigest::from_bytes([1; 32]),
        content_sha256: ContentDigest::from_bytes([2; 32]),
        rows: ROWS.into(),
        rows_used: ROWS.into(),
        tag_key: None,
        at: moment(now()),
    };
    Recorded::of_test(ScoringEntry {
        request,
        lineage: label(LINEAGE),
    })
}

/// What was delivered in a flow, with the tags that the owner's key makes.
fn leak(recipient: &str, flow: FlowId, owner: &TraceKey) -> LeakContent {
    let lineage = lineage();
    let tags: Vec<_> = (0..ROWS)
        .map(|customer| owner.tag(LINEAGE, &customer.to_be_bytes(), lineage.bits()))
        .collect();
    let delivered = TraceKey::from_bytes([2; 32]);
    let marked: Vec<_> = (0..ROWS)
        .map(|customer| delivered.tag(LINEAGE, &customer.to_be_bytes(), lineage.bits()))
        .collect();
    let mut cells: Vec<Box<str>> = (0..ROWS)
        .map(|row| (300 + row).to_string().into())
        .collect();
    let (of_recipient, of_flow) = keys(recipient, flow);
    let dataset = master().dataset(LINEAGE);
    let embedder = Embedder::new(&lineage, &dataset, &of_recipient, &of_flow);
    let column = &lineage.columns()[0];
    let changes = embedder.mark(column, &marked, cells.iter().map(AsRef::as_ref));
    for (row, cell) in changes.iter() {
        cells[row] = cell.into();
    }
    LeakContent {
        known: vec![None],
        mark_tags: tags.iter().map(|tag| tag.get()).collect(),
        columns: vec![cells],
    }
}

fn owner() -> TraceKey {
    TraceKey::from_bytes([2; 32])
}

#[test]
fn the_leaking_flow_is_named_and_no_other_of_its_recipient_or_of_others() {
    let content = leak("broker-house", flow_id(1, 0), &owner());
    let mut told = Vec::new();
    let scored = scoring()
        .score(&recorded(), &content, &master(), |scored| told.push(scored))
        .unwrap();
    assert_eq!(told.last(), Some(&3));
    assert_eq!(scored.named().collect::<Vec<_>>(), ["broker-house"]);
    assert_eq!(scored.candidates(), 9);
    let flows: Vec<_> = scored.marks.as_ref().unwrap().accused[0]
        .flows
        .iter()
        .map(|flow| flow.flow.as_str())
        .collect();
    assert_eq!(flows, [flow_id(1, 0).to_string()]);
    let recorded = recorded();
    let said = Said {
        broker: "broker.test",
        time: "now".into(),
        incident: "i",
        entry: recorded.value(),
    };
    let report = scored.report(&said);
    // Those who are not named have no score of their own in it.
    let marks = report.marks.as_ref().unwrap();
    assert_eq!(marks.others, [2]);
    assert_eq!(marks.keys_compared, 10);
    let text = report.to_text().unwrap();
    assert!(!text.contains("insurer") && !text.contains("card-issuer"));
    assert_eq!(TraceReport::from_text(&text).unwrap(), report);
}

#[test]
fn without_the_owners_tags_or_the_brokers_keys_nothing_is_named() {
    // Tags under another trace key: the broker has everything else.
    let blind = leak("insurer", flow_id(0, 0), &TraceKey::from_bytes([9; 32]));
    let scored = scoring()
        .score(&recorded(), &blind, &master(), |_| ())
        .unwrap();
    assert_eq!(scored.named().count(), 0);
    assert!(scored.marks.unwrap().verdict.shortfall.is_some());
    // Another mark key: its commitments are not those of the log, so nothing is scored.
    let content = leak("insurer", flow_id(0, 0), &owner());
    let other = MasterKey::from_bytes([8; 32]);
    let refused = scoring().score(&recorded(), &content, &other, |_| ());
    assert!(matches!(refused, Err(Unscored::Commitment)));
}

fn coded(codes: Vec<Box<str>>) -> LeakContent {
    LeakContent {
        known: vec![Some(CODES.to_owned())],
        mark_tags: vec![0; codes.len()],
        columns: vec![codes],
    }
}

fn code(lineage: &str, flow: FlowId, row: u32) -> Box<str> {
    let key = master().reference(lineage, &flow.to_string());
    key.code(row).to_string().into()
}

#[test]
fn codes_name_the_flows_whose_rows_were_copied_and_nothing_is_scored() {
    let (leaked, innocent, other) = (flow_id(1, 1), flow_id(1, 0), flow_id(1, 2));
    // A row that is there twice counts once; nor does a code of a flow that had none, or one that was made up.
    let made_up = code(LINEAGE, innocent, 4)
        .replacen(|_| true, "7", 20)
        .into();
    let codes = vec![
        code(LINEAGE, leaked, 3),
        code(LINEAGE, leaked, 3),
        code(LINEAGE, leaked, 9),
        code(LINEAGE, flow_id(0, 0), 4),
        code(OTHER, other, 70_000),
        // Of the other lineage's key, were the flow of this one.
        code(OTHER, innocent, 1),
        made_up,
    ];
    let scored = coding()
        .score(&recorded(), &coded(codes), &master(), |_| ())
        .unwrap();
    assert_eq!((scored.named().count(), scored.candidates()), (0, 0));
    let recorded = recorded();
    let said = Said {
        broker: "broker.test",
        time: "now".into(),
        incident: "i",
        entry: recorded.value(),
    };
    let report = scored.report(&said);
    assert_eq!((report.marks, report.code_keys_compared), (None, 3));
    let flows = report.coded.iter();
    let flows: Vec<_> = flows
        .map(|coded| (coded.flow.flow.as_str(), coded.lineage.as_str(), coded.rows))
        .collect();
    let (leaked, other) = (leaked.to_string(), other.to_string());
    assert_eq!(flows, [(&*leaked, LINEAGE, 2), (&*other, OTHER, 1)]);
    assert!(
        report
            .coded
            .iter()
            .all(|coded| coded.recipient == "broker-house")
    );
}

#[test]
fn few_cells_beside_a_code_are_not_scored_for_its_sake() {
    let mut scoring = coding();
    scoring.marks = self::scoring().marks;
    let mut few = leak("insurer", flow_id(0, 0), &owner());
    few.mark_tags.truncate(20);
    few.columns[0].truncate(20);
    few.known.push(Some(CODES.to_owned()));
    few.columns.push(vec![code(LINEAGE, flow_id(1, 1), 3); 20]);
    let scored = scoring.score(&recorded(), &few, &master(), |_| ()).unwrap();
    assert!(scored.marks.is_none());
    assert_eq!(scored.coded().collect::<Vec<_>>(), ["broker-house"]);
    // A key that is not the one of then names nobody.
    let altered = Arc::make_mut(&mut scoring.coded[1]);
    altered.marks.reference_key = Some(Digest::from_bytes([9; 32]));
    let refused = scoring.score(&recorded(), &few, &master(), |_| ());
    assert!(matches!(refused, Err(Unscored::Commitment)));
}

#[test]
fn codes_of_nobody_name_nobody() {
    let code = MasterKey::from_bytes([8; 32])
        .reference(LINEAGE, "f")
        .code(1);
    let unknown = coded(vec![code.to_string().into(); 3]);
    let refused = coding().score(&recorded(), &unknown, &master(), |_| ());
    assert!(matches!(refused, Err(Unscored::NoCode)));
}

/// A score of a few cells tells what each of them is: whoever made the file would learn marks.
#[test]
fn cells_that_carry_few_marks_are_not_scored_however_many_rows_there_are() {
    let mut content = leak("insurer", flow_id(0, 0), &owner());
    for (row, cell) in content.columns[0].iter_mut().enumerate() {
        if row >= 20 {
            *cell = "".into();
        }
    }
    let refused = scoring().score(&recorded(), &content, &master(), |_| ());
    assert!(matches!(refused, Err(Unscored::TooLittle)));
    // Nor many rows of which each says the same.
    let mut content = leak("insurer", flow_id(0, 0), &owner());
    let few: Vec<u32> = content.mark_tags.iter().take(20).copied().collect();
    for (row, tag) in content.mark_tags.iter_mut().enumerate() {
        *tag = few[row % few.len()];
    }
    let refused = scoring().score(&recorded(), &content, &master(), |_| ());
    assert!(matches!(refused, Err(Unscored::TooLittle)));
}

#[test]
fn what_is_told_of_the_unnamed_is_coarse() {
    let told = [0, 1, 3, 11, 20, 21, 70, 4_999].map(coarse);
    assert_eq!(told, [1, 1, 5, 20, 20, 50, 100, 5_000]);
    assert_eq!(coarse(u64::MAX), u64::MAX);
    assert_eq!(others(&[3, 0, 4]), [7]);
    assert_eq!(others(&[30, 0, 4]), [30, 0, 4]);
}

#[test]
fn tags_that_do_not_fit_and_columns_that_carry_nothing_are_refused() {
    let mut wide = leak("insurer", flow_id(0, 0), &owner());
    wide.mark_tags[0] = 1 << 16;
    let refused = scoring().score(&recorded(), &wide, &master(), |_| ());
    assert!(matches!(refused, Err(Unscored::Content)));
    let mut text = leak("insurer", flow_id(0, 0), &owner());
    text.columns[0].fill("a word".into());
    let refused = scoring().score(&recorded(), &text, &master(), |_| ());
    assert!(matches!(refused, Err(Unscored::NoColumn)));
}
