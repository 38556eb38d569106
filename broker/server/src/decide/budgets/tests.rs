use counterfoil_audit::entry::{
    Event, FlowAborted, FlowDeclined, FlowGranted, FlowId, FlowRefused, ReleaseIntent,
};
use counterfoil_policy::agreement::FlowKind;
use counterfoil_policy::measure::Asked;
use counterfoil_policy::text::FlowId as PolicyFlowId;

use super::super::flows::{self, Situation};
use super::*;
use crate::refusal::sentence;
use crate::testing::{
    Story, bank, countersigned, insurer, intent_event, measured, measured_with, now, proposed,
    regime, request_with,
};

/// Asks for a count at this epsilon, under a flow id of its own.
fn ask(
    state: &State,
    agreement: &Agreement,
    number: u32,
    epsilon: &str,
) -> Result<FlowGranted, Refusal> {
    let signed = request_with(agreement, 0, |body| {
        let mut flow = [0; 16];
        flow[..4].copy_from_slice(&number.to_be_bytes());
        body.flow = PolicyFlowId::from_bytes(flow);
        body.kind = FlowKind::Measure;
        body.tags = Vec::new();
        body.measure = Some(Asked {
            queries: vec![format!("count epsilon {epsilon}").parse().unwrap()],
            delta: None,
        });
    });
    let ready = |_: &Agreement| Situation {
        owner_listens: true,
        recipient_busy: false,
    };
    let caller = insurer().org();
    flows::request(state, now(), &caller, &signed, &regime(), ready)
        .value
        .map(|granted| granted.event)
}

fn moment_now() -> Moment {
    moment(now())
}

fn left_of(story: &Story, agreement: &Agreement) -> String {
    left(&story.state, agreement, moment_now())
        .epsilon
        .to_string()
}

fn aborted(flow: FlowId, spent: Option<Spent>) -> Event {
    FlowAborted {
        flow,
        stage: label("idle"),
        reason: sentence("it broke"),
        spent,
    }
    .into()
}

fn declined(flow: FlowId, spent: Option<Spent>) -> Event {
    FlowDeclined {
        flow,
        org: bank().org(),
        decision: Refusal::new("c", "m", "w").decision("declined"),
        spent,
    }
    .into()
}

fn refused(flow: FlowId, spent: Option<Spent>) -> Event {
    FlowRefused {
        flow,
        decision: Refusal::new("c", "m", "w").decision("refused"),
        spent,
    }
    .into()
}

fn released(agreement: &Agreement, grant: &FlowGranted) -> Event {
    ReleaseIntent {
        flow: grant.flow,
        spent: grant.reserved.clone(),
        ..intent_event(agreement, 1)
    }
    .into()
}

#[test]
fn what_a_flow_keeps_of_its_charge_depends_on_how_it_ended() {
    let agreement = measured();
    let mut story = Story::with(&agreement);
    // The cap is 6; each flow costs 1 and a tenth for the minimum.
    let minimum = |grant: &FlowGranted| {
        Some(Spent {
            epsilon: label("0.1"),
            ..grant.reserved.clone().unwrap()
        })
    };
    type End<'e> = &'e dyn Fn(&FlowGranted) -> Event;
    let endings: [(End<'_>, &str); 7] = [
        (&|grant| declined(grant.flow, None), "6"),
        (&|grant| aborted(grant.flow, None), "6"),
        (&|grant| refused(grant.flow, None), "6"),
        (&|grant| refused(grant.flow, minimum(grant)), "5.9"),
        (&|grant| aborted(grant.flow, grant.reserved.clone()), "4.8"),
        (&|grant| declined(grant.flow, grant.reserved.clone()), "3.7"),
        (&|grant| released(&agreement, grant), "2.6"),
    ];
    for (number, (end, left_after)) in (1..).zip(endings) {
        let before = left_of(&story, &agreement);
        let grant = ask(&story.state, &agreement, number, "1").unwrap();
        story.told(grant.clone());
        let running = left_of(&story, &agreement);
        assert_ne!(running, before, "set aside while it runs");
        story.told(end(&grant));
        assert_eq!(left_of(&story, &agreement), left_after, "{number}");
    }
    let refusal = ask(&story.state, &agreement, 99, "2.6").unwrap_err();
    assert_eq!(refusal.code, "over_budget");
    assert!(
        refusal.would_pass.contains("at most epsilon 2.6"),
        "{refusal:?}"
    );
    assert!(
        refusal
            .would_pass
            .contains(" on, when what was spent 365 days"),
        "{refusal:?}"
    );
    assert!(ask(&story.state, &agreement, 99, "2.5").is_ok());
}

/// The first agreement in force, and a second one of the same two parties over the same dataset.
fn two_agreements(changes: &[(&str, &str)]) -> (Story, Agreement, Agreement) {
    let first = measured();
    let id: &[(&str, &str)] = &[("-tags\"", "-more\"")];
    let second = measured_with(&[id, changes].concat());
    let mut story = Story::with(&first);
    story.told(proposed(&second));
    story.told(countersigned(&second));
    (story, first, second)
}

#[test]
fn the_least_caps_of_a_recipients_agreements_hold_under_all_of_them() {
    let (story, first, second) = two_agreements(&[
        ("epsilon_per_flow = \"5\"", "epsilon_per_flow = \"2\""),
        ("epsilon_recipient = \"6\"", "epsilon_recipient = \"2\""),
    ]);
    for agreement in [&first, &second] {
        assert_eq!(left_of(&story, agreement), "2");
    }
    let refusal = ask(&story.state, &first, 1, "3").unwrap_err();
    assert_eq!(refusal.code, "over_budget");
}

#[test]
fn the_people_of_a_dataset_are_one_population() {
    let (story, _, second) = two_agreements(&[("\"retail-customers\"", "\"others\"")]);
    let refusal = ask(&story.state, &second, 1, "1").unwrap_err();
    assert_eq!(refusal.code, "population_renamed", "{refusal:?}");
}

#[test]
fn a_cost_over_the_cap_never_passes_and_is_told_so() {
    let agreement = measured();
    let story = Story::with(&agreement);
    let refusal = ask(&story.state, &agreement, 1, "5").unwrap_err();
    assert_eq!(refusal.code, "query_outside", "{refusal:?}");
}

mod concurrent;
