use std::sync::Mutex;

use counterfoil_audit::entry::{
    Event, FlowAborted, FlowDeclined, FlowGranted, FlowId, FlowRefused, ReleaseIntent,
};
use counterfoil_policy::agreement::FlowKind;
use counterfoil_policy::measure::Asked;
use counterfoil_policy::text::FlowId as PolicyFlowId;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

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

fn aborted(flow: FlowId, stage: &str) -> Event {
    FlowAborted {
        flow,
        stage: label(stage),
        reason: sentence("it broke"),
    }
    .into()
}

fn declined(flow: FlowId) -> Event {
    FlowDeclined {
        flow,
        org: bank().org(),
        decision: Refusal::new("c", "m", "w").decision("declined"),
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
        (&|grant| declined(grant.flow), "6"),
        (&|grant| aborted(grant.flow, "idle"), "6"),
        (&|grant| refused(grant.flow, None), "6"),
        (&|grant| refused(grant.flow, minimum(grant)), "5.9"),
        (&|grant| aborted(grant.flow, "joining"), "4.8"),
        (&|grant| aborted(grant.flow, "restart"), "3.7"),
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

/// What the entries say is charged, added up apart from the state.
fn sum_of_entries(events: &[Event]) -> Cost {
    let cost = |spent: &Spent| Cost {
        epsilon: spent.epsilon.as_str().parse().unwrap(),
        delta: spent.delta.as_str().parse().unwrap(),
    };
    let granted = events.iter().filter_map(|event| match event {
        Event::FlowGranted(grant) => Some((grant.flow, cost(grant.reserved.as_ref().unwrap()))),
        _ => None,
    });
    granted
        .map(|(flow, reserved)| {
            let end = events.iter().find(|event| {
                event.flow() == Some(flow) && !matches!(event, Event::FlowGranted(_))
            });
            match end {
                Some(Event::FlowDeclined(_)) => Cost::NONE,
                Some(Event::FlowAborted(e)) if e.stage.as_str() == "idle" => Cost::NONE,
                Some(Event::FlowRefused(e)) => e.spent.as_ref().map_or(Cost::NONE, cost),
                _ => reserved,
            }
        })
        .fold(Cost::NONE, |sum, cost| sum.checked_add(cost).unwrap())
}

/// 64 requests of random sizes from as many threads against one budget, a thousand rounds; between them flows end in every way.
/// As in the broker, a decision and its entry are one step.
#[test]
fn concurrent_requests_never_exceed_the_budget_and_state_is_the_sum_of_entries() {
    const THREADS: u32 = 64;
    const ROUNDS: usize = 1_000;
    let agreement = measured();
    let cap = agreement.measure().unwrap().caps().recipient;
    // Signing is the costly part of a request; a round asks for the same sizes under other ids.
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for round in 0..ROUNDS {
        let shared = Mutex::new((Story::with(&agreement), Vec::<Event>::new()));
        let costs: Vec<u32> = (0..THREADS).map(|_| rng.random_range(1..30)).collect();
        let endings: Vec<u32> = (0..THREADS).map(|_| rng.random_range(0..6)).collect();
        let one = |thread: u32| {
            let index = thread as usize;
            let cost = Cost {
                epsilon: format!("{}.{}", costs[index] / 10, costs[index] % 10)
                    .parse()
                    .unwrap(),
                delta: counterfoil_policy::decimal::Decimal::ZERO,
            };
            let mut held = shared.lock().unwrap();
            let (story, events) = &mut *held;
            let account =
                Account::of(&story.state, &agreement, agreement.measure().unwrap()).unwrap();
            if !cost.fits(account.left(moment_now()).usable()) {
                return;
            }
            let grant = FlowGranted {
                flow: FlowId::from_bytes([u8::try_from(thread).unwrap() + 1; 16]),
                reserved: Some(spent(agreement.measure().unwrap(), cost)),
                ..template(&agreement)
            };
            story.told(grant.clone());
            events.push(grant.clone().into());
            drop(held);
            std::thread::yield_now();
            let end = match endings[index] {
                0 => declined(grant.flow),
                1 => aborted(grant.flow, "idle"),
                2 => aborted(grant.flow, "restart"),
                3 => refused(
                    grant.flow,
                    Some(spent(
                        agreement.measure().unwrap(),
                        Cost {
                            epsilon: "0.1".parse().unwrap(),
                            ..cost
                        },
                    )),
                ),
                4 => ReleaseIntent {
                    flow: grant.flow,
                    spent: grant.reserved.clone(),
                    ..intent_template(&agreement)
                }
                .into(),
                _ => return,
            };
            let mut held = shared.lock().unwrap();
            held.0.told(end.clone());
            held.1.push(end);
        };
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let one = &one;
                scope.spawn(move || one(thread));
            }
        });
        let (story, events) = shared.into_inner().unwrap();
        let spent = sum_of_entries(&events);
        assert!(spent.fits(cap), "round {round}: {spent}");
        let state = left(&story.state, &agreement, moment_now());
        assert_eq!(state, spent.left_of(cap), "round {round}");
    }
}

fn template(agreement: &Agreement) -> FlowGranted {
    static TEMPLATE: std::sync::OnceLock<FlowGranted> = std::sync::OnceLock::new();
    TEMPLATE
        .get_or_init(|| {
            let story = Story::with(agreement);
            ask(&story.state, agreement, 1, "1").unwrap()
        })
        .clone()
}

fn intent_template(agreement: &Agreement) -> ReleaseIntent {
    static TEMPLATE: std::sync::OnceLock<ReleaseIntent> = std::sync::OnceLock::new();
    TEMPLATE.get_or_init(|| intent_event(agreement, 1)).clone()
}
