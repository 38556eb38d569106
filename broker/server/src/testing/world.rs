//! A broker without its listener.

use std::sync::Arc;

use counterfoil_audit::entry::Event;
use counterfoil_policy::agreement::Agreement;
use counterfoil_policy::request::{RequestBody, SignedRequest};
use counterfoil_proto::delivery::DeliverySecret;
use counterfoil_proto::v1::Offer;
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::broker::Broker;
use crate::decide::flows::{self, Situation};
use crate::flow::registry::Running;
use crate::home::{Config, Home};
use crate::log::{Decided, LogDown};
use crate::state::State;
use crate::state::flows::Stage;

use super::{bank, countersigned, initialised, insurer, now, proposed, request_body};
/// A broker in a directory of its own, without its listener.
pub(crate) struct World {
    pub(crate) broker: Arc<Broker>,
    pub(crate) dir: TempDir,
}

impl World {
    /// Bank and insurer have joined, and this agreement is in force.
    pub(crate) async fn with(agreement: &Agreement) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path(), config(), OffsetDateTime::now_utc()).unwrap();
        let world = Self {
            broker: Arc::new(Broker::open(home).unwrap()),
            dir,
        };
        world.record(initialised()).await;
        for house in [bank(), insurer()] {
            world.record(house.invited()).await;
            world.record(house.joined()).await;
        }
        world.record(proposed(agreement)).await;
        world.record(countersigned(agreement)).await;
        world
    }

    pub(crate) async fn record(&self, event: impl Into<Event>) -> u64 {
        record(&self.broker, event).await
    }

    /// A flow that was granted just now, with the secret of its delivery.
    pub(crate) async fn granted(
        &self,
        agreement: &Agreement,
        flow: u8,
        tags: &[&str],
    ) -> (Arc<Running>, DeliverySecret) {
        let tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        self.granted_with(agreement, flow, |body| body.tags = tags)
            .await
    }

    /// [`World::granted`] of a request that was changed.
    pub(crate) async fn granted_with(
        &self,
        agreement: &Agreement,
        flow: u8,
        change: impl FnOnce(&mut RequestBody),
    ) -> (Arc<Running>, DeliverySecret) {
        let (mut body, secret) = request_body(agreement, flow);
        change(&mut body);
        let signed = SignedRequest::sign(&insurer().key, body).unwrap();
        let decided = self.broker.ledger.read(|state| {
            let ready = |_: &Agreement| Situation {
                owner_listens: true,
                recipient_busy: false,
            };
            flows::request(
                state,
                now(),
                &insurer().org(),
                &signed,
                &self.broker.regime,
                ready,
            )
        });
        let granted = decided.value.map_err(|r| r.message).unwrap();
        let flow = granted.event.flow;
        self.record(granted.event.clone()).await;
        let flows = &self.broker.flows;
        let offer = Offer {
            signed_request: signed.to_json().unwrap(),
        };
        flows.start(granted.event, granted.agreement, granted.request, offer);
        assert!(flows.get(flow).is_none(), "not before it is admitted");
        assert!(flows.admit(flow));
        (flows.get(flow).unwrap(), secret)
    }

    pub(crate) fn stage(&self, running: &Running) -> Stage {
        let stage = |state: &State| state.flow(running.grant.flow).unwrap().stage.clone();
        self.broker.ledger.read(stage)
    }

    /// Files in the directory of deliveries.
    pub(crate) fn deliveries(&self) -> usize {
        let deliveries = self.dir.path().join("deliveries");
        std::fs::read_dir(deliveries).unwrap().count()
    }
}

/// Any free port of this machine.
pub(crate) fn config() -> Config {
    Config {
        name: "broker.test".into(),
        listen: "127.0.0.1:0".into(),
        address: "127.0.0.1:0".into(),
        packs: crate::home::built_in_packs(),
        assessed_only: false,
        room: crate::home::Room::default(),
    }
}

pub(crate) async fn record(broker: &Broker, event: impl Into<Event>) -> u64 {
    let decided = Decided {
        events: vec![event.into()],
        value: (),
    };
    let recorded: Result<_, LogDown> = broker
        .ledger
        .commit(broker.actor(), |_, _| Ok(decided))
        .await;
    recorded.unwrap().index()
}
