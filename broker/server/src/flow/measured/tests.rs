use counterfoil_policy::agreement::{Agreement, FlowKind};
use counterfoil_policy::measure::Asked;

use super::*;
use crate::flow::buckets::Buckets;
use crate::testing::{World, measured};

async fn granted(world: &World, agreement: &Agreement, flow: u8) -> std::sync::Arc<Running> {
    let (running, _) = world
        .granted_with(agreement, flow, |body| {
            body.kind = FlowKind::Measure;
            body.tags = Vec::new();
            body.measure = Some(Asked {
                queries: vec!["count epsilon 1".parse().unwrap()],
                delta: None,
            });
        })
        .await;
    running
}

/// A recipient sees how long it takes to open rows, and could end the flow then: what is not charged could be asked for ever.
#[tokio::test]
async fn a_flow_that_ends_after_rows_were_opened_keeps_its_charge() {
    let agreement = measured();
    let world = World::with(&agreement).await;
    let left = || {
        let now = Timestamp::from_unix_seconds(OffsetDateTime::now_utc().unix_timestamp()).unwrap();
        let ledger = &world.broker.ledger;
        ledger.read(|state| budgets::left(state, &agreement, now).epsilon.to_string())
    };
    type Step<'s> = &'s dyn Fn(&Running);
    let steps: [(Step<'_>, &str); 3] = [
        (&|_| (), "6"),
        (&|running| assert!(running.buckets(Buckets::open)), "4.9"),
        // How far it was is not known.
        (&|running| running.buckets(Buckets::restored), "3.8"),
    ];
    for (flow, (step, expected)) in (1..).zip(steps) {
        let running = granted(&world, &agreement, flow).await;
        step(&running);
        let id = running.grant.flow;
        world.broker.abort(id, "idle", "nothing came").await;
        assert_eq!(left(), expected, "{flow}");
        assert!(
            !running.buckets(Buckets::open),
            "none are opened after that"
        );
    }
}
