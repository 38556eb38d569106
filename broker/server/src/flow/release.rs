//! The release: in this order, and in no other that would compile.
//!
//! 0. [`Stored::store`]: the sealed delivery is durable in the blob store. A crash here leaves a file that no entry names; it
//!    can never be fetched, and the flow is closed as aborted at restart.
//! 1. [`Stored::record`]: one append of `release.intent`. A crash here leaves either nothing (as in 0) or a release that counts
//!    as made, whose delivery the recipient may fetch.
//! 2. [`Released::open`] takes the [`Recorded`] that only the durable append returns.
//! 3. [`Released::send`], the one function through which a delivery leaves. A crash here leaves an intent without an outcome: it
//!    counts as released, and the same bytes may be fetched again.
//! 4. `release.outcome`.

use std::fs::File;
use std::io::Read as _;

use counterfoil_audit::entry::{Digest, FlowId, Integer};
use counterfoil_audit::entry::{Outcome, ReleaseIntent, ReleaseOutcome};
use counterfoil_proto::limits::CHUNK_BYTES;
use counterfoil_proto::v1::DeliveryChunk;
use counterfoil_proto::v1::delivery_chunk::Part;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tonic::Status;

use super::blobs::Deliveries;
use crate::broker::Broker;
use crate::error::Error;
use crate::log::{Decided, Recorded};
use crate::refusal::Refusal;
use crate::state::agreements::Status as AgreementStatus;
use crate::state::flows::Stage;

/// A sealed delivery that is durable in the blob store, and named by no entry yet.
pub(crate) struct Stored {
    intent: ReleaseIntent,
}

impl Stored {
    /// Step 0. `intent` describes the sealed bytes by their digest and size.
    pub(crate) fn store(
        deliveries: &Deliveries,
        sealed: &[u8],
        intent: impl FnOnce(Digest, Integer) -> ReleaseIntent,
    ) -> Result<Self, Error> {
        let sha256 = Digest::from_bytes(Sha256::digest(sealed).into());
        let bytes = Integer::new(sealed.len() as u64).map_err(|e| Error::Log(e.to_string()))?;
        let intent = intent(sha256, bytes);
        deliveries.store(*intent.flow.as_bytes(), sealed)?;
        Ok(Self { intent })
    }

    /// Step 1. Refused if the flow, its agreement or a party has ended meanwhile.
    pub(crate) async fn record(self, broker: &Broker) -> Result<Recorded<()>, Refusal> {
        let intent = self.intent;
        broker
            .ledger
            .commit(broker.actor(), |state, _| {
                let running = state
                    .flow(intent.flow)
                    .is_some_and(|flow| flow.stage == Stage::Running);
                let active = state
                    .agreements
                    .get(&intent.agreement.sha256)
                    .is_some_and(|record| record.status == AgreementStatus::Active);
                let stand = [&intent.source.org, &intent.recipient.org]
                    .iter()
                    .all(|org| state.partners.get(org).is_some_and(|p| !p.revoked));
                if !(running && active && stand) {
                    return Err(Refusal::new(
                        "ended_meanwhile",
                        "the flow, its agreement or a party of it was ended before the release",
                        "ask again under an agreement that stands",
                    ));
                }
                Ok(Decided {
                    events: vec![intent.into()],
                    value: (),
                })
            })
            .await
    }
}

/// A recorded release whose bytes are at hand.
#[derive(Debug)]
pub(crate) struct Released {
    index: u64,
    flow: FlowId,
    sealed: File,
}

impl Released {
    /// Step 2.
    pub(crate) fn open(
        recorded: Recorded<ReleaseIntent>,
        deliveries: &Deliveries,
    ) -> Result<Self, Error> {
        let index = recorded.index();
        let flow = recorded.into_value().flow;
        Ok(Self {
            index,
            flow,
            sealed: deliveries.open(*flow.as_bytes())?,
        })
    }

    /// Step 3: reads and sends the sealed bytes, piece by piece; returns what step 4 records. Blocks.
    pub(crate) fn send(
        mut self,
        to: &mpsc::Sender<Result<DeliveryChunk, Status>>,
    ) -> Result<ReleaseOutcome, Error> {
        loop {
            let mut piece = Vec::with_capacity(CHUNK_BYTES);
            self.sealed
                .by_ref()
                .take(CHUNK_BYTES as u64)
                .read_to_end(&mut piece)
                .map_err(|e| Error::Log(format!("reading a sealed delivery: {e}")))?;
            if piece.is_empty() {
                break;
            }
            let chunk = DeliveryChunk {
                part: Some(Part::Sealed(piece)),
            };
            to.blocking_send(Ok(chunk))
                .map_err(|_| Error::Log("the recipient left while its delivery was sent".into()))?;
        }
        Ok(ReleaseOutcome {
            flow: self.flow,
            intent: Integer::new(self.index).map_err(|e| Error::Log(e.to_string()))?,
            outcome: Outcome::Delivered,
        })
    }
}

/// Step 4, once a flow: a repeated fetch adds nothing.
pub(crate) async fn record_outcome(broker: &Broker, outcome: ReleaseOutcome) {
    let recorded: Result<_, Refusal> = broker
        .ledger
        .commit(broker.actor(), |state, _| {
            let first = state
                .flow(outcome.flow)
                .is_some_and(|flow| matches!(flow.stage, Stage::Released { outcome: None, .. }));
            if !first {
                return Err(Refusal::new("outcome_known", "the outcome is known", "-"));
            }
            Ok(Decided {
                events: vec![outcome.into()],
                value: (),
            })
        })
        .await;
    if let Err(refusal) = recorded {
        tracing::debug!(code = refusal.code, "no outcome recorded");
    }
}
