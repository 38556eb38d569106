//! The release: in this order, and in no other that would compile.
//!
//! 0. [`Stored::store`]: the sealed delivery is durable in the blob store. A crash here leaves a file that no entry names; it
//!    can never be fetched, and the flow is closed as aborted at restart.
//! 1. [`Stored::record`]: one append of `release.intent`. A crash here leaves either nothing (as in 0) or a release that counts
//!    as made, whose delivery the recipient may fetch.
//! 2. [`Released::open`] takes the [`RecordedRelease`] that only the ledger makes, of a durable `release.intent`.
//! 3. [`Released::send`], the one function through which a delivery leaves. A crash here leaves an intent without an outcome: it
//!    counts as released, and the same bytes may be fetched again.
//! 4. `release.outcome`.
//!
//! Each type's fields are private to its module, and so is the way to a sealed file ([`Deliveries::open`] asks for the
//! [`RecordedRelease`]): other code cannot skip a step. They are private to the crate too, so no doctest could try.

use std::time::Duration;

use counterfoil_audit::entry::{Digest, Integer};
use counterfoil_audit::entry::{Outcome, ReleaseIntent, ReleaseOutcome};
use counterfoil_proto::limits::CHUNK_BYTES;
use counterfoil_proto::v1::DeliveryChunk;
use counterfoil_proto::v1::delivery_chunk::Part;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tonic::Status;

use super::blobs::Deliveries;
use super::marks::Sealed;
use crate::broker::Broker;
use crate::decide::tag_keys;
use crate::error::Error;
use crate::log::{Decided, LogDown, Recorded, RecordedRelease};
use crate::refusal::Refusal;
use crate::state::State;
use crate::state::agreements::Status as AgreementStatus;
use crate::state::flows::Stage;

/// A reader that takes no piece for so long is left.
const PIECE_MAX: Duration = Duration::from_secs(120);

/// A sealed delivery that is durable in the blob store, and named by no entry yet.
pub(crate) struct Stored {
    intent: ReleaseIntent,
}

/// Why a stored delivery was not recorded as released.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotRecorded {
    /// The flow, its agreement or a party of it was ended before the release. Nothing is stored any more.
    EndedMeanwhile,
    /// A rule says no by now, such as of a certification that has lapsed. Nothing is stored any more.
    Refused(Refusal),
    /// The entry may or may not be on disk; the broker ends.
    LogDown,
}

impl From<LogDown> for NotRecorded {
    fn from(_: LogDown) -> Self {
        Self::LogDown
    }
}

impl Stored {
    /// Step 0. `intent` describes the sealed bytes by their digest and size; the marks in them are put in here. Blocks.
    pub(crate) fn store(
        deliveries: &Deliveries,
        sealed: &Sealed,
        intent: impl FnOnce(Digest, Integer) -> ReleaseIntent,
    ) -> Result<Self, Error> {
        let marks = sealed.marks().cloned();
        let sealed = sealed.bytes();
        let sha256 = Digest::from_bytes(Sha256::digest(sealed).into());
        let bytes = Integer::new(sealed.len() as u64).map_err(|e| Error::Log(e.to_string()))?;
        let intent = ReleaseIntent {
            marks,
            ..intent(sha256, bytes)
        };
        deliveries.store(*intent.flow.as_bytes(), sealed)?;
        Ok(Self { intent })
    }

    /// Step 1. Refused if the flow, its agreement or a party has ended meanwhile, or a rule says no by now.
    pub(crate) async fn record(self, broker: &Broker) -> Result<Recorded<()>, NotRecorded> {
        let intent = self.intent;
        let flow = intent.flow;
        let granted = broker.flows.get(flow);
        let recorded = broker
            .ledger
            .commit(broker.actor(), |state, now| {
                let running = state
                    .flow(flow)
                    .is_some_and(|flow| flow.stage == Stage::Running);
                let active = state
                    .agreements
                    .get(&intent.agreement.sha256)
                    .is_some_and(|record| record.status == AgreementStatus::Active);
                if !(running && active && parties_stand(state, &intent)) {
                    return Err(NotRecorded::EndedMeanwhile);
                }
                // Another flow of the lineage may have been released since the rows came.
                let differs = intent.marks.as_ref().and_then(|marks| {
                    let lineage = marks.lineage.as_str();
                    tag_keys::differ(lineage, state.marks.tag_key(lineage), marks.tag_key)
                });
                if let Some(refusal) = differs {
                    return Err(NotRecorded::Refused(refusal));
                }
                let granted = granted.ok_or(NotRecorded::EndedMeanwhile)?;
                broker
                    .continues(state, now, &granted)
                    .map_err(NotRecorded::Refused)?;
                Ok(Decided {
                    events: vec![intent.into()],
                    value: (),
                })
            })
            .await;
        // It was not even queued, so no start will ever find it in the log.
        if recorded.as_ref().is_err_and(|e| *e != NotRecorded::LogDown) {
            broker.deliveries.discard(*flow.as_bytes());
        }
        recorded
    }
}

/// A recorded release may (still) be fetched: its agreement was not revoked, and neither was a party of it.
pub(crate) fn may_leave(state: &State, intent: &ReleaseIntent) -> bool {
    let agreement = state.agreements.get(&intent.agreement.sha256);
    agreement.is_some_and(|record| record.status != AgreementStatus::Revoked)
        && parties_stand(state, intent)
}

fn parties_stand(state: &State, intent: &ReleaseIntent) -> bool {
    [&intent.source.org, &intent.recipient.org]
        .into_iter()
        .all(|org| state.partners.stands(org))
}

/// A recorded release whose bytes are at hand.
#[derive(Debug)]
pub(crate) struct Released {
    recorded: RecordedRelease,
    sealed: File,
}

/// Why a release was not sent whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsent {
    /// It left, or took nothing for too long.
    #[error("the recipient left while its delivery was sent")]
    RecipientLeft,
    /// Its agreement or a party was revoked, or the log failed, while it was sent.
    #[error("the release was withdrawn while it was sent")]
    Withdrawn,
    /// The file could not be read.
    #[error("reading a sealed delivery: {0}")]
    Read(#[from] std::io::Error),
}

impl Released {
    /// Step 2. Blocks.
    pub(crate) fn open(recorded: RecordedRelease, deliveries: &Deliveries) -> Result<Self, Error> {
        let sealed = File::from_std(deliveries.open(&recorded)?);
        Ok(Self { recorded, sealed })
    }

    /// Step 3: reads and sends the sealed bytes, piece by piece; returns what step 4 records. What may leave is asked
    /// again before each piece, so that a revocation acts at once.
    pub(crate) async fn send(
        mut self,
        broker: &Broker,
        to: &mpsc::Sender<Result<DeliveryChunk, Status>>,
    ) -> Result<ReleaseOutcome, Unsent> {
        loop {
            let mut piece = Vec::with_capacity(CHUNK_BYTES);
            let mut rest = (&mut self.sealed).take(CHUNK_BYTES as u64);
            rest.read_to_end(&mut piece).await?;
            if piece.is_empty() {
                return Ok(outcome(&self.recorded, Outcome::Delivered));
            }
            let intent = self.recorded.intent();
            let leaves = broker.ledger.read(|state| may_leave(state, intent));
            if !leaves || broker.ledger.down().is_cancelled() {
                return Err(Unsent::Withdrawn);
            }
            let chunk = DeliveryChunk {
                part: Some(Part::Sealed(piece)),
            };
            to.send_timeout(Ok(chunk), PIECE_MAX)
                .await
                .map_err(|_| Unsent::RecipientLeft)?;
        }
    }
}

/// What became of a release.
pub(crate) fn outcome(recorded: &RecordedRelease, outcome: Outcome) -> ReleaseOutcome {
    ReleaseOutcome {
        flow: recorded.intent().flow,
        intent: recorded.index(),
        outcome,
    }
}

/// Step 4, once a flow: a repeated fetch adds nothing. That it was delivered is told in any case, also of a release that
/// was withdrawn while it was being sent.
pub(crate) async fn record_outcome(broker: &Broker, outcome: ReleaseOutcome) {
    let flow = outcome.flow;
    let recorded: Result<_, Refusal> = broker
        .ledger
        .commit(broker.actor(), |state, _| {
            let news = match state.flow(flow).map(|flow| &flow.stage) {
                Some(Stage::Released { outcome: known, .. }) => adds(*known, outcome.outcome),
                _ => false,
            };
            if !news {
                return Err(Refusal::new("outcome_known", "the outcome is known", "-"));
            }
            Ok(Decided {
                events: vec![outcome.into()],
                value: (),
            })
        })
        .await;
    if let Err(refusal) = recorded {
        tracing::debug!(%flow, code = refusal.code, "no outcome recorded");
    }
}

fn adds(known: Option<Outcome>, new: Outcome) -> bool {
    match known {
        None => true,
        Some(known) => known != Outcome::Delivered && new == Outcome::Delivered,
    }
}

#[cfg(test)]
mod tests;
