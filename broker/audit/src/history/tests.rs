use super::*;
use crate::{entry::*, samples::*};

/// The findings of a story that is told a second an entry.
fn findings(coverage: Coverage, events: &[Event]) -> Vec<(u64, FindingKind)> {
    let mut history = History::new(coverage);
    for (index, event) in (0..).zip(events) {
        history.apply(index, &entry_at(index, event.clone()));
    }
    let (findings, left_out) = history.into_findings();
    assert_eq!(left_out, 0);
    findings
        .iter()
        .map(|finding| (finding.index, finding.kind))
        .collect()
}

/// The story, changed; its entries 4 to 9 are proposed, countersigned, granted, intent,
/// outcome, acknowledged.
fn changed(change: impl FnOnce(&mut Vec<Event>)) -> Vec<(u64, FindingKind)> {
    let mut events = story();
    change(&mut events);
    findings(Coverage::Whole, &events)
}

#[test]
fn the_story_holds_together() {
    assert_eq!(changed(|_| ()), []);
}

#[test]
fn each_break_is_found_where_it_shows() {
    let revoked = story()[17].clone();
    let partner_revoked = story()[18].clone();
    let mut unlike = intent(1);
    unlike.recipient.org = org("someone-else");
    let mut unlike_agreement = intent(1);
    unlike_agreement.agreement.version = 2;
    use FindingKind as F;
    assert_eq!(
        changed(|e| e[5] = story()[3].clone())[0],
        (6, F::AgreementNotInForce)
    );
    assert_eq!(
        changed(|e| e[6] = story()[3].clone()),
        [(7, F::ReleaseWithoutGrant)]
    );
    assert_eq!(
        changed(|e| e.insert(7, revoked.clone()))[0],
        (8, F::AgreementRevoked)
    );
    assert_eq!(
        changed(|e| e.insert(7, partner_revoked.clone()))[0],
        (8, F::PartnerRevoked)
    );
    assert_eq!(
        changed(|e| e[7] = unlike.into()),
        [(7, F::ReleaseUnlikeGrant)]
    );
    let found = changed(|e| e[7] = unlike_agreement.into());
    assert_eq!(
        found,
        [(7, F::AgreementNotInForce), (7, F::ReleaseUnlikeGrant)]
    );
    assert_eq!(
        changed(|e| e[10] = intent(1).into()),
        [(10, F::ReleasedTwice)]
    );
    assert_eq!(
        changed(|e| e[13] = intent(3).into())[0],
        (13, F::ReleaseAfterEnd)
    );
    assert_eq!(
        changed(|e| e[8] = outcome(1, 6).into()),
        [(8, F::OutcomeWithoutIntent)]
    );
    assert_eq!(
        changed(|e| e[8] = outcome(2, 7).into()),
        [(8, F::OutcomeWithoutIntent)]
    );
    let without = changed(|e| e[7] = story()[3].clone());
    assert_eq!(
        without,
        [
            (8, F::OutcomeWithoutIntent),
            (9, F::AcknowledgedWithoutIntent)
        ]
    );
    let again = changed(|e| e[10] = granted(1).into());
    assert_eq!(
        again,
        [(10, F::RequestGrantedTwice), (10, F::FlowGrantedTwice)]
    );
    let replay = FlowGranted {
        flow: flow(77),
        ..granted(1)
    };
    assert_eq!(
        changed(|e| e[10] = replay.into()),
        [(10, F::RequestGrantedTwice)]
    );
}

/// The traces, changed; the entries 2 and 4 are marked releases, 5 authorises, 6 opens, 7 concludes, 8 authorises, 9 failed, 12
/// commits to canaries, 13 are hits.
fn traced(change: impl FnOnce(&mut Vec<Event>)) -> Vec<(u64, FindingKind)> {
    let mut events = traces();
    change(&mut events);
    findings(Coverage::Whole, &events)
}

#[test]
fn traces_hold_together() {
    assert_eq!(traced(|_| ()), []);
    let later = traces().split_off(5);
    // Entries that name others by their index are not blamed for those that are not shown.
    assert_eq!(findings(Coverage::Part, &later[2..3]), []);
    assert_eq!(findings(Coverage::Part, &later[8..]), []);
}

fn released(change: fn(&mut ReleaseMarks)) -> Event {
    let mut marks = marks(2);
    change(&mut marks);
    ReleaseIntent {
        marks: Some(marks),
        ..intent(2)
    }
    .into()
}

#[test]
fn a_lineage_has_one_key_of_each_kind() {
    let other: [fn(&mut ReleaseMarks); 3] = [
        |marks| marks.dataset_key = digest(99),
        |marks| marks.recipient_key = digest(99),
        |marks| marks.tag_key = Some(digest(99)),
    ];
    for change in other {
        let found = traced(|events| events[4] = released(change));
        assert_eq!(found, [(4, FindingKind::MarkKeyDiffers)]);
    }
    assert_eq!(traced(|e| e[4] = released(|m| m.tag_key = None)), []);
    let elsewhere = released(|marks| {
        marks.lineage = label("meridian-bank/retail/2/16/2065");
        marks.dataset_key = digest(99);
        marks.tag_key = Some(digest(99));
    });
    assert_eq!(traced(|e| e[4] = elsewhere), []);
}

#[test]
fn a_scoring_is_what_two_people_signed() {
    let with = |change: fn(&mut TraceAuthorised)| {
        let mut event = authorised(21);
        change(&mut event);
        traced(|events| events[5] = event.into())
    };
    let unlike = FindingKind::ScoringUnlikeRequest;
    assert_eq!(
        with(|e| e.rows_used = Integer::new(7).unwrap()),
        [(5, unlike)]
    );
    assert_eq!(with(|e| e.tag_key = None), [(5, unlike)]);
    let other_file = with(|e| e.file_sha256 = digest(99));
    let incident = FindingKind::IncidentUnlikeScoring;
    assert_eq!(other_file, [(5, unlike), (7, incident)]);
    let key = with(|e| {
        e.tag_key = Some(digest(99));
        let mut request = e.request.as_value().clone();
        request["tag_key"] = digest(99).to_string().into();
        e.request = Document::new(request).unwrap();
    });
    assert_eq!(key, [(5, FindingKind::ScoringKeyDiffers)]);
    for field in ["user", "user_key"] {
        let mut event = authorised(21);
        let mut people = event.authorisation.as_value().clone();
        people["checker"][field] = people["maker"][field].clone();
        event.authorisation = Document::new(people).unwrap();
        let one = [(5, FindingKind::ScoringByOnePerson)];
        assert_eq!(traced(|events| events[5] = event.into()), one);
    }
    let nobody = with(|e| e.authorisation = Document::new(serde_json::json!({})).unwrap());
    assert_eq!(nobody, [(5, FindingKind::ScoringByOnePerson)]);
    let again = traced(|events| events[8] = authorised(21).into());
    assert_eq!(again, [(8, FindingKind::RequestScoredTwice)]);
}

#[test]
fn an_outcome_follows_its_scoring_and_incident() {
    use FindingKind as F;
    assert_eq!(
        traced(|e| e[5] = story()[3].clone()),
        [(7, F::ScoringNotAuthorised)]
    );
    assert_eq!(
        traced(|e| e[7] = concluded(4).into())[0],
        (7, F::ScoringNotAuthorised)
    );
    assert_eq!(
        traced(|e| e[10] = concluded(5).into()),
        [(10, F::ScoringEndedTwice)]
    );
    assert_eq!(
        traced(|e| e[10] = e[9].clone()),
        [(10, F::ScoringEndedTwice)]
    );
    assert_eq!(
        traced(|e| e[6] = story()[3].clone()),
        [(7, F::IncidentUnlikeScoring)]
    );
    assert_eq!(
        traced(|e| e[10] = e[6].clone()),
        [(10, F::IncidentOpenedTwice)]
    );
    let stranger = TraceConcluded {
        named: List::new(vec![org("someone-else")]).unwrap(),
        ..concluded(5)
    };
    assert_eq!(
        traced(|e| e[7] = stranger.into()),
        [(7, F::NamedWithoutRelease)]
    );
    assert_eq!(
        traced(|e| e[12] = story()[3].clone()),
        [(13, F::IncidentWithoutCanaries)]
    );
}

#[test]
fn a_revoked_agreement_stays_revoked_and_a_partner_may_come_back() {
    let (countersigned, revoked) = (story()[5].clone(), story()[17].clone());
    let mut events = story()[..6].to_vec();
    events.extend([revoked, countersigned, granted(9).into()]);
    assert_eq!(
        findings(Coverage::Whole, &events),
        [(8, FindingKind::AgreementRevoked)]
    );
    let mut events = story()[..6].to_vec();
    events.extend([
        story()[18].clone(),
        joined("harbour-life").into(),
        granted(9).into(),
    ]);
    assert_eq!(findings(Coverage::Whole, &events), []);
}

#[test]
fn a_replayed_request_that_was_denied_is_as_it_should_be() {
    let denied = FlowDenied {
        flow: flow(1),
        agreement: Some(agreement()),
        request_sha256: digest(101),
        asked: None,
        decision: decision(),
        recipient: recipient(),
    };
    assert_eq!(changed(|events| events[10] = denied.into()), []);
}

#[test]
fn times_may_step_back_a_little() {
    let mut history = History::new(Coverage::Whole);
    for (index, seconds) in [100, 98, 97, 99].into_iter().enumerate() {
        history.apply(index as u64, &entry_at(seconds, joined("aa")));
    }
    let (findings, _) = history.into_findings();
    let kind = FindingKind::TimeWentBack { by_ms: 3_000 };
    assert_eq!(findings, [Finding { index: 2, kind }]);
    assert!(findings[0].to_string().contains("3000 ms"));
}

#[test]
fn a_part_is_not_blamed_for_what_it_does_not_show() {
    let events = story();
    assert_eq!(
        findings(Coverage::Part, &events[6..10]).len(),
        1,
        "the intent's index moved"
    );
    assert_eq!(findings(Coverage::Part, &events[9..10]), []);
    let moved = [granted(1).into(), intent(1).into(), outcome(1, 1).into()];
    assert_eq!(findings(Coverage::Part, &moved), []);
    let twice: [Event; 2] = [intent(1).into(), intent(1).into()];
    assert_eq!(
        findings(Coverage::Part, &twice),
        [(1, FindingKind::ReleasedTwice)]
    );
}

#[test]
fn findings_are_bounded() {
    let mut history = History::new(Coverage::Whole);
    for index in 0..FINDINGS_MAX as u64 + 5 {
        history.apply(index, &entry_at(0, outcome(1, 0)));
    }
    let (findings, left_out) = history.into_findings();
    assert_eq!((findings.len(), left_out), (FINDINGS_MAX, 5));
}
