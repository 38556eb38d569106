//! Many requests at once, through the ledger that grants them in the broker.

use std::collections::HashMap;
use std::sync::Arc;

use counterfoil_audit::entry::{AgreementRevoked, Recipient};
use counterfoil_policy::request::RequestBody;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::broker::Broker;
use crate::log::Decided;
use crate::testing::{
    House, World, agreement, countersigned_by, document, measured_for, request_body, stranger,
};

const REQUESTS: usize = 64;
const ROUNDS: u32 = 1_000;

/// One recipient of the population, and what it asks: signing and rules are the costly part of a request, and not looked at here.
struct Side {
    house: House,
    agreement: Agreement,
    body: RequestBody,
    template: FlowGranted,
}

/// How a granted flow ends.
#[derive(Clone, Copy)]
enum End {
    Declined,
    Aborted { opened: bool },
    UnderMinimum,
    Released,
    Never,
}

const ENDS: [End; 6] = [
    End::Declined,
    End::Aborted { opened: false },
    End::Aborted { opened: true },
    End::UnderMinimum,
    End::Released,
    End::Never,
];

impl Side {
    /// Of two recipients that may spend 6 each, and 8 together.
    fn new(house: House, round: u32) -> Self {
        let population = format!("\"people-{round}\"");
        let id = format!("-tags-{round}\"");
        let changes = [("\"retail-customers\"", &*population), ("-tags\"", &*id)];
        let agreement = measured_for(&house, &changes);
        let (mut body, _) = request_body(&agreement, 1);
        body.kind = FlowKind::Measure;
        body.tags = Vec::new();
        let template = FlowGranted {
            agreement: crate::decide::agreements::reference(&agreement),
            recipient: Recipient {
                org: house.org(),
                ..template().recipient
            },
            ..template()
        };
        Self {
            house,
            agreement,
            body,
            template,
        }
    }

    /// A count at an epsilon of this many tenths.
    fn ask(&self, tenths: u32) -> RequestBody {
        let query = format!("count epsilon {}.{}", tenths / 10, tenths % 10);
        RequestBody {
            measure: Some(Asked {
                queries: vec![query.parse().unwrap()],
                delta: None,
            }),
            ..self.body.clone()
        }
    }
}

fn template() -> FlowGranted {
    static TEMPLATE: std::sync::LazyLock<FlowGranted> = std::sync::LazyLock::new(|| {
        let agreement = measured();
        ask(&Story::with(&agreement).state, &agreement, 1, "1").unwrap()
    });
    TEMPLATE.clone()
}

fn intent_template() -> ReleaseIntent {
    static TEMPLATE: std::sync::LazyLock<ReleaseIntent> =
        std::sync::LazyLock::new(|| intent_event(&measured(), 1));
    TEMPLATE.clone()
}

fn ending(end: End, grant: &FlowGranted) -> Option<Event> {
    let flow = grant.flow;
    let reserved = grant.reserved.clone();
    match end {
        End::Declined => Some(declined(flow, None)),
        End::Aborted { opened } => Some(aborted(flow, reserved.filter(|_| opened))),
        End::UnderMinimum => Some(refused(
            flow,
            reserved.map(|reserved| Spent {
                epsilon: label("0.1"),
                delta: label("0"),
                ..reserved
            }),
        )),
        End::Released => Some(
            ReleaseIntent {
                flow,
                agreement: grant.agreement.clone(),
                recipient: grant.recipient.clone(),
                spent: reserved,
                ..intent_template()
            }
            .into(),
        ),
        End::Never => None,
    }
}

/// A request as the broker takes it: decided and recorded in one step; then, after others had their turn, its end.
async fn flow(broker: Arc<Broker>, side: Arc<Side>, id: FlowId, tenths: u32, end: End) {
    let actor = side.house.actor();
    let body = side.ask(tenths);
    let granted = broker
        .ledger
        .commit(&actor, |state, now| {
            let reserved = reserve(state, &side.agreement, &body, moment(now))?;
            let grant = FlowGranted {
                flow: id,
                reserved,
                ..side.template.clone()
            };
            Ok::<_, Refusal>(Decided {
                events: vec![grant.clone().into()],
                value: grant,
            })
        })
        .await;
    let granted = match granted {
        Ok(granted) => granted,
        Err(refusal) => return assert_eq!(refusal.code, "over_budget", "{refusal:?}"),
    };
    tokio::task::yield_now().await;
    if let Some(event) = ending(end, granted.value()) {
        let events = vec![event];
        let decided = Decided { events, value: () };
        broker
            .ledger
            .commit(&actor, |_, _| Ok::<_, Refusal>(decided))
            .await
            .map_err(|refusal| refusal.message)
            .unwrap();
    }
}

/// What the entries say is charged to whom, added up apart from the state.
#[derive(Default)]
struct Sums {
    charged: HashMap<FlowId, (OrgName, Cost)>,
}

impl Sums {
    fn add(&mut self, event: &Event) {
        let cost = |spent: &Option<Spent>| {
            spent.as_ref().map_or(Cost::NONE, |spent| Cost {
                epsilon: spent.epsilon.as_str().parse().unwrap(),
                delta: spent.delta.as_str().parse().unwrap(),
            })
        };
        let (flow, spent) = match event {
            Event::FlowGranted(grant) => {
                let charge = (grant.recipient.org.clone(), cost(&grant.reserved));
                self.charged.insert(grant.flow, charge);
                return;
            }
            Event::FlowDeclined(e) => (e.flow, &e.spent),
            Event::FlowAborted(e) => (e.flow, &e.spent),
            Event::FlowRefused(e) => (e.flow, &e.spent),
            Event::ReleaseIntent(e) => (e.flow, &e.spent),
            _ => return,
        };
        self.charged.get_mut(&flow).unwrap().1 = cost(spent);
    }

    fn of(&self, whose: impl Fn(&OrgName) -> bool) -> Cost {
        let charged = self.charged.values().filter(|(org, _)| whose(org));
        charged.fold(Cost::NONE, |sum, (_, cost)| sum.checked_add(*cost).unwrap())
    }
}

/// 64 requests of random sizes at once by two recipients against one population, a thousand rounds; flows end in every way.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_requests_never_exceed_a_budget_and_state_is_the_sum_of_entries() {
    // Of an agreement that measures nothing: its dataset has no population yet.
    let world = World::with(&agreement()).await;
    world.record(stranger().invited()).await;
    world.record(stranger().joined()).await;
    let ledger = &world.broker.ledger;
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let mut granted = [0; 2];
    for round in 0..ROUNDS {
        let sides = [insurer(), stranger()].map(|house| Arc::new(Side::new(house, round)));
        for side in &sides {
            world.record(proposed(&side.agreement)).await;
            let countersigned = countersigned_by(&side.house, &side.agreement);
            world.record(countersigned).await;
        }
        let first = ledger.durable();
        let flows: Vec<_> = (0..REQUESTS)
            .map(|number| {
                let mut id = [0; 16];
                id[..4].copy_from_slice(&round.to_be_bytes());
                id[15] = u8::try_from(number).unwrap();
                let (tenths, end) = (rng.random_range(1..30), ENDS[rng.random_range(0..6)]);
                let side = sides[number % 2].clone();
                tokio::spawn(flow(
                    world.broker.clone(),
                    side,
                    FlowId::from_bytes(id),
                    tenths,
                    end,
                ))
            })
            .collect();
        for flow in flows {
            flow.await.unwrap();
        }
        let caps = sides[0].agreement.measure().unwrap().caps();
        let mut sums = Sums::default();
        for index in first..ledger.durable() {
            sums.add(ledger.entry(index).unwrap().parse().unwrap().event());
            assert!(sums.of(|_| true).fits(caps.population), "round {round}");
            for side in &sides {
                let own = sums.of(|org| *org == side.house.org());
                assert!(own.fits(caps.recipient), "round {round}");
            }
        }
        for (side, granted) in sides.iter().zip(&mut granted) {
            let of_side = |(org, _): &&(OrgName, Cost)| *org == side.house.org();
            *granted += sums.charged.values().filter(of_side).count();
            let own = sums.of(|org| *org == side.house.org());
            let all = sums.of(|_| true).left_of(caps.population);
            let expected = own.left_of(caps.recipient).min(all);
            let told = ledger.read(|state| left(state, &side.agreement, moment_now()));
            assert_eq!(told, expected, "round {round}");
            // Its dataset has another population in the next round.
            let over = AgreementRevoked {
                agreement: side.template.agreement.clone(),
                org: bank().org(),
                reason: sentence("over"),
                signature: document(&bank().revocation(&side.agreement)),
            };
            world.record(over).await;
        }
    }
    // Of the 32,000 that each asked for, the caps let some pass and were in the way of others.
    assert!(
        granted
            .iter()
            .all(|granted| (1_000..20_000).contains(granted)),
        "{granted:?}"
    );
}
